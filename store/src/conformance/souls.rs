//! Souls.

use std::collections::BTreeSet;

use super::{World, a_bot, cases, nowhere, pages, refused};
use crate::ErrorKind;
use crate::contract::*;

cases![
    the_first_version_is_1_and_reads_back_as_it_was_saved,
    the_hash_is_sha_256_in_hexadecimal,
    each_version_is_counted_in_its_bot,
    concurrent_savers_get_different_versions_without_gaps,
    an_unknown_bot_is_not_found_and_nothing_is_written,
    what_is_not_there_is_none,
    versions_are_found_by_number,
    versions_are_listed_newest_first_in_pages,
    a_list_of_versions_has_no_texts,
    a_cursor_of_another_list_is_refused,
    nul_is_refused_and_the_field_named,
    a_text_of_five_megabytes_round_trips,
    versions_go_with_their_bot,
];

async fn the_first_version_is_1_and_reads_back_as_it_was_saved<W: World>(store: W) {
    let bot = store.bots().create(a_bot("owl")).await.unwrap();
    let content = "Be kind.\n\n\tBe 親切.\r\n'; DROP TABLE bots; --";
    let saved = store
        .souls()
        .save_version(bot.id, NewSoul::new(content).because("the first — 'draft'"))
        .await
        .unwrap();
    assert_eq!(
        (saved.version, saved.bot_id, saved.content.as_str()),
        (1, bot.id, content)
    );
    assert_eq!(saved.message.as_deref(), Some("the first — 'draft'"));
    assert_eq!(saved.hash, SoulVersion::hash_of(content));
    assert_eq!(
        saved.created_at.timestamp_subsec_nanos() % 1000,
        0,
        "cut to microseconds"
    );
    assert_eq!(store.souls().get_current(bot.id).await.unwrap(), Some(saved.clone()));
    assert_eq!(store.souls().get_version(bot.id, 1).await.unwrap(), Some(saved));
}

