//! The files of the kit: where they are, and which of them are left over from a run that was killed.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

/// Leftovers are kept this long: somebody may be looking at the database of a failed test.
pub(crate) const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// The directory of the kit: `STORE_TEST_DIR`, else `testkit` in the target directory of the running program, else a
/// directory of the user's in the system's temporary directory.
pub(crate) fn root() -> Result<&'static Path, String> {
    static ROOT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    ROOT.get_or_init(|| {
        let root = match std::env::var_os("STORE_TEST_DIR") {
            Some(dir) if dir.is_empty() => return Err("STORE_TEST_DIR is set but empty".to_owned()),
            Some(dir) => PathBuf::from(dir),
            None => target_dir()
                .unwrap_or_else(|| std::env::temp_dir().join("undercroft"))
                .join("testkit"),
        };
        create(&root)?;
        fs::canonicalize(&root).map_err(|error| format!("{}: {error}", root.display()))
    })
    .as_deref()
    .map_err(Clone::clone)
}

/// The nearest directory above the running program that cargo has marked as its own.
pub(crate) fn target_dir() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    program
        .ancestors()
        .find(|dir| dir.join("CACHEDIR.TAG").is_file())
        .map(Path::to_owned)
}

/// Creates a directory that only this user may enter, unless it is there already.
pub(crate) fn create(dir: &Path) -> Result<(), String> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(dir)
        .map_err(|error| format!("{} could not be created: {error}", dir.display()))
}

/// Opens a file that processes lock against each other; the lock goes when the file is dropped or the process dies.
pub(crate) fn lock_file(path: &Path) -> Result<File, String> {
    File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .map_err(|error| format!("{} could not be opened: {error}", path.display()))
}

/// Writes a file that only this user may read, all at once: a reader sees nothing or everything.
#[cfg(feature = "postgres")]
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> Result<(), String> {
    let unfinished = path.with_extension(format!("new-{}", std::process::id()));
    let mut options = File::options();
    options.create(true).truncate(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(&unfinished)
        .and_then(|mut file| std::io::Write::write_all(&mut file, content))
        .and_then(|()| fs::rename(&unfinished, path))
        .map_err(|error| format!("{} could not be written: {error}", path.display()))
}

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
        let all = root()?.join("sqlite");
        create(&all)?;
        sweep(&all);
        let path = all.join(format!("run-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        create(&path)?;
        let lock = lock_file(&path.join("lock"))?;
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
