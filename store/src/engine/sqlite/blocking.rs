//! A thread that may block.

use super::super::errors::{Cause, Fault};
use crate::ErrorKind;

/// Runs what may block. It runs to its end, also when the caller goes away.
pub(super) async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Fault> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        let cause = Cause {
            code: None,
            message: error.to_string(),
        };
        Fault::new(ErrorKind::Internal, "the statement was not run to its end").caused_by(cause)
    })
}
