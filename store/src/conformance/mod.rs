//! The contract as tests: what any implementation of the repository traits must do.
//!
//! Each module is a plain list of functions over a [`World`], which is a set of repositories on a database of their own.
//! The project's own suite runs every one of them on SQLite and on Postgres. An implementation of a single trait joins
//! by a world whose other repositories are borrowed from a [`Store`]:
//!
//! ```
//! use store::conformance::{self, Case, World};
//!
//! async fn run<W: World>(make_world: impl AsyncFn() -> W) {
//!     for case in conformance::bots::cases::<W>() {
//!         println!("{}", case.name());
//!         case.run(make_world().await).await;
//!     }
//! }
//! ```
//!
//! A case that does not hold panics and says what it found.
//!
//! What many do at once is also a function over several worlds, such as [`users::sixteen_bootstrap_at_once`]: an
//! implementation that can be opened twice on one database calls it with both.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::contract::*;
use crate::{Error, ErrorKind, Repositories, Result, Store, sql};

pub mod api_keys;
pub mod audit;
pub mod bots;
pub mod chats;
pub mod files;
pub mod kv;
pub mod messages;
pub mod missions;
pub mod provider_health;
pub mod secrets;
pub mod souls;
pub mod task_states;
pub mod users;
pub mod workflow_recovery;
pub mod workflow_runs;
pub mod workflow_states;
pub mod workflows;

/// A set of repositories over one database that is empty and belongs to one test.
pub trait World: Clone + Send + Sync + 'static {
    /// Keeps bots.
    type Bots: BotRepository;
    /// Keeps the versions of bots' souls.
    type Souls: SoulRepository;
    /// Keeps sealed values.
    type Secrets: SecretRepository;
    /// Keeps users.
    type Users: UserRepository;
    /// Issues and checks API keys.
    type ApiKeys: ApiKeyRepository;
    /// Keeps bots' values by key.
    type Kv: KvStore;
    /// Keeps the audit trail.
    type Audit: AuditLog;
    /// Keeps how providers do.
    type ProviderHealth: ProviderHealthRepository;
    /// Keeps bots' files.
    type Files: FileRepository;
    /// Keeps workflows, their runs and steps, and shares runs among workers.
    type Workflows: WorkflowRepository + WorkflowRunRepository + WorkflowStepRepository + WorkflowRecovery;
    /// Keeps conversations.
    type Chats: ChatRepository;
    /// Keeps messages between bots.
    type Messages: MessageRepository;
    /// Keeps where executions of workflows stand.
    type WorkflowStates: WorkflowStateRepository;
    /// Keeps where executions of tasks stand.
    type TaskStates: TaskStateRepository;
    /// Keeps missions.
    type Missions: MissionRepository;

    /// The bots.
    fn bots(&self) -> Self::Bots;
    /// The souls.
    fn souls(&self) -> Self::Souls;
    /// The secrets.
    fn secrets(&self) -> Self::Secrets;
    /// The users.
    fn users(&self) -> Self::Users;
    /// The API keys.
    fn api_keys(&self) -> Self::ApiKeys;
    /// The values by key.
    fn kv(&self) -> Self::Kv;
    /// The audit trail.
    fn audit(&self) -> Self::Audit;
    /// How the providers do.
    fn provider_health(&self) -> Self::ProviderHealth;
    /// The files.
    fn files(&self) -> Self::Files;
    /// The workflows.
    fn workflows(&self) -> Self::Workflows;
    /// The conversations.
    fn chats(&self) -> Self::Chats;
    /// The messages between bots.
    fn messages(&self) -> Self::Messages;
    /// The executions of workflows.
    fn workflow_states(&self) -> Self::WorkflowStates;
    /// The executions of tasks.
    fn task_states(&self) -> Self::TaskStates;
    /// The missions.
    fn missions(&self) -> Self::Missions;
}

impl World for Store {
    type Bots = sql::Bots;
    type Souls = sql::Souls;
    type Secrets = sql::Secrets;
    type Users = sql::Users;
    type ApiKeys = sql::ApiKeys;
    type Kv = sql::Kv;
    type Audit = sql::Audit;
    type ProviderHealth = sql::ProviderHealths;
    type Files = sql::Files;
    type Workflows = sql::Workflows;
    type Chats = sql::Chats;
    type Messages = sql::Messages;
    type WorkflowStates = sql::WorkflowStates;
    type TaskStates = sql::TaskStates;
    type Missions = sql::Missions;

