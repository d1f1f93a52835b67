//! Definitions of workflows in SQL.

use entity::workflow_runs;
use entity::workflows::{Column, Entity, Model};
use sea_orm::sea_query::{Condition, OnConflict};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect, QueryTrait};

use super::page::Listing;
use super::{Workflows, corrupt, insertable, the_row};
use crate::contract::{
    BotId, Direction, Owner, OwnerType, Page, PageRequest, Workflow, WorkflowDraft, WorkflowId, WorkflowName,
    WorkflowRepository,
};
use crate::engine::Operation;
use crate::{Error, ErrorKind, Result};

impl WorkflowRepository for Workflows {
    async fn save_definition(&self, draft: WorkflowDraft) -> Result<Workflow> {
        self.run("save_definition", |db| async move {
            let row = row(draft.checked()?, &db);
            let id = row.id;
            let upsert = Entity::insert(insertable(row)).on_conflict(replacing());
            the_row(db.write_returning(upsert).await?, "workflow", id)?.try_into()
        })
        .await
    }

    async fn get_definition(&self, id: WorkflowId) -> Result<Option<Workflow>> {
        self.run("get_definition", |db| async move {
            db.by_key::<Entity>(id).await?.map(Workflow::try_from).transpose()
        })
        .await
    }

    async fn get_definition_by_name(&self, name: &WorkflowName, owner: Owner) -> Result<Option<Workflow>> {
        self.run("get_definition_by_name", |db| async move {
            let select = Entity::find().filter(of(owner)).filter(Column::Name.eq(name.as_str()));
            db.one(select).await?.map(Workflow::try_from).transpose()
        })
        .await
    }

    async fn list_definitions(&self, owner: Option<Owner>, page: PageRequest) -> Result<Page<Workflow>> {
        self.run("list_definitions", |db| async move {
            let select = Entity::find().apply_if(owner, |select, owner| select.filter(of(owner)));
            let found = match owner {
                // Unique there, and read off the index that makes it so.
                Some(_) => {
                    let name = |row: &Model| [row.name.clone().into()];
                    by_name([Column::Name]).page(&db, select, &page, name).await?
                }
                None => {
                    let name = |row: &Model| [row.name.clone().into(), row.id.0.into()];
                    by_name([Column::Name, Column::Id])
                        .page(&db, select, &page, name)
                        .await?
                }
            };
            found.try_map(Workflow::try_from)
        })
        .await
    }

    async fn delete_definition(&self, id: WorkflowId) -> Result<bool> {
        self.run("delete_definition", |db| async move {
            let gone = db.write(Entity::delete_many().filter(Column::Id.eq(id))).await;
            gone.map(|rows| rows > 0).map_err(has_runs)
        })
        .await
    }

    async fn purge_definition(&self, id: WorkflowId) -> Result<u64> {
        self.run("purge_definition", |db| async move {
            // A run may have been added after those that were there were removed.
            db.atomic_again(is_referred, |db| async move {
                let gone = purge(&db, Condition::all().add(Column::Id.eq(id))).await?;
                super::changed(gone.workflows, "workflow", id)?;
                Ok(gone.runs)
            })
            .await
        })
        .await
    }
}

fn by_name<const N: usize>(keys: [Column; N]) -> Listing<Column, N> {
    Listing {
        name: "workflows",
        keys,
        direction: Direction::Ascending,
    }
}

/// How many rows a purge removed, steps not counted.
pub(super) struct Purged {
    workflows: u64,
    runs: u64,
}

/// Removes these workflows with their runs and steps, inside the caller's transaction.
pub(super) async fn purge(db: &Operation, which: Condition) -> Result<Purged> {
    let ids = Entity::find().select_only().column(Column::Id).filter(which.clone());
    let of_these = workflow_runs::Column::WorkflowId.in_subquery(ids.into_query());
    let runs = db.write(workflow_runs::Entity::delete_many().filter(of_these)).await?;
    let workflows = db.write(Entity::delete_many().filter(which)).await;
    Ok(Purged {
        workflows: workflows?,
        runs,
    })
}

/// The workflows of a bot.
pub(super) fn owned_by(bot: BotId) -> Condition {
    Condition::all().add(Column::OwnerBotId.eq(bot))
}

/// On Postgres a row that refers to this one can be added after those that did were removed: then all of it is done
/// again. What still refers to it then is not the store's to remove.
pub(super) fn is_referred(error: &Error) -> bool {
    error.kind() == ErrorKind::ForeignKey
}

fn has_runs(error: Error) -> Error {
    let Some(constraint) = error.constraint().filter(|_| error.kind() == ErrorKind::ForeignKey) else {
        return error;
    };
    let conflict = Error::new(
        ErrorKind::Conflict,
        "the workflow has runs; purge it to delete them too",
    );
    conflict.breaking(constraint).caused_by(error)
}

fn of(owner: Owner) -> Condition {
    match owner {
        Owner::Global => Condition::all().add(Column::OwnerBotId.is_null()),
        Owner::Bot(bot) => owned_by(bot),
    }
}

fn row(draft: WorkflowDraft, db: &Operation) -> Model {
    let now = db.now();
    Model {
        id: draft.id.unwrap_or_else(|| db.new_id()),
        name: draft.name.into(),
        owner_type: draft.owner.kind(),
        owner_bot_id: draft.owner.bot(),
        definition: draft.definition,
        created_at: now,
        updated_at: now,
    }
}

fn replacing() -> OnConflict {
    let mut conflict = OnConflict::column(Column::Id);
    conflict.update_columns([
        Column::Name,
        Column::OwnerType,
        Column::OwnerBotId,
        Column::Definition,
        Column::UpdatedAt,
    ]);
    conflict
}

impl TryFrom<Model> for Workflow {
    type Error = Error;

    fn try_from(row: Model) -> Result<Self> {
        let owner = match (row.owner_type, row.owner_bot_id) {
            (OwnerType::Global, None) => Ok(Owner::Global),
            (OwnerType::Bot, Some(bot)) => Ok(Owner::Bot(bot)),
            (kind, _) => Err(Error::invalid(
                "owner_bot_id",
                format_args!("does not go with owner_type {kind}"),
            )),
        };
        Ok(Self {
            owner: owner.map_err(|rule| corrupt("workflows", row.id, rule))?,
            name: WorkflowName::new(row.name).map_err(|rule| corrupt("workflows", row.id, rule))?,
            id: row.id,
            definition: row.definition,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}
