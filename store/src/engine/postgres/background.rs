//! Work that no caller waits for: merged reads and inserts, rollbacks of what was dropped, idle connections.

use std::thread::JoinHandle;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::{Error, ErrorKind, Result};

/// A runtime of the store's own, on one thread: a caller's runtime may be paused, or end, and nobody else may notice. It
/// ends when this is dropped.
pub(super) struct Background {
    handle: Handle,
    _end: oneshot::Sender<()>,
    _thread: JoinHandle<()>,
}

impl Background {
    pub(super) fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let failed =
            |error| Error::new(ErrorKind::Internal, "the store's runtime could not be started").caused_by(error);
        let runtime = runtime.map_err(failed)?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("undercroft-postgres".to_owned());
        let thread = thread.spawn(move || {
            // Ends with an error when the other side is dropped, which is what it waits for.
            let _dropped = runtime.block_on(ended);
        });
        Ok(Self {
            handle,
            _end: end,
            _thread: thread.map_err(failed)?,
        })
    }

    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.handle.spawn(work));
    }
}
