//! Executions of workflows in SQL.

use entity::workflow_states::{ActiveModel, Column, Entity, Model};
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, QueryFilter, QueryTrait, UpdateMany};
use serde_json::Value;

use super::page::Listing;
use super::task_states::{counted, roots_of, without_parents};
use super::{WorkflowStates, changed, corrupt, insertable, the_row};
use crate::contract::{
    Direction, ExecutionStatus, NewWorkflowState, Page, PageRequest, Usage, WorkflowExecId, WorkflowKey, WorkflowState,
    WorkflowStateFilter, WorkflowStateRepository,
};
use crate::engine::Operation;
use crate::{Error, ErrorKind, Result};

impl WorkflowStateRepository for WorkflowStates {
    async fn upsert(&self, state: NewWorkflowState) -> Result<WorkflowState> {
        self.run("upsert", |db| async move {
            let row = row(state.checked()?, &db);
            let replacing = replacing(&row);
            let upsert = Entity::insert(insertable(row)).on_conflict(replacing);
            let stored = db.write_returning(upsert).await?.into_iter().next();
            let stored = stored.ok_or_else(|| {
                Error::new(
                    ErrorKind::Conflict,
                    "the execution is of another workflow, and stays with it",
                )
            });
            stored?.try_into()
        })
        .await
    }

    async fn get(&self, id: &WorkflowExecId) -> Result<Option<WorkflowState>> {
        self.run("get", |db| async move {
            let found = db.by_key::<Entity>(id.as_str()).await?;
            found.map(WorkflowState::try_from).transpose()
        })
        .await
    }

    async fn list(&self, filter: WorkflowStateFilter, page: PageRequest) -> Result<Page<WorkflowState>> {
        self.run("list", |db| async move {
            let select = Entity::find()
                .apply_if(filter.status, |select, status| select.filter(Column::Status.eq(status)))
                .apply_if(filter.workflow_id, |select, id| {
                    select.filter(Column::WorkflowId.eq(id.as_str()))
                });
            let listing = Listing {
                name: "workflow_states",
                keys: [Column::CreatedAt, Column::WorkflowExecId],
                direction: Direction::Descending,
            };
            let found = listing.page(&db, select, &page, |row: &Model| {
                [row.created_at.into(), row.workflow_exec_id.clone().into()]
            });
            found.await?.try_map(WorkflowState::try_from)
        })
        .await
    }

    async fn update_status(&self, id: &WorkflowExecId, status: ExecutionStatus) -> Result<WorkflowState> {
        self.run("update_status", |db| async move { set_status(&db, id, status).await })
            .await
    }

    async fn merge_usage(&self, id: &WorkflowExecId, usage: Vec<Usage>) -> Result<WorkflowState> {
        let usage = &usage;
        self.run("merge_usage", |db| async move {
            db.atomic(|db| merge_usage(db, id, usage)).await
        })
        .await
    }

    async fn complete(&self, id: &WorkflowExecId) -> Result<WorkflowState> {
        self.run("complete", |db| async move { db.atomic(|db| complete(db, id)).await })
            .await
    }

    async fn delete(&self, id: &WorkflowExecId) -> Result<()> {
        self.run("delete", |db| async move { db.atomic(|db| delete(db, id)).await })
            .await
    }
}

/// The transactions that write tasks read the workflow's row, which this one writes, and this one reads the tasks that
/// they write: run at once, no order of the two explains what they saw, and one of them starts again.
async fn complete(db: Operation, id: &WorkflowExecId) -> Result<WorkflowState> {
    let roots = counted(&db, roots_of(id)).await?;
    match roots.outcome() {
        Some(outcome) => set_status(&db, id, outcome).await,
        None => Err(Error::new(
            ErrorKind::NotReady,
            format!("{} root tasks of {id} are not at their end", roots.unfinished()),
        )),
    }
}

/// The tasks are taken out of their tree first: SQLite follows references from row to row no deeper than 1,000.
async fn delete(db: Operation, id: &WorkflowExecId) -> Result<()> {
    db.write(without_parents(id)).await?;
    let this = Column::WorkflowExecId.eq(id.as_str());
    let gone = db.write(Entity::delete_many().filter(this)).await?;
    changed(gone, "workflow_state", id)
}

async fn merge_usage(db: Operation, id: &WorkflowExecId, usage: &[Usage]) -> Result<WorkflowState> {
    let found = the_row(db.write_returning(change(&db, id)).await?, "workflow_state", id)?;
    let merged = Usage::merged(array("workflow_states", id, found.usage)?, usage)?;
    let merged = ActiveModel {
        usage: ActiveValue::Set(Some(Value::Array(merged))),
        ..Default::default()
    };
    let update = Entity::update_many()
        .set(merged)
        .filter(Column::WorkflowExecId.eq(id.as_str()));
    the_row(db.write_returning(update).await?, "workflow_state", id)?.try_into()
}

async fn set_status(db: &Operation, id: &WorkflowExecId, status: ExecutionStatus) -> Result<WorkflowState> {
    let update = change(db, id).col_expr(Column::Status, Expr::val(status));
    the_row(db.write_returning(update).await?, "workflow_state", id)?.try_into()
}

/// What every change does, to add to.
fn change(db: &Operation, id: &WorkflowExecId) -> UpdateMany<Entity> {
    Entity::update_many()
        .col_expr(Column::Version, Expr::col(Column::Version).add(1))
        .col_expr(Column::UpdatedAt, Expr::val(db.now()))
        .filter(Column::WorkflowExecId.eq(id.as_str()))
}

fn row(state: NewWorkflowState, db: &Operation) -> Model {
    let now = db.now();
    Model {
        workflow_exec_id: state.workflow_exec_id.into(),
        workflow_id: state.workflow_id.into(),
        status: state.status,
        usage: state.usage.map(Value::Array),
        input: state.input,
        output: state.output,
        error: state.error,
        version: 1,
        created_at: now,
        updated_at: now,
    }
}

fn replacing(row: &Model) -> OnConflict {
    let mut conflict = OnConflict::column(Column::WorkflowExecId);
    conflict
        .update_columns([
            Column::Status,
            Column::Usage,
            Column::Input,
            Column::Output,
            Column::Error,
            Column::UpdatedAt,
        ])
        .value(Column::Version, Expr::col((Entity, Column::Version)).add(1))
        .action_and_where(Column::WorkflowId.eq(row.workflow_id.as_str()));
    conflict
}

/// The stored usage, which a check of the table holds to be an array.
pub(super) fn array(table: &str, row: impl std::fmt::Display, stored: Option<Value>) -> Result<Option<Vec<Value>>> {
    match stored {
        None => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items)),
        Some(_) => Err(corrupt(table, row, Error::invalid("usage", "is no array"))),
    }
}

impl TryFrom<Model> for WorkflowState {
    type Error = Error;

    fn try_from(row: Model) -> Result<Self> {
        let rule = |rule| corrupt("workflow_states", &row.workflow_exec_id, rule);
        Ok(Self {
            workflow_exec_id: WorkflowExecId::new(row.workflow_exec_id.as_str()).map_err(rule)?,
            workflow_id: WorkflowKey::new(row.workflow_id).map_err(rule)?,
            status: row.status,
            usage: array("workflow_states", &row.workflow_exec_id, row.usage)?,
            input: row.input,
            output: row.output,
            error: row.error,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}
