//! Retention: every method that removes what is old counts first when it is asked to, and goes in batches that are no
//! larger than it was told.

use chrono::TimeDelta;
use serde_json::json;
use store::prelude::*;
use store::testkit::TestDatabase;

use crate::support::{SettableClock, a_bot, key, open_with};

store::testkit::tests![
    audit_entries_go_in_batches,
    messages_go_in_batches,
    tool_calls_go_in_batches,
    ended_runs_go_in_batches,
    expired_keys_go_in_batches,
    expired_values_go_in_batches,
];

/// So many rows are old, and as many are not.
const OLD: i64 = 7;

/// A store in which time passes when it is told to.
async fn at(db: &TestDatabase) -> (Store, SettableClock) {
    let clock = SettableClock::new();
    (open_with(db, &clock).await, clock)
}

/// Makes the old rows and the new ones, and answers what is to remove the old ones, three at a time.
async fn old_and_new(clock: &SettableClock, make: impl AsyncFn(i64)) -> Prune {
    for n in 0..OLD {
        make(n).await;
    }
    clock.forward(60);
    let old = Prune {
        batch: 3,
        ..Prune::older_than(clock.time())
    };
    for n in OLD..2 * OLD {
        make(n).await;
    }
    old
}

/// Counts in one statement and removes nothing; then removes seven rows in statements of three, three and one.
async fn goes_in_batches<F>(store: &Store, old: Prune, prune: impl Fn(Prune) -> F)
where
    F: Future<Output = store::Result<u64>>,
{
    for (request, rows, statements) in [
        (old.dry_run(), 7, 1),
        (old.dry_run(), 7, 1),
        (old, 7, 3),
        (old, 0, 1),
        (old.dry_run(), 0, 1),
    ] {
        let before = store.metrics();
        assert_eq!(prune(request).await.unwrap(), rows, "{request:?}");
        let after = store.metrics();
        assert_eq!(after.statements - before.statements, statements, "{request:?}");
        assert_eq!(after.transactions, before.transactions, "each batch is one by itself");
    }
}

async fn audit_entries_go_in_batches(db: TestDatabase) {
    let (store, clock) = at(&db).await;
    let bot = store.bots().create(a_bot("owl")).await.unwrap().id;
    let audit = store.audit();
    let old = old_and_new(&clock, async |n| {
        let entry = NewAuditEntry {
            bot_id: bot,
            memory_id: MemoryId::new(n.to_string()).unwrap(),
            action: AuditAction::Add,
            actor: "test".into(),
            details: None,
        };
        audit.log(entry).await.unwrap();
    });
    goes_in_batches(&store, old.await, |old| audit.prune(old)).await;
    let left = audit.for_bot(bot, PageRequest::default()).await.unwrap();
    assert_eq!(left.items.len(), 7);
}

async fn messages_go_in_batches(db: TestDatabase) {
    let (store, clock) = at(&db).await;
    let bot = store.bots().create(a_bot("owl")).await.unwrap().id;
    let messages = store.messages();
    let old = old_and_new(&clock, async |n| {
        let message = NewBotMessage::direct(bot, "Owl", bot, json!(n));
        messages.send(message).await.unwrap();
    });
    goes_in_batches(&store, old.await, |old| messages.prune(old)).await;
    let left = messages.between(bot, bot, PageRequest::default()).await.unwrap();
    assert_eq!(left.items.len(), 7);
}

async fn tool_calls_go_in_batches(db: TestDatabase) {
    let (store, clock) = at(&db).await;
    let missions = store.missions();
    let mission = missions.create(NewMission::new(MissionPhase::Coding)).await.unwrap();
    let old = old_and_new(&clock, async |n| {
        let call = NewToolCall::new("read", json!({ "n": n }));
        missions.log_tool_call(mission, call).await.unwrap();
    });
    let old = old.await;
    missions.update_status(mission, MissionStatus::Completed).await.unwrap();
    goes_in_batches(&store, old, |old| missions.prune_tool_calls(old)).await;
    let (all, page) = (ToolCallFilter::default(), PageRequest::default());
    let left = missions.tool_history(mission, all, page).await.unwrap();
    assert_eq!(left.items.len(), 7);
}

async fn ended_runs_go_in_batches(db: TestDatabase) {
    let (store, clock) = at(&db).await;
    let workflows = store.workflows();
    let draft = WorkflowDraft::new(WorkflowName::new("w").unwrap(), json!({}));
    let workflow = workflows.save_definition(draft).await.unwrap().id;
    let old = old_and_new(&clock, async |_| {
        let run = workflows.create_run(NewRun::new(workflow)).await.unwrap().id;
        workflows
            .create_step_log(run, NewStep::new(key("step")), None)
            .await
            .unwrap();
        let ended = RunChange::to(RunStatus::Cancelled);
        workflows.update_run_status(run, ended, None).await.unwrap();
    });
    goes_in_batches(&store, old.await, |old| workflows.prune_runs(old)).await;
    let left = workflows.list_runs(workflow, PageRequest::default()).await.unwrap();
    assert_eq!(left.items.len(), 7);
}

async fn expired_keys_go_in_batches(db: TestDatabase) {
    let (store, clock) = at(&db).await;
    let keys = store.api_keys();
    let old = old_and_new(&clock, async |_| {
        let ending = NewApiKey {
            expires_at: Some(clock.time() + TimeDelta::seconds(30)),
            ..NewApiKey::default()
        };
        keys.issue(ending).await.unwrap();
    });
    goes_in_batches(&store, old.await, |old| keys.prune(old)).await;
    let left = keys.list(None, PageRequest::default()).await.unwrap();
    assert_eq!(left.items.len(), 7);
}

async fn expired_values_go_in_batches(db: TestDatabase) {
    let (store, clock) = at(&db).await;
    let bot = store.bots().create(a_bot("owl")).await.unwrap().id;
    let kv = store.kv();
    let old = old_and_new(&clock, async |n| {
        let ttl = Some(std::time::Duration::from_secs(30));
        kv.set(bot, &key(&n.to_string()), json!(n), ttl).await.unwrap();
    });
    goes_in_batches(&store, old.await, |old| kv.purge_expired(old)).await;
    let left = kv.list_keys(bot, "", PageRequest::default()).await.unwrap();
    assert_eq!(left.items.len(), 7);
}
