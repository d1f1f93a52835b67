//! What SQLite can do: rusqlite and nothing else, used in the two ways that may be the best one. A single statement is
//! durable at once; concurrent writes come as one transaction of all of them, which is the least that committing them can
//! cost. Both do the same with the same statements, and differ in the threads that do it.

pub(crate) mod inline;
pub(crate) mod threads;

use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use rusqlite::types::Type;
use rusqlite::{Connection, OpenFlags, Row, params};
use uuid::Uuid;

use super::Shape;
use crate::data::{self, Entry, Kind, Op, SAYING, TOKENS_IN, TOKENS_OUT, User};
use crate::plan::{BULK, CLAIM, MESSAGES, Work};
use crate::{Result, sql};

const MAX_CACHED: usize = 64;

/// A connection as the others have it: WAL, FULL, the same checkpoints and the same memory map as the store's.
fn connect(path: &Path, read_only: bool) -> Result<Connection> {
    let flags = match read_only {
        true => OpenFlags::SQLITE_OPEN_READ_ONLY,
        false => OpenFlags::SQLITE_OPEN_READ_WRITE,
    };
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(MAX_CACHED);
    connection.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = 10000; \
         PRAGMA cache_size = -16384; PRAGMA mmap_size = 268435456;",
    )?;
    Ok(connection)
}

/// The statements that claim runs.
struct Claims([String; 2]);

impl Claims {
    /// SQLite numbers `$3` by where it first stands, and `?3` by its number.
    fn new() -> Self {
        Self(sql::claims(false).map(|sql| sql.replace('$', "?")))
    }
}

/// How the statements of a call end up on the disk.
enum End {
    /// There is nothing to commit.
    Read,
    /// A single statement commits itself.
    Itself,
    /// They are one transaction.
    Commit,
}

impl End {
    fn of(op: &Op) -> Self {
        match op {
            Op::ReadKey(_) | Op::ReadUnique(_) | Op::Page { .. } => Self::Read,
            Op::Insert(entries) if entries.len() == 1 => Self::Itself,
            _ => Self::Commit,
        }
    }
}

/// What the call asks for, on this connection, transaction and all.
fn whole(db: &Connection, op: &Op, claims: &Claims) -> Result<u64> {
    match End::of(op) {
        End::Read | End::Itself => statements(db, op, claims),
        End::Commit => {
            let done = begun(db, op, claims)?;
            commit(db)?;
            Ok(done)
        }
    }
}

/// A call's statements in a transaction that is still to be committed; there is none any more when one of them failed.
fn begun(db: &Connection, op: &Op, claims: &Claims) -> Result<u64> {
    db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let done = statements(db, op, claims);
    if done.is_err() {
        db.prepare_cached("ROLLBACK")?.execute([])?;
    }
    done
}

fn commit(db: &Connection) -> Result<()> {
    db.prepare_cached("COMMIT")?.execute([])?;
    Ok(())
}

/// The statements of a call, which know of no transaction.
fn statements(db: &Connection, op: &Op, claims: &Claims) -> Result<u64> {
    match op {
        Op::ReadKey(at) => read(db, *at),
        Op::ReadUnique(at) => all(db, sql::USER_BY_EMAIL, params![data::email(*at)], *at),
        Op::Page { newest, deep: false } => all(db, sql::FIRST_PAGE, [], *newest),
        Op::Page { newest, deep: true } => {
            let (made, id) = data::before(*newest);
            all(db, sql::PAGE_AFTER, params![made.to_rfc3339(), id.as_bytes()], *newest)
        }
        Op::Insert(entries) => entries.iter().map(|entry| insert(db, entry)).sum(),
        Op::Bulk(entries) => entries.iter().map(|entry| insert(db, entry)).sum(),
        Op::Create(slugs) => slugs.iter().map(|slug| create(db, slug)).sum(),
        Op::Transaction(all) => all
            .iter()
            .map(|(user, [one, two])| Ok(read(db, *user)? + insert(db, one)? + insert(db, two)?))
            .sum(),
        Op::Chat(sessions) => sessions.iter().map(|session| append(db, *session)).sum(),
        Op::Claim(workers) => workers.iter().map(|worker| claim(db, *worker, claims)).sum(),
        Op::Modify(_) => Err(super::unsupported(op)),
    }
}

fn read(db: &Connection, at: u64) -> Result<u64> {
    all(db, sql::USER_BY_KEY, params![data::id(Kind::User, at).as_bytes()], at)
}

/// The users that a query finds, of which the newest is to have this number.
fn all(db: &Connection, sql: &str, values: impl rusqlite::Params, newest: u64) -> Result<u64> {
    let mut statement = db.prepare_cached(sql)?;
    let users = statement
        .query_map(values, user)?
        .collect::<rusqlite::Result<Vec<User>>>()?;
    Ok(data::are_users(newest, &users))
}

