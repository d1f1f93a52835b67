//! The files of the kit: where they are, and how processes share them.

use std::fs::{self, File};
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
