//! This project's store, through the functions that a program calls.

use std::time::Duration;

use futures_util::future::BoxFuture;
use store::prelude::*;

use super::{Call, Contender, Place, each};
use crate::data::{self, Entry, Kind, Op, SAYING, TOKENS_IN, TOKENS_OUT};
use crate::plan::{CLAIM, DEPTH, MESSAGES, PAGE};
use crate::{Failure, Result};

const LEASE: Duration = Duration::from_secs(3600);

pub(crate) struct Undercroft {
    store: Store,
    deep: Option<Cursor>,
}

impl Undercroft {
    pub(crate) async fn open(place: &Place, rows: u64) -> Result<Self> {
        let config = match place {
            Place::File(path) => DatabaseConfig::sqlite(path)?,
            Place::Server(url) => DatabaseConfig::postgres(url)?,
        };
        let store = Store::open(config).await?;
        let mut opened = Self { store, deep: None };
        if rows > DEPTH {
            opened.deep = opened.cursor_at(DEPTH).await?;
        }
        Ok(opened)
    }

    /// A program has its cursor from the page before.
    async fn cursor_at(&self, depth: u64) -> Result<Option<Cursor>> {
        let limit = PageRequest::MAX;
        let mut request = PageRequest::first(limit);
        for _ in 0..depth / u64::from(limit) {
            match self.store.users().list(None, request).await?.next {
                Some(next) => request = PageRequest::after(next, limit),
                None => return Ok(None),
            }
        }
        Ok(request.after)
    }

    async fn page(&self, newest: u64, deep: bool) -> Result<u64> {
        let request = match &self.deep {
            Some(cursor) if deep => PageRequest::after(cursor.clone(), PAGE),
            _ => PageRequest::first(PAGE),
        };
        let page = self.store.users().list(None, request).await?;
        Ok(data::are_users(newest, &page.items))
    }

    async fn read(&self, at: u64) -> Result<u64> {
        let user = self.store.users().get(UserId(data::id(Kind::User, at))).await?;
        Ok(data::is_user(at, user.as_ref()))
    }

    async fn read_unique(&self, at: u64) -> Result<u64> {
        let user = self.store.users().get_by_email(&Email::new(data::email(at))?).await?;
        Ok(data::is_user(at, user.as_ref()))
    }

    async fn insert(&self, entry: &Entry) -> Result<u64> {
        self.store.audit().log(logged(entry)?).await?;
        Ok(1)
    }

    async fn create(&self, slug: &str) -> Result<u64> {
        let bot = NewBot::new(Slug::new(slug)?, "New Bot");
        self.store.bots().create(bot).await?;
        Ok(1)
    }

    async fn transaction(&self, at: u64, entries: &[Entry; 2]) -> Result<u64> {
        let user = UserId(data::id(Kind::User, at));
        let [one, two] = [logged(&entries[0])?, logged(&entries[1])?];
        let rows = self.store.transaction(|tx| {
            let (one, two) = (one.clone(), two.clone());
            async move {
                let found = tx.users().get(user).await?;
                tx.audit().log(one).await?;
                tx.audit().log(two).await?;
                Ok(data::is_user(at, found.as_ref()) + 2)
            }
        });
        Ok(rows.await?)
    }

    async fn modify(&self, user: u64) -> Result<u64> {
        let id = UserId(data::id(Kind::User, user));
        let changed = self.store.transaction(|tx| async move {
            let Some(user) = tx.users().get(id).await? else {
                return Ok(0);
            };
            let change = UserChange {
                email: None,
                role: Some(other(user.role)),
            };
            tx.users().update(id, change).await?;
            Ok(1)
        });
        Ok(changed.await?)
    }

    async fn bulk(&self, entries: &[Entry]) -> Result<u64> {
        let entries = entries.iter().map(logged).collect::<Result<Vec<_>>>()?;
        Ok(self.store.audit().log_many(entries).await?.len() as u64)
    }

    async fn append(&self, session: u64) -> Result<u64> {
        let message = NewChatMessage::new(ChatRole::User, SAYING).tokens(TOKENS_IN, TOKENS_OUT);
        let id = ChatSessionId(data::id(Kind::Session, session));
        Ok(self.store.chats().append(id, vec![message; MESSAGES]).await?.len() as u64)
    }

    async fn claim(&self, worker: usize) -> Result<u64> {
        let worker = Key::new(format!("worker-{worker}"))?;
        Ok(self.store.workflows().claim_runs(&worker, CLAIM, LEASE).await?.len() as u64)
    }

    /// Each kind of work in a box of its own: one for all of them would be as large as the largest.
    fn do_it<'a>(&'a self, op: &'a Op) -> BoxFuture<'a, Result<u64>> {
        match op {
            Op::ReadKey(at) => Box::pin(self.read(*at)),
            Op::ReadUnique(at) => Box::pin(self.read_unique(*at)),
            Op::Page { newest, deep } => Box::pin(self.page(*newest, *deep)),
            Op::Insert(entries) => Box::pin(each(entries, |entry| self.insert(entry))),
            Op::Create(slugs) => Box::pin(each(slugs, |slug| self.create(slug))),
            Op::Transaction(all) => Box::pin(each(all, |(user, entries)| self.transaction(*user, entries))),
            Op::Modify(user) => Box::pin(self.modify(*user)),
            Op::Bulk(entries) => Box::pin(self.bulk(entries)),
            Op::Chat(sessions) => Box::pin(each(sessions, |session| self.append(*session))),
            Op::Claim(workers) => Box::pin(each(workers, |worker| self.claim(*worker))),
        }
    }

    async fn walk_pages(&self, rows: u64) -> Result<u64> {
        let mut right = 0;
        let mut request = PageRequest::first(PageRequest::MAX);
        loop {
            let page = self.store.users().list(None, request).await?;
            for user in &page.items {
                right += data::is_next(rows, right, user);
            }
            match page.next {
                Some(next) => request = PageRequest::after(next, PageRequest::MAX),
                None => return Ok(right),
            }
        }
    }
}

fn other(role: UserRole) -> UserRole {
    match role {
        UserRole::Admin => UserRole::User,
        UserRole::User => UserRole::Admin,
    }
}

fn logged(entry: &Entry) -> Result<NewAuditEntry> {
    Ok(NewAuditEntry {
        bot_id: BotId(entry.bot_id),
        memory_id: MemoryId::new(entry.memory_id.as_str())?,
        action: AuditAction::Add,
        actor: entry.actor.to_owned(),
        details: Some(entry.details.clone()),
    })
}

impl Contender for Undercroft {
    fn run<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<u64>> {
        self.do_it(call.op)
    }

    fn walk(&self, rows: u64) -> BoxFuture<'_, Result<u64>> {
        Box::pin(self.walk_pages(rows))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let closed: std::result::Result<(), Failure> = self.store.close().await.map_err(Failure::from);
            drop(closed);
        })
    }
}
