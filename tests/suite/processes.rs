//! Programs beside and after each other: many that open one database, and one that is killed.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use store::prelude::*;
use store::testkit::TestDatabase;

use crate::child;
use crate::support::{a_bot, open, slugs};

pub(crate) const OPEN: &str = "open_and_write_one";
pub(crate) const WRITE: &str = "write_until_killed";

/// Which of several programs it is.
const NUMBER: &str = "STORE_TEST_CHILD_NUMBER";

store::testkit::tests! {
    on_both_empty: [eight_programs_open_an_empty_database_at_once],
    on_both: [what_was_acknowledged_survives_a_kill],
}

fn start(db: &TestDatabase, work: &str, number: usize) -> Child {
    let mut command = child::command(&std::env::current_exe().unwrap(), work);
    command.env("STORE_URL", db.url()).env(NUMBER, number.to_string());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

async fn store_of_the_environment() -> Store {
    Store::open(DatabaseConfig::load().unwrap()).await.unwrap()
}

/// The child's work: opens the database, brings it up if nobody else has, and writes.
pub(crate) async fn open_and_write_one() {
    let store = store_of_the_environment().await;
    let number = std::env::var(NUMBER).unwrap();
    store.bots().create(a_bot(&format!("bot-{number}"))).await.unwrap();
    store.close().await.unwrap();
}

async fn eight_programs_open_an_empty_database_at_once(db: TestDatabase) {
    let programs = (0..8).map(|number| start(&db, OPEN, number)).collect::<Vec<_>>();
    for program in programs {
        let output = program.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let store = open(&db).await;
    assert_eq!(slugs(&store).await.len(), 8);
    let connections = db.config().connect().await.unwrap();
    let status = store::migration::status(&connections.reader).await.unwrap();
    let applied = status
        .applied
        .into_iter()
        .map(|applied| applied.name)
        .collect::<Vec<_>>();
    let known = store::migration::migrations::all()
        .iter()
        .map(|known| known.name().to_owned())
        .collect::<Vec<_>>();
    assert_eq!(applied, known, "each migration was applied once, in order");
}

/// The child's work: says each write's name when the store has acknowledged it, and not before.
pub(crate) async fn write_until_killed() {
    let store = store_of_the_environment().await;
    let tasks = (0..32).map(|task| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0.. {
                let bot = store.bots().create(a_bot(&format!("bot-{task}-{n}"))).await.unwrap();
                store.souls().save_version(bot.id, NewSoul::new("one")).await.unwrap();
                println!("{}", bot.slug);
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

/// SIGKILL in the middle of the writes of 32 tasks, which share their commits, several times over: every write that was acknowledged is there, whole,
/// and the next program opens the database and goes on.
async fn what_was_acknowledged_survives_a_kill(db: TestDatabase) {
    for round in 0..6 {
        let mut program = start(&db, WRITE, round);
        let lines = BufReader::new(program.stdout.take().unwrap()).lines();
        let acknowledged = lines.take(5 + 31 * round).collect::<Result<Vec<_>, _>>().unwrap();
        program.kill().unwrap();
        program.wait().unwrap();
        assert!(!acknowledged.is_empty());

        let store = open(&db).await;
        for slug in acknowledged {
            let bot = store
                .bots()
                .get_by_slug(&Slug::new(slug).unwrap())
                .await
                .unwrap()
                .expect("acknowledged");
            assert_eq!(bot.version_count, 1);
            assert!(store.souls().get_current(bot.id).await.unwrap().is_some());
        }
        // The half-done ones are not there by half either.
        let all = store
            .bots()
            .list(BotFilter::default(), PageRequest::first(1000))
            .await
            .unwrap()
            .items;
        for bot in all {
            let current = store.souls().get_current(bot.id).await.unwrap();
            assert_eq!(current.map_or(0, |soul| soul.version), bot.version_count);
            store.bots().delete(bot.id).await.unwrap();
        }
        store.close().await.unwrap();
    }
}
