//! Logs of agents: one event a line, as JSON.

use std::error::Error;
use std::path::Path;

use serde::Deserialize;
use store::chrono::{DateTime, Utc};
use store::prelude::*;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Event {
    /// When.
    pub at: DateTime<Utc>,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A mission began: the first line of a file, and no other.
    Mission(NewMission),
    /// A tool was called.
    Tool(NewToolCall),
    /// A decision was taken.
    Decision(NewDecision),
    /// The mission stands elsewhere now.
    Status(MissionStatus),
}

/// A mission's beginning, and what happened after it.
#[derive(Debug, Clone, PartialEq)]
pub struct MissionFile {
    /// When it began.
    pub began_at: DateTime<Utc>,
    /// The mission.
    pub mission: NewMission,
    /// What happened then.
    pub events: Vec<Event>,
}

/// Reads a file.
///
/// # Errors
/// A file that cannot be read, and each line that is no event, with its number.
pub fn read(path: &Path) -> Result<MissionFile, Box<dyn Error>> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let mut events = Vec::new();
    let mut wrong = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match serde_json::from_str::<Event>(line) {
            Ok(event) if matches!(event.what, What::Mission(_)) != events.is_empty() => {
                wrong.push((at, "a log begins with its mission, and has one".to_owned()));
            }
            Ok(event) => events.push(event),
            Err(error) => wrong.push((at, error.to_string())),
        }
    }
    if !wrong.is_empty() {
        let lines = wrong
            .iter()
            .map(|(at, error)| format!("{}:{}: {error}", path.display(), at + 1));
        return Err(lines.collect::<Vec<_>>().join("\n").into());
    }
    let mut events = events.into_iter();
    match events.next() {
        Some(Event {
            at: began_at,
            what: What::Mission(mission),
        }) => Ok(MissionFile {
            began_at,
            mission,
            events: events.collect(),
        }),
        _ => Err(format!("{} is empty", path.display()).into()),
    }
}
