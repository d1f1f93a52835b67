//! Executions of tasks in SQL.

mod reading;

use entity::task_states::{ActiveModel, Column, Entity, Model};
use entity::workflow_states;
use sea_orm::sea_query::{Condition, Expr, ExprTrait, OnConflict};
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, QueryFilter, QuerySelect, UpdateMany};
use serde_json::Value;

use super::workflow_states::array;
use super::{TaskStates, insertable, the_row};
use crate::contract::{
    NewTaskState, Page, PageRequest, Progress, TaskExecId, TaskGroup, TaskKey, TaskOutput, TaskState, TaskStateFilter,
    TaskStateRepository, TaskTree, Usage, WorkflowExecId,
};
use crate::engine::{FromRow, Operation, Row};
use crate::{Error, ErrorKind, Result};

pub(super) use reading::{counted, roots_of};

impl TaskStateRepository for TaskStates {
    async fn upsert(&self, task: NewTaskState) -> Result<TaskState> {
        self.run("upsert", |db| async move {
            let task = &task.checked()?;
            db.atomic(|db| upsert(db, task)).await
        })
        .await
    }

    async fn update_if_version(&self, task: NewTaskState, version: i64) -> Result<TaskState> {
        self.run("update_if_version", |db| async move {
            let task = &task.checked()?;
            db.atomic(|db| update(db, task, version)).await
        })
        .await
    }

    async fn get(&self, id: &TaskExecId) -> Result<Option<TaskState>> {
        self.run("get", |db| async move {
            let found = db.by_key::<Entity>(id.as_str()).await?;
            found.map(TaskState::try_from).transpose()
        })
        .await
    }

    async fn list(&self, filter: TaskStateFilter, page: PageRequest) -> Result<Page<TaskState>> {
        self.run("list", |db| async move { reading::list(&db, filter, &page).await })
            .await
    }

    async fn in_workflow(&self, workflow: &WorkflowExecId, page: PageRequest) -> Result<Page<TaskState>> {
        self.run("in_workflow", |db| async move {
            let tasks = Column::WorkflowExecId.eq(workflow.as_str());
            reading::oldest_first(&db, "tasks of a workflow", tasks, &page).await
        })
        .await
    }

    async fn by_ids(&self, ids: &[TaskExecId]) -> Result<Vec<TaskState>> {
        self.run("by_ids", |db| async move { reading::by_ids(&db, ids).await })
            .await
    }

    async fn children(&self, parent: &TaskExecId, page: PageRequest) -> Result<Page<TaskState>> {
        self.run("children", |db| async move {
            let children = Column::ParentStateId.eq(parent.as_str());
            reading::oldest_first(&db, "children of a task", children, &page).await
        })
        .await
    }

    async fn child_by_task_id(&self, parent: &TaskExecId, task: &TaskKey) -> Result<Option<TaskState>> {
        self.run("child_by_task_id", |db| async move {
            reading::latest_child(&db, parent, task).await
        })
        .await
    }

    async fn children_outputs(&self, parent: &TaskExecId, page: PageRequest) -> Result<Page<TaskOutput>> {
        self.run("children_outputs", |db| async move {
            reading::outputs(&db, parent, &page).await
        })
        .await
    }

    async fn tree(&self, root: &TaskExecId, depth: u32) -> Result<TaskTree> {
        self.run("tree", |db| async move {
            TaskTree::check_depth(depth)?;
            reading::tree(&db, root, depth).await
        })
        .await
    }

    async fn progress(&self, group: TaskGroup) -> Result<Progress> {
        self.run("progress", |db| async move {
            let tasks = match group {
                TaskGroup::ChildrenOf(parent) => Column::ParentStateId.eq(parent.as_str()),
                TaskGroup::InWorkflow(workflow) => Column::WorkflowExecId.eq(workflow.as_str()),
            };
            counted(&db, Condition::all().add(tasks)).await
        })
        .await
    }

    async fn merge_usage(&self, id: &TaskExecId, usage: Vec<Usage>) -> Result<TaskState> {
        let usage = &usage;
        self.run("merge_usage", |db| async move {
            db.atomic(|db| merge_usage(db, id, usage)).await
        })
        .await
    }
}

async fn upsert(db: Operation, task: &NewTaskState) -> Result<TaskState> {
    let Some(workflow_id) = workflow_of(&db, task).await? else {
        let error = Error::new(ErrorKind::ForeignKey, "the workflow's execution is not there");
        return Err(error.breaking("fk_task_states_workflow_exec_id"));
    };
    let upsert = Entity::insert(insertable(row(task, workflow_id, &db))).on_conflict(replacing(task));
    // The other reference of a task is good, so it was this one, which SQLite does not say.
    let stored = db.write_returning(upsert).await.map_err(|error| match error.kind() {
        ErrorKind::ForeignKey => error.breaking("fk_task_states_parent_state_id"),
        _ => error,
    });
    stored?.into_iter().next().ok_or_else(elsewhere)?.try_into()
}

