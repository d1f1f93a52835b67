//! Files and their versions.

use std::time::Duration;

use super::{World, a_bot, cases, nowhere, pages, refused};
use crate::ErrorKind;
use crate::contract::*;

cases![
    what_save_returns_a_later_read_returns,
    a_file_is_found_by_name_and_by_id,
    the_first_version_is_kept_too,
    a_second_file_of_a_name_is_a_conflict,
    two_bots_may_have_a_file_of_one_name,
    an_unknown_bot_is_a_foreign_key_error,
    bump_counts_a_version_and_keeps_it,
    bump_of_a_missing_file_is_not_found,
    many_who_bump_at_once_make_as_many_versions,
    set_indexed_changes_that_alone,
    set_indexed_of_a_missing_file_is_not_found,
    files_are_listed_by_name,
    file_pages_are_stable_while_files_come_and_go,
    versions_are_listed_newest_first,
    delete_takes_the_versions_along,
    delete_of_a_missing_file_is_not_found,
    deleting_a_bot_deletes_its_files,
    negative_sizes_are_refused,
    nul_is_refused_in_every_text_field,
    limits_and_cursors_of_others_are_refused,
    text_round_trips,
];

fn filename(text: &str) -> FileName {
    FileName::new(text).unwrap()
}

async fn bot<W: World>(store: &W, slug: &str) -> BotId {
    store.bots().create(a_bot(slug)).await.unwrap().id
}

/// Saves a file of ten bytes.
async fn save<W: World>(store: &W, bot: BotId, name: &str) -> BotFile {
    store
        .files()
        .save_file(bot, NewFile::new(filename(name), 10))
        .await
        .unwrap()
}

/// The names of a bot's files, page by page.
async fn names<W: World>(store: &W, bot: BotId, limit: u32) -> Vec<String> {
    let files = store.files();
    let listed = pages(limit, |page| files.list(bot, page)).await;
    listed.into_iter().map(|file| file.filename.into()).collect()
}

/// The number and size of each of a file's versions, newest first.
async fn versions<W: World>(store: &W, file: FileId) -> Vec<(i64, i64)> {
    let page = store
        .files()
        .versions(file, PageRequest::first(PageRequest::MAX))
        .await
        .unwrap();
    page.items
        .iter()
        .map(|version| (version.version, version.size_bytes))
        .collect()
}

async fn what_save_returns_a_later_read_returns<W: World>(store: W) {
    let bot = bot(&store, "owl").await;
    let new = NewFile {
        filename: filename("a/b.md"),
        mime_type: "text/markdown".into(),
        size_bytes: i64::MAX,
    };
    let saved = store.files().save_file(bot, new).await.unwrap();
    assert_eq!((saved.bot_id, saved.filename.as_str()), (bot, "a/b.md"));
    assert_eq!(
        (saved.mime_type.as_str(), saved.size_bytes),
        ("text/markdown", i64::MAX)
    );
    assert_eq!((saved.version, saved.is_indexed), (1, false));
    assert_eq!(saved.created_at, saved.updated_at);
    assert_eq!(
        saved.created_at.timestamp_subsec_nanos() % 1000,
        0,
        "cut to microseconds"
    );
    assert_eq!(store.files().get_by_id(saved.id).await.unwrap(), Some(saved));
    assert_eq!(save(&store, bot, "plain").await.mime_type, "application/octet-stream");
}

async fn a_file_is_found_by_name_and_by_id<W: World>(store: W) {
    let bot = bot(&store, "owl").await;
    let saved = save(&store, bot, "a").await;
    save(&store, bot, "b").await;
    assert_eq!(
        store.files().get(bot, &filename("a")).await.unwrap(),
        Some(saved.clone())
    );
    assert_eq!(store.files().get_by_id(saved.id).await.unwrap(), Some(saved));
    assert_eq!(store.files().get(bot, &filename("A")).await.unwrap(), None);
    assert_eq!(store.files().get(nowhere(), &filename("a")).await.unwrap(), None);
    assert_eq!(store.files().get_by_id(nowhere()).await.unwrap(), None);
}

