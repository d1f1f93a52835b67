//! Finding tasks, and making them out of rows.

use std::collections::{HashMap, HashSet};

use entity::task_states::{Column, Entity, Model};
use sea_orm::sea_query::{
    Alias, CommonTableExpression, Condition, Expr, ExprTrait, Query, SelectStatement, UnionType, WithClause,
};
use sea_orm::{ColumnTrait, EntityTrait, JoinType, Order, QueryFilter, QueryOrder, QuerySelect, QueryTrait, Select};

use super::array;
use crate::contract::{
    Direction, Execution, ExecutionStatus, Page, PageRequest, Progress, TaskExecId, TaskKey, TaskOutput, TaskState,
    TaskStateFilter, TaskTree, TreeTask, WorkflowExecId, WorkflowKey,
};
use crate::engine::{FromRow, Operation, Row};
use crate::sql::corrupt;
use crate::sql::page::Listing;
use crate::{Error, Result};

/// The tasks of a workflow's execution that have no parent.
pub(in crate::sql) fn roots_of(workflow: &WorkflowExecId) -> Condition {
    Condition::all()
        .add(Column::WorkflowExecId.eq(workflow.as_str()))
        .add(Column::ParentStateId.is_null())
}

/// How many of these tasks stand where.
pub(in crate::sql) async fn counted(db: &Operation, tasks: Condition) -> Result<Progress> {
    let select = Entity::find()
        .select_only()
        .column(Column::Status)
        .column_as(Expr::col(Column::Status).count(), "tasks")
        .filter(tasks)
        .group_by(Column::Status);
    let counts: Vec<Count> = db.all_as(select).await?;
    let mut progress = Progress::default();
    for count in counts {
        *progress.count_mut(count.status) = count.tasks;
    }
    Ok(progress)
}

struct Count {
    status: ExecutionStatus,
    tasks: i64,
}

from_row!(Count { status, tasks });

pub(super) async fn list(db: &Operation, filter: TaskStateFilter, page: &PageRequest) -> Result<Page<TaskState>> {
    let select = Entity::find()
        .apply_if(filter.status, |select, status| select.filter(Column::Status.eq(status)))
        .apply_if(filter.workflow_id, |select, id| {
            select.filter(Column::WorkflowId.eq(id.as_str()))
        })
        .apply_if(filter.workflow_exec_id, |select, id| {
            select.filter(Column::WorkflowExecId.eq(id.as_str()))
        })
        .apply_if(filter.task_id, |select, id| {
            select.filter(Column::TaskId.eq(id.as_str()))
        })
        .apply_if(filter.parent_state_id, |select, id| {
            select.filter(Column::ParentStateId.eq(id.as_str()))
        });
    let listing = listing("task_states", Direction::Descending);
    listing
        .page(db, select, page, place)
        .await?
        .try_map(TaskState::try_from)
}

pub(super) async fn oldest_first(
    db: &Operation,
    name: &'static str,
    tasks: Expr,
    page: &PageRequest,
) -> Result<Page<TaskState>> {
    let select = Entity::find().filter(tasks);
    listing(name, Direction::Ascending)
        .page(db, select, page, place)
        .await?
        .try_map(TaskState::try_from)
}

fn listing(name: &'static str, direction: Direction) -> Listing<Column, 2> {
    Listing {
        name,
        keys: [Column::CreatedAt, Column::TaskExecId],
        direction,
    }
}

fn place(row: &Model) -> [crate::contract::CursorKey; 2] {
    [row.created_at.into(), row.task_exec_id.clone().into()]
}

/// Ids in one query. Lists are filled up to a power of two, so that few different statements arise.
const IDS: usize = 16_384;

pub(super) async fn by_ids(db: &Operation, ids: &[TaskExecId]) -> Result<Vec<TaskState>> {
    let mut seen = HashSet::new();
    let ids: Vec<&str> = ids
        .iter()
        .map(TaskExecId::as_str)
        .filter(|id| seen.insert(*id))
        .collect();
    let mut found = HashMap::new();
    for some in ids.chunks(IDS) {
        let filling = some.last().into_iter().cycle();
        let filled = some.iter().chain(filling).take(some.len().next_power_of_two());
        let rows = db
            .all(Entity::find().filter(Column::TaskExecId.is_in(filled.copied())))
            .await?;
        found.extend(rows.into_iter().map(|row| (row.task_exec_id.clone(), row)));
    }
    let rows = ids.into_iter().filter_map(|id| found.remove(id));
    rows.map(TaskState::try_from).collect()
}