/// The vectors of FIPS 180-2, appendix B, and of the empty text.
async fn the_hash_is_sha_256_in_hexadecimal<W: World>(store: W) {
    let bot = store.bots().create(a_bot("owl")).await.unwrap();
    for (content, hash) in [
        (
            "abc",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ] {
        let saved = store.souls().save_version(bot.id, NewSoul::new(content)).await.unwrap();
        assert_eq!(saved.hash, hash);
        assert_eq!(saved.message, None);
        assert_eq!(
            store.souls().get_stored_hash(bot.id).await.unwrap().as_deref(),
            Some(hash)
        );
    }
}

async fn each_version_is_counted_in_its_bot<W: World>(store: W) {
    let owl = store.bots().create(a_bot("owl")).await.unwrap();
    let bat = store.bots().create(a_bot("bat")).await.unwrap();
    for version in 1..=3 {
        let saved = store
            .souls()
            .save_version(owl.id, NewSoul::new("the same text"))
            .await
            .unwrap();
        assert_eq!(saved.version, version, "an equal text is saved as well");
        let counted = store.bots().get(owl.id).await.unwrap().unwrap();
        // The same instant: the bot was changed in the version's own transaction.
        let expected = Bot {
            version_count: version,
            updated_at: saved.created_at,
            ..owl.clone()
        };
        assert_eq!(counted, expected);
    }
    assert_eq!(store.bots().get(bat.id).await.unwrap(), Some(bat));
}

async fn concurrent_savers_get_different_versions_without_gaps<W: World>(store: W) {
    savers_at_once(&[store]).await;
}

/// Sixteen that save at once, in one world or in several that are on the same database.
pub async fn savers_at_once(stores: &[impl World]) {
    let bot = stores[0].bots().create(a_bot("owl")).await.unwrap();
    let savers = (0..16).map(|n| {
        let store = stores[n % stores.len()].clone();
        tokio::spawn(async move {
            store
                .souls()
                .save_version(bot.id, NewSoul::new(format!("text {n}")))
                .await
        })
    });
    let mut versions = BTreeSet::new();
    for saver in savers.collect::<Vec<_>>() {
        let saved = saver.await.unwrap().unwrap();
        assert!(versions.insert(saved.version), "version {} twice", saved.version);
        assert_eq!(
            stores[0].souls().get_version(bot.id, saved.version).await.unwrap(),
            Some(saved)
        );
    }
    assert_eq!(versions, (1..=16).collect());
    assert_eq!(stores[0].bots().get(bot.id).await.unwrap().unwrap().version_count, 16);
}

async fn an_unknown_bot_is_not_found_and_nothing_is_written<W: World>(store: W) {
    let nobody: BotId = nowhere();
    let error = refused(
        store.souls().save_version(nobody, NewSoul::new("text")).await,
        ErrorKind::NotFound,
        None,
    );
    assert_eq!((error.entity(), error.operation()), (Some("bot"), Some("save_version")));
    assert!(error.to_string().contains(&nobody.to_string()), "{error}");
    assert_eq!(store.souls().get_current(nobody).await.unwrap(), None);
    assert!(
        store
            .souls()
            .list_versions(nobody, PageRequest::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
}

async fn what_is_not_there_is_none<W: World>(store: W) {
    let bot = store.bots().create(a_bot("owl")).await.unwrap();
    let souls = store.souls();
    for id in [bot.id, nowhere()] {
        assert_eq!(souls.get_current(id).await.unwrap(), None);
        assert_eq!(souls.get_stored_hash(id).await.unwrap(), None);
        for version in [i64::MIN, -1, 0, 1, i64::MAX] {
            assert_eq!(souls.get_version(id, version).await.unwrap(), None);
        }
    }
}

async fn versions_are_found_by_number<W: World>(store: W) {
    let owl = store.bots().create(a_bot("owl")).await.unwrap();
    let bat = store.bots().create(a_bot("bat")).await.unwrap();
    for text in ["one", "two", "three"] {
        store.souls().save_version(owl.id, NewSoul::new(text)).await.unwrap();
    }
    store
        .souls()
        .save_version(bat.id, NewSoul::new("the bat's"))
        .await
        .unwrap();
    let second = store.souls().get_version(owl.id, 2).await.unwrap().unwrap();
    assert_eq!((second.version, second.content.as_str()), (2, "two"));
    let current = store.souls().get_current(owl.id).await.unwrap().unwrap();
    assert_eq!((current.version, current.content.as_str()), (3, "three"));
    assert_eq!(
        store.souls().get_stored_hash(owl.id).await.unwrap(),
        Some(SoulVersion::hash_of("three"))
    );
    assert_eq!(store.souls().get_version(bat.id, 2).await.unwrap(), None);
}

async fn versions_are_listed_newest_first_in_pages<W: World>(store: W) {
    let owl = store.bots().create(a_bot("owl")).await.unwrap();
    let bat = store.bots().create(a_bot("bat")).await.unwrap();
    store
        .souls()
        .save_version(bat.id, NewSoul::new("the bat's"))
        .await
        .unwrap();
    // More than ten: text order would put 10 before 9.
    for n in 1..=11 {
        store
            .souls()
            .save_version(owl.id, NewSoul::new(format!("text {n}")))
            .await
            .unwrap();
    }
    let souls = store.souls();
    for limit in [1, 4, 11, 50] {
        let listed = pages(limit, |page| souls.list_versions(owl.id, page)).await;
        let versions = listed.iter().map(|summary| summary.version).collect::<Vec<_>>();
        assert_eq!(versions, (1..=11).rev().collect::<Vec<_>>(), "{limit} a page");
    }
    // One saved while somebody leafs through is not met again, and hides nothing.
    let first = souls.list_versions(owl.id, PageRequest::first(5)).await.unwrap();
    souls.save_version(owl.id, NewSoul::new("text 12")).await.unwrap();
    let second = souls
        .list_versions(owl.id, PageRequest::after(first.next.unwrap(), 50))
        .await
        .unwrap();
    assert_eq!(
        second.items.iter().map(|summary| summary.version).collect::<Vec<_>>(),
        [6, 5, 4, 3, 2, 1]
    );
    assert_eq!(second.next, None);
    for limit in [0, PageRequest::MAX + 1] {
        refused(
            souls.list_versions(owl.id, PageRequest::first(limit)).await,
            ErrorKind::InvalidInput,
            None,
        );
    }
}

async fn a_list_of_versions_has_no_texts<W: World>(store: W) {
    let bot = store.bots().create(a_bot("owl")).await.unwrap();
    let saved = store
        .souls()
        .save_version(bot.id, NewSoul::new("CONTENT").because("why"))
        .await
        .unwrap();
    let listed = store
        .souls()
        .list_versions(bot.id, PageRequest::default())
        .await
        .unwrap();
    let SoulVersion {
        id,
        bot_id,
        hash,
        version,
        message,
        created_at,
        ..
    } = saved;
    assert_eq!(
        listed.items,
        [SoulSummary {
            id,
            bot_id,
            hash,
            version,
            message,
            created_at
        }]
    );
    let json = serde_json::to_string(&listed).unwrap();
    assert!(json.contains("why") && !json.contains("CONTENT"), "{json}");
}

async fn a_cursor_of_another_list_is_refused<W: World>(store: W) {
    for name in ["a", "b"] {
        store.bots().create(a_bot(name)).await.unwrap();
    }
    let bots = store
        .bots()
        .list(BotFilter::default(), PageRequest::first(1))
        .await
        .unwrap();
    let request = PageRequest::after(bots.next.unwrap(), 1);
    let error = refused(
        store.souls().list_versions(bots.items[0].id, request).await,
        ErrorKind::InvalidInput,
        None,
    );
    assert!(error.to_string().contains("cursor"), "{error}");
}

async fn nul_is_refused_and_the_field_named<W: World>(store: W) {
    let bot = store.bots().create(a_bot("owl")).await.unwrap();
    for (field, soul) in [
        ("content", NewSoul::new("a\0b")),
        ("message", NewSoul::new("fine").because("a\0b")),
    ] {
        let error = refused(
            store.souls().save_version(bot.id, soul).await,
            ErrorKind::InvalidInput,
            None,
        );
        assert!(error.to_string().contains(field), "{error}");
    }
    assert_eq!(store.souls().get_current(bot.id).await.unwrap(), None);
    assert_eq!(store.bots().get(bot.id).await.unwrap(), Some(bot));
}

async fn a_text_of_five_megabytes_round_trips<W: World>(store: W) {
    let bot = store.bots().create(a_bot("owl")).await.unwrap();
    // No run of it is like another, so that a lost or doubled part would show.
    let mut content = String::with_capacity(5_000_020);
    let mut n = 0_u32;
    while content.len() < 5_000_000 {
        content.push_str(&format!("{n} ü\n"));
        n += 1;
    }
    let saved = store
        .souls()
        .save_version(bot.id, NewSoul::new(content.clone()))
        .await
        .unwrap();
    let read = store.souls().get_current(bot.id).await.unwrap().unwrap();
    assert!(
        read.content == content,
        "{} bytes came back of {}",
        read.content.len(),
        content.len()
    );
    assert_eq!(read, saved);
}

async fn versions_go_with_their_bot<W: World>(store: W) {
    let owl = store.bots().create(a_bot("owl")).await.unwrap();
    let bat = store.bots().create(a_bot("bat")).await.unwrap();
    for bot in [owl.id, owl.id, bat.id] {
        store.souls().save_version(bot, NewSoul::new("text")).await.unwrap();
    }
    store.bots().delete(owl.id).await.unwrap();
    assert_eq!(store.souls().get_current(owl.id).await.unwrap(), None);
    assert!(
        store
            .souls()
            .list_versions(owl.id, PageRequest::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    assert_eq!(store.souls().get_current(bat.id).await.unwrap().unwrap().version, 1);
}
