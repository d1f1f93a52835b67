//! Asks a database for its plan, and reads it.

use std::collections::BTreeSet;

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, QueryResult, Statement, TransactionTrait};
use store::testkit::{Backend, TestDatabase};

use super::{Flaw, Plan};

store::testkit::tests! {
    on_both: [a_plan_without_an_index_is_found_out],
    without_database: [limits_are_written_out],
}

/// A session of its own.
pub(super) struct Explain {
    backend: Backend,
    session: DatabaseTransaction,
    /// The indexes over a part of their table: reading all of one is no waste.
    partial: Vec<String>,
}

impl Explain {
    pub(super) async fn on(db: &TestDatabase) -> Self {
        let connections = db.config().connect().await.unwrap();
        let session = connections.reader.begin().await.unwrap();
        let mut explain = Self {
            backend: db.backend(),
            session,
            partial: vec![],
        };
        let partial = match explain.backend {
            Backend::Sqlite => "SELECT name FROM sqlite_schema WHERE type = 'index' AND sql LIKE '% WHERE %'",
            Backend::Postgres => "SELECT indexname::text FROM pg_indexes WHERE indexdef LIKE '% WHERE %'",
        };
        explain.partial = explain.rows(partial, 0).await;
        if explain.backend == Backend::Postgres {
            explain.run("SET LOCAL plan_cache_mode = force_generic_plan").await;
        }
        explain
    }

    /// The plan for a page.
    pub(super) async fn plan(&self, sql: &str) -> Plan {
        self.plan_for(sql, 51).await
    }

    /// The plan when no more than so many rows are wanted.
    pub(super) async fn plan_for(&self, sql: &str, limit: u32) -> Plan {
        match self.backend {
            Backend::Sqlite => self.sqlite(sql).await,
            Backend::Postgres => self.postgres(sql, limit).await,
        }
    }

    /// The last column of each row says what a step does (<https://www.sqlite.org/eqp.html>). Parameters without values
    /// tell the planner nothing.
    async fn sqlite(&self, sql: &str) -> Plan {
        let steps = self.rows(&format!("EXPLAIN QUERY PLAN {sql}"), 3).await;
        let looks_for_something = sql.contains(" WHERE ");
        let mut flaws = BTreeSet::new();
        for step in &steps {
            if step.starts_with("SCAN ") && is_table(step, &steps) {
                if !step.contains(" USING ") {
                    flaws.insert(Flaw::Scan);
                } else if looks_for_something && !self.is_partial(step) {
                    flaws.insert(Flaw::Walk);
                }
            }
            if step.starts_with("USE TEMP B-TREE FOR") && step.ends_with("ORDER BY") {
                flaws.insert(Flaw::Sort);
            }
        }
        let text = steps.join("\n");
        Plan { text, flaws }
    }

    /// A generic plan knows no values, so neither do we need any.
    async fn postgres(&self, sql: &str, limit: u32) -> Plan {
        let (types, nulls) = (types_of_parameters(sql), vec!["NULL"; parameters(sql)]);
        let sql = with_limit(sql, limit);
        self.run(&format!("PREPARE looked_at{} AS {sql}", in_parentheses(&types)))
            .await;
        let arguments = in_parentheses(&nulls);
        let steps = self.rows(&format!("EXPLAIN EXECUTE looked_at{arguments}"), 0).await;
        self.run("DEALLOCATE looked_at").await;
        let mut flaws = BTreeSet::new();
        for (at, step) in steps.iter().enumerate() {
            let step = step.trim_start().trim_start_matches("->").trim_start();
            let conditions = || steps[at + 1..].iter().map(|line| line.trim_start());
            if step.contains("Seq Scan on ") {
                flaws.insert(Flaw::Scan);
            }
            let by_index = step.starts_with("Index Scan") || step.starts_with("Index Only Scan");
            if by_index && sql.contains(" WHERE ") && !self.is_partial(step) {
                let own = conditions().take_while(|line| !line.starts_with("->"));
                if !own.into_iter().any(|line| line.starts_with("Index Cond")) {
                    flaws.insert(Flaw::Walk);
                }
            }
            let sorts = step.starts_with("Sort  (") || step.starts_with("Incremental Sort  (");
            // What a WITH has found was looked for in an order, if in any, within it.
            let sorted = conditions().find_map(|line| line.strip_prefix("->"));
            if sorts && !sorted.is_some_and(|step| step.trim_start().starts_with("CTE Scan")) {
                flaws.insert(Flaw::Sort);
            }
            if step.starts_with("Filter: ") {
                flaws.insert(Flaw::Filter);
            }
        }
        let text = steps.join("\n");
        Plan { text, flaws }
    }

