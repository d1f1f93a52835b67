//! Which statements are slow, and so run on a thread that may block.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::super::statement::Command;

/// A statement that takes longer holds up the other tasks of a caller's thread; a hop to another thread and back costs
/// a twentieth of it.
const LONGEST_ON_A_CALLERS_THREAD: Duration = Duration::from_millis(1);

/// How many texts are remembered.
const MOST_TEXTS: usize = 1_000;

/// The texts of the statements that took long the last time they ran.
#[derive(Debug, Default)]
pub(super) struct Slow {
    texts: RwLock<HashSet<Arc<str>>>,
    any: AtomicBool,
}

impl Slow {
    pub(super) fn knows(&self, command: &Command) -> bool {
        self.any.load(Ordering::Relaxed)
            && self
                .texts
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .contains(&command.sql)
    }

    /// Runs it, and remembers how long it took.
    pub(super) fn timed<T>(&self, command: &Command, run: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = run();
        let slow = begun.elapsed() > LONGEST_ON_A_CALLERS_THREAD;
        if slow != self.knows(command) {
            self.note(&command.sql, slow);
        }
        done
    }

    fn note(&self, sql: &Arc<str>, slow: bool) {
        let mut texts = self.texts.write().unwrap_or_else(PoisonError::into_inner);
        if !slow {
            texts.remove(sql);
        } else if texts.len() < MOST_TEXTS {
            texts.insert(Arc::clone(sql));
        }
        self.any.store(!texts.is_empty(), Ordering::Relaxed);
    }
}
