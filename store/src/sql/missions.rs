//! Missions in SQL.

use entity::{decisions, missions, tool_calls};
use sea_orm::sea_query::{Condition, Expr, ExprTrait, LockType};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait, Select};
use serde_json::{Map, Value};

use super::page::Listing;
use super::prune::{Joined, prune_joined};
use super::{Missions, changed, insertable, the_row};
use crate::clock::to_microseconds;
use crate::contract::{
    Decision, DecisionFilter, Direction, Mission, MissionFilter, MissionId, MissionRepository, MissionStatus,
    NewDecision, NewMission, NewToolCall, Page, PageRequest, Prune, ToolCall, ToolCallFilter, ToolCallId, ToolStats,
};
use crate::engine::Operation;
use crate::{Error, ErrorKind, Result};

impl MissionRepository for Missions {
    async fn create(&self, mission: NewMission) -> Result<MissionId> {
        self.run("create", |db| async move {
            let mission = mission.checked()?;
            let now = db.now();
            let row = missions::Model {
                id: db.new_id(),
                phase: mission.phase,
                status: MissionStatus::Pending,
                metadata: mission.metadata.unwrap_or_else(|| Value::Object(Map::new())),
                created_at: now,
                updated_at: now,
                completed_at: None,
            };
            let id = row.id;
            db.write(missions::Entity::insert(insertable(row))).await?;
            Ok(id)
        })
        .await
    }

    async fn get(&self, id: MissionId) -> Result<Option<Mission>> {
        self.run("get", |db| async move {
            Ok(db.by_key::<missions::Entity>(id).await?.map(Mission::from))
        })
        .await
    }

    async fn update_status(&self, id: MissionId, status: MissionStatus) -> Result<Mission> {
        self.run("update_status", |db| async move {
            use missions::{Column, Entity};
            let now = db.now();
            let update = Entity::update_many()
                .col_expr(Column::Status, Expr::val(status))
                .col_expr(Column::UpdatedAt, Expr::val(now))
                .col_expr(Column::CompletedAt, Expr::val(has_ended(status).then_some(now)))
                .filter(Column::Id.eq(id));
            Ok(the_row(db.write_returning(update).await?, "mission", id)?.into())
        })
        .await
    }

    async fn delete(&self, id: MissionId) -> Result<()> {
        self.run("delete", |db| async move {
            let this = missions::Column::Id.eq(id);
            let gone = db.write(missions::Entity::delete_many().filter(this)).await?;
            changed(gone, "mission", id)
        })
        .await
    }

    async fn history(&self, filter: MissionFilter, page: Option<PageRequest>) -> Result<Page<Mission>> {
        self.run("history", |db| async move {
            use missions::{Column, Entity};
            let page = page.unwrap_or_else(|| PageRequest::first(10));
            let select = Entity::find()
                .apply_if(filter.phase, |select, phase| select.filter(Column::Phase.eq(phase)))
                .apply_if(filter.status, |select, status| select.filter(Column::Status.eq(status)));
            let listing = Listing {
                name: "missions",
                keys: [Column::CreatedAt, Column::Id],
                direction: Direction::Descending,
            };
            let found = listing.page(&db, select, &page, |row: &missions::Model| {
                [row.created_at.into(), row.id.0.into()]
            });
            Ok(found.await?.map(Mission::from))
        })
        .await
    }

    async fn log_tool_call(&self, mission: MissionId, call: NewToolCall) -> Result<ToolCall> {
        self.run("log_tool_call", |db| async move {
            let row = tool_call(mission, call.checked()?, &db);
            let insert = tool_calls::Entity::insert(insertable(row.clone()));
            db.write(insert).await.map_err(|error| unknown(mission, error))?;
            Ok(row.into())
        })
        .await
    }

