//! Deleting what very much hangs on: all of it goes in one transaction, and what is to stay stays.

use std::collections::BTreeMap;

use migration::catalog;
use sea_orm::{ConnectionTrait, Statement};
use store::prelude::*;
use store::testkit::TestDatabase;

use crate::fill::{Columns, id, rows, unseen_rows};
use crate::support::{key, open};

store::testkit::tests![
    a_bot_goes_with_fifty_thousand_rows_of_every_kind,
    a_chain_of_fifty_thousand_tasks_goes_with_its_execution,
    a_mission_goes_with_fifty_thousand_calls_and_decisions,
    a_user_goes_from_fifty_thousand_bots_and_with_as_many_keys,
];

const MANY: u32 = 50_000;

/// So many rows are left of each table that others have rows in, too.
const OTHERS: u32 = 100;

/// The first bot owns the many rows, and the second one those that are left.
const OWNER: &str = "CASE WHEN i <= 50000 THEN id(1) ELSE id(2) END";

const BOTS: Columns = &[
    ("id", "id(i)"),
    ("slug", "'bot-' || i"),
    ("name", "'Bot ' || i"),
    ("user_id", "id(1)"),
    ("created_at", "instant(i)"),
    ("updated_at", "instant(i)"),
];

const USERS: Columns = &[
    ("id", "id(i)"),
    ("email", "'user-' || i || '@x'"),
    ("email_lc", "'user-' || i || '@x'"),
    ("role", "'user'"),
    ("created_at", "instant(i)"),
    ("updated_at", "instant(i)"),
];

const KEYS: Columns = &[
    ("id", "id(i)"),
    ("user_id", "id(1)"),
    ("prefix", "'prefix-' || i"),
    ("hash", "bytes('hash ' || i)"),
    ("created_at", "instant(i)"),
];

/// What goes with its bot: parents before their children.
const GOES: &[(&str, Columns)] = &[
    (
        "soul_versions",
        &[
            ("id", "id(i)"),
            ("bot_id", OWNER),
            ("content", "'You are number ' || i"),
            ("hash", "'hash ' || i"),
            ("version", "i"),
            ("created_at", "instant(i)"),
        ],
    ),
    (
        "secrets",
        &[
            ("id", "id(i)"),
            ("key", "'key-' || i"),
            ("encrypted_value", "bytes('sealed')"),
            ("bot_id", OWNER),
            ("created_at", "instant(i)"),
            ("updated_at", "instant(i)"),
        ],
    ),
    (
        "bot_kv_store",
        &[
            ("bot_id", OWNER),
            ("key", "'key-' || i"),
            ("value", "json('1')"),
            ("created_at", "instant(i)"),
            ("updated_at", "instant(i)"),
        ],
    ),
    (
        "bot_files",
        &[
            ("id", "id(i)"),
            ("bot_id", OWNER),
            ("filename", "'file-' || i"),
            ("size_bytes", "i"),
            ("created_at", "instant(i)"),
            ("updated_at", "instant(i)"),
        ],
    ),
    (
        "bot_file_versions",
        &[
            ("id", "id(i)"),
            ("file_id", "id(i)"),
            ("version", "1"),
            ("size_bytes", "i"),
            ("created_at", "instant(i)"),
        ],
    ),
    (
        "chat_sessions",
        &[
            ("id", "id(i)"),
            ("bot_id", OWNER),
            ("model", "'m'"),
            ("started_at", "instant(i)"),
            // The other's are with the first bot.
            ("session_type", "CASE WHEN i <= 50000 THEN 'user' ELSE 'bot' END"),
            ("peer_bot_id", "CASE WHEN i > 50000 THEN id(1) END"),
        ],
    ),
    (
        "chat_messages",
        &[
            ("id", "id(i)"),
            ("session_id", "id(i)"),
            ("sequence", "1"),
            ("role", "'user'"),
            ("content", "'turn ' || i"),
            ("created_at", "instant(i)"),
        ],
    ),
    (
        "workflows",
        &[
            ("id", "id(i)"),
            ("name", "'workflow-' || i"),
            // Those that are left belong to everybody.
            ("owner_type", "CASE WHEN i <= 50000 THEN 'bot' ELSE 'global' END"),
            ("owner_bot_id", "CASE WHEN i <= 50000 THEN id(1) END"),
            ("definition", "json('{}')"),
            ("created_at", "instant(i)"),
            ("updated_at", "instant(i)"),
        ],
    ),
    (
        "workflow_runs",
        &[
            ("id", "id(i)"),
            ("workflow_id", "id(i)"),
            ("workflow_name", "'workflow'"),
            ("status", "pick(i, 'running', 'completed')"),
            ("trigger_type", "'manual'"),
            ("started_at", "instant(i)"),
        ],
    ),
    (
        "workflow_steps",
        &[
            ("id", "id(i)"),
            ("run_id", "id(i)"),
            ("step_id", "'step'"),
            ("step_name", "'step'"),
            ("status", "'completed'"),
        ],
    ),
];

