//! SeaORM, as somebody writes it who has just read its tutorial, and as somebody writes it who knows the database.

use std::path::Path;

use chrono::TimeDelta;
use entity::{AuditAction, BotCategory, BotId, BotStatus, ChatRole, ChatSessionId, RunStatus, UserId, UserRole};
use entity::{bots, chat_messages, chat_sessions, memory_audit_log, users, workflow_runs};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectOptions, ConnectionTrait, Database, DatabaseConnection,
    DatabaseTransaction, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, QuerySelect, Select,
    SqliteTransactionMode, SqlxPostgresConnector, SqlxSqliteConnector, TransactionOptions, TransactionTrait,
};
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous};

use super::{Call, Contender, Place, Shape};
use crate::data::{self, Entry, Kind, Op, SAYING, TOKENS_IN, TOKENS_OUT};
use crate::plan::{BULK, CLAIM, DEPTH, MESSAGES, PAGE, Work};
use crate::{Result, contender::CONNECTIONS};

/// How many rows of a bulk insert the newcomer inserts before it is asked whether its time is over.
const NEWCOMERS_BULK: usize = 100;

/// Rows of one statement of the tuned bulk insert: below the bound values that both databases take.
const CHUNK: usize = 1_000;

/// SeaORM as it comes.
pub(crate) struct Newcomer {
    db: DatabaseConnection,
}

impl Newcomer {
    /// With so many connections, or as many as come by themselves.
    pub(crate) async fn open(place: &Place, connections: Option<u32>) -> Result<Self> {
        let url = match place {
            Place::File(path) => format!("sqlite://{}", path.display()),
            Place::Server(url) => url.clone(),
        };
        let mut options = ConnectOptions::new(url);
        if let Some(connections) = connections {
            options.max_connections(connections);
        }
        let db = Database::connect(options).await?;
        Ok(Self { db })
    }

    async fn page(&self, deep: bool) -> Result<u64> {
        let offset = if deep { DEPTH } else { 0 };
        let page = newest_first().limit(u64::from(PAGE)).offset(offset);
        Ok(page.all(&self.db).await?.len() as u64)
    }

    async fn transaction(&self, user: u64, entries: &[Entry; 2]) -> Result<u64> {
        let tx = self.db.begin().await?;
        let found = read(&tx, user).await?;
        entry(&entries[0]).insert(&tx).await?;
        entry(&entries[1]).insert(&tx).await?;
        tx.commit().await?;
        Ok(found + 2)
    }

    async fn append(&self, session: u64) -> Result<u64> {
        let tx = self.db.begin().await?;
        append(&tx, session, true).await?;
        tx.commit().await?;
        Ok(MESSAGES as u64)
    }

    /// A look at what is pending, and an update of each that only counts when nobody was faster, until there are enough.
    async fn claim(&self, worker: usize) -> Result<u64> {
        let (mut claimed, enough) = (0, u64::from(CLAIM));
        while claimed < enough {
            let pending = pending_runs().limit(enough - claimed).all(&self.db).await?;
            if pending.is_empty() {
                break;
            }
            for run in pending {
                let update = taken(worker).filter(workflow_runs::Column::Id.eq(run.id));
                let update = update.filter(workflow_runs::Column::Status.eq(RunStatus::Pending));
                claimed += update.exec(&self.db).await?.rows_affected;
            }
        }
        Ok(claimed)
    }

    async fn do_it(&self, op: &Op) -> Result<u64> {
        let db = &self.db;
        match op {
            Op::ReadKey(at) => read(db, *at).await,
            Op::ReadUnique(at) => read_unique(db, *at).await,
            Op::Page { deep } => self.page(*deep).await,
            Op::Insert(entries) => insert_each(db, entries).await,
            Op::Bulk(entries) => insert_each(db, entries).await,
            Op::Create(slugs) => {
                for slug in slugs {
                    bot(slug).insert(db).await?;
                }
                Ok(slugs.len() as u64)
            }
            Op::Transaction(all) => {
                let mut rows = 0;
                for (user, entries) in all {
                    rows += self.transaction(*user, entries).await?;
                }
                Ok(rows)
            }
            Op::Modify(user) => modify(db.begin().await?, *user).await,
            Op::Chat(sessions) => {
                let mut rows = 0;
                for session in sessions {
                    rows += self.append(*session).await?;
                }
                Ok(rows)
            }
            Op::Claim(workers) => {
                let mut rows = 0;
                for worker in workers {
                    rows += self.claim(*worker).await?;
                }
                Ok(rows)
            }
        }
    }
}

