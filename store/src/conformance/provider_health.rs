//! How providers do.

use std::time::Duration;

use super::{World, cases, pages, refused};
use crate::ErrorKind;
use crate::contract::*;

cases![
    what_is_saved_is_loaded,
    a_new_provider_is_closed_and_unused,
    saving_again_replaces_everything,
    all_are_loaded_by_name,
    names_differ_by_case,
    negative_counts_are_refused,
    instants_are_cut_to_microseconds,
    instants_out_of_range_are_refused,
    nul_is_refused_in_every_text_field,
    limits_and_cursors_of_others_are_refused,
    many_who_save_at_once_leave_one_of_their_reports,
];

fn name(text: &str) -> ProviderName {
    ProviderName::new(text).unwrap()
}

fn well(text: &str) -> NewProviderHealth {
    NewProviderHealth::new(name(text))
}

fn instant(text: &str) -> chrono::DateTime<chrono::Utc> {
    text.parse().unwrap()
}

/// A report in which every field says something.
fn ill(text: &str, state: CircuitState) -> NewProviderHealth {
    NewProviderHealth {
        name: name(text),
        circuit_state: state,
        last_error: Some("503: \"over capacity\" – 日本".into()),
        last_success: Some(instant("2026-01-02T03:04:05.678901Z")),
        total_calls: i64::MAX,
        total_failures: 7,
        uptime_since: Some(instant("0001-01-01T00:00:00Z")),
    }
}

async fn what_is_saved_is_loaded<W: World>(store: W) {
    for state in [CircuitState::Closed, CircuitState::Open, CircuitState::HalfOpen] {
        let new = ill(state.as_str(), state);
        let saved = store.provider_health().save(new.clone()).await.unwrap();
        assert_eq!(saved, new.saved_at(saved.updated_at));
        let loaded = store.provider_health().load(&name(state.as_str())).await.unwrap();
        assert_eq!(loaded, Some(saved));
    }
    assert_eq!(store.provider_health().load(&name("other")).await.unwrap(), None);
}

async fn a_new_provider_is_closed_and_unused<W: World>(store: W) {
    let saved = store.provider_health().save(well("p")).await.unwrap();
    assert_eq!(saved.circuit_state, CircuitState::Closed);
    assert_eq!((saved.total_calls, saved.total_failures), (0, 0));
    assert_eq!(
        (&saved.last_error, saved.last_success, saved.uptime_since),
        (&None, None, None)
    );
    assert_eq!(store.provider_health().load(&name("p")).await.unwrap(), Some(saved));
}

async fn saving_again_replaces_everything<W: World>(store: W) {
    store.provider_health().save(well("other")).await.unwrap();
    let first = store
        .provider_health()
        .save(ill("p", CircuitState::Open))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(2)).await;
    let second = store.provider_health().save(well("p")).await.unwrap();
    assert!(second.updated_at > first.updated_at);
    assert_eq!(second.last_error, None, "absent is absent, not as it was");
    assert_eq!(
        store.provider_health().load(&name("p")).await.unwrap(),
        Some(second.clone())
    );
    let all = store.provider_health().load_all(PageRequest::default()).await.unwrap();
    assert_eq!(all.items.len(), 2);
    assert_eq!(all.items[1], second);
}

async fn all_are_loaded_by_name<W: World>(store: W) {
    let sorted = ["A", "_", "a", "a b", "a-b", "b", "ä", "日本"];
    for text in ["b", "ä", "A", "日本", "a", "a-b", "_", "a b"] {
        store.provider_health().save(well(text)).await.unwrap();
    }
    let health = store.provider_health();
    for limit in [1, 3, 8, 1000] {
        let all = pages(limit, |page| health.load_all(page)).await;
        let names = all.iter().map(|health| health.name.as_str()).collect::<Vec<_>>();
        assert_eq!(names, sorted, "{limit}");
    }
}

async fn names_differ_by_case<W: World>(store: W) {
    store
        .provider_health()
        .save(ill("OpenAI", CircuitState::Open))
        .await
        .unwrap();
    assert_eq!(store.provider_health().load(&name("openai")).await.unwrap(), None);
}

