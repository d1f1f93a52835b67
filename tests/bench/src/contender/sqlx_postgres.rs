//! SQL by hand with sqlx on Postgres: a pool of ten without pings before each use.

use futures_util::future::BoxFuture;
use sqlx::{Executor, PgPool, Postgres, Row as _, Transaction};

use super::{Call, Contender, each, seaorm, sqlx_alike};
use crate::data::{self, Entry, Kind, Op, User};
use crate::{Result, sql};

const BEGIN: &str = "BEGIN";

/// One pool for both.
pub(crate) struct Sqlx {
    reader: PgPool,
    writer: PgPool,
}

sqlx_alike::sqlx_contender!(Postgres);

impl Sqlx {
    pub(crate) async fn open(url: &str) -> Result<Self> {
        let pool = seaorm::postgres_pool(url).await?;
        Ok(Self {
            reader: pool.clone(),
            writer: pool,
        })
    }

    /// The fastest way that needs nothing but SQL: arrays, a thousand rows in each statement.
    async fn bulk(&self, entries: &[Entry]) -> Result<u64> {
        let mut tx = self.begin().await?;
        let mut rows = 0;
        for chunk in entries.chunks(1_000) {
            let now = data::now();
            let query = sqlx::query(sql::INSERT_ENTRIES)
                .bind(chunk.iter().map(|_| data::new_id()).collect::<Vec<_>>())
                .bind(chunk.iter().map(|entry| entry.bot_id).collect::<Vec<_>>())
                .bind(chunk.iter().map(|entry| entry.memory_id.as_str()).collect::<Vec<_>>())
                .bind(chunk.iter().map(|entry| entry.actor).collect::<Vec<_>>())
                .bind(chunk.iter().map(|entry| entry.details.clone()).collect::<Vec<_>>())
                .bind(chunk.iter().map(|_| now).collect::<Vec<_>>());
            rows += query.execute(&mut *tx).await?.rows_affected();
        }
        tx.commit().await?;
        Ok(rows)
    }
}
