//! SeaORM, as somebody writes it who has just read its tutorial, and as somebody writes it who knows the database: what is
//! the same for both.

pub(crate) mod newcomer;
pub(crate) mod tuned;

use std::path::Path;

use chrono::TimeDelta;
use entity::{AuditAction, BotCategory, BotId, BotStatus, ChatRole, ChatSessionId, RunStatus, UserId, UserRole};
use entity::{bots, chat_messages, chat_sessions, memory_audit_log, users, workflow_runs};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseConnection, DatabaseTransaction,
    EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, QuerySelect, Select,
};
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous};

use super::CONNECTIONS;
use crate::Result;
use crate::data::{self, Entry, Kind, SAYING, TOKENS_IN, TOKENS_OUT};
use crate::plan::{CLAIM, MESSAGES};

/// One writer, or as many readers as the store has: WAL is the file's own setting.
pub(crate) async fn sqlite_pool(path: &Path, read_only: bool) -> Result<sqlx::SqlitePool> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(read_only)
        .foreign_keys(true)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(std::time::Duration::from_secs(5))
        .pragma("cache_size", "-16384")
        .pragma("mmap_size", "268435456");
    let options = sqlx::ConnectOptions::disable_statement_logging(options);
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let size = if read_only { (processors * 2).min(8) } else { 1 };
    let pool = SqlitePoolOptions::new()
        .max_connections(u32::try_from(size).unwrap_or(8))
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false);
    Ok(pool.connect_with(options).await?)
}

/// Ten connections, without a ping before each use.
pub(crate) async fn postgres_pool(url: &str) -> Result<sqlx::PgPool> {
    let options: sqlx::postgres::PgConnectOptions = url.parse()?;
    let options = sqlx::ConnectOptions::disable_statement_logging(options);
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .test_before_acquire(false);
    Ok(pool.connect_with(options).await?)
}

async fn close(db: &DatabaseConnection) {
    // Whether it was closed in peace is of no interest to a measurement.
    let _ = db.close_by_ref().await;
}

fn newest_first() -> Select<users::Entity> {
    users::Entity::find()
        .order_by_desc(users::Column::CreatedAt)
        .order_by_desc(users::Column::Id)
}

async fn read(db: &impl ConnectionTrait, at: u64) -> Result<u64> {
    let user = users::Entity::find_by_id(UserId(data::id(Kind::User, at)))
        .one(db)
        .await?;
    Ok(data::is_user(at, user.as_ref()))
}

async fn read_unique(db: &impl ConnectionTrait, at: u64) -> Result<u64> {
    let user = users::Entity::find()
        .filter(users::Column::EmailLc.eq(data::email(at)))
        .one(db)
        .await?;
    Ok(data::is_user(at, user.as_ref()))
}

/// Reads a user and changes the role.
async fn modify(tx: DatabaseTransaction, at: u64) -> Result<u64> {
    let found = users::Entity::find_by_id(UserId(data::id(Kind::User, at)))
        .one(&tx)
        .await?;
    let Some(user) = found else { return Ok(0) };
    let role = match user.role {
        UserRole::Admin => UserRole::User,
        UserRole::User => UserRole::Admin,
    };
    let mut user = user.into_active_model();
    user.role = Set(role);
    user.updated_at = Set(data::now());
    user.update(&tx).await?;
    tx.commit().await?;
    Ok(1)
}

/// A row of the audit log.
pub(crate) fn entry(new: &Entry) -> memory_audit_log::ActiveModel {
    memory_audit_log::ActiveModel {
        id: Set(data::new_id().into()),
        bot_id: Set(BotId(new.bot_id)),
        memory_id: Set(new.memory_id.clone()),
        action: Set(AuditAction::Add),
        actor: Set(new.actor.to_owned()),
        details: Set(Some(new.details.clone())),
        created_at: Set(data::now()),
    }
}