async fn negative_counts_are_refused<W: World>(store: W) {
    let before = store.provider_health().save(well("p")).await.unwrap();
    for (field, new) in [
        (
            "total_calls",
            NewProviderHealth {
                total_calls: -1,
                ..well("p")
            },
        ),
        (
            "total_failures",
            NewProviderHealth {
                total_failures: i64::MIN,
                ..well("p")
            },
        ),
    ] {
        let error = refused(store.provider_health().save(new).await, ErrorKind::InvalidInput, None);
        assert!(error.to_string().contains(field), "{error}");
    }
    assert_eq!(store.provider_health().load(&name("p")).await.unwrap(), Some(before));
}

async fn instants_are_cut_to_microseconds<W: World>(store: W) {
    let new = NewProviderHealth {
        last_success: Some(instant("1969-07-20T20:17:40.123456789Z")),
        uptime_since: Some(instant("2026-01-01T00:00:00.000000999Z")),
        ..well("p")
    };
    let saved = store.provider_health().save(new).await.unwrap();
    assert_eq!(saved.last_success, Some(instant("1969-07-20T20:17:40.123456Z")));
    assert_eq!(saved.uptime_since, Some(instant("2026-01-01T00:00:00Z")));
    assert_eq!(store.provider_health().load(&name("p")).await.unwrap(), Some(saved));
}

async fn instants_out_of_range_are_refused<W: World>(store: W) {
    for beyond in [
        chrono::DateTime::<chrono::Utc>::MAX_UTC,
        chrono::DateTime::<chrono::Utc>::MIN_UTC,
    ] {
        for (field, new) in [
            (
                "last_success",
                NewProviderHealth {
                    last_success: Some(beyond),
                    ..well("p")
                },
            ),
            (
                "uptime_since",
                NewProviderHealth {
                    uptime_since: Some(beyond),
                    ..well("p")
                },
            ),
        ] {
            let error = refused(store.provider_health().save(new).await, ErrorKind::InvalidInput, None);
            assert!(error.to_string().contains(field), "{error}");
        }
    }
    assert_eq!(store.provider_health().load(&name("p")).await.unwrap(), None);
}

async fn nul_is_refused_in_every_text_field<W: World>(store: W) {
    let new = NewProviderHealth {
        last_error: Some("a\0".into()),
        ..well("p")
    };
    let error = refused(store.provider_health().save(new).await, ErrorKind::InvalidInput, None);
    assert!(error.to_string().contains("last_error"), "{error}");
    for text in ["", "a\0", &"x".repeat(513)] {
        refused(ProviderName::new(text), ErrorKind::InvalidInput, None);
    }
    assert_eq!(store.provider_health().load(&name("p")).await.unwrap(), None);
}

async fn limits_and_cursors_of_others_are_refused<W: World>(store: W) {
    for limit in [0, PageRequest::MAX + 1] {
        let outcome = store.provider_health().load_all(PageRequest::first(limit)).await;
        refused(outcome, ErrorKind::InvalidInput, None);
    }
    let foreign = Cursor::new("bot_files filename", vec![CursorKey::Text("x".into())]);
    let outcome = store.provider_health().load_all(PageRequest::after(foreign, 1)).await;
    refused(outcome, ErrorKind::InvalidInput, None);
}

async fn many_who_save_at_once_leave_one_of_their_reports<W: World>(store: W) {
    let tasks = (1..=16).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            let new = NewProviderHealth {
                total_calls: n,
                total_failures: n,
                last_error: Some(n.to_string()),
                ..well("p")
            };
            store.provider_health().save(new).await.unwrap()
        })
    });
    let mut saved = vec![];
    for task in tasks.collect::<Vec<_>>() {
        saved.push(task.await.unwrap());
    }
    let loaded = store.provider_health().load(&name("p")).await.unwrap().unwrap();
    assert!(saved.contains(&loaded), "{loaded:?} is nobody's");
}