/// What names a bot without belonging to it.
const STAYS: &[(&str, Columns)] = &[
    ("api_keys", KEYS),
    (
        "memory_audit_log",
        &[
            ("id", "id(i)"),
            ("bot_id", "id(1)"),
            ("memory_id", "'memory'"),
            ("action", "'add'"),
            ("actor", "'somebody'"),
            ("created_at", "instant(i)"),
        ],
    ),
    (
        "bot_messages",
        &[
            ("id", "id(i)"),
            ("sender_bot_id", "pick(i, id(1), id(2))"),
            ("sender_bot_name", "'Bot'"),
            ("recipient_type", "'direct'"),
            ("recipient_bot_id", "pick(i, id(2), id(1))"),
            ("message_type", "'text'"),
            ("body", "json('1')"),
            ("timestamp", "instant(i)"),
        ],
    ),
    (
        "bot_channels",
        &[
            ("name", "'channel-' || i"),
            ("created_at", "instant(i)"),
            ("created_by_bot_id", "id(1)"),
        ],
    ),
    (
        "bot_subscriptions",
        &[
            ("bot_id", "id(1)"),
            ("channel_name", "'channel-' || i"),
            ("subscribed_at", "instant(i)"),
        ],
    ),
];

const PROVIDERS: Columns = &[("name", "'provider-' || i"), ("updated_at", "instant(i)")];

const EXECUTIONS: Columns = &[
    ("workflow_exec_id", "'exec-' || i"),
    ("workflow_id", "'flow'"),
    ("status", "'RUNNING'"),
    ("created_at", "instant(i)"),
    ("updated_at", "instant(i)"),
];

/// All of the first execution, each below the one before.
const CHAIN: Columns = &[
    ("task_exec_id", "'task-' || i"),
    ("task_id", "'key'"),
    ("component", "'task'"),
    ("status", "'SUCCESS'"),
    ("workflow_exec_id", "'exec-1'"),
    ("workflow_id", "'flow'"),
    ("parent_state_id", "CASE WHEN i > 1 THEN 'task-' || (i - 1) END"),
    ("created_at", "instant(i)"),
    ("updated_at", "instant(i)"),
];

const MISSIONS: Columns = &[
    ("id", "id(i)"),
    ("phase", "'CODING'"),
    ("created_at", "instant(i)"),
    ("updated_at", "instant(i)"),
];

/// Of the first mission, and the last ones of the second.
const CALLS: Columns = &[
    ("id", "id(i)"),
    ("mission_id", OWNER),
    ("tool_name", "'read'"),
    ("args", "json('{}')"),
    ("success", "1 = 1"),
    ("timestamp", "instant(i)"),
];

const DECISIONS: Columns = &[
    ("id", "id(i)"),
    ("mission_id", OWNER),
    ("decision_type", "'plan'"),
    ("timestamp", "instant(i)"),
];

/// What belongs to no bot.
const UNRELATED: &[(&str, u32, Columns)] = &[
    ("provider_health", 10, PROVIDERS),
    ("workflow_states", 10, EXECUTIONS),
    ("task_states", 10, CHAIN),
    ("missions", 10, MISSIONS),
    ("tool_calls", 10, CALLS),
    ("decisions", 10, DECISIONS),
];

/// How many rows each table has.
async fn counts(db: &TestDatabase) -> BTreeMap<&'static str, i64> {
    let connections = db.config().connect().await.unwrap();
    let mut counts = BTreeMap::new();
    for table in catalog::tables() {
        let sql = format!("SELECT count(*) FROM {}", table.name());
        let sql = Statement::from_string(connections.reader.get_database_backend(), sql);
        let row = connections.reader.query_one_raw(sql).await.unwrap().unwrap();
        counts.insert(table.name(), row.try_get_by_index(0).unwrap());
    }
    connections.close().await;
    counts
}

