//! Which status may follow which: pure functions, the same for every implementation.

use super::{RunStatus, StepStatus};
use crate::{Error, ErrorKind, Result};

/// A status that moves on by rules.
///
/// A row that has not ended may always be given the status that it has, to save what comes with it.
pub trait Transitions: Copy + PartialEq + std::fmt::Display + Send + Sync + 'static {
    /// Every status.
    const ALL: &'static [Self];

    /// Whether nothing may follow.
    fn is_terminal(self) -> bool;

    /// Whether `next` may follow.
    fn may_become(self, next: Self) -> bool;

    /// The statuses that `self` may follow.
    fn sources(self) -> Vec<Self> {
        Self::ALL
            .iter()
            .copied()
            .filter(|status| status.may_become(self))
            .collect()
    }

    /// # Errors
    /// `InvalidTransition` when `next` may not follow.
    fn become_next(self, next: Self) -> Result<()> {
        if self.may_become(next) {
            return Ok(());
        }
        let message = if self.is_terminal() {
            format!("it has ended as {self} and takes no further status")
        } else {
            format!("{next} cannot follow {self}")
        };
        Err(Error::new(ErrorKind::InvalidTransition, message))
    }
}

/// | from | to |
/// |---|---|
/// | pending | pending, running, paused, failed, cancelled |
/// | running | running, pending (handed back), paused, completed, failed, crashed, cancelled |
/// | paused | paused, pending, running, failed, cancelled |
/// | completed, failed, crashed, cancelled | – |
impl Transitions for RunStatus {
    const ALL: &'static [Self] = &[
        Self::Pending,
        Self::Running,
        Self::Paused,
        Self::Completed,
        Self::Failed,
        Self::Crashed,
        Self::Cancelled,
    ];

    fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Crashed | Self::Cancelled)
    }

    fn may_become(self, next: Self) -> bool {
        match self {
            Self::Running => true,
            Self::Pending | Self::Paused => !matches!(next, Self::Completed | Self::Crashed),
            Self::Completed | Self::Failed | Self::Crashed | Self::Cancelled => false,
        }
    }
}

/// | from | to |
/// |---|---|
/// | pending | pending, running, waiting_approval, failed, skipped |
/// | running | running, waiting_approval, completed, failed, skipped |
/// | waiting_approval | waiting_approval, running, completed, failed, skipped |
/// | completed, failed, skipped | – (a further try is a further attempt) |
impl Transitions for StepStatus {
    const ALL: &'static [Self] = &[
        Self::Pending,
        Self::Running,
        Self::Completed,
        Self::Failed,
        Self::Skipped,
        Self::WaitingApproval,
    ];

    fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Skipped)
    }

    fn may_become(self, next: Self) -> bool {
        match self {
            Self::Pending => next != Self::Completed,
            Self::Running | Self::WaitingApproval => next != Self::Pending,
            Self::Completed | Self::Failed | Self::Skipped => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table<S: Transitions>() -> Vec<(String, String)> {
        let to = |from: S| S::ALL.iter().filter(move |next| from.may_become(**next)).join();
        S::ALL.iter().map(|from| (from.to_string(), to(*from))).collect()
    }

    trait Join {
        fn join(self) -> String;
    }

    impl<T: std::fmt::Display, I: Iterator<Item = T>> Join for I {
        fn join(self) -> String {
            self.map(|word| word.to_string()).collect::<Vec<_>>().join(" ")
        }
    }

    #[test]
    fn runs_move_by_this_table() {
        let expected = [
            ("pending", "pending running paused failed cancelled"),
            ("running", "pending running paused completed failed crashed cancelled"),
            ("paused", "pending running paused failed cancelled"),
            ("completed", ""),
            ("failed", ""),
            ("crashed", ""),
            ("cancelled", ""),
        ];
        assert_eq!(
            table::<RunStatus>(),
            expected.map(|(from, to)| (from.to_owned(), to.to_owned()))
        );
    }

    #[test]
    fn steps_move_by_this_table() {
        let expected = [
            ("pending", "pending running failed skipped waiting_approval"),
            ("running", "running completed failed skipped waiting_approval"),
            ("completed", ""),
            ("failed", ""),
            ("skipped", ""),
            ("waiting_approval", "running completed failed skipped waiting_approval"),
        ];
        assert_eq!(
            table::<StepStatus>(),
            expected.map(|(from, to)| (from.to_owned(), to.to_owned()))
        );
    }

    #[test]
    fn every_status_is_listed_and_ends_where_nothing_follows() {
        assert_eq!(RunStatus::ALL.len(), RunStatus::WORDS.len());
        assert_eq!(StepStatus::ALL.len(), StepStatus::WORDS.len());
        let ends = |status: &RunStatus| RunStatus::ALL.iter().all(|next| !status.may_become(*next));
        assert!(RunStatus::ALL.iter().all(|status| status.is_terminal() == ends(status)));
        let ends = |status: &StepStatus| StepStatus::ALL.iter().all(|next| !status.may_become(*next));
        assert!(
            StepStatus::ALL
                .iter()
                .all(|status| status.is_terminal() == ends(status))
        );
    }

    #[test]
    fn a_refused_step_says_why() {
        let error = RunStatus::Pending.become_next(RunStatus::Completed).unwrap_err();
        assert_eq!(error.to_string(), "InvalidTransition: completed cannot follow pending");
        let error = RunStatus::Crashed.become_next(RunStatus::Running).unwrap_err();
        assert!(error.to_string().contains("has ended as crashed"), "{error}");
    }
}
