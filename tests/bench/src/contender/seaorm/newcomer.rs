//! SeaORM as it comes.

use futures_util::future::BoxFuture;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectOptions, Database, DatabaseConnection, QueryFilter, QuerySelect,
    TransactionTrait,
};

use super::{append, bot, close, entry, modify, newest_first, pending_runs, read, read_unique, taken};
use crate::Result;
use crate::contender::{Call, Contender, Place, Shape, each};
use crate::data::{self, Entry, Op};
use crate::plan::{CLAIM, DEPTH, PAGE, Work};
use entity::{RunStatus, workflow_runs};

/// How many rows of a bulk insert the newcomer inserts before it is asked whether its time is over.
const NEWCOMERS_BULK: usize = 100;

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

    async fn page(&self, newest: u64, deep: bool) -> Result<u64> {
        let offset = if deep { DEPTH } else { 0 };
        let page = newest_first().limit(u64::from(PAGE)).offset(offset);
        Ok(data::are_users(newest, &page.all(&self.db).await?))
    }

    async fn insert(&self, new: &Entry) -> Result<u64> {
        entry(new).insert(&self.db).await?;
        Ok(1)
    }

    async fn create(&self, slug: &str) -> Result<u64> {
        bot(slug).insert(&self.db).await?;
        Ok(1)
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
        append(self.db.begin().await?, session, true).await
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
            Op::Page { newest, deep } => self.page(*newest, *deep).await,
            Op::Insert(entries) => each(entries, |entry| self.insert(entry)).await,
            Op::Bulk(entries) => each(entries, |entry| self.insert(entry)).await,
            Op::Create(slugs) => each(slugs, |slug| self.create(slug)).await,
            Op::Transaction(all) => each(all, |(user, entries)| self.transaction(*user, entries)).await,
            Op::Modify(user) => modify(db.begin().await?, *user).await,
            Op::Chat(sessions) => each(sessions, |session| self.append(*session)).await,
            Op::Claim(workers) => each(workers, |worker| self.claim(*worker)).await,
        }
    }
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
    fn walk(&self, rows: u64) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move {
            let users = newest_first().all(&self.db).await?;
            Ok(data::are_users(rows.saturating_sub(1), &users))
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(close(&self.db))
    }
}
