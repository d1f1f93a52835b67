//! Walks through lists, page after page.

use std::sync::Arc;

use futures_util::{Stream, StreamExt, TryStreamExt};
use store::prelude::*;
use store::testkit::TestDatabase;

use crate::support::{a_bot, open, refused, slug};

store::testkit::tests![
    a_walk_answers_every_row_once_and_in_order,
    a_walk_asks_for_a_page_when_it_needs_one,
    rows_come_and_go_under_a_walk,
    a_walk_ends_at_the_first_error,
    a_walk_holds_no_connection,
    a_walk_in_a_transaction_sees_what_the_transaction_sees,
    a_dropped_wait_loses_no_item_and_holds_no_connection,
    a_walk_goes_to_another_task,
];

/// Entries about one memory, whose details are their numbers.
async fn entries(store: &Store, numbers: std::ops::Range<i64>) -> (MemoryId, Vec<AuditEntry>) {
    let memory = MemoryId::new("memory").unwrap();
    let entry = |n: i64| NewAuditEntry {
        bot_id: uuid::Uuid::from_u128(1).into(),
        memory_id: memory.clone(),
        action: AuditAction::Add,
        actor: "test".into(),
        details: Some(n.into()),
    };
    let logged = store.audit().log_many(numbers.map(entry).collect()).await.unwrap();
    (memory, logged)
}

async fn bots(store: &Store, slugs: &[&str]) -> Vec<BotId> {
    let mut ids = vec![];
    for slug in slugs {
        ids.push(store.bots().create(a_bot(slug)).await.unwrap().id);
    }
    ids
}

fn by_name() -> BotFilter {
    BotFilter {
        order: BotOrder::Name,
        direction: Direction::Ascending,
        ..BotFilter::default()
    }
}

async fn a_walk_answers_every_row_once_and_in_order(db: TestDatabase) {
    let store = open(&db).await;
    let audit = store.audit();
    let nothing = MemoryId::new("nothing").unwrap();
    let mut empty = walk(|page| audit.for_memory(&nothing, page));
    assert_eq!(empty.try_next().await.unwrap(), None);
    assert_eq!(empty.try_next().await.unwrap(), None);

    let (memory, mut expected) = entries(&store, 0..2_345).await;
    expected.reverse();
    let all = walk(|page| audit.for_memory(&memory, page));
    assert_eq!(all.try_collect::<Vec<_>>().await.unwrap(), expected);
    for limit in [7, 335, 1_000] {
        let all = walk_by(limit, |page| audit.for_memory(&memory, page));
        assert_eq!(all.try_collect::<Vec<_>>().await.unwrap(), expected, "{limit} a page");
    }
}

async fn a_walk_asks_for_a_page_when_it_needs_one(db: TestDatabase) {
    let store = open(&db).await;
    let (memory, _) = entries(&store, 0..30).await;
    let audit = store.audit();
    let before = store.metrics().statements;
    let asked = || store.metrics().statements - before;
    let mut ten_a_page = walk_by(10, |page| audit.for_memory(&memory, page));
    assert_eq!(asked(), 0);
    for (items, pages) in [(1, 1), (9, 1), (1, 2), (9, 2), (10, 3)] {
        for _ in 0..items {
            ten_a_page.try_next().await.unwrap().unwrap();
        }
        assert_eq!(asked(), pages);
    }
    assert_eq!(ten_a_page.try_next().await.unwrap(), None);
    assert_eq!(asked(), 3, "the last page says that it is the last");
}

async fn rows_come_and_go_under_a_walk(db: TestDatabase) {
    let store = open(&db).await;
    let ids = bots(&store, &["b", "d", "f", "h", "j", "l"]).await;
    let (reader, mut seen) = (store.bots(), vec![]);
    let mut walk = walk_by(2, |page| reader.list(by_name(), page));
    while let Some(bot) = walk.try_next().await.unwrap() {
        seen.push(bot.name);
        match seen.len() {
            // Behind the walk, the row of its own cursor among them; on the page that it holds; before it.
            2 => {
                for gone in [ids[0], ids[1], ids[4]] {
                    store.bots().delete(gone).await.unwrap();
                }
                bots(&store, &["a", "c", "e", "m"]).await;
            }
            3 => store.bots().delete(ids[2]).await.unwrap(),
            4 => drop(bots(&store, &["ee", "k"]).await),
            _ => {}
        }
    }
    assert_eq!(seen, ["b", "d", "e", "f", "h", "k", "l", "m"]);
}

