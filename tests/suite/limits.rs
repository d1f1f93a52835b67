//! Limits of text. An index entry of Postgres has one, and SQLite's has none: what an index holds has a limit of the
//! store's own, the same on both.

use std::collections::BTreeSet;

use migration::catalog;
use migration::model::{Kind, Rule, Table};
use serde_json::json;
use store::check;
use store::prelude::*;
use store::testkit::TestDatabase;

use crate::support::{a_bot, open, refused};

store::testkit::tests! {
    on_both: [the_longest_texts_are_kept, a_name_longer_than_its_index_takes_is_refused],
    without_database: [every_indexed_text_has_a_limit],
}

/// Whether the store takes a text.
type Takes = fn(String) -> store::Result<()>;

/// Every text column in an index whose text comes from a caller: the longest it takes, and what decides.
#[rustfmt::skip]
const LIMITS: &[(&str, &str, usize, Takes)] = &[
    ("users", "email_lc", 254, |text| Email::new(format!("{}@x", &text[2..])).map(drop)),
    ("bots", "slug", 64, |text| Slug::new(text).map(drop)),
    ("bots", "name", 512, |text| NewBot::new(Slug::new("a")?, text).check()),
    ("secrets", "key", 512, |text| Key::new(text).map(drop)),
    ("bot_kv_store", "key", 512, |text| Key::new(text).map(drop)),
    ("memory_audit_log", "memory_id", 512, |text| MemoryId::new(text).map(drop)),
    ("provider_health", "name", 512, |text| ProviderName::new(text).map(drop)),
    ("bot_files", "filename", 512, |text| FileName::new(text).map(drop)),
    ("chat_messages", "idempotency_key", 512, |text| Key::new(text).map(drop)),
    ("bot_messages", "recipient_channel", 512, |text| ChannelName::new(text).map(drop)),
    ("bot_channels", "name", 512, |text| ChannelName::new(text).map(drop)),
    ("bot_subscriptions", "channel_name", 512, |text| ChannelName::new(text).map(drop)),
    ("workflows", "name", 512, |text| WorkflowName::new(text).map(drop)),
    ("workflow_runs", "concurrency_key", 512, |text| Key::new(text).map(drop)),
    ("workflow_steps", "step_id", 512, |text| Key::new(text).map(drop)),
    ("workflow_states", "workflow_exec_id", 512, |text| WorkflowExecId::new(text).map(drop)),
    ("workflow_states", "workflow_id", 512, |text| WorkflowKey::new(text).map(drop)),
    ("task_states", "task_exec_id", 512, |text| TaskExecId::new(text).map(drop)),
    ("task_states", "task_id", 512, |text| TaskKey::new(text).map(drop)),
    ("task_states", "parent_state_id", 512, |text| TaskExecId::new(text).map(drop)),
    ("task_states", "workflow_exec_id", 512, |text| WorkflowExecId::new(text).map(drop)),
    ("task_states", "workflow_id", 512, |text| WorkflowKey::new(text).map(drop)),
    ("tool_calls", "tool_name", 512, |text| NewToolCall::new(text, json!({})).checked().map(drop)),
    ("decisions", "decision_type", 512, |text| NewDecision::new(text).checked().map(drop)),
    ("decisions", "agent_name", 512, |text| NewDecision::new("d").by(text).checked().map(drop)),
];

/// Indexed, and made by the store.
const OUR_OWN: &[(&str, &str)] = &[("api_keys", "prefix")];

/// The columns with free text that the table has in an index.
fn indexed_texts(table: &Table) -> impl Iterator<Item = (&'static str, &'static str)> {
    let keys = table.indexes().iter().flat_map(|index| index.columns());
    let columns = keys.chain(table.primary_key_columns()).copied();
    let free = columns.filter(|name| {
        let column = table.column_named(name).unwrap();
        column.kind() == Kind::Text && !matches!(column.rule(), Some(Rule::OneOf(_)))
    });
    free.map(|column| (table.name(), column))
}

async fn every_indexed_text_has_a_limit() {
    let indexed: BTreeSet<_> = catalog::tables().iter().flat_map(indexed_texts).collect();
    let limited = LIMITS.iter().map(|(table, column, ..)| (*table, *column));
    assert_eq!(indexed, limited.chain(OUR_OWN.iter().copied()).collect());
    for (table, column, longest, takes) in LIMITS {
        takes("x".repeat(*longest)).unwrap();
        let error = refused(takes("x".repeat(longest + 1)), ErrorKind::InvalidInput, None);
        assert!(
            error.to_string().contains(&longest.to_string()),
            "{table}.{column}: {error}"
        );
    }
}

