//! Diesel on SQLite: it is synchronous, so each call goes to a thread that may block, with one connection that writes and
//! a few that read.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::{Call, Contender};
use crate::data::{self, Entry, Kind, Op, User};
use crate::plan::PAGE;
use crate::{Failure, Result};

diesel::table! {
    users (id) {
        id -> Binary,
        email -> Text,
        email_lc -> Text,
        role -> Text,
        created_at -> Text,
        updated_at -> Text,
    }
}

diesel::table! {
    memory_audit_log (id) {
        id -> Binary,
        bot_id -> Binary,
        memory_id -> Text,
        action -> Text,
        actor -> Text,
        details -> Nullable<Text>,
        created_at -> Text,
    }
}

diesel::table! {
    bots (id) {
        id -> Binary,
        slug -> Text,
        name -> Text,
        description -> Text,
        status -> Text,
        category -> Text,
        tags -> Text,
        user_id -> Nullable<Binary>,
        conversation_count -> BigInt,
        total_tokens_used -> BigInt,
        version_count -> BigInt,
        created_at -> Text,
        updated_at -> Text,
        last_active_at -> Nullable<Text>,
    }
}

/// A user as the file has it.
type Row = (Vec<u8>, String, String, String, String, String);

/// Connections that take turns.
struct Pool {
    free: Mutex<Vec<SqliteConnection>>,
    permits: Semaphore,
}

impl Pool {
    fn open(path: &Path, size: usize) -> Result<Self> {
        let connections = (0..size).map(|_| connect(path)).collect::<Result<Vec<_>>>()?;
        Ok(Self {
            free: Mutex::new(connections),
            permits: Semaphore::new(size),
        })
    }

    fn take(&self) -> Result<SqliteConnection> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.pop().ok_or_else(|| "a permit without a connection".into())
    }

    fn put(&self, connection: SqliteConnection) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(connection);
    }
}

fn connect(path: &Path) -> Result<SqliteConnection> {
    let mut connection = SqliteConnection::establish(&path.to_string_lossy())?;
    connection.batch_execute(
        "PRAGMA busy_timeout = 5000; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
         PRAGMA cache_size = -16384; PRAGMA mmap_size = 268435456;",
    )?;
    Ok(connection)
}

pub(crate) struct Diesel {
    readers: Arc<Pool>,
    writer: Arc<Pool>,
}

impl Diesel {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            readers: Arc::new(Pool::open(path, (processors * 2).min(8))?),
            writer: Arc::new(Pool::open(path, 1)?),
        })
    }

    async fn do_it(&self, op: &Op) -> Result<u64> {
        let pool = match op {
            Op::ReadKey(_) | Op::ReadUnique(_) | Op::Page { .. } => &self.readers,
            _ => &self.writer,
        };
        let (pool, op) = (Arc::clone(pool), op.clone());
        let _permit = Arc::clone(&pool);
        let permit = _permit.permits.acquire().await?;
        let done = tokio::task::spawn_blocking(move || {
            let mut connection = pool.take()?;
            let done = work(&mut connection, &op);
            pool.put(connection);
            done
        });
        let done = done.await?;
        drop(permit);
        done
    }
}

fn work(db: &mut SqliteConnection, op: &Op) -> Result<u64> {
    match op {
        Op::ReadKey(at) => read(db, *at),
        Op::ReadUnique(at) => {
            let row: Option<Row> = users::table
                .filter(users::email_lc.eq(data::email(*at)))
                .first(db)
                .optional()?;
            found(*at, row)
        }
        Op::Page { newest, deep } => page(db, *newest, *deep),
        Op::Insert(entries) => entries.iter().map(|entry| insert(db, entry)).sum(),
        Op::Create(slugs) => slugs.iter().map(|slug| create(db, slug)).sum(),
        Op::Transaction(all) => all.iter().map(|(user, entries)| transaction(db, *user, entries)).sum(),
        Op::Modify(user) => modify(db, *user),
        Op::Bulk(entries) => {
            db.immediate_transaction(|db| entries.iter().map(|entry| insert(db, entry)).sum::<Result<u64>>())
        }
        Op::Chat(_) | Op::Claim(_) => Err(super::unsupported(op)),
    }
}

