//! An application's own tables and repositories in the same database, and what the engine guarantees to them.

use migration::sea_orm_migration::prelude::*;
use sea_orm::IntoActiveModel;
use sea_orm::entity::prelude::*;
use store::prelude::*;
use store::testkit::TestDatabase;

use crate::support::{a_bot, open, refused};

store::testkit::tests![
    an_error_after_the_first_returned_row_is_reported,
    a_repository_of_ones_own_runs_in_a_stores_transaction,
    columns_of_any_type_are_stored_by_concurrent_inserts,
    columns_of_any_type_are_stored_many_at_once,
];

mod notes {
    use super::*;

    #[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "app_notes")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) id: Uuid,
        pub(crate) bot_id: Uuid,
        pub(crate) text: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Types that the store's own tables do not use: on Postgres, their rows cannot be sent as arrays.
mod days {
    use super::*;

    #[derive(Debug, Clone, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "app_days")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) id: Uuid,
        pub(crate) on_day: Date,
        pub(crate) at_time: Option<Time>,
        pub(crate) local: DateTime,
        pub(crate) zoned: Option<DateTimeWithTimeZone>,
        pub(crate) weight: f32,
        pub(crate) text: Option<String>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(crate) struct Notes;

#[async_trait::async_trait]
impl MigratorTrait for Notes {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(CreateNotes), Box::new(CreateDays)]
    }

    fn migration_table_name() -> DynIden {
        "app_migrations".into_iden()
    }
}

struct CreateNotes;

impl MigrationName for CreateNotes {
    fn name(&self) -> &str {
        "m1_create_notes"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for CreateNotes {
    /// The foreign key is checked at the commit: an INSERT … RETURNING answers its row first and fails afterwards.
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let id = match manager.get_database_backend() {
            sea_orm::DbBackend::Postgres => "uuid",
            _ => "blob",
        };
        let sql = format!(
            "CREATE TABLE app_notes (id {id} PRIMARY KEY, text text NOT NULL,
             bot_id {id} NOT NULL CONSTRAINT fk_app_notes_bot_id REFERENCES bots (id) DEFERRABLE INITIALLY DEFERRED)"
        );
        manager.get_connection().execute_unprepared(&sql).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("app_notes").to_owned()).await
    }
}

struct CreateDays;

impl MigrationName for CreateDays {
    fn name(&self) -> &str {
        "m2_create_days"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for CreateDays {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let (id, zoned) = match manager.get_database_backend() {
            sea_orm::DbBackend::Postgres => ("uuid", "timestamptz"),
            _ => ("blob", "timestamp"),
        };
        let sql = format!(
            "CREATE TABLE app_days (id {id} PRIMARY KEY, on_day date NOT NULL, at_time time, local timestamp NOT NULL,
             zoned {zoned}, weight real NOT NULL, text text)"
        );
        manager.get_connection().execute_unprepared(&sql).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("app_days").to_owned()).await
    }
}

fn note(id: Uuid, bot: BotId) -> notes::ActiveModel {
    let model = notes::Model {
        id,
        bot_id: bot.0,
        text: "hoo".into(),
    };
    model.into_active_model().reset_all()
}

async fn keep(on: &impl Repositories, bot: BotId) -> store::Result<notes::Model> {
    keep_as(on, Uuid::from_u128(7), bot).await
}

pub(crate) async fn keep_as(on: &impl Repositories, id: Uuid, bot: BotId) -> store::Result<notes::Model> {
    let insert = notes::Entity::insert(note(id, bot));
    let write = |db: store::engine::Operation| async move { db.write_returning(insert).await };
    on.session()
        .run("note", "keep", write)
        .await
        .map(|mut rows| rows.remove(0))
}

pub(crate) async fn count(on: &impl Repositories) -> usize {
    on.session()
        .run("note", "all", |db| async move { db.all(notes::Entity::find()).await })
        .await
        .unwrap()
        .len()
}

