//! A lane: connections for one kind of work, and a line of those who wait for one.

use std::sync::Arc;
use std::time::Duration;

use config::Connections;
use sea_orm::DatabaseConnection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::running::Running;
use crate::{Error, ErrorKind, Result};

/// What a statement does, and so which lane it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// A pool with a fair line in front of it: first come, first served. Whoever holds a place gets a connection at once, so
/// waiting happens here, where it is counted, can be given up without harm and ends when the store is closed.
#[derive(Clone)]
pub(super) struct Lane {
    db: DatabaseConnection,
    places: Arc<Semaphore>,
    size: u32,
}

impl Lane {
    /// The writer's lane and the readers': one and the same where they share their connections.
    pub(super) fn pair(running: Running, connections: Connections, shared: bool) -> (Self, Self) {
        let writer = Self::new(running, connections.writer);
        let reader = if shared {
            writer.clone()
        } else {
            Self::new(running, connections.reader)
        };
        (writer, reader)
    }

    fn new(running: Running, db: DatabaseConnection) -> Self {
        let size = running.pool_size(&db);
        Self {
            db,
            places: Arc::new(Semaphore::new(size as usize)),
            size,
        }
    }

    /// Whether this is that lane, and has one place: who holds it holds up everybody else.
    pub(super) fn is_the_only_place_of(&self, other: &Self) -> bool {
        self.size == 1 && Arc::ptr_eq(&self.places, &other.places)
    }

    pub(super) fn connection(&self) -> &DatabaseConnection {
        &self.db
    }

    /// A place in the lane, as soon as one is free.
    pub(super) async fn enter(&self) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.places).acquire_owned().await.map_err(|_| closed())
    }

    /// All places, so that nobody else is at work.
    pub(super) async fn drain(&self, limit: Duration) -> Result<OwnedSemaphorePermit> {
        let all = Arc::clone(&self.places).acquire_many_owned(self.size);
        match tokio::time::timeout(limit, all).await {
            Ok(places) => places.map_err(|_| closed()),
            Err(_) => Err(Error::new(
                ErrorKind::Timeout,
                format!("work was still under way after {limit:?}"),
            )),
        }
    }

    pub(super) async fn close(&self) -> Result<()> {
        self.places.close();
        self.db
            .close_by_ref()
            .await
            .map_err(|error| super::errors::without_code(&error))
    }

    /// How many places are taken, and how many there are.
    pub(super) fn usage(&self) -> (u32, u32) {
        let free = u32::try_from(self.places.available_permits()).unwrap_or(self.size);
        (self.size.saturating_sub(free), self.size)
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Unavailable, "the store is closed")
}
