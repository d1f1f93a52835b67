//! SQL by hand with sqlx on SQLite: one writer, several readers, as tuned as the rest.

use std::path::Path;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use sqlx::sqlite::SqliteRow;
use sqlx::{Executor, Row, Sqlite, SqlitePool, Transaction};

use super::{Call, Contender, seaorm};
use crate::data::{self, Entry, Kind, Op, User};
use crate::{Result, sql};

pub(crate) struct Sqlx {
    reader: SqlitePool,
    writer: SqlitePool,
    rows: u64,
}

impl Sqlx {
    pub(crate) async fn open(path: &Path, rows: u64) -> Result<Self> {
        Ok(Self {
            writer: seaorm::sqlite_pool(path, false).await?,
            reader: seaorm::sqlite_pool(path, true).await?,
            rows,
        })
    }

    async fn begin(&self) -> Result<Transaction<'static, Sqlite>> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    async fn page(&self, deep: bool) -> Result<u64> {
        let at = data::before_deep_page(self.rows);
        let query = match deep {
            true => sqlx::query(sql::PAGE_AFTER)
                .bind(data::made_at(at))
                .bind(data::id(Kind::User, at)),
            false => sqlx::query(sql::FIRST_PAGE),
        };
        let rows = query.fetch_all(&self.reader).await?;
        let users = rows.iter().map(user).collect::<Result<Vec<User>>>()?;
        Ok(std::hint::black_box(users).len() as u64)
    }

    async fn transaction(&self, user: u64, [one, two]: &[Entry; 2]) -> Result<u64> {
        let mut tx = self.begin().await?;
        let rows = read(&mut *tx, user).await? + insert(&mut *tx, one).await? + insert(&mut *tx, two).await?;
        tx.commit().await?;
        Ok(rows)
    }

    async fn modify(&self, at: u64) -> Result<u64> {
        let mut tx = self.begin().await?;
        let id = data::id(Kind::User, at);
        let Some(row) = sqlx::query(sql::USER_BY_KEY).bind(id).fetch_optional(&mut *tx).await? else {
            return Ok(0);
        };
        let role = if user(&row)?.role == "admin" { "user" } else { "admin" };
        let update = sqlx::query(sql::UPDATE_USER).bind(role).bind(data::now()).bind(id);
        let changed = update.execute(&mut *tx).await?.rows_affected();
        tx.commit().await?;
        Ok(changed)
    }

    async fn bulk(&self, entries: &[Entry]) -> Result<u64> {
        let mut tx = self.begin().await?;
        for entry in entries {
            insert(&mut *tx, entry).await?;
        }
        tx.commit().await?;
        Ok(entries.len() as u64)
    }

    async fn do_it(&self, op: &Op) -> Result<u64> {
        let mut rows = 0;
        match op {
            Op::ReadKey(at) => rows = read(&self.reader, *at).await?,
            Op::ReadUnique(at) => {
                let query = sqlx::query(sql::USER_BY_EMAIL).bind(data::email(*at));
                rows = found(query.fetch_optional(&self.reader).await?.as_ref())?;
            }
            Op::Page { deep } => rows = self.page(*deep).await?,
            Op::Insert(entries) => {
                for entry in entries {
                    rows += insert(&self.writer, entry).await?;
                }
            }
            Op::Create(slugs) => {
                for slug in slugs {
                    let now = data::now();
                    let query = sqlx::query(sql::INSERT_BOT).bind(data::new_id()).bind(slug);
                    rows += query.bind(now).bind(now).execute(&self.writer).await?.rows_affected();
                }
            }
            Op::Transaction(all) => {
                for (user, entries) in all {
                    rows += self.transaction(*user, entries).await?;
                }
            }
            Op::Modify(user) => rows = self.modify(*user).await?,
            Op::Bulk(entries) => rows = self.bulk(entries).await?,
            Op::Chat(_) | Op::Claim(_) => return Err(super::unsupported(op)),
        }
        Ok(rows)
    }
}

async fn read<'e>(db: impl Executor<'e, Database = Sqlite>, at: u64) -> Result<u64> {
    let query = sqlx::query(sql::USER_BY_KEY).bind(data::id(Kind::User, at));
    found(query.fetch_optional(db).await?.as_ref())
}

async fn insert<'e>(db: impl Executor<'e, Database = Sqlite>, entry: &Entry) -> Result<u64> {
    let query = sqlx::query(sql::INSERT_ENTRY)
        .bind(data::new_id())
        .bind(entry.bot_id)
        .bind(&entry.memory_id)
        .bind(entry.actor)
        .bind(&entry.details)
        .bind(data::now());
    Ok(query.execute(db).await?.rows_affected())
}

fn found(row: Option<&SqliteRow>) -> Result<u64> {
    let user = row.map(user).transpose()?;
    Ok(u64::from(std::hint::black_box(user).is_some()))
}

fn user(row: &SqliteRow) -> Result<User> {
    Ok(User {
        id: row.try_get(0)?,
        email: row.try_get(1)?,
        email_lc: row.try_get(2)?,
        role: row.try_get(3)?,
        created_at: row.try_get::<DateTime<Utc>, _>(4)?,
        updated_at: row.try_get::<DateTime<Utc>, _>(5)?,
    })
}

impl Contender for Sqlx {
    fn run<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<u64>> {
        Box::pin(self.do_it(call.op))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.reader.close().await;
            self.writer.close().await;
        })
    }
}
