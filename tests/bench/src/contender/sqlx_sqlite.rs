//! SQL by hand with sqlx on SQLite: one writer, several readers, as tuned as the rest.

use std::path::Path;

use futures_util::future::BoxFuture;
use sqlx::{Executor, Row as _, Sqlite, SqlitePool, Transaction};

use super::{Call, Contender, each, seaorm, sqlx_alike};
use crate::data::{self, Entry, Kind, Op, User};
use crate::{Result, sql};

/// A transaction that will write says so when it begins.
const BEGIN: &str = "BEGIN IMMEDIATE";

pub(crate) struct Sqlx {
    reader: SqlitePool,
    writer: SqlitePool,
}

sqlx_alike::sqlx_contender!(Sqlite);

impl Sqlx {
    pub(crate) async fn open(path: &Path) -> Result<Self> {
        Ok(Self {
            writer: seaorm::sqlite_pool(path, false).await?,
            reader: seaorm::sqlite_pool(path, true).await?,
        })
    }

    async fn bulk(&self, entries: &[Entry]) -> Result<u64> {
        let mut tx = self.begin().await?;
        for entry in entries {
            insert(&mut *tx, entry).await?;
        }
        tx.commit().await?;
        Ok(entries.len() as u64)
    }
}