async fn the_first_version_is_kept_too<W: World>(store: W) {
    let bot = bot(&store, "owl").await;
    let saved = save(&store, bot, "a").await;
    let kept = store
        .files()
        .versions(saved.id, PageRequest::default())
        .await
        .unwrap()
        .items;
    assert_eq!(kept.len(), 1);
    assert_eq!(
        (kept[0].file_id, kept[0].version, kept[0].size_bytes),
        (saved.id, 1, 10)
    );
    assert_eq!(kept[0].created_at, saved.created_at);
}

async fn a_second_file_of_a_name_is_a_conflict<W: World>(store: W) {
    let bot = bot(&store, "owl").await;
    let first = save(&store, bot, "a").await;
    let second = store.files().save_file(bot, NewFile::new(filename("a"), 20)).await;
    refused(second, ErrorKind::Conflict, Some("uq_bot_files_bot_id_filename"));
    assert_eq!(
        store.files().get(bot, &filename("a")).await.unwrap(),
        Some(first.clone())
    );
    assert_eq!(versions(&store, first.id).await, [(1, 10)]);
    assert_eq!(names(&store, bot, 10).await, ["a"]);
}

async fn two_bots_may_have_a_file_of_one_name<W: World>(store: W) {
    let (owl, bat) = (bot(&store, "owl").await, bot(&store, "bat").await);
    let owls = save(&store, owl, "a").await;
    let bats = save(&store, bat, "a").await;
    assert_eq!(store.files().get(owl, &filename("a")).await.unwrap(), Some(owls));
    assert_eq!(store.files().get(bat, &filename("a")).await.unwrap(), Some(bats));
}

async fn an_unknown_bot_is_a_foreign_key_error<W: World>(store: W) {
    let nobody: BotId = nowhere();
    let orphan = store.files().save_file(nobody, NewFile::new(filename("a"), 1)).await;
    refused(orphan, ErrorKind::ForeignKey, Some("fk_bot_files_bot_id"));
    assert_eq!(store.files().get(nobody, &filename("a")).await.unwrap(), None);
}

async fn bump_counts_a_version_and_keeps_it<W: World>(store: W) {
    let bot = bot(&store, "owl").await;
    let other = save(&store, bot, "b").await;
    let saved = save(&store, bot, "a").await;
    store.files().set_indexed(saved.id, true).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2)).await;
    let bumped = store.files().bump(saved.id, 0).await.unwrap();
    assert!(bumped.updated_at > saved.updated_at);
    let expected = BotFile {
        size_bytes: 0,
        version: 2,
        is_indexed: true,
        updated_at: bumped.updated_at,
        ..saved.clone()
    };
    assert_eq!(bumped, expected);
    assert_eq!(store.files().get_by_id(saved.id).await.unwrap(), Some(bumped.clone()));
    let kept = store
        .files()
        .versions(saved.id, PageRequest::default())
        .await
        .unwrap()
        .items;
    assert_eq!(
        (kept[0].version, kept[0].size_bytes, kept[0].created_at),
        (2, 0, bumped.updated_at)
    );
    assert_eq!(versions(&store, saved.id).await, [(2, 0), (1, 10)]);
    assert_eq!(store.files().get_by_id(other.id).await.unwrap(), Some(other));
}

async fn bump_of_a_missing_file_is_not_found<W: World>(store: W) {
    let missing: FileId = nowhere();
    let error = refused(store.files().bump(missing, 1).await, ErrorKind::NotFound, None);
    assert!(error.to_string().contains(&missing.to_string()), "{error}");
    assert_eq!(versions(&store, missing).await, []);
}

async fn many_who_bump_at_once_make_as_many_versions<W: World>(store: W) {
    let bot = bot(&store, "owl").await;
    let file = save(&store, bot, "a").await.id;
    let tasks = (0..12).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut bumped = vec![];
            for n in 0..4 {
                bumped.push(store.files().bump(file, n).await.unwrap().version);
            }
            bumped
        })
    });
    let mut bumped = vec![];
    for task in tasks.collect::<Vec<_>>() {
        bumped.extend(task.await.unwrap());
    }
    bumped.sort_unstable();
    assert_eq!(bumped, (2..=49).collect::<Vec<_>>(), "each has its own number");
    let kept = versions(&store, file).await;
    assert_eq!(
        kept.iter().map(|kept| kept.0).collect::<Vec<_>>(),
        (1..=49).rev().collect::<Vec<_>>()
    );
    let file = store.files().get_by_id(file).await.unwrap().unwrap();
    assert_eq!((file.version, file.size_bytes), kept[0]);
}

