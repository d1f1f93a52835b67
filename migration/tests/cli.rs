//! The command line as an operator and as a script meet it, on SQLite files.
#![cfg(all(feature = "cli", feature = "sqlite"))]
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not take for tests"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("store.db")
    }

    /// Runs with nothing on stdin and nothing of this machine's configuration.
    fn run(&self, arguments: &[&str]) -> Output {
        command(self.directory.path())
            .arg("--path")
            .arg(self.file())
            .args(arguments)
            .output()
            .unwrap()
    }

    fn json(&self, arguments: &[&str]) -> (i32, Value) {
        let output = self.run(&[arguments, &["--json"]].concat());
        (
            output.status.code().unwrap(),
            serde_json::from_slice(&output.stdout).unwrap(),
        )
    }
}

fn command(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_migration"));
    command
        .current_dir(directory)
        .stdin(Stdio::null())
        .env_remove("DATABASE_URL")
        .env_remove("RUST_LOG");
    let set = std::env::vars().filter(|(name, _)| name.starts_with("STORE_"));
    set.for_each(|(name, _)| {
        command.env_remove(name);
    });
    command
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn said(output: &Output) -> (String, String) {
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn no_subcommand_prints_the_help_and_changes_nothing() {
    let place = Place::new();
    let output = command(place.directory.path()).output().unwrap();
    let (out, err) = said(&output);
    assert_eq!(code(&output), 2);
    assert!((out + &err).contains("Exit codes:"));
    assert_eq!(std::fs::read_dir(place.directory.path()).unwrap().count(), 0);
}

#[test]
fn up_status_and_check_tell_how_it_stands() {
    let place = Place::new();
    let (status, value) = place.json(&["status"]);
    assert_eq!((status, value["status"]["state"].as_str()), (3, Some("pending")));
    let (up, value) = place.json(&["up"]);
    assert_eq!(up, 0);
    assert_eq!(
        value["applied"].as_array().unwrap().len(),
        migration::migrations::all().len()
    );
    let (status, value) = place.json(&["status"]);
    assert_eq!((status, value["status"]["state"].as_str()), (0, Some("complete")));
    let (check, value) = place.json(&["check"]);
    assert_eq!((check, value["differences"].as_array().unwrap().len()), (0, 0));

    let output = place.run(&["status"]);
    let (out, err) = said(&output);
    assert_eq!((code(&output), err.as_str()), (0, ""));
    assert!(out.trim_end().ends_with("complete"), "{out}");
    assert!(said(&place.run(&["up"])).0.contains("nothing to do"));
}

#[test]
fn destroying_needs_a_yes() {
    let place = Place::new();
    place.run(&["up"]);
    for arguments in [&["down"][..], &["down", "2"], &["fresh"], &["refresh"], &["reset"]] {
        let output = place.run(arguments);
        let (out, err) = said(&output);
        assert_eq!((code(&output), out.as_str()), (4, ""), "{arguments:?}");
        assert!(err.contains("--yes") && err.contains("nothing was changed"), "{err}");
        assert_eq!(code(&place.run(&["check"])), 0, "{arguments:?} changed something");
        let (json, value) = place.json(arguments);
        assert_eq!((json, value["error"]["kind"].as_str()), (4, Some("not_confirmed")));
    }
    for arguments in [
        &["down", "2", "--yes"][..],
        &["up"],
        &["refresh", "--yes"],
        &["fresh", "-y"],
    ] {
        assert_eq!(code(&place.run(arguments)), 0, "{arguments:?}");
    }
    assert_eq!(code(&place.run(&["check"])), 0);
    let (reset, value) = place.json(&["reset", "--yes"]);
    assert_eq!(
        (reset, value["reverted"].as_array().unwrap().len()),
        (0, migration::migrations::all().len())
    );
    assert_eq!(
        code(&place.run(&["reset"])),
        0,
        "nothing is asked where there is nothing to lose"
    );
}

#[tokio::test]
async fn drift_is_told_and_nothing_moves() {
    use sea_orm::ConnectionTrait;

    let place = Place::new();
    place.run(&["up"]);
    let db = config::DatabaseConfig::sqlite(place.file())
        .unwrap()
        .connect()
        .await
        .unwrap()
        .writer;
    db.execute_unprepared("DROP INDEX uq_bots_slug; ALTER TABLE users ADD COLUMN extra TEXT")
        .await
        .unwrap();
    let output = place.run(&["check"]);
    let (out, _) = said(&output);
    assert_eq!(code(&output), 3);
    assert!(
        out.contains("index bots.uq_bots_slug: is missing (should be unique (slug))"),
        "{out}"
    );
    assert!(
        out.contains("column users.extra: should not be there (is TEXT null)"),
        "{out}"
    );
    assert!(out.contains("2 differences"), "{out}");

    db.execute_unprepared("INSERT INTO undercroft_migrations VALUES ('m99991231_000001_later', 0)")
        .await
        .unwrap();
    let (up, value) = place.json(&["up"]);
    assert_eq!((up, value["error"]["kind"].as_str()), (3, Some("ahead")));
    let (check, value) = place.json(&["check"]);
    assert_eq!((check, value["history"]["state"].as_str()), (3, Some("ahead")));
}

#[test]
fn the_schema_is_printed_without_a_database() {
    let place = Place::new();
    for (arguments, expected) in [
        (&["schema", "--driver", "sqlite"][..], ") STRICT;"),
        (&["schema", "--driver", "postgres"], "timestamptz"),
        (&["schema", "--erd"], "erDiagram"),
    ] {
        let output = command(place.directory.path()).args(arguments).output().unwrap();
        assert_eq!(code(&output), 0);
        assert!(said(&output).0.contains(expected));
    }
    assert_eq!(std::fs::read_dir(place.directory.path()).unwrap().count(), 0);
}

#[test]
fn a_wrong_command_line_is_a_2() {
    let place = Place::new();
    for arguments in [
        &["upp"][..],
        &["down", "0"],
        &["down", "x"],
        &["schema", "--driver", "oracle"],
        &["--url"],
    ] {
        assert_eq!(code(&place.run(arguments)), 2, "{arguments:?}");
    }
}

#[test]
fn a_file_that_is_not_a_database_is_a_1() {
    let place = Place::new();
    let text = "words, and more of them than a header has ".repeat(30);
    std::fs::write(place.file(), &text).unwrap();
    let (up, value) = place.json(&["up"]);
    assert_eq!(up, 1);
    assert!(
        value["error"]["message"]
            .as_str()
            .unwrap()
            .contains("not a SQLite database"),
        "{value}"
    );
    assert_eq!(std::fs::read_to_string(place.file()).unwrap(), text);
}
