//! The repository of `docs/adding-a-repository.md` at work, on both databases.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::process::ExitCode;

use examples::notes::{Migrator, NewNote, NoteRepository, WithNotes};
use store::prelude::*;
use store::testkit::{Suite, Template, TestDatabase};
use store::{BotRepository, ErrorKind};

store::testkit::tests! {
    on_both: [
        what_is_added_is_listed_newest_first,
        notes_go_with_their_bot,
        a_note_and_its_bot_are_one_transaction,
        what_is_wrong_is_told,
    ],
    without_database: [the_guide_shows_the_code_that_is_tested],
}

fn main() -> ExitCode {
    let schema = Template::new("bot_notes", async |config| {
        let store = Store::open(config).await?;
        store.migrate::<Migrator>().await?;
        store.close().await
    });
    Suite::new(schema).tests(tests()).run()
}

async fn a_bot(on: &impl Repositories) -> store::Result<Bot> {
    on.bots().create(NewBot::new(Slug::new("owl")?, "Owl")).await
}

fn note(bot: &Bot, body: &str) -> NewNote {
    NewNote {
        bot_id: bot.id,
        body: body.to_owned(),
    }
}

async fn what_is_added_is_listed_newest_first(db: TestDatabase) -> store::Result<()> {
    let store = db.store().await;
    let bot = a_bot(&store).await?;
    for body in ["first", "second", "third"] {
        let added = store.notes().add(note(&bot, body)).await?;
        assert_eq!(store.notes().list(bot.id, PageRequest::first(1)).await?.items, [added]);
    }
    let first = store.notes().list(bot.id, PageRequest::first(2)).await?;
    let second = store
        .notes()
        .list(bot.id, PageRequest::after(first.next.unwrap(), 2))
        .await?;
    let bodies: Vec<_> = first
        .items
        .iter()
        .chain(&second.items)
        .map(|note| note.body.as_str())
        .collect();
    assert_eq!(bodies, ["third", "second", "first"]);
    assert_eq!(second.next, None);
    Ok(())
}

async fn notes_go_with_their_bot(db: TestDatabase) -> store::Result<()> {
    let store = db.store().await;
    let bot = a_bot(&store).await?;
    store.notes().add(note(&bot, "gone soon")).await?;
    store.bots().delete(bot.id).await?;
    assert!(
        store
            .notes()
            .list(bot.id, PageRequest::default())
            .await?
            .items
            .is_empty()
    );
    Ok(())
}

async fn a_note_and_its_bot_are_one_transaction(db: TestDatabase) -> store::Result<()> {
    let store = db.store().await;
    let work = |tx: Tx| async move {
        let bot = a_bot(&tx).await?;
        tx.notes().add(note(&bot, "kept with the bot or not at all")).await?;
        tx.notes().add(note(&bot, " ")).await
    };
    let error = store.transaction(work).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(store.bots().get_by_slug(&Slug::new("owl")?).await?.is_none());
    Ok(())
}

async fn what_is_wrong_is_told(db: TestDatabase) -> store::Result<()> {
    let store = db.store().await;
    let bot = a_bot(&store).await?;
    let added = store.notes().add(note(&bot, "one")).await?;
    store.notes().delete(added.id).await?;
    let gone = store.notes().delete(added.id).await.unwrap_err();
    assert_eq!(
        (gone.kind(), gone.entity(), gone.operation()),
        (ErrorKind::NotFound, Some("note"), Some("delete"))
    );

    store.bots().delete(bot.id).await?;
    let orphan = store.notes().add(note(&bot, "two")).await.unwrap_err();
    assert_eq!(orphan.kind(), ErrorKind::ForeignKey);

    let foreign = store.bots().list(BotFilter::default(), PageRequest::first(1)).await?;
    assert_eq!(foreign.next, None);
    let cursor = store::Cursor::new("another list", vec![bot.id.0.into()]);
    let error = store
        .notes()
        .list(bot.id, PageRequest::after(cursor, 1))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    Ok(())
}

/// Every block of Rust in the guide stands in these files, word for word.
async fn the_guide_shows_the_code_that_is_tested() {
    let code = [
        include_str!("../src/notes/entity.rs"),
        include_str!("../src/notes/migration.rs"),
        include_str!("../src/notes/contract.rs"),
        include_str!("../src/notes/sql.rs"),
        include_str!("notes.rs"),
    ];
    let guide = include_str!("../../docs/adding-a-repository.md");
    let blocks: Vec<_> = guide
        .split("```")
        .skip(1)
        .step_by(2)
        .filter_map(|block| block.strip_prefix("rust"))
        .collect();
    assert!(blocks.len() >= 5, "{} blocks", blocks.len());
    for block in blocks {
        let (_, block) = block.split_once('\n').unwrap();
        assert!(
            code.iter().any(|file| file.contains(block.trim_end())),
            "not in examples/src/notes:\n{block}"
        );
    }
}
