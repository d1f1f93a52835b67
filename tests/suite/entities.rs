//! The entities, which are written by hand, against the schema, which the migrations make: on both databases, so that a
//! column, a type or a word that is changed on one side alone fails here.

use std::collections::{BTreeMap, BTreeSet};

use migration::catalog;
use migration::model::{Kind, Rule};
use sea_orm::{ColumnTrait, ColumnType, EntityTrait, IdenStatic, Iterable, PrimaryKeyToColumn};
use store::testkit::{Backend, TestDatabase};

store::testkit::tests! {
    on_both: [every_column_is_as_the_live_schema_has_it, the_words_are_those_of_the_live_checks],
    without_database: [
        every_table_has_an_entity,
        every_column_is_as_the_migrations_make_it,
        the_words_are_those_of_the_migrations,
    ],
}

/// A column as Rust has it: what it holds and whether it may be NULL.
type Columns = BTreeMap<&'static str, (Kind, bool)>;

struct Entity {
    table: &'static str,
    columns: Columns,
    primary_key: Vec<&'static str>,
}

/// Every entity, as a list that a new one joins: `every_table_has_an_entity` asks for it.
fn entities() -> Vec<Entity> {
    vec![
        entity_of::<entity::users::Entity>(),
        entity_of::<entity::bots::Entity>(),
        entity_of::<entity::soul_versions::Entity>(),
        entity_of::<entity::secrets::Entity>(),
        entity_of::<entity::api_keys::Entity>(),
        entity_of::<entity::bot_kv_store::Entity>(),
        entity_of::<entity::memory_audit_log::Entity>(),
        entity_of::<entity::provider_health::Entity>(),
        entity_of::<entity::bot_files::Entity>(),
        entity_of::<entity::bot_file_versions::Entity>(),
        entity_of::<entity::workflows::Entity>(),
        entity_of::<entity::workflow_runs::Entity>(),
        entity_of::<entity::workflow_steps::Entity>(),
        entity_of::<entity::chat_sessions::Entity>(),
        entity_of::<entity::chat_messages::Entity>(),
        entity_of::<entity::bot_messages::Entity>(),
        entity_of::<entity::bot_channels::Entity>(),
        entity_of::<entity::bot_subscriptions::Entity>(),
        entity_of::<entity::workflow_states::Entity>(),
        entity_of::<entity::task_states::Entity>(),
        entity_of::<entity::missions::Entity>(),
        entity_of::<entity::tool_calls::Entity>(),
        entity_of::<entity::decisions::Entity>(),
    ]
}

/// Every column that holds one of a list of words, with the words that Rust knows.
const WORDS: &[(&str, &str, &[&str])] = &[
    ("users", "role", entity::UserRole::WORDS),
    ("bots", "status", entity::BotStatus::WORDS),
    ("bots", "category", entity::BotCategory::WORDS),
    ("secrets", "provider", entity::SecretProvider::WORDS),
    ("chat_sessions", "status", entity::ChatStatus::WORDS),
    ("chat_sessions", "session_type", entity::SessionType::WORDS),
    ("chat_messages", "role", entity::ChatRole::WORDS),
    ("bot_messages", "recipient_type", entity::RecipientType::WORDS),
    ("memory_audit_log", "action", entity::AuditAction::WORDS),
    ("provider_health", "circuit_state", entity::CircuitState::WORDS),
    ("workflows", "owner_type", entity::OwnerType::WORDS),
    ("workflow_runs", "status", entity::RunStatus::WORDS),
    ("workflow_steps", "status", entity::StepStatus::WORDS),
    ("workflow_states", "status", entity::ExecutionStatus::WORDS),
    ("task_states", "status", entity::ExecutionStatus::WORDS),
    ("missions", "phase", entity::MissionPhase::WORDS),
    ("missions", "status", entity::MissionStatus::WORDS),
];

fn entity_of<E: EntityTrait>() -> Entity {
    let columns = E::Column::iter().map(|column| {
        let definition = column.def();
        let kind =
            kind_of(definition.get_column_type()).unwrap_or_else(|| panic!("{}: {definition:?}", column.as_str()));
        (column.as_str(), (kind, definition.is_null()))
    });
    Entity {
        table: E::default().table_name_static(),
        columns: columns.collect(),
        primary_key: E::PrimaryKey::iter().map(|key| key.into_column().as_str()).collect(),
    }
}

