//! SQL by hand with sqlx on Postgres: a pool of ten without pings before each use.

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use sqlx::postgres::PgRow;
use sqlx::{Executor, PgPool, Postgres, Row};

use super::{Call, Contender, seaorm};
use crate::data::{self, Entry, Kind, Op, User};
use crate::{Result, sql};

pub(crate) struct Sqlx {
    pool: PgPool,
    rows: u64,
}

impl Sqlx {
    pub(crate) async fn open(url: &str, rows: u64) -> Result<Self> {
        Ok(Self {
            pool: seaorm::postgres_pool(url).await?,
            rows,
        })
    }

    async fn page(&self, deep: bool) -> Result<u64> {
        let at = data::before_deep_page(self.rows);
        let query = match deep {
            true => sqlx::query(sql::PAGE_AFTER)
                .bind(data::made_at(at))
                .bind(data::id(Kind::User, at)),
            false => sqlx::query(sql::FIRST_PAGE),
        };
        let rows = query.fetch_all(&self.pool).await?;
        let users = rows.iter().map(user).collect::<Result<Vec<User>>>()?;
        Ok(std::hint::black_box(users).len() as u64)
    }

    async fn transaction(&self, user: u64, [one, two]: &[Entry; 2]) -> Result<u64> {
        let mut tx = self.pool.begin().await?;
        let rows = read(&mut *tx, user).await? + insert(&mut *tx, one).await? + insert(&mut *tx, two).await?;
        tx.commit().await?;
        Ok(rows)
    }

    async fn modify(&self, at: u64) -> Result<u64> {
        let mut tx = self.pool.begin().await?;
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

    /// The fastest way that needs nothing but SQL: arrays, a thousand rows in each statement.
    async fn bulk(&self, entries: &[Entry]) -> Result<u64> {
        let mut tx = self.pool.begin().await?;
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

    async fn do_it(&self, op: &Op) -> Result<u64> {
        let mut rows = 0;
        match op {
            Op::ReadKey(at) => rows = read(&self.pool, *at).await?,
            Op::ReadUnique(at) => {
                let query = sqlx::query(sql::USER_BY_EMAIL).bind(data::email(*at));
                rows = found(query.fetch_optional(&self.pool).await?.as_ref())?;
            }
            Op::Page { deep } => rows = self.page(*deep).await?,
            Op::Insert(entries) => {
                for entry in entries {
                    rows += insert(&self.pool, entry).await?;
                }
            }
            Op::Create(slugs) => {
                for slug in slugs {
                    let now = data::now();
                    let query = sqlx::query(sql::INSERT_BOT).bind(data::new_id()).bind(slug);
                    rows += query.bind(now).bind(now).execute(&self.pool).await?.rows_affected();
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

async fn read<'e>(db: impl Executor<'e, Database = Postgres>, at: u64) -> Result<u64> {
    let query = sqlx::query(sql::USER_BY_KEY).bind(data::id(Kind::User, at));
    found(query.fetch_optional(db).await?.as_ref())
}

async fn insert<'e>(db: impl Executor<'e, Database = Postgres>, entry: &Entry) -> Result<u64> {
    let query = sqlx::query(sql::INSERT_ENTRY)
        .bind(data::new_id())
        .bind(entry.bot_id)
        .bind(&entry.memory_id)
        .bind(entry.actor)
        .bind(&entry.details)
        .bind(data::now());
    Ok(query.execute(db).await?.rows_affected())
}

fn found(row: Option<&PgRow>) -> Result<u64> {
    let user = row.map(user).transpose()?;
    Ok(u64::from(std::hint::black_box(user).is_some()))
}

fn user(row: &PgRow) -> Result<User> {
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
            self.pool.close().await;
        })
    }
}
