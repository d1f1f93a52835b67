//! Bots.

use super::{World, a_bot, a_moment, a_user, cases, key, nowhere, pages, refused, slug};
use crate::ErrorKind;
use crate::contract::*;

cases![
    what_create_returns_a_later_read_returns,
    a_bot_is_found_by_id_and_by_slug,
    a_duplicate_slug_is_a_conflict,
    an_unknown_user_is_a_foreign_key_error,
    update_changes_what_it_names_and_nothing_else,
    update_of_a_missing_bot_is_not_found,
    update_to_a_taken_slug_is_a_conflict,
    delete_takes_souls_and_secrets_along,
    delete_of_a_missing_bot_is_not_found,
    a_deleted_users_bots_stay,
    list_filters,
    list_sorts_by_every_order_both_ways,
    names_sort_byte_by_byte,
    pages_are_stable_while_bots_come_and_go,
    a_cursor_is_valid_in_its_own_order_only,
    limits_out_of_range_are_refused,
    nul_is_refused_in_every_text_field,
    a_name_is_at_most_512_bytes_long,
    text_round_trips,
];

async fn what_create_returns_a_later_read_returns<W: World>(store: W) {
    let user = a_user(&store, "a@b.c").await;
    let new = NewBot {
        description: "Sees in the dark".into(),
        status: BotStatus::Disabled,
        category: BotCategory::Research,
        tags: vec!["night".into(), "quiet".into(), "night".into()],
        user_id: Some(user.id),
        ..a_bot("owl")
    };
    let created = store.bots().create(new).await.unwrap();
    assert_eq!(created.slug.as_str(), "owl");
    assert_eq!(created.tags, ["night", "quiet", "night"]);
    assert_eq!(
        (
            created.conversation_count,
            created.total_tokens_used,
            created.version_count
        ),
        (0, 0, 0)
    );
    assert_eq!(created.created_at, created.updated_at);
    assert_eq!(
        created.created_at.timestamp_subsec_nanos() % 1000,
        0,
        "cut to microseconds"
    );
    assert_eq!(created.last_active_at, None);
    assert_eq!(store.bots().get(created.id).await.unwrap(), Some(created.clone()));
}

async fn a_bot_is_found_by_id_and_by_slug<W: World>(store: W) {
    let owl = store.bots().create(a_bot("owl")).await.unwrap();
    store.bots().create(a_bot("bat")).await.unwrap();
    assert_eq!(store.bots().get_by_slug(&slug("owl")).await.unwrap(), Some(owl.clone()));
    assert_eq!(store.bots().get_by_slug(&slug("ow")).await.unwrap(), None);
    store.bots().delete(owl.id).await.unwrap();
    assert_eq!(store.bots().get(owl.id).await.unwrap(), None);
    assert_eq!(store.bots().get_by_slug(&slug("owl")).await.unwrap(), None);
}

async fn a_duplicate_slug_is_a_conflict<W: World>(store: W) {
    let first = store.bots().create(a_bot("owl")).await.unwrap();
    let second = NewBot {
        name: "Another".into(),
        ..a_bot("owl")
    };
    let error = refused(
        store.bots().create(second).await,
        ErrorKind::Conflict,
        Some("uq_bots_slug"),
    );
    assert_eq!((error.entity(), error.operation()), (Some("bot"), Some("create")));
    assert!(!error.is_retryable());
    assert_eq!(store.bots().get(first.id).await.unwrap(), Some(first));
    assert_eq!(slugs(&store.bots()).await, ["owl"]);
}

async fn an_unknown_user_is_a_foreign_key_error<W: World>(store: W) {
    let nobody: UserId = nowhere();
    let orphan = NewBot {
        user_id: Some(nobody),
        ..a_bot("orphan")
    };
    refused(
        store.bots().create(orphan).await,
        ErrorKind::ForeignKey,
        Some("fk_bots_user_id"),
    );
    let bot = store.bots().create(a_bot("owl")).await.unwrap();
    let change = BotChange {
        user_id: Some(Some(nobody)),
        ..BotChange::default()
    };
    refused(
        store.bots().update(bot.id, change).await,
        ErrorKind::ForeignKey,
        Some("fk_bots_user_id"),
    );
    assert_eq!(store.bots().get(bot.id).await.unwrap(), Some(bot));
    assert_eq!(slugs(&store.bots()).await, ["owl"]);
}

