//! Answers that told less, or more, than was so.

use std::time::Duration;

use store::prelude::*;
use store::testkit::TestDatabase;

use super::{Own, Sql, impatient, sql, within};
use crate::support::{at_once, open};

store::testkit::tests![
    a_row_that_a_trigger_leaves_out_is_not_counted,
    a_timeout_after_a_first_write_does_not_say_that_nothing_was_changed,
];

mod words {
    use sea_orm::entity::prelude::*;

    #[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "app_words")]
    pub(super) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) word: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(super) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

async fn say(on: &impl Repositories, word: &str) -> store::Result<u64> {
    use sea_orm::{ActiveModelTrait, EntityTrait, IntoActiveModel};
    let row = words::Model { word: word.to_owned() };
    let insert = words::Entity::insert(row.into_active_model().reset_all());
    let write = |db: store::engine::Operation| async move { db.write(insert).await };
    on.session().run("word", "say", write).await
}

async fn said(on: &impl Repositories) -> Vec<String> {
    use sea_orm::EntityTrait;
    let all = |db: store::engine::Operation| async move { db.all(words::Entity::find()).await };
    let mut words = on.session().run("word", "all", all).await.unwrap();
    words.sort_by(|a, b| a.word.cmp(&b.word));
    words.into_iter().map(|row| row.word).collect()
}

/// Alone, in a transaction, and among many that share a statement or a commit.
async fn a_row_that_a_trigger_leaves_out_is_not_counted(db: TestDatabase) {
    let store = open(&db).await;
    store.migrate::<Own>().await.unwrap();
    assert_eq!(say(&store, "yes").await.unwrap(), 1);
    assert_eq!(say(&store, "no").await.unwrap(), 0);
    let within_one = store.transaction(|tx| async move { Ok((say(&tx, "yes-tx").await?, say(&tx, "no-tx").await?)) });
    assert_eq!(within_one.await.unwrap(), (1, 0));
    let mut wrong = vec![];
    for round in 0..4 {
        let counts = at_once(&store, 64, move |store, task| async move {
            let what = if task % 2 == 0 { "yes" } else { "no" };
            let word = format!("{what}-{round}-{task}");
            let count = say(&store, &word).await.unwrap();
            (word, count)
        });
        let counts = counts.await;
        wrong.extend(
            counts
                .into_iter()
                .filter(|(word, count)| *count != u64::from(word.starts_with("yes"))),
        );
    }
    assert_eq!(said(&store).await.len(), 2 + 4 * 32);
    assert!(wrong.is_empty(), "{} counts are wrong: {wrong:?}", wrong.len());
}

/// `Timeout` is told where the same call may simply be made again. A method of a user's own that writes twice, without
/// `atomic`, has changed something when its time is over in between.
async fn a_timeout_after_a_first_write_does_not_say_that_nothing_was_changed(db: TestDatabase) {
    let store = Store::open(impatient(&db, 400)).await.unwrap();
    within(5_000, store.migrate::<Own>()).await.unwrap();
    let twice = |db: store::engine::Operation| async move {
        db.write(Sql("INSERT INTO app_words (word) VALUES ('one')".into()))
            .await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        db.write(Sql("INSERT INTO app_words (word) VALUES ('two')".into()))
            .await
    };
    let outcome = within(5_000, store.session().run("word", "twice", twice)).await;
    let error = outcome.unwrap_err();
    let left = said(&store).await;
    if !left.is_empty() {
        assert_eq!(error.kind(), ErrorKind::CommitUnknown, "{error} with {left:?} stored");
    }
    // One that reads first, and has changed nothing, may be told so.
    let looks = |db: store::engine::Operation| async move {
        use sea_orm::EntityTrait;
        db.all(words::Entity::find()).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        db.write(Sql("INSERT INTO app_words (word) VALUES ('three')".into()))
            .await
    };
    let outcome = within(5_000, store.session().run("word", "looks", looks)).await;
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(
        sql(&store, "DELETE FROM app_words WHERE word = 'three'").await.unwrap(),
        0
    );
}
