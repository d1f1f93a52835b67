//! Every lookup and every page has an index that both planners use, shown on tables of 100,000 rows.
//!
//! Each method is called, its SQL overheard, and the database asked how it would run it: on Postgres as a generic plan,
//! for no values in particular. To add a repository, fill its tables and call its methods in `plans/<domain>.rs`.

mod chats;
mod executions;
mod explain;
mod identity;
mod memory;
mod missions;
mod workflows;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use store::ErrorKind;
use store::prelude::*;
use store::testkit::{Test, TestDatabase};

use crate::listen::Listener;
use crate::support::{open, refused};
use explain::Explain;

/// Filling the tables takes most of the time.
const PATIENCE: Duration = Duration::from_secs(600);

pub(crate) fn tests() -> Vec<Test> {
    let tests = [
        explain::tests(),
        identity::tests(),
        memory::tests(),
        chats::tests(),
        workflows::tests(),
        executions::tests(),
        missions::tests(),
    ]
    .concat();
    tests.into_iter().map(|test| test.within(PATIENCE)).collect()
}

/// What a plan must not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Flaw {
    /// It reads the whole table.
    Scan,
    /// It reads an index from its beginning although it looks for something.
    Walk,
    /// It sorts what it found before it answers a page.
    Sort,
    /// It reads rows of a page and throws them away again. Only Postgres says so.
    Filter,
}

/// What is as it is, and why.
struct Excuse {
    /// The beginning of the names of the calls.
    calls: &'static str,
    flaws: &'static [Flaw],
    /// Shown when the plans are printed.
    why: &'static str,
}

const EXCUSES: &[Excuse] = &[
    Excuse {
        calls: "kv.list_keys with a prefix",
        flaws: &[Flaw::Filter, Flaw::Sort],
        why: "a generic plan expects few keys to begin with a prefix, and sorts those few",
    },
    Excuse {
        calls: "kv.list_keys",
        flaws: &[Flaw::Filter],
        why: "an expired value keeps its place in the index until it is purged, and is passed over",
    },
    Excuse {
        calls: "bots.list by two of status, category and user",
        flaws: &[Flaw::Filter, Flaw::Walk, Flaw::Sort],
        why: "each filter of bots has an index; the second one is applied to what the first one finds",
    },
    Excuse {
        calls: "bots.list in another order by",
        flaws: &[Flaw::Filter, Flaw::Walk, Flaw::Sort],
        why: "each filter's index ends in the default order; for another one, its rows are sorted, or the order's index \
              is read and filtered: six more indexes would cost every change of a bot more than they give to a few lists",
    },
    Excuse {
        calls: "users.create_initial_admin_if_none",
        flaws: &[Flaw::Scan],
        why: "a generic plan has to expect half of all users to be administrators, and finds one by looking at a few",
    },
    Excuse {
        calls: "task_states.list by more than one",
        flaws: &[Flaw::Filter, Flaw::Walk, Flaw::Sort],
        why: "each filter of tasks has an index; further ones are applied to what the first one finds",
    },
    Excuse {
        calls: "task_states.children_outputs",
        flaws: &[Flaw::Filter],
        why: "children without an output are passed over",
    },
    Excuse {
        calls: "missions.history by phase and status",
        flaws: &[Flaw::Filter],
        why: "each filter of missions has an index; the second one is applied to what the first one finds",
    },
    Excuse {
        calls: "missions.tool_history by tool and success",
        flaws: &[Flaw::Filter],
        why: "each filter of tool calls has an index; the second one is applied to what the first one finds",
    },
    Excuse {
        calls: "missions.decisions by type and agent",
        flaws: &[Flaw::Filter],
        why: "each filter of decisions has an index; the second one is applied to what the first one finds",
    },
    Excuse {
        calls: "missions.prune_tool_calls, counting",
        flaws: &[Flaw::Scan],
        why: "a third of all calls may be old, as far as a generic plan knows: their missions are best read once",
    },
    Excuse {
        calls: "missions.tool_stats of all",
        flaws: &[Flaw::Scan],
        why: "statistics over everything read everything",
    },
    Excuse {
        calls: "workflows.list_crashed_runs",
        flaws: &[Flaw::Filter],
        why: "runs that somebody holds are passed over: no more than there are workers at work",
    },
    Excuse {
        calls: "workflows.get_completed_step_ids",
        flaws: &[Flaw::Filter, Flaw::Sort],
        why: "it is no page: all steps of the run are read, of which most are completed, and sorted",
    },
    Excuse {
        calls: "workflows.claim_runs",
        flaws: &[Flaw::Filter],
        why: "runs are picked off an index in its order; the update looks once more whether they still wait",
    },
    Excuse {
        calls: "messages.between two bots",
        flaws: &[Flaw::Sort],
        why: "a page of each direction is read in order; SQLite does not know that any more when it merges the two",
    },
];

