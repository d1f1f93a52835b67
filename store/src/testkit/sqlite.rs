//! Databases on SQLite: one directory per test, with a copy of the prepared file.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use config::DatabaseConfig;

use super::Template;
use super::rundir::{self, RunDir};
use super::workdir;

/// A SQLite file in a directory of its own.
#[derive(Debug)]
pub(crate) struct SqliteDatabase {
    dir: PathBuf,
}

impl SqliteDatabase {
    /// A file prepared by the template, or, without one, a path at which there is nothing yet.
    pub(crate) async fn create(label: &str, template: Option<&Template>) -> Result<Self, String> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let run = RunDir::of_this_process()?;
        let dir = run
            .path()
            .join(format!("{}-{label}", COUNT.fetch_add(1, Ordering::Relaxed)));
        workdir::create(&dir)?;
        let database = Self { dir };
        if let Some(template) = template {
            let prepared = prepared(template).await?;
            let path = database.path();
            fs::copy(&prepared, &path).map_err(|error| {
                format!(
                    "{} could not be copied to {}: {error}",
                    prepared.display(),
                    path.display()
                )
            })?;
        }
        Ok(database)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.join("database.db")
    }

    pub(crate) fn config(&self) -> Result<DatabaseConfig, String> {
        config_for(&self.path())
    }

    pub(crate) fn delete(&self) -> Result<(), String> {
        fs::remove_dir_all(&self.dir).map_err(|error| format!("{} could not be removed: {error}", self.dir.display()))
    }

    /// Marks it as something to look at, and says where it is.
    pub(crate) fn keep(&self) -> String {
        let marked = fs::write(self.dir.join("kept"), "");
        let path = self.path().display().to_string();
        match marked {
            Ok(()) => format!("{path} (for a day; look at it with: sqlite3 '{path}')"),
            Err(error) => format!("{path} (until the next run: {error})"),
        }
    }
}

fn config_for(path: &Path) -> Result<DatabaseConfig, String> {
    DatabaseConfig::sqlite(path).map_err(|error| format!("{} is no path for a database: {error}", path.display()))
}

/// The template's file, made by whichever process comes first.
async fn prepared(template: &Template) -> Result<PathBuf, String> {
    let dir = workdir::root()?.join("sqlite");
    let file = dir.join(format!("template-{}.db", template.fingerprint()));
    let lock = workdir::lock_file(&dir.join("template.lock"))?;
    let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock))
        .await
        .map_err(|error| error.to_string())?
        .map_err(|error| format!("{}/template.lock: {error}", dir.display()))?;
    if !file.exists() {
        sweep(&file);
        prepare(template, &file).await?;
    }
    drop(lock);
    Ok(file)
}

async fn prepare(template: &Template, file: &Path) -> Result<(), String> {
    let unfinished = file.with_extension("unfinished");
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let _ = fs::remove_file(format!("{}{suffix}", unfinished.display()));
    }
    template.prepare(config_for(&unfinished)?).await?;
    fold_the_log_in(&unfinished).await?;
    fs::rename(&unfinished, file).map_err(|error| format!("{} could not be written: {error}", file.display()))
}

/// Brings everything that the hook wrote into the one file that is copied, also when it left the database open.
async fn fold_the_log_in(file: &Path) -> Result<(), String> {
    let path = file.to_owned();
    let busy = tokio::task::spawn_blocking(move || checkpoint(&path))
        .await
        .map_err(|error| error.to_string())?
        .map_err(|error| format!("the suite's template {} could not be closed: {error}", file.display()))?;
    if busy {
        return Err(
            "the suite's template is still being read or written: its function must close what it opened".to_owned(),
        );
    }
    Ok(())
}

/// Whether somebody was in the way of it.
fn checkpoint(file: &Path) -> rusqlite::Result<bool> {
    let connection = rusqlite::Connection::open(file)?;
    let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    connection.close().map_err(|(_, error)| error)?;
    Ok(busy != 0)
}

/// Removes the templates of other builds that nobody has used for a day.
fn sweep(current: &Path) {
    let dir = current.parent().and_then(|dir| fs::read_dir(dir).ok());
    for entry in dir.into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_template = name.to_string_lossy().starts_with("template-");
        if is_template && rundir::is_old(&entry.path()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
