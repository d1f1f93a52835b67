//! Where time and ids come from: outside, so that a test can hold them still.

use chrono::{DateTime, SubsecRound, Utc};
use uuid::Uuid;

/// Tells the time. Every time that the store writes comes from here.
pub trait Clock: Send + Sync + 'static {
    /// The present instant. The store cuts it to microseconds, which both databases keep.
    fn now(&self) -> DateTime<Utc>;
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place where the system's time enters")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
}

/// Makes ids that never repeat.
pub trait IdSource: Send + Sync + 'static {
    /// A new id.
    fn next(&self) -> Uuid;
}

/// UUIDv7 (RFC 9562): ids of one process rise, so new rows go to the end of an index.
#[derive(Debug, Clone, Copy, Default)]
pub struct TimeOrderedIds;

impl IdSource for TimeOrderedIds {
    #[allow(clippy::disallowed_methods, reason = "the one place where random ids enter")]
    fn next(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// The instant cut to what both databases keep.
pub(crate) fn to_microseconds(instant: DateTime<Utc>) -> DateTime<Utc> {
    instant.trunc_subsecs(6)
}