/// Looks at the plans of calls on a filled database.
struct Look {
    store: Store,
    listener: Listener,
    explain: Explain,
    faults: Vec<String>,
    excused: BTreeSet<&'static str>,
    /// How many rows are wanted.
    limit: u32,
}

/// A page of the usual length, and one more to see whether there is a next one.
const PAGE: u32 = 51;

impl Look {
    async fn at(db: &TestDatabase) -> Self {
        Self {
            store: open(db).await,
            explain: Explain::on(db).await,
            listener: Listener::new(),
            faults: vec![],
            excused: BTreeSet::new(),
            limit: PAGE,
        }
    }

    /// A call that finds, changes or removes what it is told by a key.
    async fn lookup<T>(&mut self, call: &str, made: impl Future<Output = store::Result<T>>) -> T {
        self.listener.take();
        let found = made.await.unwrap_or_else(|error| panic!("{call}: {error:?}"));
        self.judge(call, &[Flaw::Scan, Flaw::Walk]).await;
        found
    }

    /// A call that is refused after it has looked.
    async fn refused<T: fmt::Debug>(
        &mut self,
        call: &str,
        kind: ErrorKind,
        made: impl Future<Output = store::Result<T>>,
    ) {
        self.listener.take();
        refused(made.await, kind, None);
        self.judge(call, &[Flaw::Scan, Flaw::Walk]).await;
    }

    /// A call that answers the first row in an order.
    async fn first<T>(&mut self, call: &str, made: impl Future<Output = store::Result<T>>) -> T {
        self.limit = 1;
        let found = self.ordered(call, made).await;
        self.limit = PAGE;
        found
    }

    /// A call that answers rows in an order.
    async fn ordered<T>(&mut self, call: &str, made: impl Future<Output = store::Result<T>>) -> T {
        self.listener.take();
        let found = made.await.unwrap_or_else(|error| panic!("{call}: {error:?}"));
        self.judge(call, &[Flaw::Scan, Flaw::Walk, Flaw::Sort, Flaw::Filter])
            .await;
        found
    }

    /// A list: its first page, and the one after that.
    async fn pages<T, F, Fut>(&mut self, call: &str, list: F)
    where
        F: Fn(PageRequest) -> Fut,
        Fut: Future<Output = store::Result<Page<T>>>,
    {
        let first = self.ordered(call, list(PageRequest::first(2))).await;
        let next = first
            .next
            .unwrap_or_else(|| panic!("{call}: there are too few rows for a second page"));
        self.ordered(call, list(PageRequest::after(next, 2))).await;
    }

    async fn judge(&mut self, call: &str, forbidden: &[Flaw]) {
        let sent = self.listener.take();
        assert!(!sent.is_empty(), "{call} has sent nothing");
        for sql in sent {
            let plan = self.explain.plan_for(&sql, self.limit).await;
            let found = plan.flaws.iter().filter(|flaw| forbidden.contains(flaw));
            let found = found.copied().collect::<Vec<_>>();
            if found.is_empty() {
                continue;
            }
            match excuse(call, &found) {
                Some(excuse) => self.excused.extend([excuse.why]),
                None => self.faults.push(format!("{call}: {found:?}\n{sql}\n{}", plan.text)),
            }
        }
    }

    /// Tells all that is wrong, at once.
    #[track_caller]
    fn finish(self) {
        for why in self.excused {
            println!("excused: {why}");
        }
        assert!(self.faults.is_empty(), "{}", self.faults.join("\n\n"));
    }
}

/// The excuses of one repository: the calls, and why.
pub(crate) fn excuses(repository: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let prefix = format!("{repository}.");
    let own = EXCUSES.iter().filter(move |excuse| excuse.calls.starts_with(&prefix));
    own.map(|excuse| (excuse.calls, excuse.why))
}

fn excuse(call: &str, flaws: &[Flaw]) -> Option<&'static Excuse> {
    EXCUSES
        .iter()
        .find(|excuse| call.starts_with(excuse.calls) && flaws.iter().all(|flaw| excuse.flaws.contains(flaw)))
}

/// How the database would run a statement.
struct Plan {
    text: String,
    flaws: BTreeSet<Flaw>,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