async fn insert_each(db: &DatabaseConnection, entries: &[Entry]) -> Result<u64> {
    for new in entries {
        entry(new).insert(db).await?;
    }
    Ok(entries.len() as u64)
}

impl Contender for Newcomer {
    fn shape(&self, work: Work, tasks: usize) -> Shape {
        let batch = if work == Work::Bulk { NEWCOMERS_BULK } else { 1 };
        Shape { tasks, batch }
    }

    fn run<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<u64>> {
        Box::pin(self.do_it(call.op))
    }

    /// The way that comes first to mind: all of them.
    fn walk(&self) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async { Ok(newest_first().all(&self.db).await?.len() as u64) })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(close(&self.db))
    }
}

/// SeaORM with the settings and the statements of somebody who knows the database.
pub(crate) struct Tuned {
    reader: DatabaseConnection,
    writer: DatabaseConnection,
    rows: u64,
}

impl Tuned {
    pub(crate) async fn open(place: &Place, rows: u64) -> Result<Self> {
        match place {
            Place::File(path) => Ok(Self {
                writer: SqlxSqliteConnector::from_sqlx_sqlite_pool(sqlite_pool(path, false).await?),
                reader: SqlxSqliteConnector::from_sqlx_sqlite_pool(sqlite_pool(path, true).await?),
                rows,
            }),
            Place::Server(url) => {
                let pool = SqlxPostgresConnector::from_sqlx_postgres_pool(postgres_pool(url).await?);
                Ok(Self {
                    reader: pool.clone(),
                    writer: pool,
                    rows,
                })
            }
        }
    }

    async fn page(&self, deep: bool) -> Result<u64> {
        let mut page = newest_first().limit(u64::from(PAGE));
        if deep {
            let at = data::before_deep_page(self.rows);
            let keys = Expr::tuple([Expr::col(users::Column::CreatedAt), Expr::col(users::Column::Id)]);
            let place = Expr::tuple([Expr::val(data::made_at(at)), Expr::val(data::id(Kind::User, at))]);
            page = page.filter(keys.lt(place));
        }
        Ok(page.all(&self.reader).await?.len() as u64)
    }

