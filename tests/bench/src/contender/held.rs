//! SeaORM's statements over one SQLite connection that nobody else uses: no pool, no pings, no line to stand in.

use std::path::Path;

use futures_util::future::BoxFuture;
use sea_orm::{DbBackend, EntityTrait, QueryTrait, Statement};
use sea_query_sqlx::SqlxValues;
use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Sqlite};
use tokio::sync::Mutex;

use super::{Call, Contender, seaorm};
use crate::Result;
use crate::data::Op;

pub(crate) struct Held {
    connection: Mutex<PoolConnection<Sqlite>>,
}

impl Held {
    pub(crate) async fn open(path: &Path) -> Result<Self> {
        let connection = seaorm::sqlite_pool(path, false).await?.acquire().await?;
        Ok(Self {
            connection: Mutex::new(connection),
        })
    }

    async fn execute(&self, statement: Statement) -> Result<u64> {
        let values = statement.values.unwrap_or_else(|| sea_orm::Values(vec![]));
        // The text comes from the query builder, and its values are bound.
        let query = sqlx::query_with(AssertSqlSafe(statement.sql), SqlxValues(values));
        let mut connection = self.connection.lock().await;
        Ok(query.execute(&mut **connection).await?.rows_affected())
    }

    async fn do_it(&self, op: &Op) -> Result<u64> {
        let mut rows = 0;
        match op {
            Op::Insert(entries) => {
                for entry in entries {
                    let insert = entity::memory_audit_log::Entity::insert(seaorm::entry(entry));
                    rows += self.execute(insert.build(DbBackend::Sqlite)).await?;
                }
            }
            Op::Create(slugs) => {
                for slug in slugs {
                    let insert = entity::bots::Entity::insert(seaorm::bot(slug));
                    rows += self.execute(insert.build(DbBackend::Sqlite)).await?;
                }
            }
            _ => return Err(super::unsupported(op)),
        }
        Ok(rows)
    }
}

impl Contender for Held {
    fn run<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<u64>> {
        Box::pin(self.do_it(call.op))
    }

    /// The connection is closed when it is dropped.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
