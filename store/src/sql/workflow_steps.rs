//! The log of steps in SQL.

use std::collections::HashSet;

use entity::workflow_steps::{ActiveModel, Column, Entity, Model};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ActiveModelTrait, ActiveValue, ColumnTrait, EntityTrait, Insert, Iterable, QueryFilter, QueryOrder, QuerySelect,
    QueryTrait,
};

use super::page::Listing;
use super::workflow_recovery::{fenced, the_held_run};
use super::workflow_runs::{self, changed_since};
use super::{Workflows, corrupt, insertable, set};
use crate::contract::{
    Direction, Key, Lease, NewStep, Page, PageRequest, StepChange, StepStatus, Transitions, WorkflowRunId,
    WorkflowStep, WorkflowStepId, WorkflowStepRepository,
};
use crate::engine::Operation;
use crate::{Error, ErrorKind, Result};

impl WorkflowStepRepository for Workflows {
    async fn create_step_log(&self, run: WorkflowRunId, step: NewStep, lease: Option<&Lease>) -> Result<WorkflowStep> {
        self.checkpoint("create_step_log", |db| async move {
            let row = row(run, step.checked()?, &db);
            match lease {
                None => insert(&db, &row).await?,
                Some(lease) => insert_held(&db, &row, lease).await?,
            }
            row.try_into()
        })
        .await
    }

    async fn get_step_log(&self, id: WorkflowStepId) -> Result<Option<WorkflowStep>> {
        self.run("get_step_log", |db| async move { find(&db, id).await }).await
    }

    async fn update_step_status(
        &self,
        id: WorkflowStepId,
        change: StepChange,
        lease: Option<&Lease>,
    ) -> Result<WorkflowStep> {
        self.checkpoint("update_step_status", |db| async move {
            let change = change.checked()?;
            let status = change.status;
            let mut update = Entity::update_many()
                .set(changes(change, &db))
                .filter(Column::Id.eq(id))
                .filter(Column::Status.is_in(status.sources()))
                .apply_if(lease, |update, lease| {
                    update.filter(Column::RunId.in_subquery(the_held_run(lease)))
                });
            if status == StepStatus::Running {
                let first = Expr::col(Column::StartedAt).if_null(db.now());
                update = update.col_expr(Column::StartedAt, first);
            }
            match db.write_returning(update).await?.pop() {
                Some(row) => row.try_into(),
                None => Err(refusal(&db, id, status, lease).await?),
            }
        })
        .await
    }

    async fn list_step_logs(&self, run: WorkflowRunId, page: PageRequest) -> Result<Page<WorkflowStep>> {
        self.run("list_step_logs", |db| async move {
            let select = Entity::find().filter(Column::RunId.eq(run));
            let listing = Listing {
                name: "workflow_steps",
                keys: [Column::Id],
                direction: Direction::Ascending,
            };
            let found = listing
                .page(&db, select, &page, |row: &Model| [row.id.0.into()])
                .await?;
            found.try_map(WorkflowStep::try_from)
        })
        .await
    }

    async fn get_completed_step_ids(&self, run: WorkflowRunId) -> Result<Vec<Key>> {
        self.run("get_completed_step_ids", |db| async move {
            let select = Entity::find()
                .select_only()
                .columns([Column::Id, Column::StepId])
                .filter(Column::RunId.eq(run))
                .filter(Column::Status.eq(StepStatus::Completed))
                .order_by_asc(Column::Id);
            let found: Vec<Done> = db.all_as(select).await?;
            let mut seen = HashSet::new();
            let first = found.into_iter().filter(|row| seen.insert(row.step_id.clone()));
            first.map(|row| step_id(row.id, row.step_id)).collect()
        })
        .await
    }
}

struct Done {
    id: WorkflowStepId,
    step_id: String,
}

from_row!(Done { id, step_id });