async fn update_changes_what_it_names_and_nothing_else<W: World>(store: W) {
    let user = a_user(&store, "a@b.c").await;
    let before = store.bots().create(a_bot("owl")).await.unwrap();
    let other = store.bots().create(a_bot("bat")).await.unwrap();
    a_moment().await;

    let change = BotChange {
        tags: Some(vec!["new".into()]),
        user_id: Some(Some(user.id)),
        ..BotChange::default()
    };
    let after = store.bots().update(before.id, change).await.unwrap();
    assert!(after.updated_at > before.updated_at);
    let expected = Bot {
        tags: vec!["new".into()],
        user_id: Some(user.id),
        updated_at: after.updated_at,
        ..before.clone()
    };
    assert_eq!(after, expected);
    assert_eq!(store.bots().get(before.id).await.unwrap(), Some(after));

    let everything = BotChange {
        slug: Some(slug("eagle-owl")),
        name: Some("Eagle Owl".into()),
        description: Some("Bigger".into()),
        status: Some(BotStatus::Archived),
        category: Some(BotCategory::Utility),
        tags: Some(vec![]),
        user_id: Some(None),
    };
    let after = store.bots().update(before.id, everything).await.unwrap();
    assert_eq!(
        (after.slug.as_str(), after.name.as_str(), after.description.as_str()),
        ("eagle-owl", "Eagle Owl", "Bigger")
    );
    assert_eq!(
        (after.status, after.category),
        (BotStatus::Archived, BotCategory::Utility)
    );
    assert_eq!((after.tags.len(), after.user_id), (0, None));
    assert_eq!(store.bots().get(other.id).await.unwrap(), Some(other));
}

async fn update_of_a_missing_bot_is_not_found<W: World>(store: W) {
    let missing: BotId = nowhere();
    let error = refused(
        store.bots().update(missing, BotChange::default()).await,
        ErrorKind::NotFound,
        None,
    );
    assert!(error.to_string().contains(&missing.to_string()), "{error}");
}

async fn update_to_a_taken_slug_is_a_conflict<W: World>(store: W) {
    store.bots().create(a_bot("owl")).await.unwrap();
    let bat = store.bots().create(a_bot("bat")).await.unwrap();
    let change = BotChange {
        slug: Some(slug("owl")),
        ..BotChange::default()
    };
    refused(
        store.bots().update(bat.id, change).await,
        ErrorKind::Conflict,
        Some("uq_bots_slug"),
    );
    assert_eq!(store.bots().get(bat.id).await.unwrap(), Some(bat));
}

async fn delete_takes_souls_and_secrets_along<W: World>(store: W) {
    let owl = store.bots().create(a_bot("owl")).await.unwrap();
    let bat = store.bots().create(a_bot("bat")).await.unwrap();
    for bot in [owl.id, bat.id] {
        store.souls().save_version(bot, NewSoul::new("Be kind.")).await.unwrap();
        let value = SealedValue::from_sealed(vec![1]);
        store
            .secrets()
            .set(Scope::Bot(bot), &key("k"), value, SecretProvider::Keychain)
            .await
            .unwrap();
    }
    store.bots().delete(owl.id).await.unwrap();
    assert_eq!(store.souls().get_current(owl.id).await.unwrap(), None);
    assert_eq!(store.secrets().get(Scope::Bot(owl.id), &key("k")).await.unwrap(), None);
    assert!(store.souls().get_current(bat.id).await.unwrap().is_some());
    assert!(
        store
            .secrets()
            .get(Scope::Bot(bat.id), &key("k"))
            .await
            .unwrap()
            .is_some()
    );
}

async fn delete_of_a_missing_bot_is_not_found<W: World>(store: W) {
    let owl = store.bots().create(a_bot("owl")).await.unwrap();
    store.bots().delete(owl.id).await.unwrap();
    refused(store.bots().delete(owl.id).await, ErrorKind::NotFound, None);
}

async fn a_deleted_users_bots_stay<W: World>(store: W) {
    let user = a_user(&store, "a@b.c").await;
    let bot = store
        .bots()
        .create(NewBot {
            user_id: Some(user.id),
            ..a_bot("owl")
        })
        .await
        .unwrap();
    store.users().delete(user.id).await.unwrap();
    assert_eq!(
        store.bots().get(bot.id).await.unwrap(),
        Some(Bot { user_id: None, ..bot })
    );
}

