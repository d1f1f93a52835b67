//! Diesel on Postgres, with diesel-async and a deadpool of ten connections.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use diesel_async::pooled_connection::deadpool::{Object, Pool};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use futures_util::future::BoxFuture;
use serde_json::json;
use uuid::Uuid;

use super::{CONNECTIONS, Call, Contender};
use crate::data::{self, Entry, Kind, Op, User};
use crate::plan::PAGE;
use crate::{Failure, Result};

diesel::table! {
    users (id) {
        id -> Uuid,
        email -> Text,
        email_lc -> Text,
        role -> Text,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    memory_audit_log (id) {
        id -> Uuid,
        bot_id -> Uuid,
        memory_id -> Text,
        action -> Text,
        actor -> Text,
        details -> Nullable<Jsonb>,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    bots (id) {
        id -> Uuid,
        slug -> Text,
        name -> Text,
        description -> Text,
        status -> Text,
        category -> Text,
        tags -> Jsonb,
        user_id -> Nullable<Uuid>,
        conversation_count -> BigInt,
        total_tokens_used -> BigInt,
        version_count -> BigInt,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        last_active_at -> Nullable<Timestamptz>,
    }
}

/// Rows of one statement of the bulk insert: below the bound values that Postgres takes.
const CHUNK: usize = 1_000;

type Row = (Uuid, String, String, String, DateTime<Utc>, DateTime<Utc>);

pub(crate) struct Diesel {
    pool: Pool<AsyncPgConnection>,
}

impl Diesel {
    pub(crate) fn open(url: &str) -> Result<Self> {
        let manager = AsyncDieselConnectionManager::<AsyncPgConnection>::new(url);
        let pool = Pool::builder(manager).max_size(CONNECTIONS as usize).build()?;
        Ok(Self { pool })
    }

    async fn do_it(&self, op: &Op) -> Result<u64> {
        let mut db: Object<AsyncPgConnection> = self.pool.get().await?;
        let db: &mut AsyncPgConnection = &mut db;
        let mut rows = 0;
        match op {
            Op::ReadKey(at) => rows = read(db, *at).await?,
            Op::ReadUnique(at) => {
                let query = users::table.filter(users::email_lc.eq(data::email(*at)));
                rows = found(*at, query.first(db).await.optional()?);
            }
            Op::Page { newest, deep } => rows = page(db, *newest, *deep).await?,
            Op::Insert(entries) => {
                for entry in entries {
                    rows += insert(db, entry).await?;
                }
            }
            Op::Create(slugs) => {
                for slug in slugs {
                    rows += create(db, slug).await?;
                }
            }
            Op::Transaction(all) => {
                for (user, entries) in all {
                    rows += transaction(db, *user, entries).await?;
                }
            }
            Op::Modify(user) => rows = modify(db, *user).await?,
            Op::Bulk(entries) => rows = bulk(db, entries).await?,
            Op::Chat(_) | Op::Claim(_) => return Err(super::unsupported(op)),
        }
        Ok(rows)
    }
}

async fn read(db: &mut AsyncPgConnection, at: u64) -> Result<u64> {
    let query = users::table.find(data::id(Kind::User, at));
    Ok(found(at, query.first(db).await.optional()?))
}

async fn page(db: &mut AsyncPgConnection, newest: u64, deep: bool) -> Result<u64> {
    let mut query = users::table
        .order((users::created_at.desc(), users::id.desc()))
        .limit(i64::from(PAGE))
        .into_boxed();
    if deep {
        let (made, id) = data::before(newest);
        // The first condition is what the index is entered with.
        let before = users::created_at.lt(made).or(users::id.lt(id));
        query = query.filter(users::created_at.le(made)).filter(before);
    }
    let rows: Vec<Row> = query.load(db).await?;
    let users: Vec<User> = rows.into_iter().map(user).collect();
    Ok(data::are_users(newest, &users))
}

fn found(at: u64, row: Option<Row>) -> u64 {
    data::is_user(at, row.map(user).as_ref())
}

fn user((id, email, email_lc, role, created_at, updated_at): Row) -> User {
    User {
        id,
        email,
        email_lc,
        role,
        created_at,
        updated_at,
    }
}

/// A row of the audit log.
#[derive(Insertable)]
#[diesel(table_name = memory_audit_log)]
struct NewEntry<'a> {
    id: Uuid,
    bot_id: Uuid,
    memory_id: &'a str,
    action: &'a str,
    actor: &'a str,
    details: &'a serde_json::Value,
    created_at: DateTime<Utc>,
}

impl<'a> From<&'a Entry> for NewEntry<'a> {
    fn from(entry: &'a Entry) -> Self {
        Self {
            id: data::new_id(),
            bot_id: entry.bot_id,
            memory_id: &entry.memory_id,
            action: "add",
            actor: entry.actor,
            details: &entry.details,
            created_at: data::now(),
        }
    }
}

async fn insert(db: &mut AsyncPgConnection, entry: &Entry) -> Result<u64> {
    let insert = diesel::insert_into(memory_audit_log::table).values(NewEntry::from(entry));
    Ok(insert.execute(db).await? as u64)
}

async fn create(db: &mut AsyncPgConnection, slug: &str) -> Result<u64> {
    use bots::dsl;
    let now = data::now();
    let inserted = diesel::insert_into(dsl::bots)
        .values((
            dsl::id.eq(data::new_id()),
            dsl::slug.eq(slug),
            dsl::name.eq("New Bot"),
            dsl::description.eq(""),
            dsl::status.eq("active"),
            dsl::category.eq("assistant"),
            dsl::tags.eq(json!([])),
            dsl::user_id.eq(None::<Uuid>),
            dsl::conversation_count.eq(0),
            dsl::total_tokens_used.eq(0),
            dsl::version_count.eq(0),
            dsl::created_at.eq(now),
            dsl::updated_at.eq(now),
            dsl::last_active_at.eq(None::<DateTime<Utc>>),
        ))
        .execute(db)
        .await?;
    Ok(inserted as u64)
}

async fn transaction(db: &mut AsyncPgConnection, at: u64, [one, two]: &[Entry; 2]) -> Result<u64> {
    db.transaction::<_, Failure, _>(async |db| {
        let found = read(db, at).await?;
        let one = insert(db, one).await?;
        let two = insert(db, two).await?;
        Ok(found + one + two)
    })
    .await
}

async fn modify(db: &mut AsyncPgConnection, at: u64) -> Result<u64> {
    let id = data::id(Kind::User, at);
    db.transaction::<_, Failure, _>(async |db| {
        let Some(row) = users::table.find(id).first::<Row>(db).await.optional()? else {
            return Ok(0);
        };
        let role = if user(row).role == "admin" { "user" } else { "admin" };
        let changes = (users::role.eq(role), users::updated_at.eq(data::now()));
        let changed = diesel::update(users::table.find(id)).set(changes).execute(db).await?;
        Ok(changed as u64)
    })
    .await
}

async fn bulk(db: &mut AsyncPgConnection, entries: &[Entry]) -> Result<u64> {
    db.transaction::<_, Failure, _>(async |db| {
        let mut rows = 0;
        for chunk in entries.chunks(CHUNK) {
            let chunk: Vec<NewEntry<'_>> = chunk.iter().map(NewEntry::from).collect();
            let insert = diesel::insert_into(memory_audit_log::table).values(chunk);
            rows += insert.execute(db).await? as u64;
        }
        Ok(rows)
    })
    .await
}

impl Contender for Diesel {
    fn run<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<u64>> {
        Box::pin(self.do_it(call.op))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { self.pool.close() })
    }
}