/// Entities are known by names that live as long as the program.
trait TableName: EntityTrait {
    fn table_name_static(&self) -> &'static str {
        self.as_str()
    }
}

impl<E: EntityTrait> TableName for E {}

/// The types that the house allows itself; anything else is `None`.
fn kind_of(column: &ColumnType) -> Option<Kind> {
    Some(match column {
        ColumnType::Uuid => Kind::Uuid,
        ColumnType::Text | ColumnType::String(_) => Kind::Text,
        ColumnType::TimestampWithTimeZone => Kind::Timestamp,
        ColumnType::JsonBinary => Kind::Json,
        ColumnType::VarBinary(_) | ColumnType::Blob | ColumnType::Binary(_) => Kind::Bytes,
        ColumnType::BigInteger => Kind::Integer,
        ColumnType::Boolean => Kind::Boolean,
        _ => return None,
    })
}

async fn every_table_has_an_entity() {
    let tables = catalog::tables()
        .iter()
        .map(|table| table.name())
        .collect::<BTreeSet<_>>();
    assert_eq!(
        entities().iter().map(|entity| entity.table).collect::<BTreeSet<_>>(),
        tables
    );
}

async fn every_column_is_as_the_migrations_make_it() {
    for entity in entities() {
        let table = catalog::table(entity.table).unwrap();
        let columns = table
            .columns()
            .iter()
            .map(|column| (column.name(), (column.kind(), column.is_nullable())));
        assert_eq!(entity.columns, columns.collect::<Columns>(), "{}", entity.table);
        assert_eq!(entity.primary_key, table.primary_key_columns(), "{}", entity.table);
    }
}

/// The type of a kind as the database's catalog writes it, from the document of the project and not from its code.
fn live_type(backend: Backend, kind: Kind) -> &'static str {
    match (backend, kind) {
        (Backend::Sqlite, Kind::Uuid | Kind::Bytes) => "BLOB",
        (Backend::Sqlite, Kind::Text | Kind::Timestamp | Kind::Json) => "TEXT",
        (Backend::Sqlite, Kind::Integer | Kind::Boolean) => "INTEGER",
        (Backend::Postgres, Kind::Uuid) => "uuid",
        (Backend::Postgres, Kind::Bytes) => "bytea",
        (Backend::Postgres, Kind::Text) => "text collate \"C\"",
        (Backend::Postgres, Kind::Timestamp) => "timestamp with time zone",
        (Backend::Postgres, Kind::Json) => "jsonb",
        (Backend::Postgres, Kind::Integer) => "bigint",
        (Backend::Postgres, Kind::Boolean) => "boolean",
    }
}

async fn every_column_is_as_the_live_schema_has_it(db: TestDatabase) {
    let connections = db.config().connect().await.unwrap();
    let live = migration::snapshot(&connections.reader).await.unwrap();
    for entity in entities() {
        let columns = entity.columns.into_iter().map(|(name, (kind, nullable))| {
            let data_type = live_type(db.backend(), kind).to_owned();
            (name.to_owned(), (data_type, nullable))
        });
        let found = live.tables[entity.table].columns.iter();
        let found = found.map(|(name, column)| (name.clone(), (column.data_type.clone(), column.nullable)));
        assert_eq!(columns.collect::<BTreeMap<_, _>>(), found.collect(), "{}", entity.table);
    }
    connections.close().await;
}

async fn the_words_are_those_of_the_migrations() {
    let mut found = vec![];
    for table in catalog::tables() {
        for column in table.columns() {
            if let Some(Rule::OneOf(words)) = column.rule() {
                found.push((table.name(), column.name(), *words));
            }
        }
    }
    found.sort_unstable();
    let mut expected = WORDS.to_vec();
    expected.sort_unstable();
    assert_eq!(expected, found);
}

async fn the_words_are_those_of_the_live_checks(db: TestDatabase) {
    let connections = db.config().connect().await.unwrap();
    let live = migration::snapshot(&connections.reader).await.unwrap();
    for (table, column, words) in WORDS {
        let check = &live.tables[*table].constraints[&format!("ck_{table}_{column}")];
        // Every second part of it is inside quotes.
        let quoted = check.split('\'').skip(1).step_by(2).collect::<BTreeSet<_>>();
        assert_eq!(quoted, words.iter().copied().collect(), "{check}");
    }
    connections.close().await;
}