async fn list_filters<W: World>(store: W) {
    let user = a_user(&store, "a@b.c").await;
    for new in [
        a_bot("a"),
        NewBot {
            status: BotStatus::Archived,
            ..a_bot("b")
        },
        NewBot {
            category: BotCategory::Creative,
            ..a_bot("c")
        },
        NewBot {
            category: BotCategory::Creative,
            user_id: Some(user.id),
            ..a_bot("d")
        },
    ] {
        store.bots().create(new).await.unwrap();
    }
    let all = BotFilter {
        order: BotOrder::Name,
        direction: Direction::Ascending,
        ..BotFilter::default()
    };
    for (filter, expected) in [
        (all, vec!["a", "b", "c", "d"]),
        (
            BotFilter {
                status: Some(BotStatus::Archived),
                ..all
            },
            vec!["b"],
        ),
        (
            BotFilter {
                category: Some(BotCategory::Creative),
                ..all
            },
            vec!["c", "d"],
        ),
        (
            BotFilter {
                user_id: Some(user.id),
                ..all
            },
            vec!["d"],
        ),
        (
            BotFilter {
                status: Some(BotStatus::Active),
                category: Some(BotCategory::Assistant),
                ..all
            },
            vec!["a"],
        ),
        (
            BotFilter {
                status: Some(BotStatus::Disabled),
                ..all
            },
            vec![],
        ),
    ] {
        let page = store.bots().list(filter, PageRequest::default()).await.unwrap();
        let found = page.items.iter().map(|bot| bot.slug.as_str()).collect::<Vec<_>>();
        assert_eq!(found, expected, "{filter:?}");
        assert_eq!(page.next, None);
    }
}

async fn list_sorts_by_every_order_both_ways<W: World>(store: W) {
    let mut ids = vec![];
    for name in ["c", "a", "b"] {
        ids.push(store.bots().create(a_bot(name)).await.unwrap().id);
    }
    a_moment().await;
    store.bots().update(ids[0], BotChange::default()).await.unwrap();
    for (order, ascending) in [
        (BotOrder::CreatedAt, ["c", "a", "b"]),
        (BotOrder::UpdatedAt, ["a", "b", "c"]),
        (BotOrder::Name, ["a", "b", "c"]),
    ] {
        for direction in [Direction::Ascending, Direction::Descending] {
            let mut expected = ascending;
            if direction == Direction::Descending {
                expected.reverse();
            }
            let filter = BotFilter {
                order,
                direction,
                ..BotFilter::default()
            };
            assert_eq!(names(&store, filter, 1).await, expected, "{filter:?}");
            assert_eq!(names(&store, filter, 2).await, expected, "{filter:?}");
        }
    }
    let default = names(&store, BotFilter::default(), 10).await;
    assert_eq!(default, ["b", "a", "c"], "newest first");
}

/// The slugs of all bots, in the order of their names.
pub async fn slugs(bots: &impl BotRepository) -> Vec<String> {
    let filter = BotFilter {
        order: BotOrder::Name,
        direction: Direction::Ascending,
        ..BotFilter::default()
    };
    let listed = pages(PageRequest::MAX, |page| bots.list(filter, page)).await;
    listed.into_iter().map(|bot| bot.slug.to_string()).collect()
}

/// All names, page by page.
async fn names(store: &impl World, filter: BotFilter, limit: u32) -> Vec<String> {
    let bots = store.bots();
    let listed = pages(limit, |page| bots.list(filter, page)).await;
    listed.into_iter().map(|bot| bot.name).collect()
}

async fn names_sort_byte_by_byte<W: World>(store: W) {
    for (n, name) in ["b", "B", "a b", "ab", "Ä", "a", "_", "é", "z", "日本"]
        .into_iter()
        .enumerate()
    {
        store
            .bots()
            .create(NewBot::new(slug(&format!("n{n}")), name))
            .await
            .unwrap();
    }
    let filter = BotFilter {
        order: BotOrder::Name,
        direction: Direction::Ascending,
        ..BotFilter::default()
    };
    assert_eq!(
        names(&store, filter, 3).await,
        ["B", "_", "a", "a b", "ab", "b", "z", "Ä", "é", "日本"]
    );
}

async fn pages_are_stable_while_bots_come_and_go<W: World>(store: W) {
    for n in 0..10 {
        store.bots().create(a_bot(&format!("bot-{n}"))).await.unwrap();
    }
    let first = store
        .bots()
        .list(BotFilter::default(), PageRequest::first(4))
        .await
        .unwrap();
    let seen = |page: &Page<Bot>| page.items.iter().map(|bot| bot.name.clone()).collect::<Vec<_>>();
    assert_eq!(seen(&first), ["bot-9", "bot-8", "bot-7", "bot-6"]);
    // A new one in front, the cursor's own row gone, one gone from behind.
    store.bots().create(a_bot("new")).await.unwrap();
    store.bots().delete(first.items[3].id).await.unwrap();
    let gone = store.bots().get_by_slug(&slug("bot-3")).await.unwrap().unwrap();
    store.bots().delete(gone.id).await.unwrap();
    let second = store
        .bots()
        .list(BotFilter::default(), PageRequest::after(first.next.unwrap(), 4))
        .await
        .unwrap();
    assert_eq!(seen(&second), ["bot-5", "bot-4", "bot-2", "bot-1"]);
    // The cursor's text is as good as the cursor.
    let cursor = second.next.unwrap().to_string().parse().unwrap();
    let third = store
        .bots()
        .list(BotFilter::default(), PageRequest::after(cursor, 4))
        .await
        .unwrap();
    assert_eq!(seen(&third), ["bot-0"]);
    assert_eq!(third.next, None);
}