/// Text of so many bytes that does not get shorter by compression, which Postgres tries before it refuses an index entry.
fn noise(length: usize, seed: u64) -> String {
    let mut state = seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut letter = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        char::from_digit((state >> 33) as u32 % 36, 36).unwrap()
    };
    (0..length).map(|_| letter()).collect()
}

/// The longest indexed text, each time another.
struct Longest(u64);

impl Longest {
    fn text(&mut self) -> String {
        self.0 += 1;
        noise(512, self.0)
    }

    fn key(&mut self) -> Key {
        Key::new(self.text()).unwrap()
    }
}

async fn the_longest_texts_are_kept(db: TestDatabase) {
    let store = open(&db).await;
    let longest = &mut Longest(0);
    let bot = identity(&store, longest).await;
    memory(&store, longest, bot).await;
    conversations(&store, longest, bot).await;
    runs(&store, longest, bot).await;
    executions(&store, longest).await;
    missions(&store, longest).await;
}

async fn identity(store: &Store, longest: &mut Longest) -> BotId {
    // Folded to lower case these grow by half.
    let email = Email::new(format!("{}@x", "İ".repeat(126))).unwrap();
    let user = NewUser {
        email: email.clone(),
        role: UserRole::User,
    };
    let user = store.users().create(user).await.unwrap();
    assert_eq!(store.users().get_by_email(&email).await.unwrap(), Some(user));
    let slug = Slug::new(noise(64, 0)).unwrap();
    let bot = store
        .bots()
        .create(NewBot::new(slug.clone(), longest.text()))
        .await
        .unwrap();
    assert_eq!(store.bots().get_by_slug(&slug).await.unwrap().as_ref(), Some(&bot));
    let (key, value) = (longest.key(), SealedValue::from_sealed(vec![1]));
    for scope in [Scope::Global, Scope::Bot(bot.id)] {
        let secrets = store.secrets();
        let set = secrets.set(scope, &key, value.clone(), SecretProvider::Vault);
        set.await.unwrap();
        assert_eq!(store.secrets().get(scope, &key).await.unwrap().as_ref(), Some(&value));
    }
    bot.id
}

async fn memory(store: &Store, longest: &mut Longest, bot: BotId) {
    let key = longest.key();
    store.kv().set(bot, &key, json!(1), None).await.unwrap();
    assert_eq!(store.kv().get(bot, &key).await.unwrap(), Some(json!(1)));
    let memory_id = MemoryId::new(longest.text()).unwrap();
    let entry = NewAuditEntry {
        bot_id: bot,
        memory_id: memory_id.clone(),
        action: AuditAction::Add,
        actor: longest.text(),
        details: None,
    };
    let entry = store.audit().log(entry).await.unwrap();
    let found = store
        .audit()
        .for_memory(&memory_id, PageRequest::default())
        .await
        .unwrap();
    assert_eq!(found.items, [entry]);
    let provider = ProviderName::new(longest.text()).unwrap();
    let health = store
        .provider_health()
        .save(NewProviderHealth::new(provider.clone()))
        .await
        .unwrap();
    assert_eq!(store.provider_health().load(&provider).await.unwrap(), Some(health));
    let name = FileName::new(longest.text()).unwrap();
    let file = store
        .files()
        .save_file(bot, NewFile::new(name.clone(), 1))
        .await
        .unwrap();
    assert_eq!(store.files().get(bot, &name).await.unwrap(), Some(file));
}

async fn conversations(store: &Store, longest: &mut Longest, bot: BotId) {
    let session = store.chats().create(NewChatSession::new(bot, "m")).await.unwrap().id;
    let message = vec![NewChatMessage::new(ChatRole::User, "a").once(longest.key())];
    let first = store.chats().append(session, message.clone()).await.unwrap();
    assert_eq!(store.chats().append(session, message).await.unwrap(), first);
    let channel = ChannelName::new(longest.text()).unwrap();
    store.messages().create_channel(channel.clone(), bot).await.unwrap();
    assert!(store.messages().subscribe(bot, &channel).await.unwrap());
    let message = NewBotMessage::channel(bot, "owl", channel.clone(), json!("hello"));
    let message = store.messages().send(message).await.unwrap();
    let found = store
        .messages()
        .in_channel(&channel, PageRequest::default())
        .await
        .unwrap();
    assert_eq!(found.items, [message]);
}

