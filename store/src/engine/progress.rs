//! What is known of an operation from outside: what runs for it, and what its deadline means, depend on it.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tracing::{Span, field};

use crate::Error;

/// The state of an operation: for its span, and for the moment its deadline passes.
#[derive(Debug)]
pub(super) struct Progress {
    deadline: Instant,
    abandoned: AtomicBool,
    /// A change of this operation has been committed.
    changed: AtomicBool,
    /// How many changes are on their way that could not be taken back, or [`GIVEN_UP`].
    sent: AtomicU32,
    retries: AtomicU32,
}

/// The deadline has passed: nothing may be sent any more.
const GIVEN_UP: u32 = u32::MAX;

impl Progress {
    pub(super) fn within(limit: Duration) -> Self {
        Self {
            deadline: Instant::now() + limit,
            abandoned: AtomicBool::new(false),
            changed: AtomicBool::new(false),
            sent: AtomicU32::new(0),
            retries: AtomicU32::new(0),
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(super) fn has_changed(&self) -> bool {
        self.changed.load(Ordering::Relaxed)
    }

    pub(super) fn note_change(&self) {
        self.changed.store(true, Ordering::Relaxed);
    }

    /// Whether its deadline has passed or its caller has gone away: what runs for it may end.
    #[cfg_attr(
        not(feature = "sqlite"),
        expect(dead_code, reason = "Postgres's statements end on the server")
    )]
    pub(super) fn is_over(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed) || Instant::now() > self.deadline
    }

    /// A change is about to be sent; `false` when the caller was told already that nothing was.
    pub(super) fn sends(&self) -> bool {
        self.goes(|sent| (sent != GIVEN_UP).then(|| sent + 1))
    }

    /// What was sent has its answer; `false` when nothing was sent.
    pub(super) fn settled(&self) -> bool {
        self.goes(|sent| (sent != GIVEN_UP && sent > 0).then(|| sent - 1))
    }

    /// Nothing was sent, and from now on nothing will be; `false` when something was.
    pub(super) fn gives_up(&self) -> bool {
        self.goes(|sent| (sent == 0).then_some(GIVEN_UP))
    }

    fn goes(&self, next: impl FnMut(u32) -> Option<u32>) -> bool {
        self.sent
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, next)
            .is_ok()
    }

    pub(super) fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn record(&self, span: &Span, error: Option<&Error>) {
        span.record("retries", self.retries.load(Ordering::Relaxed));
        match error {
            None => span.record("outcome", "ok"),
            Some(error) => span.record("outcome", field::debug(error.kind())),
        };
    }
}

/// The operation's future was dropped, or is done: nobody waits for what it has running.
pub(super) struct Abandoned<'a>(pub(super) &'a Progress);

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        self.0.abandoned.store(true, Ordering::Relaxed);
    }
}