async fn a_cursor_is_valid_in_its_own_order_only<W: World>(store: W) {
    for name in ["a", "b", "c"] {
        store.bots().create(a_bot(name)).await.unwrap();
    }
    let page = store
        .bots()
        .list(BotFilter::default(), PageRequest::first(1))
        .await
        .unwrap();
    let cursor = page.next.unwrap();
    for other in [
        BotFilter {
            order: BotOrder::Name,
            ..BotFilter::default()
        },
        BotFilter {
            direction: Direction::Ascending,
            ..BotFilter::default()
        },
    ] {
        let outcome = store.bots().list(other, PageRequest::after(cursor.clone(), 1)).await;
        refused(outcome, ErrorKind::InvalidInput, None);
    }
    let outcome = store.users().list(None, PageRequest::after(cursor, 1)).await;
    refused(outcome, ErrorKind::InvalidInput, None);
    let forged = Cursor::new("bots created_at,id desc", vec![CursorKey::Text("x".into())]);
    let outcome = store
        .bots()
        .list(BotFilter::default(), PageRequest::after(forged, 1))
        .await;
    refused(outcome, ErrorKind::InvalidInput, None);
    let forged = Cursor::new(
        "bots created_at,id desc",
        vec![CursorKey::Text("x".into()), CursorKey::Text("y".into())],
    );
    let outcome = store
        .bots()
        .list(BotFilter::default(), PageRequest::after(forged, 1))
        .await;
    refused(outcome, ErrorKind::InvalidInput, None);
}

async fn limits_out_of_range_are_refused<W: World>(store: W) {
    for limit in [0, PageRequest::MAX + 1] {
        let outcome = store.bots().list(BotFilter::default(), PageRequest::first(limit)).await;
        refused(outcome, ErrorKind::InvalidInput, None);
    }
}

async fn a_name_is_at_most_512_bytes_long<W: World>(store: W) {
    let named = |name: &str| NewBot::new(slug("owl"), name);
    let renamed = |name: &str| BotChange {
        name: Some(name.into()),
        ..BotChange::default()
    };
    let (longest, longer) = ("ä".repeat(256), "ä".repeat(256) + "b");
    let outcome = store.bots().create(named(&longer)).await;
    let error = refused(outcome, ErrorKind::InvalidInput, None).to_string();
    assert!(error.contains("name") && error.contains("512"), "{error}");
    let owl = store.bots().create(named(&longest)).await.unwrap();
    let outcome = store.bots().update(owl.id, renamed(&longer)).await;
    refused(outcome, ErrorKind::InvalidInput, None);
    assert_eq!(store.bots().get(owl.id).await.unwrap(), Some(owl));
}

async fn nul_is_refused_in_every_text_field<W: World>(store: W) {
    let nul = || "a\0b".to_owned();
    for (field, new) in [
        (
            "name",
            NewBot {
                name: nul(),
                ..a_bot("x")
            },
        ),
        (
            "description",
            NewBot {
                description: nul(),
                ..a_bot("x")
            },
        ),
        (
            "tags[1]",
            NewBot {
                tags: vec!["fine".into(), nul()],
                ..a_bot("x")
            },
        ),
    ] {
        let error = refused(store.bots().create(new).await, ErrorKind::InvalidInput, None);
        assert!(error.to_string().contains(field), "{error}");
    }
    let bot = store.bots().create(a_bot("owl")).await.unwrap();
    for change in [
        BotChange {
            name: Some(nul()),
            ..BotChange::default()
        },
        BotChange {
            description: Some(nul()),
            ..BotChange::default()
        },
        BotChange {
            tags: Some(vec![nul()]),
            ..BotChange::default()
        },
    ] {
        refused(store.bots().update(bot.id, change).await, ErrorKind::InvalidInput, None);
    }
    assert_eq!(store.bots().get(bot.id).await.unwrap(), Some(bot));
}

async fn text_round_trips<W: World>(store: W) {
    let texts = [
        "'; DROP TABLE bots; --",
        "\"quoted\" \\ back",
        "tab\tline\nCR\r",
        "👩‍👩‍👧 Ünïcödé ﷽",
        "\u{1}\u{7f}\u{feff}",
        "%_*?[]",
    ];
    for (n, text) in texts.into_iter().enumerate() {
        let new = NewBot {
            name: text.into(),
            description: text.into(),
            tags: vec![text.into(), String::new()],
            ..a_bot(&format!("bot-{n}"))
        };
        let created = store.bots().create(new).await.unwrap();
        assert_eq!(created.name, text);
        assert_eq!(store.bots().get(created.id).await.unwrap(), Some(created));
    }
}
