//! Fills databases. The schema is the store's own, made by its migrations; the rows go the fastest way there is.

use std::path::Path;
use std::pin::pin;

use rusqlite::{Connection, Transaction, params};
use store::{DatabaseConfig, Store};
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use crate::contender::limit_postgres;
use crate::data::{self, BOTS, Entry, Kind, RUNS, SESSIONS};
use crate::{Result, sql};

/// Makes a SQLite file with so many users and audit entries.
pub(crate) async fn sqlite(path: &Path, rows: u64) -> Result<()> {
    let store = Store::open(DatabaseConfig::sqlite(path)?).await?;
    store.close().await?;
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || fill_sqlite(&path, rows)).await?
}

fn fill_sqlite(path: &Path, rows: u64) -> Result<()> {
    let mut db = Connection::open(path)?;
    db.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -1000000;")?;
    let tx = db.transaction()?;
    users(&tx, rows)?;
    bots(&tx)?;
    entries(&tx, rows)?;
    sessions(&tx)?;
    runs(&tx)?;
    tx.commit()?;
    db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_checkpoint(TRUNCATE);")?;
    db.close().map_err(|(_, error)| error)?;
    Ok(())
}

fn users(tx: &Transaction<'_>, rows: u64) -> Result<()> {
    let mut insert = tx.prepare("INSERT INTO users VALUES ($1, $2, $2, 'user', $3, $3)")?;
    for at in 0..rows {
        let id = data::id(Kind::User, at);
        insert.execute(params![id.as_bytes(), data::email(at), data::made_at(at).to_rfc3339()])?;
    }
    Ok(())
}

fn bots(tx: &Transaction<'_>) -> Result<()> {
    let mut insert = tx.prepare(sql::INSERT_BOT)?;
    for at in 0..BOTS {
        let (id, made) = (data::id(Kind::Bot, at), data::made_at(at).to_rfc3339());
        insert.execute(params![id.as_bytes(), format!("bot-{at}"), made, made])?;
    }
    Ok(())
}

fn entries(tx: &Transaction<'_>, rows: u64) -> Result<()> {
    let mut insert = tx.prepare(sql::INSERT_ENTRY)?;
    for at in 0..rows {
        let (id, entry) = (data::id(Kind::Entry, at), Entry::nth(at));
        insert.execute(params![
            id.as_bytes(),
            entry.bot_id.as_bytes(),
            entry.memory_id,
            entry.actor,
            entry.details.to_string(),
            data::made_at(at).to_rfc3339(),
        ])?;
    }
    Ok(())
}

/// A conversation's columns; the rest has defaults.
const SESSION: &str =
    "INSERT INTO chat_sessions (id, bot_id, model, status, started_at) VALUES ($1, $2, 'model', 'active', $3)";
const WORKFLOW: &str = "INSERT INTO workflows (id, name, owner_type, definition, created_at, updated_at) \
     VALUES ($1, 'nightly', 'global', '{}', $2, $2)";
const RUN: &str = "INSERT INTO workflow_runs (id, workflow_id, workflow_name, status, trigger_type, context, started_at) \
     VALUES ($1, $2, 'nightly', 'pending', 'schedule', '{}', $3)";

fn sessions(tx: &Transaction<'_>) -> Result<()> {
    let mut insert = tx.prepare(SESSION)?;
    for at in 0..SESSIONS {
        let (id, bot) = (data::id(Kind::Session, at), data::id(Kind::Bot, at));
        insert.execute(params![id.as_bytes(), bot.as_bytes(), data::made_at(at).to_rfc3339()])?;
    }
    Ok(())
}

fn runs(tx: &Transaction<'_>) -> Result<()> {
    let workflow = data::id(Kind::Workflow, 0);
    tx.execute(WORKFLOW, params![workflow.as_bytes(), data::made_at(0).to_rfc3339()])?;
    let mut insert = tx.prepare(RUN)?;
    for at in 0..RUNS {
        let id = data::id(Kind::Run, at);
        insert.execute(params![
            id.as_bytes(),
            workflow.as_bytes(),
            data::made_at(at).to_rfc3339()
        ])?;
    }
    Ok(())
}

/// Fills an empty Postgres database.
pub(crate) async fn postgres(url: &str, rows: u64) -> Result<()> {
    let store = Store::open(DatabaseConfig::postgres(url)?).await?;
    store.close().await?;
    let client = limit_postgres::connect(url).await?;
    copy_users(&client, rows).await?;
    let bot = client.prepare(sql::INSERT_BOT).await?;
    for at in 0..BOTS {
        let (id, made) = (data::id(Kind::Bot, at), data::made_at(at));
        client.execute(&bot, &[&id, &format!("bot-{at}"), &made, &made]).await?;
    }
    copy_entries(&client, rows).await?;
    let session = client.prepare(SESSION).await?;
    for at in 0..SESSIONS {
        let (id, bot) = (data::id(Kind::Session, at), data::id(Kind::Bot, at));
        client.execute(&session, &[&id, &bot, &data::made_at(at)]).await?;
    }
    let workflow = data::id(Kind::Workflow, 0);
    client.execute(WORKFLOW, &[&workflow, &data::made_at(0)]).await?;
    copy_runs(&client).await?;
    client.batch_execute("VACUUM ANALYZE").await?;
    client.batch_execute("CHECKPOINT").await?;
    Ok(())
}

async fn copy_users(client: &Client, rows: u64) -> Result<()> {
    let types = [
        Type::UUID,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::TIMESTAMPTZ,
        Type::TIMESTAMPTZ,
    ];
    let mut copy = pin!(limit_postgres::copy(client, "users", &types).await?);
    for at in 0..rows {
        let (id, email, made) = (data::id(Kind::User, at), data::email(at), data::made_at(at));
        let row: [&(dyn ToSql + Sync); 6] = [&id, &email, &email, &"user", &made, &made];
        copy.as_mut().write(&row).await?;
    }
    copy.finish().await?;
    Ok(())
}

async fn copy_entries(client: &Client, rows: u64) -> Result<()> {
    let entries = (0..rows).map(|at| (data::id(Kind::Entry, at), Entry::nth(at), data::made_at(at)));
    limit_postgres::copy_entries(client, entries).await?;
    Ok(())
}

async fn copy_runs(client: &Client) -> Result<()> {
    let columns = "workflow_runs (id, workflow_id, workflow_name, status, trigger_type, context, started_at)";
    let types = [
        Type::UUID,
        Type::UUID,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::JSONB,
        Type::TIMESTAMPTZ,
    ];
    let mut copy = pin!(limit_postgres::copy(client, columns, &types).await?);
    let (workflow, context) = (data::id(Kind::Workflow, 0), serde_json::json!({}));
    for at in 0..RUNS {
        let (id, made) = (data::id(Kind::Run, at), data::made_at(at));
        let row: [&(dyn ToSql + Sync); 7] = [&id, &workflow, &"nightly", &"pending", &"schedule", &context, &made];
        copy.as_mut().write(&row).await?;
    }
    copy.finish().await?;
    Ok(())
}