    async fn log_tool_calls(&self, mission: MissionId, calls: Vec<NewToolCall>) -> Result<Vec<ToolCallId>> {
        self.run("log_tool_calls", |db| async move {
            let rows = calls
                .into_iter()
                .map(|call| Ok(tool_call(mission, call.checked()?, &db)))
                .collect::<Result<Vec<_>>>()?;
            if rows.is_empty() {
                return Ok(vec![]);
            }
            let rows = &rows;
            let insert = |db: Operation| async move { db.insert_all::<tool_calls::Entity>(rows.clone()).await };
            db.atomic(insert).await.map_err(|error| unknown(mission, error))?;
            Ok(rows.iter().map(|row| row.id).collect())
        })
        .await
    }

    async fn record_decision(&self, mission: MissionId, decision: NewDecision) -> Result<Decision> {
        self.run("record_decision", |db| async move {
            let decision = decision.checked()?;
            let row = decisions::Model {
                id: db.new_id(),
                mission_id: mission,
                decision_type: decision.decision_type,
                rationale: decision.rationale,
                agent_name: decision.agent_name,
                context: decision.context,
                timestamp: db.now(),
            };
            let insert = decisions::Entity::insert(insertable(row.clone()));
            db.write(insert).await.map_err(|error| unknown(mission, error))?;
            Ok(row.into())
        })
        .await
    }

    async fn tool_history(
        &self,
        mission: MissionId,
        filter: ToolCallFilter,
        page: PageRequest,
    ) -> Result<Page<ToolCall>> {
        self.run("tool_history", |db| async move {
            use tool_calls::{Column, Entity};
            filter.check()?;
            let select = Entity::find()
                .filter(Column::MissionId.eq(mission))
                .apply_if(filter.tool_name, |select, name| {
                    select.filter(Column::ToolName.eq(name))
                })
                .apply_if(filter.success, |select, success| {
                    select.filter(Column::Success.eq(success))
                });
            let listing = Listing {
                name: "tool_calls",
                keys: [Column::Timestamp, Column::Id],
                direction: Direction::Ascending,
            };
            let found = listing.page(&db, select, &page, |row: &tool_calls::Model| {
                [row.timestamp.into(), row.id.0.into()]
            });
            Ok(found.await?.map(ToolCall::from))
        })
        .await
    }

    async fn decisions(&self, mission: MissionId, filter: DecisionFilter, page: PageRequest) -> Result<Page<Decision>> {
        self.run("decisions", |db| async move {
            use decisions::{Column, Entity};
            filter.check()?;
            let select = Entity::find()
                .filter(Column::MissionId.eq(mission))
                .apply_if(filter.decision_type, |select, name| {
                    select.filter(Column::DecisionType.eq(name))
                })
                .apply_if(filter.agent_name, |select, name| {
                    select.filter(Column::AgentName.eq(name))
                });
            let listing = Listing {
                name: "decisions",
                keys: [Column::Timestamp, Column::Id],
                direction: Direction::Ascending,
            };
            let found = listing.page(&db, select, &page, |row: &decisions::Model| {
                [row.timestamp.into(), row.id.0.into()]
            });
            Ok(found.await?.map(Decision::from))
        })
        .await
    }

    async fn tool_stats(&self, mission: Option<MissionId>) -> Result<Vec<ToolStats>> {
        self.run("tool_stats", |db| async move {
            use tool_calls::{Column, Entity};
            let duration = || Expr::col(Column::DurationMs);
            let failed = Expr::case(Column::Success.eq(false), 1);
            let select = Entity::find()
                .select_only()
                .column(Column::ToolName)
                .column_as(Column::Id.count(), "calls")
                .column_as(Expr::expr(failed).count(), "failures")
                .column_as(duration().count(), "timed")
                .column_as(duration().div(PART).sum().cast_as("bigint"), "parts")
                .column_as(duration().modulo(PART).sum().cast_as("bigint"), "rest")
                .column_as(duration().max(), "longest")
                .apply_if(mission, |select, mission| select.filter(Column::MissionId.eq(mission)))
                .group_by(Column::ToolName)
                .order_by_asc(Column::ToolName);
            let rows: Vec<Stats> = db.all_as(select).await?;
            Ok(rows.into_iter().map(ToolStats::from).collect())
        })
        .await
    }

