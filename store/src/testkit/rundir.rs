//! The files of one process's tests, and what is left over of processes that were killed.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::workdir::{self, KEPT_FOR};

static RUN: OnceLock<Result<RunDir, String>> = OnceLock::new();

/// The directory of this process for the files of its tests.
pub(crate) struct RunDir {
    path: PathBuf,
    _lock: File,
}

impl RunDir {
    /// The one of this process, created when it is first asked for; those of dead processes are swept then.
    pub(crate) fn of_this_process() -> Result<&'static Self, String> {
        RUN.get_or_init(Self::create).as_ref().map_err(Clone::clone)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn create() -> Result<Self, String> {
        let all = workdir::root()?.join("sqlite");
        workdir::create(&all)?;
        sweep(&all);
        let path = all.join(format!("run-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        workdir::create(&path)?;
        let lock = workdir::lock_file(&path.join("lock"))?;
        lock.lock()
            .map_err(|error| format!("{} could not be locked: {error}", path.display()))?;
        Ok(Self { path, _lock: lock })
    }

    /// Removes the directory at the end of the process, unless a test's database is in it.
    pub(crate) fn leave() {
        let Some(Ok(run)) = RUN.get() else { return };
        let is_empty = fs::read_dir(&run.path).is_ok_and(|entries| entries.count() <= 1);
        if is_empty {
            let _ = fs::remove_dir_all(&run.path);
        }
    }
}

/// Removes the directories of processes that are gone, the kept ones after a day.
fn sweep(all: &Path) {
    for entry in fs::read_dir(all).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_run = entry.file_name().to_string_lossy().starts_with("run-");
        if is_run && is_abandoned(&path) && (!holds_kept(&path) || is_old(&path)) {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

fn is_abandoned(run: &Path) -> bool {
    match File::open(run.join("lock")) {
        Ok(lock) => !matches!(lock.try_lock(), Err(TryLockError::WouldBlock)),
        Err(_) => is_old(run),
    }
}

fn holds_kept(run: &Path) -> bool {
    fs::read_dir(run)
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| entry.path().join("kept").exists())
}

/// Whether nothing was added to or removed from it for a day.
pub(crate) fn is_old(path: &Path) -> bool {
    let age = fs::metadata(path)
        .and_then(|meta| meta.modified())
        .ok()
        .and_then(|time| time.elapsed().ok());
    age.is_some_and(|age| age > KEPT_FOR)
}