async fn find(db: &Operation, id: WorkflowStepId) -> Result<Option<WorkflowStep>> {
    db.by_key::<Entity>(id).await?.map(WorkflowStep::try_from).transpose()
}

async fn insert(db: &Operation, row: &Model) -> Result<()> {
    let stored = db.write(Entity::insert(insertable(row.clone()))).await;
    stored.map(drop).map_err(|error| match error.kind() {
        ErrorKind::ForeignKey => Error::not_found("workflow_run", row.run_id),
        _ => error,
    })
}

/// Inserts the row if the lease is still the run's: `INSERT … SELECT … FROM` the run as long as it is held.
async fn insert_held(db: &Operation, row: &Model, lease: &Lease) -> Result<()> {
    lease.check_run(row.run_id)?;
    let model: ActiveModel = insertable(row.clone());
    let mut source = the_held_run(lease);
    source.clear_selects();
    for column in Column::iter() {
        let value = model.get(column).into_value();
        source.expr(value.map_or_else(|| Expr::cust("NULL"), Expr::val));
    }
    let mut insert: Insert<ActiveModel> = Entity::insert(model);
    QueryTrait::query(&mut insert)
        .select_from(source)
        .map_err(|error| Error::new(ErrorKind::Internal, "a step's columns do not match").caused_by(error))?;
    if db.write(insert).await? > 0 {
        return Ok(());
    }
    Err(match workflow_runs::find(db, row.run_id).await? {
        None => Error::not_found("workflow_run", row.run_id),
        Some(run) if lease.holds(&run) => changed_since(),
        Some(_) => fenced(lease),
    })
}

/// Why a change of a step's status changed nothing.
async fn refusal(db: &Operation, id: WorkflowStepId, next: StepStatus, lease: Option<&Lease>) -> Result<Error> {
    let Some(step) = find(db, id).await? else {
        return Ok(Error::not_found("workflow_step", id));
    };
    if let Some(lease) = lease {
        let run = workflow_runs::find(db, step.run_id).await?;
        if !run.is_some_and(|run| lease.holds(&run)) {
            return Ok(fenced(lease));
        }
    }
    Ok(step.status.become_next(next).err().unwrap_or_else(changed_since))
}

fn row(run_id: WorkflowRunId, step: NewStep, db: &Operation) -> Model {
    let now = db.now();
    let has_begun = matches!(
        step.status,
        StepStatus::Running | StepStatus::Completed | StepStatus::Failed
    );
    Model {
        id: db.new_id(),
        run_id,
        step_id: step.step_id.into(),
        step_name: step.step_name,
        status: step.status,
        attempt: step.attempt,
        idempotency_key: step.idempotency_key.map(String::from),
        input: step.input,
        output: None,
        error: None,
        started_at: has_begun.then_some(now),
        completed_at: step.status.is_terminal().then_some(now),
    }
}

fn changes(change: StepChange, db: &Operation) -> ActiveModel {
    ActiveModel {
        status: ActiveValue::Set(change.status),
        output: set(change.output.map(Some)),
        error: set(change.error.map(Some)),
        completed_at: set(change.status.is_terminal().then(|| Some(db.now()))),
        ..Default::default()
    }
}

fn step_id(row: WorkflowStepId, text: String) -> Result<Key> {
    Key::new(text).map_err(|rule| corrupt("workflow_steps", row, rule))
}

impl TryFrom<Model> for WorkflowStep {
    type Error = Error;

    fn try_from(row: Model) -> Result<Self> {
        let idempotency_key = row.idempotency_key.map(|key| step_id(row.id, key)).transpose()?;
        Ok(Self {
            id: row.id,
            run_id: row.run_id,
            step_id: step_id(row.id, row.step_id)?,
            step_name: row.step_name,
            status: row.status,
            attempt: row.attempt,
            idempotency_key,
            input: row.input,
            output: row.output,
            error: row.error,
            started_at: row.started_at,
            completed_at: row.completed_at,
        })
    }
}