/// SeaORM's `insert()` says Ok here on SQLite, and nothing is stored: sqlx stops at the first row and ignores the error
/// that comes after it (<https://github.com/launchbadge/sqlx/issues/3430>).
async fn an_error_after_the_first_returned_row_is_reported(db: TestDatabase) {
    let store = open(&db).await;
    store.migrate::<Notes>().await.unwrap();
    let nobody: BotId = Uuid::from_u128(1).into();
    let error = keep(&store, nobody).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ForeignKey, "{error:?}");
    assert_eq!(count(&store).await, 0);
}

async fn a_repository_of_ones_own_runs_in_a_stores_transaction(db: TestDatabase) {
    let store = open(&db).await;
    store.migrate::<Notes>().await.unwrap();
    store.migrate::<Notes>().await.unwrap();
    let undone = store
        .transaction(|tx| async move {
            let bot = tx.bots().create(a_bot("owl")).await?;
            keep(&tx, bot.id).await?;
            Err::<(), _>(Error::application("no"))
        })
        .await;
    refused(undone, ErrorKind::Application, None);
    assert_eq!(count(&store).await, 0);
    let bot = store
        .transaction(|tx| async move {
            let bot = tx.bots().create(a_bot("owl")).await?;
            keep(&tx, bot.id).await?;
            Ok(bot)
        })
        .await
        .unwrap();
    assert_eq!(count(&store).await, 1);
    assert_eq!(store.bots().get(bot.id).await.unwrap(), Some(bot));
}

fn day(number: u32) -> days::Model {
    let local = chrono::DateTime::from_timestamp(1_800_000_000 + i64::from(number) * 86_461, 0).unwrap();
    let some = !number.is_multiple_of(3);
    days::Model {
        id: Uuid::from_u128(1_000 + u128::from(number)),
        on_day: local.date_naive(),
        at_time: some.then(|| local.time()),
        local: local.naive_utc(),
        zoned: some.then(|| local.fixed_offset()),
        weight: number as f32 / 4.0,
        text: (number % 2 == 1).then(|| format!("day {number}")),
    }
}

async fn all_days(on: &impl Repositories) -> Vec<days::Model> {
    let all = |db: store::engine::Operation| async move { db.all(days::Entity::find()).await };
    let mut all = on.session().run("day", "all", all).await.unwrap();
    all.sort_by_key(|day| day.id);
    all
}

/// On Postgres rows that are inserted at once share a statement, where their types allow it.
async fn columns_of_any_type_are_stored_by_concurrent_inserts(db: TestDatabase) {
    let store = open(&db).await;
    store.migrate::<Notes>().await.unwrap();
    let tasks = (0..96).map(|number| {
        let session = store.session();
        let insert = days::Entity::insert(day(number).into_active_model().reset_all());
        let write = |db: store::engine::Operation| async move { db.write(insert).await };
        tokio::spawn(async move { session.run("day", "keep", write).await })
    });
    for task in tasks.collect::<Vec<_>>() {
        assert_eq!(task.await.unwrap().unwrap(), 1);
    }
    let wanted = (0..96).map(day).collect::<Vec<_>>();
    assert_eq!(all_days(&open(&db).await).await, wanted);
}

async fn columns_of_any_type_are_stored_many_at_once(db: TestDatabase) {
    let store = open(&db).await;
    store.migrate::<Notes>().await.unwrap();
    let keep = |numbers: std::ops::Range<u32>| {
        let rows = numbers.map(day).collect::<Vec<_>>();
        let work = |db: store::engine::Operation| async move {
            db.atomic(|db| {
                let rows = rows.clone();
                async move { db.insert_all::<days::Entity>(rows).await }
            })
            .await
        };
        let session = store.session();
        async move { session.run("day", "keep_all", work).await }
    };
    keep(0..2_500).await.unwrap();
    // One that is there already undoes all that came with it.
    assert_eq!(keep(2_499..3_000).await.unwrap_err().kind(), ErrorKind::Conflict);
    let wanted = (0..2_500).map(day).collect::<Vec<_>>();
    assert_eq!(all_days(&open(&db).await).await, wanted);
}