fn walk(db: &Connection, rows: u64) -> Result<u64> {
    let mut statement = db.prepare_cached(sql::ALL_USERS)?;
    let mut right = 0;
    for user in statement.query_map([], user)? {
        right += data::is_next(rows, right, &user?);
    }
    Ok(right)
}

fn user(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User {
        id: id_in(row, 0)?,
        email: row.get(1)?,
        email_lc: row.get(2)?,
        role: row.get(3)?,
        created_at: time_in(row, 4)?,
        updated_at: time_in(row, 5)?,
    })
}

fn id_in(row: &Row<'_>, at: usize) -> rusqlite::Result<Uuid> {
    let bytes = row.get_ref(at)?.as_blob()?;
    Uuid::from_slice(bytes).map_err(|error| unreadable(at, Type::Blob, error))
}

fn time_in(row: &Row<'_>, at: usize) -> rusqlite::Result<DateTime<Utc>> {
    let text = row.get_ref(at)?.as_str()?;
    let time = DateTime::parse_from_rfc3339(text).map_err(|error| unreadable(at, Type::Text, error))?;
    Ok(time.to_utc())
}

fn unreadable(at: usize, kind: Type, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(at, kind, Box::new(error))
}

fn insert(db: &Connection, entry: &Entry) -> Result<u64> {
    let (id, details, now) = (data::new_id(), entry.details.to_string(), data::now().to_rfc3339());
    let values = params![
        id.as_bytes(),
        entry.bot_id.as_bytes(),
        entry.memory_id,
        entry.actor,
        details,
        now,
    ];
    Ok(db.prepare_cached(sql::INSERT_ENTRY)?.execute(values)? as u64)
}

fn create(db: &Connection, slug: &str) -> Result<u64> {
    let (id, now) = (data::new_id(), data::now().to_rfc3339());
    let values = params![id.as_bytes(), slug, now, now];
    Ok(db.prepare_cached(sql::INSERT_BOT)?.execute(values)? as u64)
}

fn append(db: &Connection, session: u64) -> Result<u64> {
    let id = data::id(Kind::Session, session);
    let (count, now) = (MESSAGES as i64, data::now().to_rfc3339());
    let growth = params![count, count * TOKENS_IN, count * TOKENS_OUT, id.as_bytes()];
    let (last, bot) = db
        .prepare_cached(sql::GROW_SESSION)?
        .query_row(growth, |row| Ok((row.get::<_, i64>(0)?, id_in(row, 1)?)))?;
    let mut statement = db.prepare_cached(sql::INSERT_MESSAGE)?;
    for sequence in last - count + 1..=last {
        let new = data::new_id();
        statement.execute(params![
            new.as_bytes(),
            id.as_bytes(),
            sequence,
            SAYING,
            TOKENS_IN,
            TOKENS_OUT,
            now
        ])?;
    }
    let credit = params![count * (TOKENS_IN + TOKENS_OUT), now, bot.as_bytes()];
    db.prepare_cached(sql::CREDIT_BOT)?.execute(credit)?;
    Ok(MESSAGES as u64)
}

fn claim(db: &Connection, worker: usize, Claims([left, pending]): &Claims) -> Result<u64> {
    let (worker, now) = (format!("worker-{worker}"), data::now());
    let (end, now) = ((now + TimeDelta::hours(1)).to_rfc3339(), now.to_rfc3339());
    let runs = |statement: &mut rusqlite::CachedStatement<'_>, values: &[&dyn rusqlite::ToSql]| {
        let ids = statement.query_map(values, run)?;
        ids.collect::<rusqlite::Result<Vec<_>>>()
    };
    let found = runs(&mut db.prepare_cached(left)?, &[&worker, &end, &CLAIM, &now])?;
    if !found.is_empty() {
        return Ok(found.len() as u64);
    }
    let found = runs(&mut db.prepare_cached(pending)?, &[&worker, &end, &CLAIM])?;
    Ok(std::hint::black_box(found).len() as u64)
}

/// The columns of a run, decoded and let go.
fn run(row: &Row<'_>) -> rusqlite::Result<Uuid> {
    let texts: [Option<String>; 8] = [
        row.get(2)?,
        row.get(3)?,
        row.get(4)?,
        row.get(5)?,
        row.get(6)?,
        row.get(9)?,
        row.get(10)?,
        row.get(11)?,
    ];
    let times = (time_in(row, 7)?, time_in(row, 12)?);
    let rest = (id_in(row, 1)?, row.get::<_, i64>(13)?);
    std::hint::black_box((texts, times, rest));
    id_in(row, 0)
}

/// Writes of all tasks at once, by one caller.
fn shape(work: Work, tasks: usize) -> Shape {
    match work {
        Work::Bulk => Shape { tasks: 1, batch: BULK },
        work if work.writes() => Shape { tasks: 1, batch: tasks },
        _ => Shape { tasks, batch: 1 },
    }
}