async fn runs(store: &Store, longest: &mut Longest, bot: BotId) {
    let name = WorkflowName::new(longest.text()).unwrap();
    let mut last = None;
    for owner in [Owner::Global, Owner::Bot(bot)] {
        let draft = WorkflowDraft::new(name.clone(), json!({})).owned_by(owner);
        let workflow = store.workflows().save_definition(draft).await.unwrap();
        let found = store.workflows().get_definition_by_name(&name, owner).await.unwrap();
        assert_eq!(found.as_ref(), Some(&workflow));
        last = Some(workflow.id);
    }
    let key = longest.key();
    let run = NewRun {
        concurrency_key: Some(key.clone()),
        ..NewRun::new(last.unwrap())
    };
    let run = store.workflows().create_run(run).await.unwrap();
    let step = store
        .workflows()
        .create_step_log(run.id, NewStep::new(longest.key()), None)
        .await
        .unwrap();
    assert_eq!(store.workflows().get_step_log(step.id).await.unwrap(), Some(step));
    let page = PageRequest::default();
    let found = store
        .workflows()
        .list_runs_by_concurrency_key(&key, page)
        .await
        .unwrap();
    assert_eq!(found.items, [run]);
}

/// One of their indexes holds three of these texts.
async fn executions(store: &Store, longest: &mut Longest) {
    let exec = WorkflowExecId::new(longest.text()).unwrap();
    let workflow = WorkflowKey::new(longest.text()).unwrap();
    let state = NewWorkflowState::new(exec.clone(), workflow, ExecutionStatus::Running);
    let state = store.workflow_states().upsert(state).await.unwrap();
    assert_eq!(store.workflow_states().get(&exec).await.unwrap(), Some(state));
    let mut task = || {
        let (id, task) = (longest.text(), longest.text());
        let (id, task) = (TaskExecId::new(id).unwrap(), TaskKey::new(task).unwrap());
        NewTaskState::new(id, task, exec.clone(), ExecutionStatus::Running)
    };
    let root = store.task_states().upsert(task()).await.unwrap().task_exec_id;
    let child = NewTaskState {
        parent_state_id: Some(root.clone()),
        ..task()
    };
    let child = store.task_states().upsert(child).await.unwrap();
    let found = store
        .task_states()
        .child_by_task_id(&root, &child.task_id)
        .await
        .unwrap();
    assert_eq!(found, Some(child));
}

async fn missions(store: &Store, longest: &mut Longest) {
    let mission = store
        .missions()
        .create(NewMission::new(MissionPhase::Coding))
        .await
        .unwrap();
    let call = NewToolCall::new(longest.text(), json!({}));
    let call = store.missions().log_tool_call(mission, call).await.unwrap();
    let filter = ToolCallFilter {
        tool_name: Some(call.tool_name.clone()),
        ..ToolCallFilter::default()
    };
    let found = store
        .missions()
        .tool_history(mission, filter, PageRequest::default())
        .await
        .unwrap();
    assert_eq!(found.items, [call]);
    let decision = NewDecision::new(longest.text()).by(longest.text());
    let decision = store.missions().record_decision(mission, decision).await.unwrap();
    let filter = DecisionFilter {
        agent_name: decision.agent_name.clone(),
        ..DecisionFilter::default()
    };
    let found = store
        .missions()
        .decisions(mission, filter, PageRequest::default())
        .await
        .unwrap();
    assert_eq!(found.items, [decision]);
}

/// Such a name was kept by SQLite, and was an internal error of Postgres.
async fn a_name_longer_than_its_index_takes_is_refused(db: TestDatabase) {
    let store = open(&db).await;
    let owl = store.bots().create(a_bot("owl")).await.unwrap();
    for length in [513, 3_000, 100_000] {
        let name = noise(length, 7);
        let new = NewBot {
            name: name.clone(),
            ..a_bot("bat")
        };
        let change = BotChange {
            name: Some(name),
            ..BotChange::default()
        };
        for outcome in [
            store.bots().create(new).await,
            store.bots().update(owl.id, change).await,
        ] {
            let error = refused(outcome, ErrorKind::InvalidInput, None).to_string();
            assert!(
                error.contains("name") && error.contains("512") && error.contains(&length.to_string()),
                "{error}"
            );
        }
    }
    assert_eq!(store.bots().get(owl.id).await.unwrap(), Some(owl));
    check::indexed_name("name", " ").unwrap_err();
}
