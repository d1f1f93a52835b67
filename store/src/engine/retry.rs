//! How often and how soon work is tried again that lost against somebody else's.

use std::time::Duration;

use rand::RngExt as _;
use tokio::time::Instant;

/// Bounds and a growing, random pause. The pause is drawn from the whole range up to its bound, which spreads out those
/// who collided ("full jitter", <https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/>).
#[derive(Debug, Clone, Copy)]
pub(super) struct Retry {
    limit: Duration,
}

const ATTEMPTS: u32 = 30;
/// Slow work is tried again so often, even past the limit.
const ATTEMPTS_AT_LEAST: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

impl Retry {
    /// Gives up after half of an operation's time: the caller shall hear that it lost, and not that time ran out while
    /// the last try was under way, which would leave open what became of it.
    pub(super) fn within(operation_timeout: Duration) -> Self {
        Self {
            limit: operation_timeout / 2,
        }
    }

    /// The first try begins.
    pub(super) fn start(self) -> Attempts {
        Attempts {
            retry: self,
            begun: Instant::now(),
            failed: 0,
        }
    }
}

/// The tries of one piece of work.
#[derive(Debug)]
pub(super) struct Attempts {
    retry: Retry,
    begun: Instant,
    failed: u32,
}

impl Attempts {
    /// Waits before the next try; `false` when there shall be none.
    pub(super) async fn again(&mut self) -> bool {
        self.failed += 1;
        let late = self.begun.elapsed() > self.retry.limit && self.failed >= ATTEMPTS_AT_LEAST;
        if late || self.failed >= ATTEMPTS {
            return false;
        }
        // Drawn before the wait: the generator belongs to its thread and may not be held across it.
        let pause = longest_pause(self.failed).mul_f64(rand::rng().random());
        tokio::time::sleep(pause).await;
        true
    }
}

fn longest_pause(failed: u32) -> Duration {
    let growth = 2u32.saturating_pow(failed.saturating_sub(1).min(16));
    FIRST_PAUSE.saturating_mul(growth).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_its_bound() {
        assert_eq!(longest_pause(1), Duration::from_millis(2));
        assert_eq!(longest_pause(2), Duration::from_millis(4));
        assert_eq!(longest_pause(8), Duration::from_millis(250));
        assert_eq!(longest_pause(u32::MAX), Duration::from_millis(250));
    }

    #[tokio::test(start_paused = true)]
    async fn quick_work_is_tried_thirty_times() {
        let mut attempts = Retry::within(Duration::from_secs(60)).start();
        let mut tried = 1;
        while attempts.again().await {
            tried += 1;
        }
        assert_eq!(tried, 30);
    }

    #[tokio::test(start_paused = true)]
    async fn slow_work_is_tried_three_times() {
        let mut attempts = Retry::within(Duration::from_secs(10)).start();
        let mut tried = 1;
        loop {
            tokio::time::sleep(Duration::from_secs(6)).await;
            if !attempts.again().await {
                break;
            }
            tried += 1;
        }
        assert_eq!(tried, 3);
    }
}
