//! Those who do the work, each in the way that its users would.

pub(crate) mod diesel_postgres;
pub(crate) mod diesel_sqlite;
pub(crate) mod held;
pub(crate) mod limit_postgres;
pub(crate) mod limit_sqlite;
pub(crate) mod seaorm;
mod sqlx_alike;
pub(crate) mod sqlx_postgres;
pub(crate) mod sqlx_sqlite;
pub(crate) mod undercroft;

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::data::Op;
use crate::plan::{BULK, Who, Work};

/// Connections that a contender may use on Postgres, and the store's default.
pub(crate) const CONNECTIONS: u32 = 10;

/// One call of one task.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) op: &'a Op,
    /// Which task calls.
    pub(crate) task: usize,
}

/// How many tasks a contender wants for a cell, and how many operations in each call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) tasks: usize,
    pub(crate) batch: usize,
}

/// Somebody who does the work.
pub(crate) trait Contender: Send + Sync {
    /// As many tasks as the cell says, unless the contender shows what can be reached in another way.
    fn shape(&self, work: Work, tasks: usize) -> Shape {
        let batch = if work == Work::Bulk { BULK } else { 1 };
        Shape { tasks, batch }
    }

    /// Does it, and answers the number of rows that came back or were written.
    fn run<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<u64>>;

    /// Reads every user of so many, newest first, and answers how many were the right ones.
    fn walk(&self, _rows: u64) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async { Err("walks no tables".into()) })
    }

    /// Closes the connections.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// Where a contender finds its database.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Place {
    File(PathBuf),
    Server(String),
}

/// Opens a contender. `rows` are the users in the database.
pub(crate) async fn open(who: Who, place: &Place, rows: u64) -> Result<Arc<dyn Contender>> {
    Ok(match (who, place) {
        (Who::Undercroft, _) => Arc::new(undercroft::Undercroft::open(place, rows).await?),
        (Who::Newcomer, _) => Arc::new(seaorm::newcomer::Newcomer::open(place, None).await?),
        (Who::NewcomerTen, _) => Arc::new(seaorm::newcomer::Newcomer::open(place, Some(10)).await?),
        (Who::Tuned, _) => Arc::new(seaorm::tuned::Tuned::open(place).await?),
        (Who::Held, Place::File(path)) => Arc::new(held::Held::open(path).await?),
        (Who::Sqlx, Place::File(path)) => Arc::new(sqlx_sqlite::Sqlx::open(path).await?),
        (Who::Sqlx, Place::Server(url)) => Arc::new(sqlx_postgres::Sqlx::open(url).await?),
        (Who::Diesel, Place::File(path)) => Arc::new(diesel_sqlite::Diesel::open(path)?),
        (Who::Diesel, Place::Server(url)) => Arc::new(diesel_postgres::Diesel::open(url)?),
        (Who::Limit, Place::File(path)) => Arc::new(limit_sqlite::threads::Limit::open(path)?),
        (Who::LimitInline, Place::File(path)) => Arc::new(limit_sqlite::inline::Limit::open(path)?),
        (Who::Limit, Place::Server(url)) => Arc::new(limit_postgres::Limit::open(url).await?),
        (Who::Held | Who::LimitInline, Place::Server(_)) => return Err(format!("{who:?} is only on SQLite").into()),
    })
}

/// Does one after the other, and answers how many rows they have in all.
async fn each<'a, T, F>(all: &'a [T], one: impl Fn(&'a T) -> F) -> Result<u64>
where
    F: Future<Output = Result<u64>>,
{
    let mut rows = 0;
    for next in all {
        rows += one(next).await?;
    }
    Ok(rows)
}

/// What a contender says that was not written for a work.
pub(crate) fn unsupported(op: &Op) -> crate::Failure {
    format!("does not do {op:?}").into()
}