fn read(db: &mut SqliteConnection, at: u64) -> Result<u64> {
    let id = data::id(Kind::User, at);
    found(at, users::table.find(id.as_bytes().as_slice()).first(db).optional()?)
}

fn page(db: &mut SqliteConnection, newest: u64, deep: bool) -> Result<u64> {
    let mut query = users::table
        .order((users::created_at.desc(), users::id.desc()))
        .limit(i64::from(PAGE))
        .into_boxed();
    if deep {
        let (made, id) = data::before(newest);
        let (made, id) = (made.to_rfc3339(), id.into_bytes().to_vec());
        // Diesel has no row values on SQLite; the first condition is what the index is entered with.
        let before = users::created_at.lt(made.clone()).or(users::id.lt(id));
        query = query.filter(users::created_at.le(made)).filter(before);
    }
    let rows: Vec<Row> = query.load(db)?;
    let users = rows.into_iter().map(user).collect::<Result<Vec<_>>>()?;
    Ok(data::are_users(newest, &users))
}

fn found(at: u64, row: Option<Row>) -> Result<u64> {
    let user = row.map(user).transpose()?;
    Ok(data::is_user(at, user.as_ref()))
}

fn user((id, email, email_lc, role, created_at, updated_at): Row) -> Result<User> {
    Ok(User {
        id: Uuid::from_slice(&id)?,
        email,
        email_lc,
        role,
        created_at: time(&created_at)?,
        updated_at: time(&updated_at)?,
    })
}

fn time(text: &str) -> Result<DateTime<Utc>> {
    Ok(DateTime::parse_from_rfc3339(text)?.to_utc())
}

fn insert(db: &mut SqliteConnection, entry: &Entry) -> Result<u64> {
    use memory_audit_log::dsl;
    let rows = diesel::insert_into(dsl::memory_audit_log)
        .values((
            dsl::id.eq(data::new_id().into_bytes().to_vec()),
            dsl::bot_id.eq(entry.bot_id.into_bytes().to_vec()),
            dsl::memory_id.eq(&entry.memory_id),
            dsl::action.eq("add"),
            dsl::actor.eq(entry.actor),
            dsl::details.eq(entry.details.to_string()),
            dsl::created_at.eq(data::now().to_rfc3339()),
        ))
        .execute(db)?;
    Ok(rows as u64)
}

fn create(db: &mut SqliteConnection, slug: &str) -> Result<u64> {
    use bots::dsl;
    let now = data::now().to_rfc3339();
    let rows = diesel::insert_into(dsl::bots)
        .values((
            dsl::id.eq(data::new_id().into_bytes().to_vec()),
            dsl::slug.eq(slug),
            dsl::name.eq("New Bot"),
            dsl::description.eq(""),
            dsl::status.eq("active"),
            dsl::category.eq("assistant"),
            dsl::tags.eq("[]"),
            dsl::user_id.eq(None::<Vec<u8>>),
            dsl::conversation_count.eq(0),
            dsl::total_tokens_used.eq(0),
            dsl::version_count.eq(0),
            dsl::created_at.eq(&now),
            dsl::updated_at.eq(&now),
            dsl::last_active_at.eq(None::<String>),
        ))
        .execute(db)?;
    Ok(rows as u64)
}

fn transaction(db: &mut SqliteConnection, at: u64, [one, two]: &[Entry; 2]) -> Result<u64> {
    db.immediate_transaction(|db| Ok(read(db, at)? + insert(db, one)? + insert(db, two)?))
}

fn modify(db: &mut SqliteConnection, at: u64) -> Result<u64> {
    let id = data::id(Kind::User, at).into_bytes().to_vec();
    db.immediate_transaction::<_, Failure, _>(|db| {
        let Some(row) = users::table.find(&id).first::<Row>(db).optional()? else {
            return Ok(0);
        };
        let role = if user(row)?.role == "admin" { "user" } else { "admin" };
        let changes = (users::role.eq(role), users::updated_at.eq(data::now().to_rfc3339()));
        let changed = diesel::update(users::table.find(&id)).set(changes).execute(db)?;
        Ok(changed as u64)
    })
}

impl Contender for Diesel {
    fn run<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<u64>> {
        Box::pin(self.do_it(call.op))
    }

    /// The connections close when they are dropped.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
