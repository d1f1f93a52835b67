//! The chat history runs on both databases, twice, and says the same on either.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::process::{Command, ExitCode, Output};

use store::prelude::*;
use store::testkit::TestDatabase;

store::testkit::tests! {
    on_both_empty: [the_chat_history_is_kept_and_read_both_ways],
    without_database: [help_is_given, a_database_of_another_kind_is_refused],
}

fn main() -> ExitCode {
    store::testkit::run([tests()])
}

fn start(url: &str) -> Output {
    let home = tempfile::tempdir().unwrap();
    let settings = home.path().join("no-settings.toml");
    std::fs::write(&settings, "").unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_chat_history"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STORE_") || name == "DATABASE_URL" {
            program.env_remove(name);
        }
    }
    program
        .env("XDG_DATA_HOME", home.path())
        .env("STORE_CONFIG", settings)
        .env("STORE_URL", url)
        .output()
        .unwrap()
}

/// What it says, without the place of the database.
#[track_caller]
fn said(output: Output) -> String {
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (said, place) = text.rsplit_once("  database  ").unwrap();
    assert!(!place.trim().is_empty());
    said.to_owned()
}

const EXPECTED: &str = r#"Appended:
  BATCH         SENT  SEQUENCES  MESSAGES  TOKENS IN  OUT
  first            3  1 to 3            3         41   12
  second           4  4 to 7            7        180   23
  second again     4  4 to 7            7        180   23
  third            5  8 to 12          12        395   43

From the end, page 1:
  12  user       Good night!
  11  assistant  I will knock twice.
  10  user       Wake me at six, then.
   9  assistant  From seven. The rolls come at six, if you are early.
   8  user       I take it. When is breakfast?

From the end, page 2:
  7  assistant  Sixty-four, with breakfast.
  6  tool       {"room": 9, "price": 64}
  5  assistant  Let me look.
  4  user       What does it cost?
  3  assistant  One, under the roof. It has the best view.

From the end, page 3:
  2  user    Is there a room left?
  1  system  You are the porter of a small hotel, at night.

Two readers go on from one cursor, after message 7:
  quick            8, 9, 10, 11, 12
  slow             8, 9
  slow, next page  10, 11
"#;

async fn the_chat_history_is_kept_and_read_both_ways(db: TestDatabase) {
    let first = said(start(&db.url()));
    let second = said(start(&db.url()));
    let end = |said: &str| format!("{EXPECTED}\nNight Porter has had {said} tokens.\n");
    assert_eq!(first, end("1 conversation and used 438"));
    assert_eq!(second, end("2 conversations and used 876"));

    let store = db.store().await;
    let slug = Slug::new("night-porter").unwrap();
    let bot = store.bots().get_by_slug(&slug).await.unwrap().unwrap();
    let sessions = store.chats().list(bot.id, PageRequest::default()).await.unwrap().items;
    assert_eq!(sessions.len(), 2);
    for session in sessions {
        assert_eq!((session.status, session.message_count), (ChatStatus::Completed, 12));
    }
}

async fn a_database_of_another_kind_is_refused() {
    let output = start("mysql://localhost/chats");
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("mysql"), "{errors}");
}

async fn help_is_given() {
    let run = |argument: &str| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_chat_history"));
        program.arg(argument).output().unwrap()
    };
    let help = run("--help");
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).starts_with("Usage: chat_history"));
    assert_eq!(run("--frobnicate").status.code(), Some(2));
}
