//! What Postgres can do for one program: tokio-postgres with prepared statements; reads of many tasks in one pipeline,
//! writes over ten connections, appends to chats as one statement, bulk by COPY.

use std::borrow::Borrow;
use std::pin::pin;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, NoTls, Row, Statement};
use uuid::Uuid;

use super::{CONNECTIONS, Call, Contender, Shape, each};
use crate::data::{self, Entry, Kind, Op, SAYING, TOKENS_IN, TOKENS_OUT, User};
use crate::plan::{BULK, CLAIM, MESSAGES, Work};
use crate::{Result, sql};

pub(crate) struct Limit {
    sessions: Vec<Session>,
}

/// A connection with its statements.
struct Session {
    client: Client,
    by_key: Statement,
    by_email: Statement,
    first_page: Statement,
    page_after: Statement,
    insert: Statement,
    create: Statement,
    append: Statement,
    claims: [Statement; 2],
}

/// A connection, kept going by a task of its own.
pub(crate) async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            eprintln!("a connection of the limit has ended: {error}");
        }
    });
    Ok(client)
}

impl Session {
    async fn open(url: &str) -> Result<Self> {
        let client = connect(url).await?;
        let [left, pending] = sql::claims(true);
        Ok(Self {
            by_key: client.prepare(sql::USER_BY_KEY).await?,
            by_email: client.prepare(sql::USER_BY_EMAIL).await?,
            first_page: client.prepare(sql::FIRST_PAGE).await?,
            page_after: client.prepare(sql::PAGE_AFTER).await?,
            insert: client.prepare(sql::INSERT_ENTRY).await?,
            create: client.prepare(sql::INSERT_BOT).await?,
            append: client.prepare(sql::APPEND).await?,
            claims: [client.prepare(&left).await?, client.prepare(&pending).await?],
            client,
        })
    }

    /// The users that a query finds, of which the newest is to have this number.
    async fn users(&self, statement: &Statement, values: &[&(dyn ToSql + Sync)], newest: u64) -> Result<u64> {
        let rows = self.client.query(statement, values).await?;
        let users = rows.iter().map(user).collect::<Result<Vec<_>>>()?;
        Ok(data::are_users(newest, &users))
    }

    async fn read(&self, at: u64) -> Result<u64> {
        self.users(&self.by_key, &[&data::id(Kind::User, at)], at).await
    }

    async fn read_unique(&self, at: u64) -> Result<u64> {
        self.users(&self.by_email, &[&data::email(at)], at).await
    }

    async fn page(&self, newest: u64, deep: bool) -> Result<u64> {
        if !deep {
            return self.users(&self.first_page, &[], newest).await;
        }
        let (made, id) = data::before(newest);
        self.users(&self.page_after, &[&made, &id], newest).await
    }

    async fn insert(&self, entry: &Entry) -> Result<u64> {
        let (id, now) = (data::new_id(), data::now());
        let values: [&(dyn ToSql + Sync); 6] =
            [&id, &entry.bot_id, &entry.memory_id, &entry.actor, &entry.details, &now];
        Ok(self.client.execute(&self.insert, &values).await?)
    }

    async fn create(&self, slug: &str) -> Result<u64> {
        let (id, now) = (data::new_id(), data::now());
        Ok(self.client.execute(&self.create, &[&id, &slug, &now, &now]).await?)
    }

    /// BEGIN goes out together with the read, COMMIT with the second insert.
    async fn transaction(&self, user: u64, [one, two]: &[Entry; 2]) -> Result<u64> {
        let (_, found) = tokio::try_join!(self.command("BEGIN"), self.read(user))?;
        let (one, two, ()) = tokio::try_join!(self.insert(one), self.insert(two), self.command("COMMIT"))?;
        Ok(found + one + two)
    }

    async fn command(&self, sql: &str) -> Result<()> {
        Ok(self.client.batch_execute(sql).await?)
    }

    async fn append(&self, session: u64) -> Result<u64> {
        let (session, now, count) = (data::id(Kind::Session, session), data::now(), i64::try_from(MESSAGES)?);
        let (tokens_in, tokens_out) = (count * TOKENS_IN, count * TOKENS_OUT);
        let ids: Vec<Uuid> = (0..count).map(|_| data::new_id()).collect();
        let values: [&(dyn ToSql + Sync); 9] = [
            &count,
            &tokens_in,
            &tokens_out,
            &session,
            &ids,
            &SAYING,
            &TOKENS_IN,
            &TOKENS_OUT,
            &now,
        ];
        Ok(self.client.execute(&self.append, &values).await?)
    }

    async fn claim(&self, worker: usize) -> Result<u64> {
        let (worker, now, limit) = (format!("worker-{worker}"), data::now(), i64::from(CLAIM));
        let end = now + TimeDelta::hours(1);
        let [left, pending] = &self.claims;
        let mut rows = self.client.query(left, &[&worker, &end, &limit, &now]).await?;
        if rows.is_empty() {
            rows = self.client.query(pending, &[&worker, &end, &limit]).await?;
        }
        rows.iter().try_for_each(run)?;
        Ok(rows.len() as u64)
    }

