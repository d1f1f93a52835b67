//! A SQLite file that runs out of space in the middle of a group: who does not fit hears so, and nobody else loses
//! anything.

use std::path::Path;

use sea_orm::{ConnectionTrait, Statement};
use store::prelude::*;
use store::testkit::TestDatabase;

use crate::support::{a_bot, key, open, slugs};

store::testkit::tests! {
    on_sqlite: [
        who_does_not_fit_into_the_file_hears_so_and_the_others_are_stored,
        a_full_disk_loses_nothing_that_was_acknowledged,
    ],
}

const WRITERS: usize = 32;

/// What a writer wanted to store, and what it heard.
struct Told {
    name: String,
    big: bool,
    outcome: store::Result<()>,
}

/// Writers at once, of whom every fourth brings 2 MiB: by one statement, or by a transaction's second.
async fn burst(store: &Store, bot: BotId, round: usize) -> Vec<Told> {
    let writers = (0..WRITERS).map(|n| {
        let (store, name) = (store.clone(), format!("bot-{round}-{n}"));
        tokio::spawn(async move {
            let text = "x".repeat(if n % 4 == 0 { 2 << 20 } else { 10 });
            let outcome = match n % 8 {
                0 => store.kv().set(bot, &key(&name), text.into(), None).await.map(drop),
                _ => a_bot_with(&store, &name, &text).await,
            };
            let big = n % 4 == 0;
            Told { name, big, outcome }
        })
    });
    let mut told = vec![];
    for writer in writers.collect::<Vec<_>>() {
        told.push(writer.await.unwrap());
    }
    told
}

async fn a_bot_with(store: &Store, name: &str, soul: &str) -> store::Result<()> {
    let work = |tx: Tx| async move {
        let bot = tx.bots().create(a_bot(name)).await?;
        tx.souls().save_version(bot.id, NewSoul::new(soul)).await.map(drop)
    };
    store.transaction(work).await
}

/// Acknowledged is what is there, and nothing else.
async fn agrees(witness: &Store, bot: BotId, told: &[Told]) {
    let all = slugs(witness).await;
    for Told { name, outcome, .. } in told {
        let set = witness.kv().get(bot, &key(name)).await.unwrap().is_some();
        let there = set || all.contains(name);
        assert_eq!(there, outcome.is_ok(), "{name}: {outcome:?}");
    }
}

fn full(told: &Told) -> bool {
    let kind = told.outcome.as_ref().map_err(Error::kind);
    kind == Err(ErrorKind::StorageFull)
}

/// How many pages the file may have: a setting of the writer's connection, and so sent as if it were a write.
struct MostPages(i64);

impl store::engine::Write for MostPages {
    type Entity = entity::bots::Entity;

    fn build(self, backend: sea_orm::DatabaseBackend, _: bool) -> Statement {
        Statement::from_string(backend, format!("PRAGMA max_page_count = {}", self.0))
    }
}

async fn limit(store: &Store, pages: i64) {
    let set = |db: store::engine::Operation| async move { db.write(MostPages(pages)).await };
    store.session().run("file", "limit", set).await.unwrap();
}

async fn pages(db: &TestDatabase) -> i64 {
    let connections = db.config().connect().await.unwrap();
    let count = Statement::from_string(sea_orm::DatabaseBackend::Sqlite, "PRAGMA page_count");
    let row = connections.reader.query_one_raw(count).await.unwrap().unwrap();
    let pages = row.try_get_by_index(0).unwrap();
    connections.close().await;
    pages
}

async fn who_does_not_fit_into_the_file_hears_so_and_the_others_are_stored(db: TestDatabase) {
    let store = open(&db).await;
    let owl = store.bots().create(a_bot("owl")).await.unwrap().id;
    limit(&store, pages(&db).await + 256).await;
    let mut all = vec![];
    for round in 0..4 {
        let told = burst(&store, owl, round).await;
        for told in &told {
            assert_eq!(full(told), told.big, "{}: {:?}", told.name, told.outcome);
            assert_eq!(told.outcome.is_ok(), !told.big, "{}: {:?}", told.name, told.outcome);
        }
        all.extend(told);
    }
    agrees(&open(&db).await, owl, &all).await;
    limit(&store, 1 << 30).await;
    let after = burst(&store, owl, 9).await;
    assert!(after.iter().all(|told| told.outcome.is_ok()));
    all.extend(after);
    store.close().await.unwrap();
    agrees(&open(&db).await, owl, &all).await;
}

/// In a process of its own, on a file system of its own that takes 24 MiB. Where this user may not mount one, there is
/// nothing to see.
async fn a_full_disk_loses_nothing_that_was_acknowledged(_db: TestDatabase) {
    let disk = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=24m none \"$1\" || exit 77; exec \"$2\"";
    let program = std::env::current_exe().unwrap();
    let mut command = crate::child::command(Path::new("unshare"), CHILD);
    command.args(["--mount", "--map-root-user", "sh", "-c", mount, "sh"]);
    command.arg(disk.path()).arg(program).env(DISK, disk.path());
    let Ok(output) = command.output() else {
        return println!("no `unshare` here");
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if !said.contains(BEGUN) {
        return println!("nothing can be mounted here: {said}");
    }
    assert!(output.status.success(), "{said}");
}

pub(crate) const CHILD: &str = "fill this disk";
const DISK: &str = "STORE_TEST_DISK";
const BEGUN: &str = "the disk is mounted";

pub(crate) async fn child() {
    println!("{BEGUN}");
    let disk = std::path::PathBuf::from(std::env::var_os(DISK).unwrap());
    let config = || DatabaseConfig::sqlite(disk.join("a.db")).unwrap();
    let store = Store::open(config()).await.unwrap();
    let owl = store.bots().create(a_bot("owl")).await.unwrap().id;
    let ballast = disk.join("ballast");
    std::fs::write(&ballast, vec![1; 18 << 20]).unwrap();
    let mut all = vec![];
    for round in 0..6 {
        all.extend(burst(&store, owl, round).await);
    }
    let refused = all.iter().filter(|told| told.outcome.is_err()).collect::<Vec<_>>();
    for told in &refused {
        assert!(full(told), "{}: {:?}", told.name, told.outcome);
    }
    assert!(refused.len() > 6, "{} of {} were refused", refused.len(), all.len());
    agrees(&Store::open(config()).await.unwrap(), owl, &all).await;
    std::fs::remove_file(ballast).unwrap();
    a_bot_with(&store, "after", "x").await.unwrap();
    store.close().await.unwrap();
    let again = Store::open(config()).await.unwrap();
    agrees(&again, owl, &all).await;
    assert!(slugs(&again).await.contains(&"after".to_owned()));
}
