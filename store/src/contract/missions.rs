//! Missions: what agents set out to do, the tools they called for it and the decisions they took.

use std::future::Future;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{DecisionId, MissionId, MissionPhase, MissionStatus, Page, PageRequest, Prune, ToolCallId, check, present};
use crate::Result;

/// A mission.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mission {
    /// Its id, for good.
    pub id: MissionId,
    /// What it is about.
    pub phase: MissionPhase,
    /// Where it stands.
    pub status: MissionStatus,
    /// What its makers noted; `{}` when they gave nothing.
    pub metadata: Value,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// When it was completed or failed; `None` while it is neither.
    pub completed_at: Option<DateTime<Utc>>,
}

/// What a new mission is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewMission {
    /// What it is about.
    pub phase: MissionPhase,
    /// What its makers note; absent is `{}`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present::json")]
    pub metadata: Option<Value>,
}

impl NewMission {
    /// A mission without metadata.
    pub fn new(phase: MissionPhase) -> Self {
        Self { phase, metadata: None }
    }

    /// The same, with metadata.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Value) -> Self {
        self.metadata = Some(metadata);
        self
    }

    /// The same, with its JSON as both databases give it back.
    ///
    /// # Errors
    /// `InvalidInput` naming the field that breaks a rule.
    pub fn checked(self) -> Result<Self> {
        Ok(Self {
            metadata: check::optional_json("metadata", self.metadata)?,
            ..self
        })
    }
}

/// Which missions. The default: all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MissionFilter {
    /// Only those of this phase.
    pub phase: Option<MissionPhase>,
    /// Only those of this status.
    pub status: Option<MissionStatus>,
}

/// One call of a tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The call's id.
    pub id: ToolCallId,
    /// The mission it was made for.
    pub mission_id: MissionId,
    /// The tool.
    pub tool_name: String,
    /// What it was given.
    pub args: Value,
    /// What it answered, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present::json")]
    pub result: Option<Value>,
    /// Whether it did what it should.
    pub success: bool,
    /// How long it took, if that is known.
    pub duration_ms: Option<i64>,
    /// What went wrong, in words.
    pub error_message: Option<String>,
    /// When it was logged.
    pub timestamp: DateTime<Utc>,
}

/// What is to be logged of a tool's call. [`NewToolCall::new`] leaves out what may be absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewToolCall {
    /// The tool: 1 to 512 bytes.
    pub tool_name: String,
    /// What it was given.
    pub args: Value,
    /// What it answered.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present::json")]
    pub result: Option<Value>,
    /// Whether it did what it should.
    pub success: bool,
    /// How long it took: not negative.
    #[serde(default)]
    pub duration_ms: Option<i64>,
    /// What went wrong, in words.
    #[serde(default)]
    pub error_message: Option<String>,
}

impl NewToolCall {
    /// A call that did what it should, without result and duration.
    pub fn new(tool_name: impl Into<String>, args: Value) -> Self {
        Self {
            tool_name: tool_name.into(),
            args,
            result: None,
            success: true,
            duration_ms: None,
            error_message: None,
        }
    }

    /// The same, with what it answered.
    #[must_use]
    pub fn answering(mut self, result: Value) -> Self {
        self.result = Some(result);
        self
    }

    /// The same, with the time it took.
    #[must_use]
    pub fn taking_ms(mut self, duration_ms: i64) -> Self {
        self.duration_ms = Some(duration_ms);
        self
    }

    /// The same, but it failed.
    #[must_use]
    pub fn failing(mut self, error_message: impl Into<String>) -> Self {
        self.success = false;
        self.error_message = Some(error_message.into());
        self
    }

    /// The same, with its JSON as both databases give it back.
    ///
    /// # Errors
    /// `InvalidInput` naming the field that breaks a rule.
    pub fn checked(self) -> Result<Self> {
        check::indexed("tool_name", &self.tool_name)?;
        self.duration_ms
            .iter()
            .try_for_each(|duration| check::not_negative("duration_ms", *duration))?;
        self.error_message
            .iter()
            .try_for_each(|message| check::text("error_message", message))?;
        Ok(Self {
            args: check::json("args", self.args)?,
            result: check::optional_json("result", self.result)?,
            ..self
        })
    }
}

/// Which calls of a mission. The default: all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ToolCallFilter {
    /// Only those of this tool.
    pub tool_name: Option<String>,
    /// Only those that did what they should, or only those that did not.
    pub success: Option<bool>,
}

impl ToolCallFilter {
    /// # Errors
    /// `InvalidInput` naming the field that breaks a rule.
    pub fn check(&self) -> Result<()> {
        self.tool_name
            .iter()
            .try_for_each(|name| check::indexed("tool_name", name))
    }
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The decision's id.
    pub id: DecisionId,
    /// The mission it was taken for.
    pub mission_id: MissionId,
    /// What kind of decision it is.
    pub decision_type: String,
    /// Why it was taken.
    pub rationale: Option<String>,
    /// Who took it.
    pub agent_name: Option<String>,
    /// What it was taken from.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present::json")]
    pub context: Option<Value>,
    /// When it was recorded.
    pub timestamp: DateTime<Utc>,
}

/// What is to be recorded of a decision. [`NewDecision::new`] leaves out what may be absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewDecision {
    /// What kind of decision it is: 1 to 512 bytes.
    pub decision_type: String,
    /// Why it is taken.
    #[serde(default)]
    pub rationale: Option<String>,
    /// Who takes it: 1 to 512 bytes.
    #[serde(default)]
    pub agent_name: Option<String>,
    /// What it is taken from.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present::json")]
    pub context: Option<Value>,
}