async fn update(db: Operation, task: &NewTaskState, version: i64) -> Result<TaskState> {
    workflow_of(&db, task).await?;
    let update = Entity::update_many()
        .set(changes(task, &db))
        .col_expr(Column::Version, Expr::col(Column::Version).add(1))
        .filter(Column::TaskExecId.eq(task.task_exec_id.as_str()))
        .filter(Column::Version.eq(version))
        .filter(place_of(task));
    if let Some(row) = db.write_returning(update).await?.into_iter().next() {
        return row.try_into();
    }
    match db.by_key::<Entity>(task.task_exec_id.as_str()).await? {
        None => Err(Error::not_found("task_state", &task.task_exec_id)),
        Some(row) if row.version == version => Err(elsewhere()),
        Some(row) => Err(Error::new(
            ErrorKind::Conflict,
            format!("it has version {} by now, not {version}: read it again", row.version),
        )),
    }
}

async fn merge_usage(db: Operation, id: &TaskExecId, usage: &[Usage]) -> Result<TaskState> {
    let this = || Column::TaskExecId.eq(id.as_str());
    let change = Entity::update_many()
        .col_expr(Column::Version, Expr::col(Column::Version).add(1))
        .col_expr(Column::UpdatedAt, Expr::val(db.now()))
        .filter(this());
    let found = the_row(db.write_returning(change).await?, "task_state", id)?;
    let merged = Usage::merged(array("task_states", id, found.usage)?, usage)?;
    let merged = ActiveModel {
        usage: ActiveValue::Set(Some(Value::Array(merged))),
        ..Default::default()
    };
    let update = Entity::update_many().set(merged).filter(this());
    the_row(db.write_returning(update).await?, "task_state", id)?.try_into()
}

/// Makes every task of a workflow's execution a root task.
pub(super) fn without_parents(workflow: &WorkflowExecId) -> UpdateMany<Entity> {
    Entity::update_many()
        .col_expr(Column::ParentStateId, Expr::val(None::<String>))
        .filter(Column::WorkflowExecId.eq(workflow.as_str()))
        .filter(Column::ParentStateId.is_not_null())
}

/// The workflow of the execution that a task is written into. To have read it is what makes this transaction and one
/// that completes the execution see each other: see `complete` there.
async fn workflow_of(db: &Operation, task: &NewTaskState) -> Result<Option<String>> {
    use workflow_states::{Column, Entity};
    let workflow = Entity::find_by_id(task.workflow_exec_id.as_str())
        .select_only()
        .columns([Column::WorkflowExecId, Column::WorkflowId]);
    let found: Vec<Workflow> = db.all_as(workflow).await?;
    Ok(found.into_iter().next().map(|row| row.workflow_id))
}

struct Workflow {
    workflow_id: String,
}

impl FromRow for Workflow {
    /// Behind the execution, which is there for errors.
    fn from_row(row: &mut Row<'_>) -> Result<Self> {
        let _execution: String = row.read()?;
        Ok(Self {
            workflow_id: row.read()?,
        })
    }
}

fn elsewhere() -> Error {
    Error::new(
        ErrorKind::Conflict,
        "the task is in another workflow's execution or below another parent, and stays there",
    )
}

fn place_of(task: &NewTaskState) -> Condition {
    let parent = match &task.parent_state_id {
        Some(parent) => Column::ParentStateId.eq(parent.as_str()),
        None => Column::ParentStateId.is_null(),
    };
    Condition::all()
        .add(Column::WorkflowExecId.eq(task.workflow_exec_id.as_str()))
        .add(parent)
}

fn replacing(task: &NewTaskState) -> OnConflict {
    let mut conflict = OnConflict::column(Column::TaskExecId);
    conflict
        .update_columns([
            Column::TaskId,
            Column::Component,
            Column::Status,
            Column::ExecutionType,
            Column::AgentId,
            Column::ToolId,
            Column::ActionId,
            Column::Usage,
            Column::Input,
            Column::Output,
            Column::Error,
            Column::UpdatedAt,
        ])
        .value(Column::Version, Expr::col((Entity, Column::Version)).add(1))
        .action_cond_where(place_of(task));
    conflict
}

fn row(task: &NewTaskState, workflow_id: String, db: &Operation) -> Model {
    let now = db.now();
    let executor = reading::Executor::from(&task.execution);
    Model {
        task_exec_id: task.task_exec_id.to_string(),
        task_id: task.task_id.to_string(),
        component: task.component.clone(),
        status: task.status,
        workflow_exec_id: task.workflow_exec_id.to_string(),
        workflow_id,
        execution_type: executor.execution_type,
        usage: task.usage.clone().map(Value::Array),
        agent_id: executor.agent_id,
        tool_id: executor.tool_id,
        action_id: executor.action_id,
        parent_state_id: task.parent_state_id.as_ref().map(ToString::to_string),
        input: task.input.clone(),
        output: task.output.clone(),
        error: task.error.clone(),
        version: 1,
        created_at: now,
        updated_at: now,
    }
}

/// What a later state replaces: everything but the task's place, its version and the time of its creation.
fn changes(task: &NewTaskState, db: &Operation) -> ActiveModel {
    let mut row: ActiveModel = insertable(row(task, String::new(), db));
    row.task_exec_id = ActiveValue::NotSet;
    row.workflow_exec_id = ActiveValue::NotSet;
    row.workflow_id = ActiveValue::NotSet;
    row.parent_state_id = ActiveValue::NotSet;
    row.version = ActiveValue::NotSet;
    row.created_at = ActiveValue::NotSet;
    row
}
