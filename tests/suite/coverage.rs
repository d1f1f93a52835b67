//! `docs/coverage.md`: every table and every method of the contract, with what it promises, what it guarantees and the
//! tests that show it. Written from the sources, and compared with what is there.

mod source;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::{plans, statements};
use source::{Calls, Method, Trait};

store::testkit::tests! {
    without_database: [
        the_table_of_guarantees_is_up_to_date,
        every_method_has_a_test_a_cost_and_a_plan,
        every_table_is_kept_by_a_repository,
        the_sources_are_read_as_they_are_meant,
    ],
}

/// The tables that each repository keeps, by its name in `Repositories`. To add a repository, add a line.
const TABLES: &[(&str, &[&str])] = &[
    ("bots", &["bots"]),
    ("souls", &["soul_versions"]),
    ("secrets", &["secrets"]),
    ("users", &["users"]),
    ("api_keys", &["api_keys"]),
    ("kv", &["bot_kv_store"]),
    ("audit", &["memory_audit_log"]),
    ("provider_health", &["provider_health"]),
    ("files", &["bot_files", "bot_file_versions"]),
    ("chats", &["chat_sessions", "chat_messages"]),
    ("messages", &["bot_messages", "bot_channels", "bot_subscriptions"]),
    ("workflows", &["workflows", "workflow_runs", "workflow_steps"]),
    ("workflow_states", &["workflow_states"]),
    ("task_states", &["task_states"]),
    ("missions", &["missions", "tool_calls", "decisions"]),
];

/// So many tests are named for each method.
const NAMED: usize = 3;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

async fn the_table_of_guarantees_is_up_to_date() {
    let path = root().join("docs/coverage.md");
    let written = document();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &written).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    let stale = there
        .lines()
        .zip(written.lines())
        .find(|(there, written)| there != written);
    assert!(
        there == written,
        "docs/coverage.md is stale (at {stale:?}): run UPDATE_DOCS=1 cargo test -p tests -- coverage"
    );
}

async fn every_method_has_a_test_a_cost_and_a_plan() {
    let (traits, calls) = (source::traits(&root()), source::calls(&root()));
    let looked_at = source::text_of_all(&root().join("tests/suite/plans"));
    let mut gaps = vec![];
    for (repository, method) in traits.iter().flat_map(methods) {
        let name = format!("{repository}.{}", method.name);
        if calls.tests_of(repository, &method.name).is_empty() {
            gaps.push(format!("{name} has no test"));
        }
        match statements::cost_of(&name) {
            None => gaps.push(format!("{name} is not in the table of costs")),
            Some(cost) if cost.is_read() && !is_looked_at(&looked_at, &name) => {
                gaps.push(format!("{name}'s plan is not looked at"));
            }
            Some(_) => {}
        }
    }
    let all = traits.iter().flat_map(methods);
    let all = all.map(|(repository, method)| format!("{repository}.{}", method.name));
    let all = all.collect::<BTreeSet<_>>();
    for (repository, costs) in statements::COSTS {
        let gone = costs.iter().map(|(method, _)| format!("{repository}.{method}"));
        gaps.extend(
            gone.filter(|name| !all.contains(name))
                .map(|name| format!("{name} has a cost and is not there")),
        );
    }
    assert!(gaps.is_empty(), "{gaps:#?}");
}

async fn every_table_is_kept_by_a_repository() {
    let tables = source::tables(&root()).into_iter().map(|table| table.name);
    let kept = TABLES
        .iter()
        .flat_map(|(_, tables)| tables.iter().map(|name| (*name).to_owned()));
    assert_eq!(tables.collect::<BTreeSet<_>>(), kept.collect::<BTreeSet<_>>());
    let repositories = source::traits(&root()).into_iter().map(|one| one.repository);
    let keepers = TABLES.iter().map(|(repository, _)| (*repository).to_owned());
    assert_eq!(repositories.collect::<BTreeSet<_>>(), keepers.collect::<BTreeSet<_>>());
}

fn methods(of: &Trait) -> impl Iterator<Item = (&str, &Method)> {
    of.methods.iter().map(|method| (of.repository.as_str(), method))
}