/// How many rows each table has when the first bot is gone; those of the tables that go are not filled yet.
async fn furnish(db: &TestDatabase) -> BTreeMap<&'static str, i64> {
    unseen_rows(db, 10, "users", USERS).await;
    unseen_rows(db, 10, "bots", BOTS).await;
    for (table, count, columns) in UNRELATED {
        unseen_rows(db, *count, table, columns).await;
    }
    for (table, columns) in STAYS {
        unseen_rows(db, MANY, table, columns).await;
    }
    let mut left = counts(db).await;
    left.insert("bots", 9);
    for (table, columns) in GOES {
        assert_eq!(left.insert(table, OTHERS.into()), Some(0), "{table}");
        unseen_rows(db, MANY + OTHERS, table, columns).await;
    }
    left
}

async fn a_bot_goes_with_fifty_thousand_rows_of_every_kind(db: TestDatabase) {
    let left = furnish(&db).await;
    assert!(
        left.values().all(|count| *count > 0),
        "every table takes part: {left:?}"
    );
    let before = counts(&db).await;
    let store = open(&db).await;
    let (gone, other): (BotId, BotId) = (id(1), id(2));

    let tx = store.begin().await.unwrap();
    tx.bots().delete(gone).await.unwrap();
    tx.rollback().await;
    assert_eq!(counts(&db).await, before, "all of it or nothing");

    store.bots().delete(gone).await.unwrap();
    assert_eq!(counts(&db).await, left);
    assert_eq!(store.bots().get(gone).await.unwrap(), None);
    assert_eq!(store.kv().get(gone, &key("key-1")).await.unwrap(), None);
    assert!(store.kv().get(other, &key("key-50001")).await.unwrap().is_some());
    let peer = store.chats().get(id(50_001)).await.unwrap().unwrap().peer;
    assert_eq!(peer, ChatPeer::Bot(gone));
    let audit = store.audit();
    let mut trail = walk(|page| audit.for_bot(gone, page));
    let mut entries = 0;
    while trail.try_next().await.unwrap().is_some() {
        entries += 1;
    }
    assert_eq!(entries, MANY);
}

async fn a_chain_of_fifty_thousand_tasks_goes_with_its_execution(db: TestDatabase) {
    unseen_rows(&db, 2, "workflow_states", EXECUTIONS).await;
    rows(&db, MANY, "task_states", CHAIN).await;
    let store = open(&db).await;
    let execution = WorkflowExecId::new("exec-1").unwrap();
    store.workflow_states().delete(&execution).await.unwrap();
    let left = counts(&db).await;
    assert_eq!((left["workflow_states"], left["task_states"]), (1, 0));
}

async fn a_mission_goes_with_fifty_thousand_calls_and_decisions(db: TestDatabase) {
    unseen_rows(&db, 2, "missions", MISSIONS).await;
    unseen_rows(&db, MANY + OTHERS, "tool_calls", CALLS).await;
    rows(&db, MANY + OTHERS, "decisions", DECISIONS).await;
    let store = open(&db).await;
    store.missions().delete(id(1)).await.unwrap();
    let left = counts(&db).await;
    assert_eq!((left["missions"], left["tool_calls"], left["decisions"]), (1, 100, 100));
}

async fn a_user_goes_from_fifty_thousand_bots_and_with_as_many_keys(db: TestDatabase) {
    unseen_rows(&db, 2, "users", USERS).await;
    unseen_rows(&db, MANY, "bots", BOTS).await;
    rows(&db, MANY, "api_keys", KEYS).await;
    let store = open(&db).await;
    store.users().delete(id(1)).await.unwrap();
    let left = counts(&db).await;
    assert_eq!((left["users"], left["bots"], left["api_keys"]), (1, 50_000, 0));
    let of_nobody = store.bots().get(id(7)).await.unwrap().unwrap();
    assert_eq!(of_nobody.user_id, None);
    let all = BotFilter {
        user_id: Some(id(1)),
        ..BotFilter::default()
    };
    let page = store.bots().list(all, PageRequest::default()).await.unwrap();
    assert_eq!(page.items, []);
}
