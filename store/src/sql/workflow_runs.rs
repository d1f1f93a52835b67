//! Runs of workflows in SQL.

use entity::workflow_runs::{ActiveModel, Column, Entity, Model};
use entity::workflows;
use sea_orm::sea_query::Condition;
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, QueryFilter, QuerySelect, QueryTrait, Select};

use super::page::Listing;
use super::prune::prune;
use super::workflow_recovery::{fenced, held_by};
use super::{Workflows, corrupt, insertable, set};
use crate::clock::to_microseconds;
use crate::contract::{
    Direction, Key, Lease, Leased, NewRun, Page, PageRequest, Prune, RunChange, RunStatus, Transitions, WorkflowId,
    WorkflowName, WorkflowRun, WorkflowRunId, WorkflowRunRepository,
};
use crate::engine::Operation;
use crate::{Error, ErrorKind, Result};

impl WorkflowRunRepository for Workflows {
    async fn create_run(&self, run: NewRun) -> Result<WorkflowRun> {
        self.checkpoint("create_run", |db| async move {
            let run = run.checked()?;
            let workflow = run.workflow_id;
            let row = row(run, name_of(&db, workflow).await?, &db);
            let stored = db.write(Entity::insert(insertable(row.clone()))).await;
            stored.map_err(|error| match error.kind() {
                // Deleted since its name was read.
                ErrorKind::ForeignKey => Error::not_found("workflow", workflow),
                _ => error,
            })?;
            row.try_into()
        })
        .await
    }

    async fn get_run(&self, id: WorkflowRunId) -> Result<Option<WorkflowRun>> {
        self.run("get_run", |db| async move { find(&db, id).await }).await
    }

    async fn list_runs(&self, workflow: WorkflowId, page: PageRequest) -> Result<Page<WorkflowRun>> {
        self.run("list_runs", |db| async move {
            let select = Entity::find().filter(Column::WorkflowId.eq(workflow));
            list(&db, select, Direction::Descending, &page).await
        })
        .await
    }

    async fn list_runs_by_concurrency_key(&self, key: &Key, page: PageRequest) -> Result<Page<WorkflowRun>> {
        self.run("list_runs_by_concurrency_key", |db| async move {
            let select = Entity::find().filter(Column::ConcurrencyKey.eq(key.as_str()));
            list(&db, select, Direction::Descending, &page).await
        })
        .await
    }

    async fn update_run_status(
        &self,
        id: WorkflowRunId,
        change: RunChange,
        lease: Option<&Lease>,
    ) -> Result<WorkflowRun> {
        self.checkpoint("update_run_status", |db| async move {
            lease.iter().try_for_each(|lease| lease.check_run(id))?;
            let change = change.checked()?;
            let status = change.status;
            let update = Entity::update_many()
                .set(changes(change, &db))
                .filter(Column::Id.eq(id))
                .filter(Column::Status.is_in(status.sources()))
                .apply_if(lease, |update, lease| update.filter(held_by(lease)));
            match db.write_returning(update).await?.pop() {
                Some(row) => row.try_into(),
                None => Err(refusal(&db, id, status, lease).await?),
            }
        })
        .await
    }

    async fn prune_runs(&self, ended: Prune) -> Result<u64> {
        let terminal = RunStatus::ALL.iter().copied().filter(|status| status.is_terminal());
        let old = Condition::all()
            .add(Column::CompletedAt.lt(to_microseconds(ended.older_than)))
            .add(Column::Status.is_in(terminal));
        prune::<Entity>(&self.0, "workflow_run", Column::Id, Column::CompletedAt, ended, old).await
    }
}

/// The run with this id.
pub(super) async fn find(db: &Operation, id: WorkflowRunId) -> Result<Option<WorkflowRun>> {
    db.by_key::<Entity>(id).await?.map(WorkflowRun::try_from).transpose()
}

/// A page of runs by the time at which they were made.
pub(super) async fn list(
    db: &Operation,
    select: Select<Entity>,
    direction: Direction,
    page: &PageRequest,
) -> Result<Page<WorkflowRun>> {
    let listing = Listing {
        name: "workflow_runs",
        keys: [Column::StartedAt, Column::Id],
        direction,
    };
    let found = listing.page(db, select, page, |row: &Model| [row.started_at.into(), row.id.0.into()]);
    found.await?.try_map(WorkflowRun::try_from)
}

/// What a run has when it is no longer anybody's to work on.
pub(super) fn released() -> ActiveModel {
    ActiveModel {
        lease_owner: ActiveValue::Set(None),
        lease_expires_at: ActiveValue::Set(None),
        ..Default::default()
    }
}

/// Why a change of a run's status changed nothing.
async fn refusal(db: &Operation, id: WorkflowRunId, next: RunStatus, lease: Option<&Lease>) -> Result<Error> {
    let Some(run) = find(db, id).await? else {
        return Ok(Error::not_found("workflow_run", id));
    };
    if let Some(lease) = lease.filter(|lease| !lease.holds(&run)) {
        return Ok(fenced(lease));
    }
    Ok(run.status.become_next(next).err().unwrap_or_else(changed_since))
}

/// It was as it is now only after the change had looked.
pub(super) fn changed_since() -> Error {
    Error::new(ErrorKind::Contention, "somebody else changed it at the same moment")
}

struct Named {
    name: String,
}

from_row!(Named { name });

async fn name_of(db: &Operation, id: WorkflowId) -> Result<String> {
    let select = workflows::Entity::find_by_id(id)
        .select_only()
        .column(workflows::Column::Name);
    let found: Vec<Named> = db.all_as(select).await?;
    let first = found.into_iter().next();
    first
        .map(|row| row.name)
        .ok_or_else(|| Error::not_found("workflow", id))
}

fn row(run: NewRun, workflow_name: String, db: &Operation) -> Model {
    Model {
        id: db.new_id(),
        workflow_id: run.workflow_id,
        workflow_name,
        status: RunStatus::Pending,
        trigger_type: run.trigger_type,
        trigger_payload: run.trigger_payload,
        context: run.context,
        started_at: db.now(),
        completed_at: None,
        error: None,
        concurrency_key: run.concurrency_key.map(String::from),
        lease_owner: None,
        lease_expires_at: None,
        lease_epoch: 0,
    }
}

fn changes(change: RunChange, db: &Operation) -> ActiveModel {
    let kept = match change.status {
        RunStatus::Running => ActiveModel::default(),
        _ => released(),
    };
    ActiveModel {
        status: ActiveValue::Set(change.status),
        error: set(change.error.map(Some)),
        context: set(change.context),
        completed_at: set(change.status.is_terminal().then(|| Some(db.now()))),
        ..kept
    }
}

impl TryFrom<Model> for WorkflowRun {
    type Error = Error;

    fn try_from(row: Model) -> Result<Self> {
        let wrong = |rule| corrupt("workflow_runs", row.id, rule);
        let key = |text: Option<String>| text.map(Key::new).transpose().map_err(wrong);
        let leased = key(row.lease_owner)?.zip(row.lease_expires_at);
        Ok(Self {
            id: row.id,
            workflow_id: row.workflow_id,
            workflow_name: WorkflowName::new(row.workflow_name).map_err(wrong)?,
            status: row.status,
            trigger_type: row.trigger_type,
            trigger_payload: row.trigger_payload,
            context: row.context,
            started_at: row.started_at,
            completed_at: row.completed_at,
            error: row.error,
            concurrency_key: key(row.concurrency_key)?,
            leased: leased.map(|(worker, expires_at)| Leased { worker, expires_at }),
            lease_epoch: row.lease_epoch,
        })
    }
}