async fn a_walk_ends_at_the_first_error(db: TestDatabase) {
    let store = open(&db).await;
    bots(&store, &["a", "b", "c"]).await;
    let reader = store.bots();
    for limit in [0, PageRequest::MAX + 1] {
        let mut wrong = walk_by(limit, |page| reader.list(by_name(), page));
        refused(wrong.try_next().await, ErrorKind::InvalidInput, None);
        assert_eq!(wrong.try_next().await.unwrap(), None);
    }
    let mut calls = 0;
    let mut broken = walk_by(2, |page| {
        calls += 1;
        let (reader, works) = (&reader, calls == 1);
        async move {
            match works {
                true => reader.list(by_name(), page).await,
                false => Err(Error::application("no more")),
            }
        }
    });
    assert_eq!(broken.next().await.unwrap().unwrap().name, "a");
    assert_eq!(broken.next().await.unwrap().unwrap().name, "b");
    refused(broken.next().await.unwrap(), ErrorKind::Application, None);
    assert!(broken.next().await.is_none());
    drop(broken);
    assert_eq!(calls, 2, "nothing is asked after an error");
}

async fn a_walk_holds_no_connection(db: TestDatabase) {
    let mut config = db.config();
    config.pool.max_connections = 1;
    let store = Store::open(config).await.unwrap();
    bots(&store, &["a", "b", "c"]).await;
    let reader = store.bots();
    let mut one = walk_by(1, |page| reader.list(by_name(), page));
    let mut other = walk_by(1, |page| reader.list(by_name(), page));
    let mut seen = vec![];
    while let (Some(bot), Some(same)) = (one.try_next().await.unwrap(), other.try_next().await.unwrap()) {
        assert_eq!(bot.id, same.id);
        let renamed = BotChange {
            description: Some("seen".into()),
            ..BotChange::default()
        };
        let renamed = &renamed;
        store
            .transaction(|tx| async move { tx.bots().update(bot.id, renamed.clone()).await })
            .await
            .unwrap();
        seen.push(bot.name);
    }
    assert_eq!(seen, ["a", "b", "c"]);
}

async fn a_walk_in_a_transaction_sees_what_the_transaction_sees(db: TestDatabase) {
    let store = open(&db).await;
    bots(&store, &["a", "b"]).await;
    let tx = store.begin().await.unwrap();
    tx.bots().create(a_bot("c")).await.unwrap();
    let reader = tx.bots();
    let all = walk_by(1, |page| reader.list(by_name(), page));
    let names = all.map_ok(|bot| bot.name).try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(names, ["a", "b", "c"]);
    tx.rollback().await;
}

async fn a_dropped_wait_loses_no_item_and_holds_no_connection(db: TestDatabase) {
    let mut config = db.config();
    config.pool.max_connections = 1;
    config.sqlite.readers = 1;
    let store = Store::open(config).await.unwrap();
    bots(&store, &["a", "b", "c"]).await;
    let (reader, held) = (store.bots(), Arc::new(()));
    let mut all = walk_by(1, |page| {
        let (reader, held) = (&reader, Arc::clone(&held));
        async move {
            let page = reader.list(by_name(), page).await;
            // However fast the database is, nobody gets a page by asking once.
            tokio::task::yield_now().await;
            drop(held);
            page
        }
    });
    let mut seen = vec![];
    for _ in 0..3 {
        for _ in 0..3 {
            let asked = futures_util::poll!(Box::pin(all.try_next()));
            assert!(asked.is_pending());
        }
        assert_eq!(Arc::strong_count(&held), 1, "given up with the wait");
        assert!(store.bots().get_by_slug(&slug("a")).await.unwrap().is_some());
        seen.extend(all.try_next().await.unwrap().map(|bot| bot.name));
    }
    assert_eq!(seen, ["a", "b", "c"]);
    assert_eq!(all.try_next().await.unwrap(), None);
}

async fn a_walk_goes_to_another_task(db: TestDatabase) {
    fn names(store: Store) -> impl Stream<Item = store::Result<String>> + Send + 'static {
        let bots = walk_by(2, move |page| {
            let bots = store.bots();
            async move { bots.list(by_name(), page).await }
        });
        bots.map_ok(|bot| bot.name)
    }
    let store = open(&db).await;
    bots(&store, &["a", "b", "c"]).await;
    let names = tokio::spawn(names(store).try_collect::<Vec<_>>()).await.unwrap();
    assert_eq!(names.unwrap(), ["a", "b", "c"]);
}