pub(super) async fn latest_child(db: &Operation, parent: &TaskExecId, task: &TaskKey) -> Result<Option<TaskState>> {
    let latest = Entity::find()
        .filter(Column::ParentStateId.eq(parent.as_str()))
        .filter(Column::TaskId.eq(task.as_str()))
        .order_by_desc(Column::CreatedAt)
        .order_by_desc(Column::TaskExecId)
        .limit(1);
    db.one(latest).await?.map(TaskState::try_from).transpose()
}

pub(super) async fn outputs(db: &Operation, parent: &TaskExecId, page: &PageRequest) -> Result<Page<TaskOutput>> {
    let told = [
        Column::TaskExecId,
        Column::TaskId,
        Column::Status,
        Column::Output,
        Column::CreatedAt,
    ];
    let select = Entity::find()
        .select_only()
        .columns(told)
        .filter(Column::ParentStateId.eq(parent.as_str()))
        .filter(Column::Output.is_not_null());
    listing("outputs of a task's children", Direction::Ascending)
        .page(db, select, page, |row: &Output| {
            [row.created_at.into(), row.task_exec_id.clone().into()]
        })
        .await?
        .try_map(TaskOutput::try_from)
}

struct Output {
    task_exec_id: String,
    task_id: String,
    status: ExecutionStatus,
    output: serde_json::Value,
    created_at: chrono::DateTime<chrono::Utc>,
}

from_row!(Output {
    task_exec_id,
    task_id,
    status,
    output,
    created_at
});

impl TryFrom<Output> for TaskOutput {
    type Error = Error;

    fn try_from(row: Output) -> Result<Self> {
        let rule = |rule| corrupt("task_states", &row.task_exec_id, rule);
        Ok(Self {
            task_exec_id: TaskExecId::new(row.task_exec_id.as_str()).map_err(rule)?,
            task_id: TaskKey::new(row.task_id).map_err(rule)?,
            status: row.status,
            output: row.output,
        })
    }
}

pub(super) async fn tree(db: &Operation, root: &TaskExecId, depth: u32) -> Result<TaskTree> {
    let nodes: Vec<Node> = db.all_as(below(root, i64::from(depth))).await?;
    let goes_deeper = nodes.iter().any(|node| node.goes_deeper);
    let tasks = nodes.into_iter().map(|node| {
        Ok(TreeTask {
            depth: u32::try_from(node.depth).unwrap_or(u32::MAX),
            task: node.task.try_into()?,
        })
    });
    Ok(TaskTree {
        tasks: tasks.collect::<Result<_>>()?,
        goes_deeper,
    })
}

/// The recursion finds the ids, one level after the other; the rows are joined to them at the end.
fn below(root: &TaskExecId, depth: i64) -> Select<Entity> {
    let at = |column: &'static str| Expr::col((Alias::new("tree"), Alias::new(column)));
    let child = || Alias::new("child");
    let the_root = Query::select()
        .column(Column::TaskExecId)
        .expr(Expr::val(0_i64).cast_as("bigint"))
        .from(Entity)
        .and_where(Column::TaskExecId.eq(root.as_str()))
        .to_owned();
    let next_level = Query::select()
        .column((child(), Column::TaskExecId))
        .expr(at("depth").add(1_i64))
        .from_as(Entity, child())
        .inner_join(
            Alias::new("tree"),
            Expr::col((child(), Column::ParentStateId)).eq(at("id")),
        )
        .and_where(at("depth").lt(depth))
        .to_owned();
    let tree = CommonTableExpression::new()
        .table_name(Alias::new("tree"))
        .columns([Alias::new("id"), Alias::new("depth")])
        .query(union(the_root, next_level))
        .to_owned();
    let has_children = Query::select()
        .column((child(), Column::TaskExecId))
        .from_as(Entity, child())
        .and_where(Expr::col((child(), Column::ParentStateId)).eq(at("id")))
        .to_owned();

    let mut select = Entity::find();
    QueryTrait::query(&mut select)
        .with_cte(WithClause::new().recursive(true).cte(tree).to_owned())
        .from_clear()
        .from(Alias::new("tree"))
        // Each row of the tree has its task. Left to join them in its own order, SQLite reads the whole table.
        .join(
            JoinType::LeftJoin,
            Entity,
            at("id").eq(Expr::col((Entity, Column::TaskExecId))),
        )
        .expr_as(at("depth"), "depth")
        .expr_as(at("depth").eq(depth).and(Expr::exists(has_children)), "goes_deeper")
        .order_by_expr(at("depth"), Order::Asc);
    select.order_by_asc(Column::CreatedAt).order_by_asc(Column::TaskExecId)
}