async fn set_indexed_changes_that_alone<W: World>(store: W) {
    let bot = bot(&store, "owl").await;
    let saved = save(&store, bot, "a").await;
    let other = save(&store, bot, "b").await;
    tokio::time::sleep(Duration::from_millis(2)).await;
    for indexed in [true, true, false] {
        let file = store.files().set_indexed(saved.id, indexed).await.unwrap();
        assert!(file.updated_at > saved.updated_at);
        let expected = BotFile {
            is_indexed: indexed,
            updated_at: file.updated_at,
            ..saved.clone()
        };
        assert_eq!(file, expected);
        assert_eq!(store.files().get_by_id(saved.id).await.unwrap(), Some(file));
    }
    assert_eq!(versions(&store, saved.id).await, [(1, 10)]);
    assert_eq!(store.files().get_by_id(other.id).await.unwrap(), Some(other));
}

async fn set_indexed_of_a_missing_file_is_not_found<W: World>(store: W) {
    refused(
        store.files().set_indexed(nowhere(), true).await,
        ErrorKind::NotFound,
        None,
    );
}

async fn files_are_listed_by_name<W: World>(store: W) {
    let (owl, bat) = (bot(&store, "owl").await, bot(&store, "bat").await);
    for name in ["b", "ä", "A", "a/b", "a", "日本", "a-b", "_"] {
        save(&store, owl, name).await;
    }
    save(&store, bat, "c").await;
    let sorted = ["A", "_", "a", "a-b", "a/b", "b", "ä", "日本"];
    for limit in [1, 3, 8, 100] {
        assert_eq!(names(&store, owl, limit).await, sorted, "{limit}");
    }
    assert_eq!(names(&store, nowhere(), 10).await, [""; 0]);
}

async fn file_pages_are_stable_while_files_come_and_go<W: World>(store: W) {
    let bot = bot(&store, "owl").await;
    for name in ["b", "d", "f", "h", "j"] {
        save(&store, bot, name).await;
    }
    let first = store.files().list(bot, PageRequest::first(2)).await.unwrap();
    // A new one in front, the cursor's own file gone, one gone from behind, a new one behind.
    save(&store, bot, "a").await;
    save(&store, bot, "g").await;
    store.files().delete(first.items[1].id).await.unwrap();
    let gone = store.files().get(bot, &filename("h")).await.unwrap().unwrap();
    store.files().delete(gone.id).await.unwrap();
    let cursor = first.next.unwrap().to_string().parse().unwrap();
    let second = store.files().list(bot, PageRequest::after(cursor, 10)).await.unwrap();
    let seen = second
        .items
        .iter()
        .map(|file| file.filename.as_str())
        .collect::<Vec<_>>();
    assert_eq!(seen, ["f", "g", "j"]);
    assert_eq!(second.next, None);
}

async fn versions_are_listed_newest_first<W: World>(store: W) {
    let bot = bot(&store, "owl").await;
    let file = save(&store, bot, "a").await.id;
    let other = save(&store, bot, "b").await.id;
    for size in 1..5 {
        store.files().bump(file, size).await.unwrap();
        store.files().bump(other, size).await.unwrap();
    }
    let first = store.files().versions(file, PageRequest::first(3)).await.unwrap();
    let next = PageRequest::after(first.next.unwrap(), 3);
    let second = store.files().versions(file, next).await.unwrap();
    assert_eq!(second.next, None);
    let all = [first.items, second.items].concat();
    assert!(all.iter().all(|version| version.file_id == file));
    assert_eq!(all.iter().map(|kept| kept.version).collect::<Vec<_>>(), [5, 4, 3, 2, 1]);
}

async fn delete_takes_the_versions_along<W: World>(store: W) {
    let bot = bot(&store, "owl").await;
    let file = save(&store, bot, "a").await.id;
    let other = save(&store, bot, "b").await.id;
    store.files().bump(file, 1).await.unwrap();
    store.files().delete(file).await.unwrap();
    assert_eq!(store.files().get_by_id(file).await.unwrap(), None);
    assert_eq!(versions(&store, file).await, []);
    assert_eq!(versions(&store, other).await, [(1, 10)]);
    // The name is free again, and its file a new one.
    let again = save(&store, bot, "a").await;
    assert_ne!(again.id, file);
    assert_eq!(again.version, 1);
}

