//! The rows: the same for every contender, and known without asking the database.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, SubsecRound, Utc};
use serde_json::{Value, json};
use store::{Clock, IdSource, SystemClock, TimeOrderedIds};
use uuid::{Builder, Uuid};

use crate::plan::{BULK, CLAIM, DEPTH, MESSAGES, PAGE, Work};

/// Changes when the seeded rows do: an older seed is not used any more.
pub(crate) const SEED_VERSION: u32 = 1;
/// Bots in every database.
pub(crate) const BOTS: u64 = 1_000;
/// Conversations in every database.
pub(crate) const SESSIONS: u64 = 64;
/// Pending runs in every database.
pub(crate) const RUNS: u64 = 50_000;

/// Where the seeded rows' time begins: 2026-01-01.
const BEGINNING: i64 = 1_767_225_600_000;

/// When a seeded row was made: one each millisecond.
pub(crate) fn made_at(at: u64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(millis(at)).unwrap_or_default()
}

fn millis(at: u64) -> i64 {
    BEGINNING.saturating_add_unsigned(at)
}

/// The kinds of seeded rows, so that no two have the same id.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    User,
    Bot,
    Entry,
    Session,
    Workflow,
    Run,
}

/// A seeded row's id: version 7 like the store's own, and rising with the row's number.
pub(crate) fn id(kind: Kind, at: u64) -> Uuid {
    let mut random = [0; 10];
    random[0] = kind as u8;
    random[2..].copy_from_slice(&scattered(at).to_be_bytes());
    let millis = u64::try_from(millis(at)).unwrap_or(0);
    Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

/// Splitmix64: spreads neighbours over all numbers.
fn scattered(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// A seeded user's address.
pub(crate) fn email(at: u64) -> String {
    format!("user-{at}@example.org")
}

fn number_in(email: &str) -> Option<u64> {
    email.strip_prefix("user-")?.strip_suffix("@example.org")?.parse().ok()
}

/// The sort keys after which a page begins whose newest user has this number: those of the user before it.
pub(crate) fn before(newest: u64) -> (DateTime<Utc>, Uuid) {
    (made_at(newest + 1), id(Kind::User, newest + 1))
}

/// Now, as the store would store it.
pub(crate) fn now() -> DateTime<Utc> {
    SystemClock.now().trunc_subsecs(6)
}

/// A new id, as the store would make it.
pub(crate) fn new_id() -> Uuid {
    TimeOrderedIds.next()
}

/// A user as stored.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) id: Uuid,
    pub(crate) email: String,
    pub(crate) email_lc: String,
    pub(crate) role: String,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
}

/// A user, by whomever it was decoded: nobody's answer counts who leaves a column out.
pub(crate) trait Person {
    fn seen(&self) -> Seen<'_>;
}

/// Every column of a user.
pub(crate) struct Seen<'a> {
    id: Uuid,
    email: &'a str,
    email_lc: &'a str,
    role: &'a str,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl Seen<'_> {
    /// Whether it is the user of this number. What the mixed load changes may be as it likes.
    fn is(&self, at: u64) -> bool {
        self.id == id(Kind::User, at)
            && number_in(self.email) == Some(at)
            && self.email_lc == self.email
            && matches!(self.role, "user" | "admin")
            && self.created_at.timestamp_millis() == millis(at)
            && self.updated_at >= self.created_at
    }
}

impl Person for User {
    fn seen(&self) -> Seen<'_> {
        Seen {
            id: self.id,
            email: &self.email,
            email_lc: &self.email_lc,
            role: &self.role,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

impl Person for entity::users::Model {
    fn seen(&self) -> Seen<'_> {
        Seen {
            id: self.id.0,
            email: &self.email,
            email_lc: &self.email_lc,
            role: self.role.as_str(),
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

/// The store keeps the folded address to itself.
impl Person for store::prelude::User {
    fn seen(&self) -> Seen<'_> {
        Seen {
            id: self.id.0,
            email: self.email.as_str(),
            email_lc: self.email.as_str(),
            role: self.role.as_str(),
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

/// One row if it is the user of this number, and else none.
pub(crate) fn is_user(at: u64, found: Option<&impl Person>) -> u64 {
    u64::from(found.is_some_and(|user| user.seen().is(at)))
}

/// How many of these are the users from this number on, newest first.
pub(crate) fn are_users(newest: u64, found: &[impl Person]) -> u64 {
    let expected = (0..=newest).rev().zip(found);
    expected.map(|(at, user)| is_user(at, Some(user))).sum()
}

/// One row if it is the next user of a walk over so many, of which some are behind it already.
pub(crate) fn is_next(rows: u64, behind: u64, user: &impl Person) -> u64 {
    is_user(rows.saturating_sub(behind + 1), Some(user))
}

/// What an audit entry says; whoever stores it adds an id and the time.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) bot_id: Uuid,
    pub(crate) memory_id: String,
    pub(crate) actor: &'static str,
    pub(crate) details: Value,
}

impl Entry {
    pub(crate) fn nth(at: u64) -> Self {
        Self {
            bot_id: id(Kind::Bot, at % BOTS),
            memory_id: format!("memory-{}", scattered(at) % 50_000),
            actor: "night-owl",
            details: json!({ "reason": "asked to", "step": at % 7 }),
        }
    }
}

/// What a new bot is called; unlike every other one.
pub(crate) fn new_slug() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("new-bot-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// What one message says.
pub(crate) const SAYING: &str =
    "The kettle has boiled, the table is laid, and somebody should tell the others to come.";
/// The tokens that went into the model for one message.
pub(crate) const TOKENS_IN: i64 = 120;
/// The tokens that came out of it.
pub(crate) const TOKENS_OUT: i64 = 35;

/// One thing to do. What comes as a list is done in one transaction, for contenders that group.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// The user of this number, by id.
    ReadKey(u64),
    /// The user of this number, by address.
    ReadUnique(u64),
    /// The page of users that begins with the one of this number: the first, or the one at depth.
    Page { newest: u64, deep: bool },
    /// Log these.
    Insert(Vec<Entry>),
    /// Create bots of these slugs.
    Create(Vec<String>),
    /// For each: read the user of this number, and log both entries.
    Transaction(Vec<(u64, [Entry; 2])>),
    /// Read and change the user of this number.
    Modify(u64),
    /// Log these, all at once.
    Bulk(Arc<Vec<Entry>>),
    /// Append to the conversations of these numbers.
    Chat(Vec<u64>),
    /// Claim runs, for the workers of these numbers.
    Claim(Vec<usize>),
}

impl Op {
    /// How many rows a right answer has.
    pub(crate) fn expected(&self) -> u64 {
        let length = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        match self {
            Self::ReadKey(_) | Self::ReadUnique(_) | Self::Modify(_) => 1,
            Self::Page { .. } => u64::from(PAGE),
            Self::Insert(entries) => length(entries.len()),
            Self::Create(slugs) => length(slugs.len()),
            Self::Transaction(all) => 3 * length(all.len()),
            Self::Bulk(entries) => length(entries.len()),
            Self::Chat(sessions) => length(MESSAGES * sessions.len()),
            Self::Claim(workers) => u64::from(CLAIM) * length(workers.len()),
        }
    }

    /// As how many operations it counts: for a bulk insert, its rows.
    pub(crate) fn weight(&self) -> u64 {
        match self {
            Self::Insert(_) | Self::Create(_) | Self::Bulk(_) => self.expected(),
            Self::Transaction(all) => u64::try_from(all.len()).unwrap_or(1),
            Self::Chat(sessions) => u64::try_from(sessions.len()).unwrap_or(1),
            Self::Claim(workers) => u64::try_from(workers.len()).unwrap_or(1),
            _ => 1,
        }
    }
}

/// Makes one task's operations.
pub(crate) struct Maker {
    work: Work,
    rows: u64,
    task: usize,
    batch: usize,
    count: u64,
    random: u64,
    bulk: Arc<Vec<Entry>>,
}

impl Maker {
    /// The operations of a task, `batch` in one.
    pub(crate) fn new(work: Work, rows: u64, task: usize, batch: usize, seed: u64) -> Self {
        let bulk = if work == Work::Bulk {
            (0..batch.min(BULK)).map(|at| Entry::nth(at as u64)).collect()
        } else {
            vec![]
        };
        Self {
            work,
            rows,
            task,
            batch,
            count: 0,
            random: scattered(seed.wrapping_mul(1_000_003) + task as u64),
            bulk: Arc::new(bulk),
        }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_add(1);
        scattered(self.random) % below.max(1)
    }

    fn entry(&mut self) -> Entry {
        Entry::nth(self.draw(1 << 40))
    }

    fn list<T>(&mut self, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.batch).map(|_| make(self)).collect()
    }

    /// The next one.
    pub(crate) fn next(&mut self) -> Op {
        self.count += 1;
        let rows = self.rows;
        match self.work {
            Work::ReadKey | Work::Stream => Op::ReadKey(self.draw(rows)),
            Work::ReadUnique => Op::ReadUnique(self.draw(rows)),
            Work::Page => page(rows, 0),
            Work::PageDeep => page(rows, DEPTH),
            Work::Insert => Op::Insert(self.list(Self::entry)),
            Work::Create => Op::Create(self.list(|_| new_slug())),
            Work::Transaction => Op::Transaction(self.list(|maker| {
                let user = maker.draw(rows);
                (user, [maker.entry(), maker.entry()])
            })),
            Work::Mixed => Op::ReadKey(self.draw(rows)),
            Work::Bulk => Op::Bulk(Arc::clone(&self.bulk)),
            Work::Chat => self.chat(),
            Work::Claim => Op::Claim((self.task..self.task + self.batch).collect()),
        }
    }

    /// A task keeps to its own conversations, as a program does.
    fn chat(&mut self) -> Op {
        let (task, batch) = (self.task as u64, self.batch as u64);
        Op::Chat((0..batch).map(|at| (task * batch + at) % SESSIONS).collect())
    }

    /// The next change of the mixed load.
    pub(crate) fn next_change(&mut self) -> Op {
        let user = self.draw(self.rows);
        Op::Modify(user)
    }
}

fn page(rows: u64, depth: u64) -> Op {
    Op::Page {
        newest: rows.saturating_sub(depth + 1),
        deep: depth > 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_and_are_of_version_7() {
        let ids: Vec<Uuid> = (0..1_000).map(|at| id(Kind::User, at)).collect();
        assert!(ids.is_sorted());
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
        assert_ne!(id(Kind::User, 3), id(Kind::Bot, 3));
    }

    fn user(at: u64) -> User {
        User {
            id: id(Kind::User, at),
            email: email(at),
            email_lc: email(at),
            role: "user".to_owned(),
            created_at: made_at(at),
            updated_at: made_at(at + 1),
        }
    }

    #[test]
    fn only_the_right_user_counts_and_only_with_every_column() {
        assert_eq!((is_user(3, Some(&user(3))), is_user(4, Some(&user(3)))), (1, 0));
        assert_eq!(is_user(3, None::<&User>), 0);
        let nobody = User {
            role: String::new(),
            ..user(3)
        };
        assert_eq!(is_user(3, Some(&nobody)), 0);
        assert_eq!(are_users(7, &[user(7), user(6), user(4)]), 2);
        assert_eq!(
            (
                is_next(2, 0, &user(1)),
                is_next(2, 1, &user(0)),
                is_next(2, 2, &user(5))
            ),
            (1, 1, 0)
        );
    }

    #[test]
    fn an_operation_tells_what_it_is_worth() {
        let mut maker = Maker::new(Work::Transaction, 10, 0, 64, 1);
        let op = maker.next();
        assert_eq!((op.weight(), op.expected()), (64, 192));
        let mut maker = Maker::new(Work::Chat, 10, 3, 2, 1);
        assert!(matches!(maker.next(), Op::Chat(sessions) if sessions == [6, 7]));
    }
}