/// `"bots.list"` or `"bots.list by status"`, but not `"bots.list_all"`.
fn is_looked_at(plans: &str, name: &str) -> bool {
    let call = format!("\"{name}");
    let mut named = plans.match_indices(&call);
    named.any(|(at, found)| !plans[at + found.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}

fn document() -> String {
    let (traits, calls) = (source::traits(&root()), source::calls(&root()));
    let looked_at = source::text_of_all(&root().join("tests/suite/plans"));
    let tables = source::tables(&root());
    let mut text = String::from(
        "# What is kept, what is promised, and which test shows it\n\n\
         Written from the sources by the suite, which fails when it is stale:\n\
         `UPDATE_DOCS=1 cargo test -p tests -- coverage` writes it anew.\n\n\
         - **costs** is measured (`tests/suite/statements.rs`): the statements that one call sends. One statement by itself \
         is a transaction of its own; several that write are one serializable transaction. No list costs more for more \
         rows.\n\
         - **indexed**: on 100,000 rows, both databases plan the call without reading the whole table and, for a page, \
         without sorting (`tests/suite/plans.rs`); what is excused is named below the table.\n\
         - **shown by**: the tests that are most about the method, and how many others call it. Every one runs on SQLite \
         and on Postgres. A method that no test calls fails the check.\n\n\
         | table | what a row is | kept by |\n|---|---|---|\n",
    );
    for table in &tables {
        let (repository, _) = TABLES
            .iter()
            .find(|(_, names)| names.contains(&table.name.as_str()))
            .unwrap();
        let source::Table { name, row } = table;
        writeln!(text, "| `{name}` | {row} | [{repository}](#{repository}) |").unwrap();
    }
    for (repository, tables) in TABLES {
        let tables = tables.iter().map(|table| format!("`{table}`")).collect::<Vec<_>>();
        write!(text, "\n## {repository}\n\nOn {}.\n", tables.join(", ")).unwrap();
        for one in traits.iter().filter(|one| one.repository == *repository) {
            section(&mut text, one, &calls, &looked_at);
        }
        excused(&mut text, repository);
    }
    text
}

fn section(text: &mut String, one: &Trait, calls: &Calls, looked_at: &str) {
    let Trait { name, promise, .. } = one;
    let head = format!("\n**{name}**: {promise}\n\n");
    text.push_str(&head);
    text.push_str("| method | promise | costs | shown by |\n|---|---|---|---|\n");
    for (repository, method) in methods(one) {
        let called = format!("{repository}.{}", method.name);
        let cost = statements::cost_of(&called)
            .map(|cost| cost.to_string())
            .unwrap_or_default();
        let indexed = if is_looked_at(looked_at, &called) {
            "; indexed"
        } else {
            ""
        };
        let tests = named(&calls.tests_of(repository, &method.name));
        let Method { name, promise } = method;
        writeln!(text, "| `{name}` | {promise} | {cost}{indexed} | {tests} |").unwrap();
    }
}

fn excused(text: &mut String, repository: &str) {
    let excuses = plans::excuses(repository).collect::<Vec<_>>();
    if excuses.is_empty() {
        return;
    }
    text.push_str("\nExcused from the rule about indexes:\n\n");
    for (calls, why) in excuses {
        writeln!(text, "- `{calls}`: {why}.").unwrap();
    }
}

fn named(tests: &[String]) -> String {
    let first = tests
        .iter()
        .take(NAMED)
        .map(|test| format!("`{test}`"))
        .collect::<Vec<_>>()
        .join(", ");
    match tests.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

async fn the_sources_are_read_as_they_are_meant() {
    let traits = source::traits(&root());
    let bots = traits.iter().find(|one| one.repository == "bots").unwrap();
    assert_eq!(
        (bots.name.as_str(), bots.promise.as_str()),
        ("BotRepository", "Keeps bots.")
    );
    let create = &bots.methods[0];
    assert_eq!(create.name, "create");
    assert_eq!(create.promise, "Stores a new bot and answers it as stored.");
    let calls = source::calls(&root());
    let shown_by = |repository, method, test: &str| {
        let tests = calls.tests_of(repository, method);
        assert!(tests.iter().any(|one| one == test), "{test} is not among {tests:?}");
    };
    shown_by(
        "bots",
        "get_by_slug",
        "conformance::bots::a_bot_is_found_by_id_and_by_slug",
    );
    shown_by(
        "users",
        "create_initial_admin_if_none",
        "conformance::users::the_first_administrator_is_made_once",
    );
    assert!(calls.tests_of("bots", "fly").is_empty());
    let planned = "look(\"bots.list by status\")";
    assert!(is_looked_at(planned, "bots.list") && !is_looked_at(planned, "bots.li"));
}