    async fn bulk(&self, entries: &[Entry]) -> Result<u64> {
        let now = data::now();
        copy_entries(&self.client, entries.iter().map(|entry| (data::new_id(), entry, now))).await
    }
}

/// The fastest way in: COPY.
pub(crate) async fn copy_entries(
    client: &Client,
    entries: impl Iterator<Item = (Uuid, impl Borrow<Entry>, DateTime<Utc>)>,
) -> Result<u64> {
    let columns = "memory_audit_log (id, bot_id, memory_id, action, actor, details, created_at)";
    let types = [
        Type::UUID,
        Type::UUID,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::JSONB,
        Type::TIMESTAMPTZ,
    ];
    let mut copy = pin!(copy(client, columns, &types).await?);
    for (id, entry, made) in entries {
        let entry = entry.borrow();
        let row: [&(dyn ToSql + Sync); 7] = [
            &id,
            &entry.bot_id,
            &entry.memory_id,
            &"add",
            &entry.actor,
            &entry.details,
            &made,
        ];
        copy.as_mut().write(&row).await?;
    }
    Ok(copy.finish().await?)
}

/// Takes rows for a table's columns.
pub(crate) async fn copy(client: &Client, columns: &str, types: &[Type]) -> Result<BinaryCopyInWriter> {
    let sink = client
        .copy_in(&format!("COPY {columns} FROM STDIN (FORMAT binary)"))
        .await?;
    Ok(BinaryCopyInWriter::new(sink, types))
}

fn user(row: &Row) -> Result<User> {
    Ok(User {
        id: row.try_get(0)?,
        email: row.try_get(1)?,
        email_lc: row.try_get(2)?,
        role: row.try_get(3)?,
        created_at: row.try_get(4)?,
        updated_at: row.try_get(5)?,
    })
}

/// The columns of a run, decoded and let go.
fn run(row: &Row) -> Result<()> {
    let ids: (Uuid, Uuid) = (row.try_get(0)?, row.try_get(1)?);
    let words: [String; 3] = [row.try_get(2)?, row.try_get(3)?, row.try_get(4)?];
    let json: (Option<serde_json::Value>, serde_json::Value) = (row.try_get(5)?, row.try_get(6)?);
    let times: [Option<DateTime<Utc>>; 3] = [row.try_get(7)?, row.try_get(8)?, row.try_get(12)?];
    let rest: [Option<String>; 3] = [row.try_get(9)?, row.try_get(10)?, row.try_get(11)?];
    let epoch: i64 = row.try_get(13)?;
    std::hint::black_box((ids, words, json, times, rest, epoch));
    Ok(())
}

impl Limit {
    pub(crate) async fn open(url: &str) -> Result<Self> {
        let mut sessions = Vec::new();
        for _ in 0..CONNECTIONS {
            sessions.push(Session::open(url).await?);
        }
        Ok(Self { sessions })
    }

    async fn do_it(&self, call: Call<'_>) -> Result<u64> {
        let reader = &self.sessions[0];
        let writer = &self.sessions[call.task % self.sessions.len()];
        match call.op {
            Op::ReadKey(at) => reader.read(*at).await,
            Op::ReadUnique(at) => reader.read_unique(*at).await,
            Op::Page { newest, deep } => reader.page(*newest, *deep).await,
            Op::Insert(entries) => each(entries, |entry| writer.insert(entry)).await,
            Op::Create(slugs) => each(slugs, |slug| writer.create(slug)).await,
            Op::Transaction(all) => each(all, |(user, entries)| writer.transaction(*user, entries)).await,
            Op::Bulk(entries) => writer.bulk(entries).await,
            Op::Chat(sessions) => each(sessions, |session| writer.append(*session)).await,
            Op::Claim(workers) => each(workers, |worker| writer.claim(*worker)).await,
            Op::Modify(_) => Err(super::unsupported(call.op)),
        }
    }

    async fn stream(&self, rows: u64) -> Result<u64> {
        let none: [&(dyn ToSql + Sync); 0] = [];
        let mut found = pin!(self.sessions[0].client.query_raw(sql::ALL_USERS, none).await?);
        let mut right = 0;
        while let Some(row) = found.try_next().await? {
            right += data::is_next(rows, right, &user(&row)?);
        }
        Ok(right)
    }
}

impl Contender for Limit {
    /// A transaction has its connection to itself, so there are as many at once as there are connections.
    fn shape(&self, work: Work, tasks: usize) -> Shape {
        let batch = if work == Work::Bulk { BULK } else { 1 };
        let tasks = match work {
            Work::Transaction => tasks.min(self.sessions.len()),
            _ => tasks,
        };
        Shape { tasks, batch }
    }

    fn run<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<u64>> {
        Box::pin(self.do_it(call))
    }

    fn walk(&self, rows: u64) -> BoxFuture<'_, Result<u64>> {
        Box::pin(self.stream(rows))
    }

    /// The connections close when they are dropped.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
