//! How many statements each method of the contract sends: the table is the promise, the tests measure it.
//!
//! A list costs one statement whatever it finds: each is measured on an empty page, a short and a long one. To add a
//! repository, add its methods to [`COSTS`] and call each of them once in a test of `statements/<domain>.rs`.

mod chats;
mod executions;
mod identity;
mod memory;
mod missions;
mod workflows;

use std::collections::BTreeSet;
use std::fmt;

use store::prelude::*;
use store::testkit::{Test, TestDatabase};

use crate::listen::Listener;
use crate::support::open;

pub(crate) fn tests() -> Vec<Test> {
    [
        identity::tests(),
        memory::tests(),
        chats::tests(),
        workflows::tests(),
        executions::tests(),
        missions::tests(),
    ]
    .concat()
}

/// What a call of a method sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost {
    how: How,
    statements: u64,
    /// For methods that take any number of rows: what grows with them.
    more: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// Statements that change nothing, each by itself.
    Read,
    /// Statements each by itself, a transaction of its own, of which the last changes something.
    Write,
    /// All or nothing, in one transaction.
    Atomic,
}

/// So many SELECTs.
const fn read(statements: u64) -> Cost {
    cost(How::Read, statements)
}

/// One statement that changes something, without a transaction around it.
const fn write() -> Cost {
    cost(How::Write, 1)
}

/// So many statements, of which the last changes something: what the others read may change in between.
const fn write_after(reads: u64) -> Cost {
    cost(How::Write, reads + 1)
}

/// So many statements in one transaction.
const fn atomic(statements: u64) -> Cost {
    cost(How::Atomic, statements)
}

const fn cost(how: How, statements: u64) -> Cost {
    Cost {
        how,
        statements,
        more: "",
    }
}

impl Cost {
    /// What comes on top for many rows; measured is a call with few.
    const fn and(self, more: &'static str) -> Self {
        Self { more, ..self }
    }

    /// Whether the method only reads.
    pub(crate) fn is_read(self) -> bool {
        self.how == How::Read
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { how, statements, more } = self;
        match (how, statements) {
            (How::Read, 1) => f.write_str("1 read")?,
            (How::Read, n) => write!(f, "{n} reads")?,
            (How::Write, 1) => f.write_str("1 write")?,
            (How::Write, n) => write!(f, "{} read and 1 write", n - 1)?,
            (How::Atomic, 1) => f.write_str("1 statement, in a transaction")?,
            (How::Atomic, n) => write!(f, "{n} statements, in one transaction")?,
        }
        if more.is_empty() {
            return Ok(());
        }
        write!(f, "; {more}")
    }
}

type Costs = &'static [(&'static str, Cost)];

/// Every method by its repository's name in [`Repositories`], with what a call costs.
#[rustfmt::skip]
pub(crate) const COSTS: &[(&str, Costs)] = &[
    ("bots", &[
        ("create", write()),
        ("get", read(1)),
        ("get_by_slug", read(1)),
        ("list", read(1)),
        ("update", write()),
        ("delete", atomic(3)),
    ]),
    ("souls", &[
        ("save_version", atomic(2)),
        ("get_current", read(1)),
        ("get_version", read(1)),
        ("list_versions", read(1)),
        ("get_stored_hash", read(1)),
    ]),
    ("secrets", &[
        ("get", read(1)),
        ("set", write()),
        ("reseal", write()),
        ("delete", write()),
        ("list", read(1)),
    ]),
    ("users", &[
        ("create", atomic(1)),
        ("create_initial_admin_if_none", atomic(2)),
        ("get", read(1)),
        ("get_by_email", read(1)),
        ("list", read(1)),
        ("update", atomic(1)),
        ("delete", write()),
    ]),
    ("api_keys", &[
        ("issue", write()),
        ("authenticate", read(2)),
        ("get", read(1)),
        ("list", read(1)),
        ("touch", write()),
        ("revoke", write()),
        ("prune", write().and("1 for each further batch; a dry run reads once")),
        ("delete", write()),
    ]),
    ("kv", &[
        ("get", read(1)),
        ("get_entry", read(1)),
        ("set", write()),
        ("delete", write()),
        ("list_keys", read(1)),
        ("increment", atomic(2)),
        ("compare_and_set", atomic(2)),
        ("purge_expired", write().and("1 for each further batch; a dry run reads once")),
    ]),
    ("audit", &[
        ("log", write()),
        ("log_many", atomic(1).and("1 for each further 5,000 entries")),
        ("for_bot", read(1)),
        ("for_memory", read(1)),
        ("prune", write().and("1 for each further batch; a dry run reads once")),
    ]),
    ("provider_health", &[
        ("save", write()),
        ("load", read(1)),
        ("load_all", read(1)),
    ]),
    ("files", &[
        ("save_file", atomic(2)),
        ("bump", atomic(2)),
        ("set_indexed", write()),
        ("get", read(1)),
        ("get_by_id", read(1)),
        ("list", read(1)),
        ("delete", write()),
        ("versions", read(1)),
    ]),
    ("workflows", &[
        ("save_definition", write()),
        ("get_definition", read(1)),
        ("get_definition_by_name", read(1)),
        ("list_definitions", read(1)),
        ("delete_definition", write()),
        ("purge_definition", atomic(2)),
        ("create_run", write_after(1)),
        ("get_run", read(1)),
        ("list_runs", read(1)),
        ("list_runs_by_concurrency_key", read(1)),
        ("update_run_status", write()),
        ("prune_runs", write().and("1 for each further batch; a dry run reads once")),
        ("create_step_log", write()),
        ("get_step_log", read(1)),
        ("update_step_status", write()),
        ("list_step_logs", read(1)),
        ("get_completed_step_ids", read(1)),
        ("claim_runs", write().and("1 more when nobody has left a run behind")),
        ("heartbeat", write()),
        ("list_crashed_runs", read(1)),
        ("mark_crashed", write()),
    ]),
    ("chats", &[
        ("create", atomic(2)),
        ("get", read(1)),
        ("list", read(1)),
        ("active", read(1)),
        ("end", write()),
        ("crash", write()),
        ("append", atomic(3).and("1 for each further 5,000 messages; with keys, 1 to look up each 1,000 of them")),
        ("messages", read(1)),
        ("delete", write()),
    ]),
    ("messages", &[
        ("send", write()),
        ("send_many", atomic(1).and("1 for each further 5,000 messages")),
        ("between", read(1)),
        ("in_channel", read(1)),
        ("prune", write().and("1 for each further batch; a dry run reads once")),
        ("create_channel", write()),
        ("channels", read(1)),
        ("subscribe", write()),
        ("unsubscribe", write()),
        ("subscriptions", read(1)),
        ("subscribers", read(1)),
    ]),
    ("workflow_states", &[
        ("upsert", write()),
        ("get", read(1)),
        ("list", read(1)),
        ("update_status", write()),
        ("merge_usage", atomic(2)),
        ("complete", atomic(2)),
        ("delete", atomic(2)),
    ]),
    ("task_states", &[
        ("upsert", atomic(2)),
        ("update_if_version", atomic(2)),
        ("get", read(1)),
        ("list", read(1)),
        ("in_workflow", read(1)),
        ("by_ids", read(1).and("1 for each further 16,384 ids")),
        ("children", read(1)),
        ("child_by_task_id", read(1)),
        ("children_outputs", read(1)),
        ("tree", read(1)),
        ("progress", read(1)),
        ("merge_usage", atomic(2)),
    ]),
    ("missions", &[
        ("create", write()),
        ("get", read(1)),
        ("update_status", write()),
        ("history", read(1)),
        ("log_tool_call", write()),
        ("log_tool_calls", atomic(1).and("1 for each further 5,000 calls")),
        ("record_decision", write()),
        ("tool_history", read(1)),
        ("decisions", read(1)),
        ("tool_stats", read(1)),
        ("prune_tool_calls", write().and("1 for each further batch; a dry run reads once")),
        ("delete", write()),
    ]),
];