    fn bots(&self) -> sql::Bots {
        Repositories::bots(self)
    }
    fn souls(&self) -> sql::Souls {
        Repositories::souls(self)
    }
    fn secrets(&self) -> sql::Secrets {
        Repositories::secrets(self)
    }
    fn users(&self) -> sql::Users {
        Repositories::users(self)
    }
    fn api_keys(&self) -> sql::ApiKeys {
        Repositories::api_keys(self)
    }
    fn kv(&self) -> sql::Kv {
        Repositories::kv(self)
    }
    fn audit(&self) -> sql::Audit {
        Repositories::audit(self)
    }
    fn provider_health(&self) -> sql::ProviderHealths {
        Repositories::provider_health(self)
    }
    fn files(&self) -> sql::Files {
        Repositories::files(self)
    }
    fn workflow_states(&self) -> sql::WorkflowStates {
        Repositories::workflow_states(self)
    }
    fn task_states(&self) -> sql::TaskStates {
        Repositories::task_states(self)
    }
    fn missions(&self) -> sql::Missions {
        Repositories::missions(self)
    }
    fn workflows(&self) -> sql::Workflows {
        Repositories::workflows(self)
    }
    fn chats(&self) -> sql::Chats {
        Repositories::chats(self)
    }
    fn messages(&self) -> sql::Messages {
        Repositories::messages(self)
    }
}

/// One thing that must hold.
pub struct Case<W> {
    name: &'static str,
    body: Arc<dyn Fn(W) -> Running + Send + Sync>,
}

type Running = Pin<Box<dyn Future<Output = ()>>>;

impl<W> Clone for Case<W> {
    fn clone(&self) -> Self {
        Self {
            name: self.name,
            body: Arc::clone(&self.body),
        }
    }
}

impl<W: World> Case<W> {
    /// A case by the name of what it says.
    pub fn new<F, R>(name: &'static str, body: F) -> Self
    where
        F: Fn(W) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + 'static,
    {
        Self {
            name,
            body: Arc::new(move |world| Box::pin(body(world))),
        }
    }

    /// What must hold, as a name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs it in an empty world of its own.
    ///
    /// # Panics
    /// When it does not hold.
    pub fn run(&self, world: W) -> impl Future<Output = ()> + 'static {
        (self.body)(world)
    }
}

/// Lists the cases of a module, which are functions over any [`World`].
macro_rules! cases {
    ($($case:ident),+ $(,)?) => {
        /// What must hold.
        pub fn cases<W: crate::conformance::World>() -> Vec<crate::conformance::Case<W>> {
            vec![$(crate::conformance::Case::new(stringify!($case), $case::<W>)),+]
        }
    };
}
use cases;

/// Every case of every trait, each with the name of its module.
pub fn all<W: World>() -> Vec<(&'static str, Case<W>)> {
    let modules = [
        ("bots", bots::cases()),
        ("souls", souls::cases()),
        ("secrets", secrets::cases()),
        ("users", users::cases()),
        ("api_keys", api_keys::cases()),
        ("kv", kv::cases()),
        ("audit", audit::cases()),
        ("provider_health", provider_health::cases()),
        ("files", files::cases()),
        ("workflows", workflows::cases()),
        ("workflow_runs", workflow_runs::cases()),
        ("workflow_recovery", workflow_recovery::cases()),
        ("chats", chats::cases()),
        ("messages", messages::cases()),
        ("missions", missions::cases()),
        ("task_states", task_states::cases()),
        ("workflow_states", workflow_states::cases()),
    ];
    modules
        .into_iter()
        .flat_map(|(module, cases)| cases.into_iter().map(move |case| (module, case)))
        .collect()
}

/// The error that a call must answer with: its kind, and the constraint that it names.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(outcome: Result<T>, kind: ErrorKind, constraint: Option<&str>) -> Error {
    let error = outcome.expect_err("it should have been refused");
    assert_eq!(error.kind(), kind, "{error:?}");
    assert_eq!(error.constraint(), constraint, "{error:?}");
    error
}

/// A list from beginning to end, so many items a page.
pub async fn pages<T, F, Fut>(limit: u32, mut list: F) -> Vec<T>
where
    F: FnMut(PageRequest) -> Fut,
    Fut: Future<Output = Result<Page<T>>>,
{
    let mut items = vec![];
    let mut request = PageRequest::first(limit);
    loop {
        let page = list(request).await.unwrap();
        assert!(page.items.len() <= limit as usize);
        assert!(
            page.next.is_none() || page.items.len() == limit as usize,
            "only the last page is short"
        );
        items.extend(page.items);
        assert!(items.len() < 100_000, "the pages have no end");
        match page.next {
            Some(cursor) => request = PageRequest::after(cursor, limit),
            None => return items,
        }
    }
}

/// This text as a slug.
pub fn slug(text: &str) -> Slug {
    Slug::new(text).unwrap()
}

/// This text as a key.
pub fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

/// This text as an address.
pub fn email(text: &str) -> Email {
    Email::new(text).unwrap()
}

/// An active assistant of this slug, whose name is the slug.
pub fn a_bot(text: &str) -> NewBot {
    NewBot::new(slug(text), text)
}

/// An id that no row has.
pub fn nowhere<I: From<uuid::Uuid>>() -> I {
    uuid::Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0000).into()
}

/// A plain user of this address.
async fn a_user(store: &impl World, address: &str) -> User {
    let user = NewUser {
        email: email(address),
        role: UserRole::User,
    };
    store.users().create(user).await.unwrap()
}

/// Lets the clock go on, so that what is done before has another time than what is done after.
async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(2)).await;
}