    fn is_partial(&self, step: &str) -> bool {
        step.split(' ')
            .any(|word| self.partial.iter().any(|index| index == word))
    }

    async fn run(&self, sql: &str) {
        let done = self.session.execute_unprepared(sql).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    async fn rows(&self, sql: &str, column: usize) -> Vec<String> {
        let backend = match self.backend {
            Backend::Sqlite => DbBackend::Sqlite,
            Backend::Postgres => DbBackend::Postgres,
        };
        let rows = self.session.query_all_raw(Statement::from_string(backend, sql)).await;
        let rows = rows.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let text = |row: &QueryResult| row.try_get_by_index(column).unwrap();
        rows.iter().map(text).collect()
    }
}

/// Steps also scan what earlier steps have made.
fn is_table(step: &str, steps: &[String]) -> bool {
    let name = step.split(' ').nth(1).unwrap_or_default();
    let is_made = |step: &String| step.split_once(' ') == Some(("CO-ROUTINE", name));
    !name.starts_with('(')
        && !step.ends_with("CONSTANT ROW")
        && !step.ends_with("VALUES CLAUSE")
        && !steps.iter().any(is_made)
}

/// Without a number there, Postgres plans for a tenth of the table.
fn with_limit(sql: &str, limit: u32) -> String {
    let mut parts = sql.split("LIMIT $");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str(&format!("LIMIT {limit}"));
        text.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    text
}

/// A limit's parameter is no longer there and has to be told its type; the others tell themselves.
fn types_of_parameters(sql: &str) -> Vec<&'static str> {
    let limits: BTreeSet<usize> = sql.split("LIMIT $").skip(1).filter_map(leading_number).collect();
    (1..=parameters(sql))
        .map(|number| match limits.contains(&number) {
            true => "bigint",
            false => "unknown",
        })
        .collect()
}

fn leading_number(text: &str) -> Option<usize> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

fn in_parentheses(items: &[&str]) -> String {
    match items {
        [] => String::new(),
        _ => format!("({})", items.join(", ")),
    }
}

/// The highest `$n`.
fn parameters(sql: &str) -> usize {
    sql.split('$').skip(1).filter_map(leading_number).max().unwrap_or(0)
}

async fn limits_are_written_out() {
    let sql = "SELECT 1 WHERE a = $1 AND b IN (SELECT c WHERE d < $2 LIMIT $3)";
    let read = with_limit(sql, 51);
    assert_eq!(read, "SELECT 1 WHERE a = $1 AND b IN (SELECT c WHERE d < $2 LIMIT 51)");
    assert_eq!(parameters(&read), 2);
    assert_eq!(parameters("SELECT 1"), 0);
    assert_eq!(types_of_parameters(sql), ["unknown", "unknown", "bigint"]);
}

/// The guard guards: what each flaw looks like on either database.
async fn a_plan_without_an_index_is_found_out(db: TestDatabase) {
    crate::fill::rows(&db, 2_000, "api_keys", super::identity::API_KEYS_OF_NOBODY).await;
    let explain = Explain::on(&db).await;
    for (sql, expected) in [
        ("SELECT id FROM api_keys WHERE name = 'x'", Some(Flaw::Scan)),
        ("SELECT id FROM api_keys ORDER BY name LIMIT 51", Some(Flaw::Sort)),
        (
            "SELECT created_at FROM api_keys WHERE name > '' ORDER BY created_at, id LIMIT 51",
            Some(Flaw::Walk),
        ),
        ("SELECT name FROM api_keys WHERE prefix = 'x'", None),
        ("SELECT name FROM api_keys ORDER BY created_at, id LIMIT 51", None),
    ] {
        let plan = explain.plan(sql).await;
        match expected {
            Some(flaw) => assert!(plan.flaws.contains(&flaw), "{flaw:?} in {sql}\n{plan}"),
            None => assert!(plan.flaws.is_empty(), "{:?} in {sql}\n{plan}", plan.flaws),
        }
    }
}