    /// On SQLite, a transaction that will write says so when it begins.
    async fn begin(&self) -> Result<DatabaseTransaction> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        };
        Ok(self.writer.begin_with_options(options).await?)
    }

    async fn transaction(&self, user: u64, entries: &[Entry; 2]) -> Result<u64> {
        let tx = self.begin().await?;
        let found = read(&tx, user).await?;
        insert(&tx, &entries[0]).await?;
        insert(&tx, &entries[1]).await?;
        tx.commit().await?;
        Ok(found + 2)
    }

    async fn bulk(&self, entries: &[Entry]) -> Result<u64> {
        let tx = self.begin().await?;
        for chunk in entries.chunks(CHUNK) {
            let rows = memory_audit_log::Entity::insert_many(chunk.iter().map(entry));
            rows.exec_without_returning(&tx).await?;
        }
        tx.commit().await?;
        Ok(entries.len() as u64)
    }

    async fn append(&self, session: u64) -> Result<u64> {
        let tx = self.begin().await?;
        append(&tx, session, false).await?;
        tx.commit().await?;
        Ok(MESSAGES as u64)
    }

    /// Locked reads and one update, in a transaction.
    async fn claim(&self, worker: usize) -> Result<u64> {
        let tx = self.begin().await?;
        let mut pending = pending_runs();
        if tx.get_database_backend() == sea_orm::DbBackend::Postgres {
            use sea_orm::sea_query::{LockBehavior, LockType};
            pending = pending.lock_with_behavior(LockType::NoKeyUpdate, LockBehavior::SkipLocked);
        }
        let runs = pending.all(&tx).await?;
        let ids = runs.iter().map(|run| run.id);
        let update = taken(worker).filter(workflow_runs::Column::Id.is_in(ids));
        let taken = update.exec_with_returning(&tx).await?;
        tx.commit().await?;
        Ok(taken.len() as u64)
    }

    async fn do_it(&self, op: &Op) -> Result<u64> {
        match op {
            Op::ReadKey(at) => read(&self.reader, *at).await,
            Op::ReadUnique(at) => read_unique(&self.reader, *at).await,
            Op::Page { deep } => self.page(*deep).await,
            Op::Insert(entries) => {
                for new in entries {
                    insert(&self.writer, new).await?;
                }
                Ok(entries.len() as u64)
            }
            Op::Create(slugs) => {
                for slug in slugs {
                    bots::Entity::insert(bot(slug))
                        .exec_without_returning(&self.writer)
                        .await?;
                }
                Ok(slugs.len() as u64)
            }
            Op::Transaction(all) => {
                let mut rows = 0;
                for (user, entries) in all {
                    rows += self.transaction(*user, entries).await?;
                }
                Ok(rows)
            }
            Op::Modify(user) => modify(self.begin().await?, *user).await,
            Op::Bulk(entries) => self.bulk(entries).await,
            Op::Chat(sessions) => {
                let mut rows = 0;
                for session in sessions {
                    rows += self.append(*session).await?;
                }
                Ok(rows)
            }
            Op::Claim(workers) => {
                let mut rows = 0;
                for worker in workers {
                    rows += self.claim(*worker).await?;
                }
                Ok(rows)
            }
        }
    }

    async fn stream(&self) -> Result<u64> {
        let mut count = 0;
        let mut users = newest_first().stream(&self.reader).await?;
        while let Some(user) = users.next().await {
            std::hint::black_box(user?);
            count += 1;
        }
        Ok(count)
    }
}

impl Contender for Tuned {
    fn shape(&self, work: Work, tasks: usize) -> Shape {
        let batch = if work == Work::Bulk { BULK } else { 1 };
        Shape { tasks, batch }
    }

    fn run<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<u64>> {
        Box::pin(self.do_it(call.op))
    }

    fn walk(&self) -> BoxFuture<'_, Result<u64>> {
        Box::pin(self.stream())
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            close(&self.reader).await;
            close(&self.writer).await;
        })
    }
}

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
    Ok(u64::from(user.is_some()))
}

async fn read_unique(db: &impl ConnectionTrait, at: u64) -> Result<u64> {
    let user = users::Entity::find()
        .filter(users::Column::EmailLc.eq(data::email(at)))
        .one(db)
        .await?;
    Ok(u64::from(user.is_some()))
}

async fn insert(db: &impl ConnectionTrait, new: &Entry) -> Result<()> {
    memory_audit_log::Entity::insert(entry(new))
        .exec_without_returning(db)
        .await?;
    Ok(())
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
async fn append(tx: &DatabaseTransaction, session: u64, returning: bool) -> Result<()> {
    let (id, now) = (ChatSessionId(data::id(Kind::Session, session)), data::now());
    let count = i64::try_from(MESSAGES)?;
    let session = grown(tx, id, count).await?;
    let rows = (session.message_count - count + 1..=session.message_count).map(|at| message(id, at, now));
    let insert = chat_messages::Entity::insert_many(rows);
    match returning {
        true => drop(insert.exec_with_returning(tx).await?),
        false => drop(insert.exec_without_returning(tx).await?),
    }
    let used = Expr::col(bots::Column::TotalTokensUsed).add(count * (TOKENS_IN + TOKENS_OUT));
    bots::Entity::update_many()
        .col_expr(bots::Column::TotalTokensUsed, used)
        .col_expr(bots::Column::LastActiveAt, Expr::val(now))
        .filter(bots::Column::Id.eq(session.bot_id))
        .exec(tx)
        .await?;
    Ok(())
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