/// The cost of `repository.method`, as the table says.
pub(crate) fn cost_of(method: &str) -> Option<Cost> {
    let (repository, method) = method.split_once('.')?;
    let (_, costs) = COSTS.iter().find(|(name, _)| *name == repository)?;
    costs.iter().find(|(name, _)| *name == method).map(|(_, cost)| *cost)
}

/// Measures calls and compares them with the table.
struct Meter {
    store: Store,
    listener: Listener,
    measured: BTreeSet<String>,
}

impl Meter {
    async fn on(db: &TestDatabase) -> Self {
        Self {
            store: open(db).await,
            listener: Listener::new(),
            measured: BTreeSet::new(),
        }
    }

    /// Waits for the call and answers its result, when it cost what the table says.
    async fn call<T>(&mut self, method: &str, call: impl Future<Output = store::Result<T>>) -> T {
        let expected = cost_of(method).unwrap_or_else(|| panic!("{method} is not in the table of costs"));
        self.measure(method, expected, call).await
    }

    async fn measure<T>(&mut self, method: &str, expected: Cost, call: impl Future<Output = store::Result<T>>) -> T {
        let before = self.store.metrics();
        self.listener.take();
        let outcome = call.await.unwrap();
        let after = self.store.metrics();
        let sent = self.listener.take();
        assert_eq!(
            after.statements - before.statements,
            expected.statements,
            "{method}: {sent:#?}"
        );
        assert_eq!(
            sent.len() as u64,
            expected.statements,
            "{method}: every statement shows its text"
        );
        let reads = sent.iter().all(|sql| is_read(sql));
        assert_eq!(
            reads,
            expected.is_read(),
            "{method} is said to be {expected}: {sent:#?}"
        );
        let transactions = u64::from(expected.how == How::Atomic);
        assert_eq!(
            after.transactions - before.transactions,
            transactions,
            "{method}: {sent:#?}"
        );
        assert_eq!(after.commits - before.commits, transactions, "{method}: {sent:#?}");
        self.measured.insert(method.to_owned());
        outcome
    }

    /// A list costs the same whether it finds one row, many, or goes on after some.
    async fn list<T, F, Fut>(&mut self, method: &str, list: F)
    where
        F: Fn(PageRequest) -> Fut,
        Fut: Future<Output = store::Result<Page<T>>>,
    {
        let first = self.call(method, list(PageRequest::first(1))).await;
        let next = first
            .next
            .unwrap_or_else(|| panic!("{method} has too few rows to tell one from many"));
        self.call(method, list(PageRequest::after(next, PageRequest::MAX)))
            .await;
        let all = self.call(method, list(PageRequest::first(PageRequest::MAX))).await;
        assert!(all.items.len() >= 3, "{method} has too few rows to tell one from many");
    }

    /// Every method of these repositories was measured.
    #[track_caller]
    fn finish(self, repositories: &[&str]) {
        for repository in repositories {
            let (_, costs) = COSTS.iter().find(|(name, _)| name == repository).unwrap();
            for (method, _) in *costs {
                let method = format!("{repository}.{method}");
                assert!(self.measured.contains(&method), "{method} was not measured");
            }
        }
    }
}

/// Table expressions also begin statements that write.
fn is_read(sql: &str) -> bool {
    let writes = ["INSERT INTO", "UPDATE \"", "DELETE FROM"];
    !writes.iter().any(|word| sql.contains(word))
}
