//! The example of that name on both databases: the same timeline and the same statistics on either.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

use store::prelude::*;
use store::testkit::TestDatabase;

store::testkit::tests! {
    on_both_empty: [the_log_is_printed_as_a_timeline, every_run_is_a_mission_more, a_bad_line_is_told_and_stores_nothing],
    without_database: [help_is_given],
}

fn main() -> ExitCode {
    store::testkit::run([tests()])
}

const TIMELINE: &str = r#"
CODING: The search page answers in under 100 ms (completed after 6 min 52 s)
  09:00:04  planner        approach              Measure first: nobody knows which query is slow.
  09:00:31  run_benchmark  ok          24310 ms  {"p50_ms":212,"p99_ms":1840}
  09:00:38  read_file      failed          3 ms  no such file: src/serch.rs
  09:00:40  read_file      ok              8 ms  {"lines":318}
  09:01:12  reader         finding               One query per result: 50 results are 51 round trips.
  09:01:20  planner        approach              One joined query, and an index for its order.
  09:02:47  edit_file      ok             41 ms  {}
  09:02:55  edit_file      ok             36 ms  {}
  09:04:10  run_tests      failed      70412 ms  2 of 63 tests failed: results of equal rank come in another order
  09:04:32  reader         correction            The tests are right: the order needs a tiebreak.
  09:04:58  edit_file      ok             29 ms  {}
  09:06:11  run_tests      ok          69875 ms  {"failed":0,"passed":63}
  09:06:40  run_benchmark  ok          25120 ms  {"p50_ms":31,"p99_ms":88}
  09:06:52  planner        done                  88 ms for the slowest hundredth: the goal is met.

Tools:
  TOOL           CALLS  FAILED  MEAN MS  LONGEST MS
  edit_file          3       0     35.3          41
  read_file          2       1      5.5           8
  run_benchmark      2       0  24715.0       25120
  run_tests          2       1  70143.5       70412
"#;

fn start(db: &TestDatabase, file: Option<&Path>) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_mission_log"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STORE_") || name == "DATABASE_URL" {
            program.env_remove(name);
        }
    }
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    program
        .args(file)
        .current_dir(repository)
        .env("STORE_URL", db.url())
        .output()
        .unwrap()
}

#[track_caller]
fn says(db: &TestDatabase) -> String {
    let output = start(db, None);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

async fn the_log_is_printed_as_a_timeline(db: TestDatabase) {
    let said = says(&db);
    let (places, rest) = said.split_at(said.find("\nCODING").unwrap());
    assert!(
        places.starts_with("  log       examples/missions/slow-search.jsonl\n  database  "),
        "{places}"
    );
    let expected = format!("{TIMELINE}\n  1 mission in this database, 1 completed\n");
    assert_eq!(rest, expected, "said:\n{rest}");
}

async fn every_run_is_a_mission_more(db: TestDatabase) {
    says(&db);
    let said = says(&db);
    assert!(
        said.ends_with(&format!("{TIMELINE}\n  2 missions in this database, 2 completed\n")),
        "{said}"
    );
    let missions = db.store().await.missions();
    let history = missions.history(MissionFilter::default(), None).await.unwrap();
    assert_eq!(history.items.len(), 2);
    assert_eq!(history.items[0].created_at.to_rfc3339(), "2026-03-02T09:00:00+00:00");
}

async fn a_bad_line_is_told_and_stores_nothing(db: TestDatabase) {
    let folder = tempfile::tempdir().unwrap();
    let complains = |lines: &[&str]| {
        let file: PathBuf = folder.path().join("log.jsonl");
        std::fs::write(&file, lines.join("\n")).unwrap();
        let output = start(&db, Some(&file));
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        String::from_utf8(output.stderr)
            .unwrap()
            .replace(&file.display().to_string(), "LOG")
    };
    let mission = r#"{"at": "2026-03-02T09:00:00Z", "mission": {"phase": "CODING"}}"#;
    let negative =
        r#"{"at": "2026-03-02T09:00:01Z", "tool": {"tool_name": "t", "args": {}, "success": true, "duration_ms": -1}}"#;
    let said = complains(&[mission, "{}", "", mission]);
    assert!(said.contains("LOG:2: missing field `at`"), "{said}");
    assert!(
        said.contains("LOG:4: a log begins with its mission, and has one"),
        "{said}"
    );
    let said = complains(&[mission, negative]);
    assert!(said.contains("duration_ms must not be negative and is -1"), "{said}");
    assert_eq!(complains(&[]), "LOG is empty\n");
    let missions = db.store().await.missions();
    let history = missions.history(MissionFilter::default(), None).await.unwrap();
    assert_eq!(history.items, [], "a log is stored as a whole or not at all");
}

async fn help_is_given() {
    let run = |argument: &str| {
        Command::new(env!("CARGO_BIN_EXE_mission_log"))
            .arg(argument)
            .output()
            .unwrap()
    };
    let help = run("--help");
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).starts_with("Usage: mission_log [FILE]"));
    assert_eq!(run("--frobnicate").status.code(), Some(2));
}
