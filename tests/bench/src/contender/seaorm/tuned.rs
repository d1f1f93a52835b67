//! SeaORM with the settings and the statements of somebody who knows the database.

use entity::{bots, memory_audit_log, users, workflow_runs};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use sea_orm::sea_query::{Expr, ExprTrait, LockBehavior, LockType};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseConnection, DatabaseTransaction, EntityTrait, QueryFilter, QuerySelect,
    SqliteTransactionMode, SqlxPostgresConnector, SqlxSqliteConnector, TransactionOptions, TransactionTrait,
};

use super::{
    append, bot, close, entry, modify, newest_first, pending_runs, postgres_pool, read, read_unique, sqlite_pool, taken,
};
use crate::Result;
use crate::contender::{Call, Contender, Place, Shape, each};
use crate::data::{self, Entry, Op};
use crate::plan::{BULK, PAGE, Work};

/// Rows of one statement of the bulk insert: below the bound values that both databases take.
const CHUNK: usize = 1_000;

/// SeaORM with the settings and the statements of somebody who knows the database.
pub(crate) struct Tuned {
    reader: DatabaseConnection,
    writer: DatabaseConnection,
}

impl Tuned {
    pub(crate) async fn open(place: &Place) -> Result<Self> {
        match place {
            Place::File(path) => Ok(Self {
                writer: SqlxSqliteConnector::from_sqlx_sqlite_pool(sqlite_pool(path, false).await?),
                reader: SqlxSqliteConnector::from_sqlx_sqlite_pool(sqlite_pool(path, true).await?),
            }),
            Place::Server(url) => {
                let pool = SqlxPostgresConnector::from_sqlx_postgres_pool(postgres_pool(url).await?);
                Ok(Self {
                    reader: pool.clone(),
                    writer: pool,
                })
            }
        }
    }

    async fn page(&self, newest: u64, deep: bool) -> Result<u64> {
        let mut page = newest_first().limit(u64::from(PAGE));
        if deep {
            let (made, id) = data::before(newest);
            let keys = Expr::tuple([Expr::col(users::Column::CreatedAt), Expr::col(users::Column::Id)]);
            page = page.filter(keys.lt(Expr::tuple([Expr::val(made), Expr::val(id)])));
        }
        Ok(data::are_users(newest, &page.all(&self.reader).await?))
    }

    async fn create(&self, slug: &str) -> Result<u64> {
        let insert = bots::Entity::insert(bot(slug));
        Ok(insert.exec_without_returning(&self.writer).await?)
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
        let rows = read(&tx, user).await? + insert(&tx, &entries[0]).await? + insert(&tx, &entries[1]).await?;
        tx.commit().await?;
        Ok(rows)
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
        append(self.begin().await?, session, false).await
    }

    /// Locked reads and one update, in a transaction.
    async fn claim(&self, worker: usize) -> Result<u64> {
        let tx = self.begin().await?;
        let mut pending = pending_runs();
        if tx.get_database_backend() == sea_orm::DbBackend::Postgres {
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
            Op::Page { newest, deep } => self.page(*newest, *deep).await,
            Op::Insert(entries) => each(entries, |entry| insert(&self.writer, entry)).await,
            Op::Create(slugs) => each(slugs, |slug| self.create(slug)).await,
            Op::Transaction(all) => each(all, |(user, entries)| self.transaction(*user, entries)).await,
            Op::Modify(user) => modify(self.begin().await?, *user).await,
            Op::Bulk(entries) => self.bulk(entries).await,
            Op::Chat(sessions) => each(sessions, |session| self.append(*session)).await,
            Op::Claim(workers) => each(workers, |worker| self.claim(*worker)).await,
        }
    }

    async fn stream(&self, rows: u64) -> Result<u64> {
        let mut right = 0;
        let mut users = newest_first().stream(&self.reader).await?;
        while let Some(user) = users.next().await {
            right += data::is_next(rows, right, &user?);
        }
        Ok(right)
    }
}

async fn insert(db: &impl ConnectionTrait, new: &Entry) -> Result<u64> {
    let insert = memory_audit_log::Entity::insert(entry(new));
    Ok(insert.exec_without_returning(db).await?)
}

impl Contender for Tuned {
    fn shape(&self, work: Work, tasks: usize) -> Shape {
        let batch = if work == Work::Bulk { BULK } else { 1 };
        Shape { tasks, batch }
    }

    fn run<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<u64>> {
        Box::pin(self.do_it(call.op))
    }

    fn walk(&self, rows: u64) -> BoxFuture<'_, Result<u64>> {
        Box::pin(self.stream(rows))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            close(&self.reader).await;
            close(&self.writer).await;
        })
    }
}