async fn delete_of_a_missing_file_is_not_found<W: World>(store: W) {
    let bot = bot(&store, "owl").await;
    let file = save(&store, bot, "a").await.id;
    store.files().delete(file).await.unwrap();
    refused(store.files().delete(file).await, ErrorKind::NotFound, None);
}

async fn deleting_a_bot_deletes_its_files<W: World>(store: W) {
    let (owl, bat) = (bot(&store, "owl").await, bot(&store, "bat").await);
    let owls = save(&store, owl, "a").await.id;
    let bats = save(&store, bat, "a").await.id;
    store.bots().delete(owl).await.unwrap();
    assert_eq!(store.files().get_by_id(owls).await.unwrap(), None);
    assert_eq!(versions(&store, owls).await, []);
    assert_eq!(versions(&store, bats).await, [(1, 10)]);
    assert_eq!(names(&store, bat, 10).await, ["a"]);
}

async fn negative_sizes_are_refused<W: World>(store: W) {
    let bot = bot(&store, "owl").await;
    let saved = save(&store, bot, "a").await;
    for size in [-1, i64::MIN] {
        let negative = store.files().save_file(bot, NewFile::new(filename("b"), size)).await;
        let error = refused(negative, ErrorKind::InvalidInput, None);
        assert!(error.to_string().contains("size_bytes"), "{error}");
        refused(store.files().bump(saved.id, size).await, ErrorKind::InvalidInput, None);
    }
    assert_eq!(store.files().get_by_id(saved.id).await.unwrap(), Some(saved));
    assert_eq!(names(&store, bot, 10).await, ["a"]);
}

async fn nul_is_refused_in_every_text_field<W: World>(store: W) {
    let bot = bot(&store, "owl").await;
    for mime_type in ["a\0", "", " "] {
        let new = NewFile {
            mime_type: mime_type.into(),
            ..NewFile::new(filename("a"), 1)
        };
        let error = refused(store.files().save_file(bot, new).await, ErrorKind::InvalidInput, None);
        assert!(error.to_string().contains("mime_type"), "{error}");
    }
    for text in ["", "a\0", &"x".repeat(513)] {
        let error = refused(FileName::new(text), ErrorKind::InvalidInput, None);
        assert!(error.to_string().contains("filename"), "{error}");
    }
    assert_eq!(names(&store, bot, 10).await, [""; 0]);
}

async fn limits_and_cursors_of_others_are_refused<W: World>(store: W) {
    let bot = bot(&store, "owl").await;
    let file = save(&store, bot, "a").await.id;
    for limit in [0, PageRequest::MAX + 1] {
        let outcome = store.files().list(bot, PageRequest::first(limit)).await;
        refused(outcome, ErrorKind::InvalidInput, None);
        let outcome = store.files().versions(file, PageRequest::first(limit)).await;
        refused(outcome, ErrorKind::InvalidInput, None);
    }
    store.files().bump(file, 1).await.unwrap();
    let page = store.files().versions(file, PageRequest::first(1)).await.unwrap();
    let outcome = store.files().list(bot, PageRequest::after(page.next.unwrap(), 1)).await;
    refused(outcome, ErrorKind::InvalidInput, None);
}

async fn text_round_trips<W: World>(store: W) {
    let bot = bot(&store, "owl").await;
    for text in [
        "'; DROP TABLE bot_files; --",
        "..\\../\n\"",
        "日本 👩‍👩‍👧 \u{feff}\u{1}",
        "%_*?[]",
        &"ä".repeat(256),
    ] {
        let new = NewFile {
            mime_type: text.into(),
            ..NewFile::new(filename(text), 1)
        };
        let saved = store.files().save_file(bot, new).await.unwrap();
        assert_eq!((saved.filename.as_str(), saved.mime_type.as_str()), (text, text));
        assert_eq!(store.files().get(bot, &filename(text)).await.unwrap(), Some(saved));
    }
}
