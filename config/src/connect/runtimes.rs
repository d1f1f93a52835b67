//! Which runtimes serve the sockets, and when the last of them ended.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, Id};
use tokio::sync::watch;

/// The runtimes in which a pool has opened connections.
///
/// A socket is served by the runtime in which it was opened. When that ends, the connection is dead for everybody else,
/// although it may answer once or twice by luck. Which connection was opened where is not known, so all that are older
/// than the last end of a runtime count as dead: a few are opened once more without need.
#[derive(Debug, Clone, Default)]
pub struct Runtimes(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    /// Who waits for the runtimes' ends waits no longer than for this.
    wanted: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    serving: HashSet<Id>,
    last_end: Option<Instant>,
}

/// The pool takes the time of a new connection a little later than it is opened.
const LATER: Duration = Duration::from_millis(1);

impl Runtimes {
    /// Whether a connection opened at that time may have lost the runtime that served it.
    pub fn ended_since(&self, opened: Instant) -> bool {
        self.0.state().last_end.is_some_and(|end| opened < end + LATER)
    }

    /// The caller's runtime opens a connection.
    #[cfg_attr(
        not(any(feature = "postgres", test)),
        expect(dead_code, reason = "SQLite has no sockets")
    )]
    pub(super) fn add_this_one(&self) {
        let id = Handle::current().id();
        if !self.0.state().serving.insert(id) {
            return;
        }
        let serving = Serving {
            runtimes: Arc::downgrade(&self.0),
            id,
        };
        let mut wanted = self.0.wanted.subscribe();
        tokio::spawn(async move {
            let _serving = serving;
            while wanted.changed().await.is_ok() {}
        });
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In a task of the runtime, and so dropped with it: before its sockets are.
struct Serving {
    runtimes: Weak<Inner>,
    id: Id,
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(runtimes) = self.runtimes.upgrade() {
            let mut state = runtimes.state();
            state.serving.remove(&self.id);
            state.last_end = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_an_end_is_dead() {
        let runtimes = Runtimes::default();
        let [one, other] = [(); 2].map(|()| tokio::runtime::Runtime::new().unwrap());
        for runtime in [&one, &other, &one] {
            runtime.block_on(async { runtimes.add_this_one() });
        }
        let opened = Instant::now();
        assert!(!runtimes.ended_since(opened));
        drop(one);
        assert!(runtimes.ended_since(opened));
        let opened = Instant::now() + LATER;
        assert!(!runtimes.ended_since(opened));
        drop(other);
        assert!(runtimes.ended_since(opened - LATER));
    }

    #[test]
    fn a_runtime_that_is_ending_counts_as_ended() {
        let runtimes = Runtimes::default();
        let ending = tokio::runtime::Runtime::new().unwrap();
        let handle = ending.handle().clone();
        drop(ending);
        let _inside = handle.enter();
        let opened = Instant::now();
        runtimes.add_this_one();
        assert!(runtimes.ended_since(opened));
    }

    #[test]
    fn nobody_waits_for_a_runtime_when_nobody_asks_any_more() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let runtimes = Runtimes::default();
        runtime.block_on(async {
            runtimes.add_this_one();
            assert_eq!(Handle::current().metrics().num_alive_tasks(), 1);
            drop(runtimes);
            tokio::task::yield_now().await;
            assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
        });
    }
}