impl NewDecision {
    /// A decision without rationale, agent and context.
    pub fn new(decision_type: impl Into<String>) -> Self {
        Self {
            decision_type: decision_type.into(),
            rationale: None,
            agent_name: None,
            context: None,
        }
    }

    /// The same, with the reason.
    #[must_use]
    pub fn because(mut self, rationale: impl Into<String>) -> Self {
        self.rationale = Some(rationale.into());
        self
    }

    /// The same, with the agent who takes it.
    #[must_use]
    pub fn by(mut self, agent_name: impl Into<String>) -> Self {
        self.agent_name = Some(agent_name.into());
        self
    }

    /// The same, with its JSON as both databases give it back.
    ///
    /// # Errors
    /// `InvalidInput` naming the field that breaks a rule.
    pub fn checked(self) -> Result<Self> {
        check::indexed("decision_type", &self.decision_type)?;
        self.rationale
            .iter()
            .try_for_each(|rationale| check::text("rationale", rationale))?;
        self.agent_name
            .iter()
            .try_for_each(|name| check::indexed("agent_name", name))?;
        Ok(Self {
            context: check::optional_json("context", self.context)?,
            ..self
        })
    }
}

/// Which decisions of a mission. The default: all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DecisionFilter {
    /// Only those of this kind.
    pub decision_type: Option<String>,
    /// Only those that this agent took.
    pub agent_name: Option<String>,
}

impl DecisionFilter {
    /// # Errors
    /// `InvalidInput` naming the field that breaks a rule.
    pub fn check(&self) -> Result<()> {
        self.decision_type
            .iter()
            .try_for_each(|name| check::indexed("decision_type", name))?;
        self.agent_name
            .iter()
            .try_for_each(|name| check::indexed("agent_name", name))
    }
}

/// How the calls of one tool went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolStats {
    /// The tool.
    pub tool_name: String,
    /// How many calls.
    pub calls: i64,
    /// How many of them did not do what they should.
    pub failures: i64,
    /// The mean duration of the calls whose duration is known, in milliseconds; `None` when no call's is.
    pub mean_duration_ms: Option<f64>,
    /// The longest duration.
    pub max_duration_ms: Option<i64>,
}

/// Keeps missions, the calls of tools made for them and the decisions taken in them.
pub trait MissionRepository: Send + Sync {
    /// Creates a mission that is pending and answers its id.
    ///
    /// # Errors
    /// `InvalidInput`.
    fn create(&self, mission: NewMission) -> impl Future<Output = Result<MissionId>> + Send;

    /// The mission with this id.
    fn get(&self, id: MissionId) -> impl Future<Output = Result<Option<Mission>>> + Send;

    /// Changes the status. Completed and failed set `completed_at`; the others take it away, for a mission that is taken
    /// up again.
    ///
    /// # Errors
    /// `NotFound`.
    fn update_status(&self, id: MissionId, status: MissionStatus) -> impl Future<Output = Result<Mission>> + Send;

    /// Deletes the mission with its tool calls and decisions, in one transaction.
    ///
    /// # Errors
    /// `NotFound`.
    fn delete(&self, id: MissionId) -> impl Future<Output = Result<()>> + Send;

    /// The missions that the filter wants, newest first. `None` is the first ten.
    ///
    /// # Errors
    /// `InvalidInput` for a limit out of range or a cursor of another list.
    fn history(
        &self,
        filter: MissionFilter,
        page: Option<PageRequest>,
    ) -> impl Future<Output = Result<Page<Mission>>> + Send;

    /// Logs a call of a tool.
    ///
    /// # Errors
    /// `NotFound` for an unknown mission; `InvalidInput`.
    fn log_tool_call(&self, mission: MissionId, call: NewToolCall) -> impl Future<Output = Result<ToolCall>> + Send;

    /// Logs calls of tools, all or none of them, and answers their ids in the same order. Any number: every 1,000 calls
    /// cost a statement, and all of them are one transaction, which other writers of SQLite wait for. With no calls
    /// nothing is asked.
    ///
    /// # Errors
    /// `NotFound` for an unknown mission; `InvalidInput`.
    fn log_tool_calls(
        &self,
        mission: MissionId,
        calls: Vec<NewToolCall>,
    ) -> impl Future<Output = Result<Vec<ToolCallId>>> + Send;

    /// Records a decision.
    ///
    /// # Errors
    /// `NotFound` for an unknown mission; `InvalidInput`.
    fn record_decision(
        &self,
        mission: MissionId,
        decision: NewDecision,
    ) -> impl Future<Output = Result<Decision>> + Send;

    /// The mission's calls that the filter wants, oldest first.
    ///
    /// # Errors
    /// `InvalidInput` for a limit out of range or a cursor of another list.
    fn tool_history(
        &self,
        mission: MissionId,
        filter: ToolCallFilter,
        page: PageRequest,
    ) -> impl Future<Output = Result<Page<ToolCall>>> + Send;

    /// The mission's decisions that the filter wants, oldest first.
    ///
    /// # Errors
    /// As [`tool_history`](Self::tool_history).
    fn decisions(
        &self,
        mission: MissionId,
        filter: DecisionFilter,
        page: PageRequest,
    ) -> impl Future<Output = Result<Page<Decision>>> + Send;

    /// How the calls of each tool went, by the tools' names byte by byte, in one query: of one mission, or of all.
    fn tool_stats(&self, mission: Option<MissionId>) -> impl Future<Output = Result<Vec<ToolStats>>> + Send;

    /// Removes old calls of tools, or counts them, and answers how many. Those of missions that are neither completed
    /// nor failed stay, however old.
    ///
    /// # Errors
    /// `InvalidInput`.
    fn prune_tool_calls(&self, old: Prune) -> impl Future<Output = Result<u64>> + Send;
}