/// A row of the bots.
pub(crate) fn bot(slug: &str) -> bots::ActiveModel {
    let now = data::now();
    bots::ActiveModel {
        id: Set(data::new_id().into()),
        slug: Set(slug.to_owned()),
        name: Set("New Bot".to_owned()),
        description: Set(String::new()),
        status: Set(BotStatus::Active),
        category: Set(BotCategory::Assistant),
        tags: Set(bots::Tags::default()),
        user_id: Set(None),
        conversation_count: Set(0),
        total_tokens_used: Set(0),
        version_count: Set(0),
        created_at: Set(now),
        updated_at: Set(now),
        last_active_at: Set(None),
    }
}

/// The sums first, which takes the conversation's row, then the messages. The newcomer has the messages come back.
async fn append(tx: DatabaseTransaction, session: u64, returning: bool) -> Result<u64> {
    let (id, now) = (ChatSessionId(data::id(Kind::Session, session)), data::now());
    let count = i64::try_from(MESSAGES)?;
    let session = grown(&tx, id, count).await?;
    let rows = (session.message_count - count + 1..=session.message_count).map(|at| message(id, at, now));
    let insert = chat_messages::Entity::insert_many(rows);
    match returning {
        true => drop(insert.exec_with_returning(&tx).await?),
        false => drop(insert.exec_without_returning(&tx).await?),
    }
    let used = Expr::col(bots::Column::TotalTokensUsed).add(count * (TOKENS_IN + TOKENS_OUT));
    bots::Entity::update_many()
        .col_expr(bots::Column::TotalTokensUsed, used)
        .col_expr(bots::Column::LastActiveAt, Expr::val(now))
        .filter(bots::Column::Id.eq(session.bot_id))
        .exec(&tx)
        .await?;
    tx.commit().await?;
    Ok(MESSAGES as u64)
}

async fn grown(tx: &DatabaseTransaction, id: ChatSessionId, count: i64) -> Result<chat_sessions::Model> {
    use chat_sessions::Column::{MessageCount, TotalInputTokens, TotalOutputTokens};
    let grown = chat_sessions::Entity::update_many()
        .col_expr(MessageCount, Expr::col(MessageCount).add(count))
        .col_expr(TotalInputTokens, Expr::col(TotalInputTokens).add(count * TOKENS_IN))
        .col_expr(TotalOutputTokens, Expr::col(TotalOutputTokens).add(count * TOKENS_OUT))
        .filter(chat_sessions::Column::Id.eq(id))
        .exec_with_returning(tx)
        .await?;
    grown.into_iter().next().ok_or_else(|| "no such session".into())
}

fn message(session: ChatSessionId, sequence: i64, now: chrono::DateTime<chrono::Utc>) -> chat_messages::ActiveModel {
    chat_messages::ActiveModel {
        id: Set(data::new_id().into()),
        session_id: Set(session),
        sequence: Set(sequence),
        role: Set(ChatRole::User),
        content: Set(SAYING.to_owned()),
        model: Set(None),
        input_tokens: Set(Some(TOKENS_IN)),
        output_tokens: Set(Some(TOKENS_OUT)),
        stop_reason: Set(None),
        idempotency_key: Set(None),
        created_at: Set(now),
    }
}

fn pending_runs() -> Select<workflow_runs::Entity> {
    workflow_runs::Entity::find()
        .filter(workflow_runs::Column::Status.eq(RunStatus::Pending))
        .order_by_asc(workflow_runs::Column::StartedAt)
        .order_by_asc(workflow_runs::Column::Id)
        .limit(u64::from(CLAIM))
}

fn taken(worker: usize) -> sea_orm::UpdateMany<workflow_runs::Entity> {
    use workflow_runs::Column;
    workflow_runs::Entity::update_many()
        .col_expr(Column::Status, Expr::val(RunStatus::Running))
        .col_expr(Column::LeaseOwner, Expr::val(format!("worker-{worker}")))
        .col_expr(Column::LeaseExpiresAt, Expr::val(data::now() + TimeDelta::hours(1)))
        .col_expr(Column::LeaseEpoch, Expr::col(Column::LeaseEpoch).add(1))
}