    async fn prune_tool_calls(&self, old: Prune) -> Result<u64> {
        use tool_calls::{Column, Entity};
        let before = to_microseconds(old.older_than);
        let (key, age) = (Column::Id, Column::Timestamp);
        let before = |_| Condition::all().add(Column::Timestamp.lt(before));
        let joined = Joined {
            narrow: of_ended_missions,
            hold: holding_the_missions,
        };
        prune_joined::<Entity, 1>(&self.0, "mission", [key], age, old, before, joined).await
    }
}

fn of_ended_missions(mut calls: Select<tool_calls::Entity>) -> Select<tool_calls::Entity> {
    let of = Expr::col((tool_calls::Entity, tool_calls::Column::MissionId));
    let mission = (missions::Entity, missions::Column::Id);
    QueryTrait::query(&mut calls).inner_join(missions::Entity, of.equals(mission));
    calls.filter(missions::Column::Status.is_in([MissionStatus::Completed, MissionStatus::Failed]))
}

/// A mission that is being opened again keeps its calls; who opens one whose calls are going waits until they are gone.
fn holding_the_missions(mut calls: Select<tool_calls::Entity>) -> Select<tool_calls::Entity> {
    QueryTrait::query(&mut calls).lock_with_tables(LockType::Share, [missions::Entity]);
    calls
}

fn has_ended(status: MissionStatus) -> bool {
    matches!(status, MissionStatus::Completed | MissionStatus::Failed)
}

/// The one reference of tool calls and decisions is the mission.
fn unknown(mission: MissionId, error: Error) -> Error {
    match error.kind() {
        ErrorKind::ForeignKey => Error::not_found("mission", mission),
        _ => error,
    }
}

fn tool_call(mission: MissionId, call: NewToolCall, db: &Operation) -> tool_calls::Model {
    tool_calls::Model {
        id: db.new_id(),
        mission_id: mission,
        tool_name: call.tool_name,
        args: call.args,
        result: call.result,
        success: call.success,
        duration_ms: call.duration_ms,
        error_message: call.error_message,
        timestamp: db.now(),
    }
}

/// Durations are summed in parts of so many milliseconds and the rest, because a sum of them may be more than 64 bits
/// hold; a mean that the database makes would be of another type on either.
const PART: i64 = 1 << 20;

struct Stats {
    tool_name: String,
    calls: i64,
    failures: i64,
    timed: i64,
    parts: Option<i64>,
    rest: Option<i64>,
    longest: Option<i64>,
}

from_row!(Stats {
    tool_name,
    calls,
    failures,
    timed,
    parts,
    rest,
    longest
});

impl From<Stats> for ToolStats {
    #[allow(clippy::cast_precision_loss, reason = "a mean is a float")]
    fn from(row: Stats) -> Self {
        let sum = row.parts.zip(row.rest);
        let sum = sum.map(|(parts, rest)| i128::from(parts) * i128::from(PART) + i128::from(rest));
        Self {
            tool_name: row.tool_name,
            calls: row.calls,
            failures: row.failures,
            mean_duration_ms: sum.map(|sum| sum as f64 / row.timed as f64),
            max_duration_ms: row.longest,
        }
    }
}

impl From<missions::Model> for Mission {
    fn from(row: missions::Model) -> Self {
        Self {
            id: row.id,
            phase: row.phase,
            status: row.status,
            metadata: row.metadata,
            created_at: row.created_at,
            updated_at: row.updated_at,
            completed_at: row.completed_at,
        }
    }
}

impl From<tool_calls::Model> for ToolCall {
    fn from(row: tool_calls::Model) -> Self {
        Self {
            id: row.id,
            mission_id: row.mission_id,
            tool_name: row.tool_name,
            args: row.args,
            result: row.result,
            success: row.success,
            duration_ms: row.duration_ms,
            error_message: row.error_message,
            timestamp: row.timestamp,
        }
    }
}

impl From<decisions::Model> for Decision {
    fn from(row: decisions::Model) -> Self {
        Self {
            id: row.id,
            mission_id: row.mission_id,
            decision_type: row.decision_type,
            rationale: row.rationale,
            agent_name: row.agent_name,
            context: row.context,
            timestamp: row.timestamp,
        }
    }
}