fn union(mut first: SelectStatement, second: SelectStatement) -> SelectStatement {
    first.union(UnionType::All, second);
    first
}

struct Node {
    task: Model,
    depth: i64,
    goes_deeper: bool,
}

impl FromRow for Node {
    fn from_row(row: &mut Row<'_>) -> Result<Self> {
        Ok(Self {
            task: Model::from_row(row)?,
            depth: row.read()?,
            goes_deeper: row.read()?,
        })
    }
}

/// An [`Execution`] as its columns.
pub(super) struct Executor {
    pub(super) execution_type: String,
    pub(super) agent_id: Option<String>,
    pub(super) tool_id: Option<String>,
    pub(super) action_id: Option<String>,
}

impl From<&Execution> for Executor {
    fn from(execution: &Execution) -> Self {
        let nobody = |execution_type: &str| Self {
            execution_type: execution_type.to_owned(),
            agent_id: None,
            tool_id: None,
            action_id: None,
        };
        match execution.clone() {
            Execution::Basic => nobody("basic"),
            Execution::Router => nobody("router"),
            Execution::Agent { agent_id, action_id } => Self {
                agent_id: Some(agent_id),
                action_id: Some(action_id),
                ..nobody("basic")
            },
            Execution::Tool { tool_id } => Self {
                tool_id: Some(tool_id),
                ..nobody("basic")
            },
            Execution::Other {
                execution_type,
                agent_id,
                tool_id,
                action_id,
            } => Self {
                execution_type,
                agent_id,
                tool_id,
                action_id,
            },
        }
    }
}

impl TryFrom<Executor> for Execution {
    type Error = Error;

    fn try_from(row: Executor) -> Result<Self> {
        let Executor {
            execution_type,
            agent_id,
            tool_id,
            action_id,
        } = row;
        match (execution_type.as_str(), agent_id, tool_id, action_id) {
            ("basic", None, None, None) => Ok(Self::Basic),
            ("basic", None, Some(tool_id), None) => Ok(Self::Tool { tool_id }),
            ("basic", Some(agent_id), None, Some(action_id)) => Ok(Self::Agent { agent_id, action_id }),
            ("router", None, None, None) => Ok(Self::Router),
            ("basic" | "router", ..) => Err(Error::invalid(
                "execution_type",
                "does not go with the row's agent_id, tool_id and action_id",
            )),
            (_, agent_id, tool_id, action_id) => Ok(Self::Other {
                execution_type,
                agent_id,
                tool_id,
                action_id,
            }),
        }
    }
}

impl TryFrom<Model> for TaskState {
    type Error = Error;

    fn try_from(row: Model) -> Result<Self> {
        let rule = |rule| corrupt("task_states", &row.task_exec_id, rule);
        let executor = Executor {
            execution_type: row.execution_type,
            agent_id: row.agent_id,
            tool_id: row.tool_id,
            action_id: row.action_id,
        };
        Ok(Self {
            task_exec_id: TaskExecId::new(row.task_exec_id.as_str()).map_err(rule)?,
            task_id: TaskKey::new(row.task_id).map_err(rule)?,
            component: row.component,
            status: row.status,
            workflow_exec_id: WorkflowExecId::new(row.workflow_exec_id).map_err(rule)?,
            workflow_id: WorkflowKey::new(row.workflow_id).map_err(rule)?,
            execution: executor.try_into().map_err(rule)?,
            parent_state_id: row.parent_state_id.map(TaskExecId::new).transpose().map_err(rule)?,
            usage: array("task_states", &row.task_exec_id, row.usage)?,
            input: row.input,
            output: row.output,
            error: row.error,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}
