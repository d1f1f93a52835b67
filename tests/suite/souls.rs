//! Souls: what needs more than one store, or a transaction. The rest is `conformance::souls`.

use store::prelude::*;
use store::testkit::TestDatabase;
use store::{Error, ErrorKind, conformance};

use crate::support::{a_bot, open, refused};

store::testkit::tests![
    a_saved_version_is_there_when_the_store_is_opened_again,
    concurrent_savers_of_two_stores_get_different_versions_without_gaps,
    a_save_that_was_rolled_back_leaves_no_gap,
    a_save_inside_a_transaction_is_a_part_of_it,
];

async fn a_saved_version_is_there_when_the_store_is_opened_again(db: TestDatabase) {
    let store = open(&db).await;
    let bot = store.bots().create(a_bot("owl")).await.unwrap();
    let soul = NewSoul::new("Be kind.").because("the first");
    let saved = store.souls().save_version(bot.id, soul).await.unwrap();
    let reopened = open(&db).await;
    assert_eq!(reopened.souls().get_current(bot.id).await.unwrap(), Some(saved.clone()));
    assert_eq!(reopened.souls().get_version(bot.id, 1).await.unwrap(), Some(saved));
}

async fn concurrent_savers_of_two_stores_get_different_versions_without_gaps(db: TestDatabase) {
    conformance::souls::savers_at_once(&[open(&db).await, open(&db).await]).await;
}

async fn a_save_that_was_rolled_back_leaves_no_gap(db: TestDatabase) {
    let store = open(&db).await;
    let bot = store.bots().create(a_bot("owl")).await.unwrap();
    let undone: store::Result<()> = store
        .transaction(|tx| async move {
            assert_eq!(
                tx.souls().save_version(bot.id, NewSoul::new("undone")).await?.version,
                1
            );
            assert_eq!(
                tx.souls()
                    .save_version(bot.id, NewSoul::new("undone too"))
                    .await?
                    .version,
                2
            );
            Err(Error::application("changed my mind"))
        })
        .await;
    refused(undone, ErrorKind::Application, None);
    assert_eq!(store.bots().get(bot.id).await.unwrap(), Some(bot.clone()));
    let saved = store.souls().save_version(bot.id, NewSoul::new("kept")).await.unwrap();
    assert_eq!(saved.version, 1);
    let listed = store
        .souls()
        .list_versions(bot.id, PageRequest::default())
        .await
        .unwrap();
    assert_eq!(listed.items.len(), 1);
}

async fn a_save_inside_a_transaction_is_a_part_of_it(db: TestDatabase) {
    let store = open(&db).await;
    let bot = store.bots().create(a_bot("owl")).await.unwrap();
    let tx = store.begin().await.unwrap();
    let saved = tx.souls().save_version(bot.id, NewSoul::new("text")).await.unwrap();
    assert_eq!(tx.souls().get_current(bot.id).await.unwrap().as_ref(), Some(&saved));
    assert_eq!(
        store.souls().get_current(bot.id).await.unwrap(),
        None,
        "others do not see it yet"
    );
    tx.commit().await.unwrap();
    assert_eq!(store.souls().get_current(bot.id).await.unwrap(), Some(saved));
}
