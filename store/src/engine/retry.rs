//! How often and how soon work is tried again that lost against somebody else's.

use std::time::Duration;

use rand::RngExt as _;

/// A bound and a growing, random pause. The pause is drawn from the whole range up to its bound, which spreads out those
/// who collided ("full jitter", <https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/>).
#[derive(Debug, Clone, Copy)]
pub(super) struct Retry {
    attempts: u32,
    first_pause: Duration,
    longest_pause: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 30,
            first_pause: Duration::from_millis(2),
            longest_pause: Duration::from_millis(250),
        }
    }
}

impl Retry {
    /// Waits before the try after this many failed ones; `false` when there shall be none.
    pub(super) async fn again(&self, failed: u32) -> bool {
        if failed >= self.attempts {
            return false;
        }
        // Drawn before the wait: the generator belongs to its thread and may not be held across it.
        let pause = self.bound(failed).mul_f64(rand::rng().random());
        tokio::time::sleep(pause).await;
        true
    }

    fn bound(&self, failed: u32) -> Duration {
        let growth = 2u32.saturating_pow(failed.saturating_sub(1).min(16));
        self.first_pause.saturating_mul(growth).min(self.longest_pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_its_bound() {
        let retry = Retry::default();
        assert_eq!(retry.bound(1), Duration::from_millis(2));
        assert_eq!(retry.bound(2), Duration::from_millis(4));
        assert_eq!(retry.bound(8), Duration::from_millis(250));
        assert_eq!(retry.bound(u32::MAX), Duration::from_millis(250));
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends() {
        let retry = Retry::default();
        assert!(retry.again(29).await);
        assert!(!retry.again(30).await);
    }
}
