//! Files that are no database, or not one that can be written to.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use store::prelude::*;
use store::testkit::TestDatabase;

use super::{does_not_open, furnish, told};
use crate::support::{open, slug};

store::testkit::tests! {
    on_sqlite: [
        a_file_that_is_not_a_database_is_refused,
        a_database_cut_in_half_is_refused,
        a_read_only_file_is_refused,
        a_file_in_a_read_only_directory_is_refused,
    ],
    on_sqlite_empty: [a_directory_is_not_a_database],
}

async fn a_directory_is_not_a_database(db: TestDatabase) {
    let path = db.path().unwrap();
    let config = db.config();
    std::fs::create_dir(&path).unwrap();
    let named = path.display().to_string();
    // Whether it was one before the configuration was read or has become one since.
    let error = Error::from(DatabaseConfig::sqlite(&path).unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Config);
    told(&error, &["directory", &named]);
    does_not_open(config, ErrorKind::Config, &["directory", &named]).await;
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
}

async fn a_file_that_is_not_a_database_is_refused(db: TestDatabase) {
    let path = db.path().unwrap();
    let text = "Dear diary, this is not a database.\n".repeat(1_000);
    std::fs::write(&path, &text).unwrap();
    let named = path.display().to_string();
    does_not_open(
        db.config(),
        ErrorKind::Corrupt,
        &["not a SQLite database", &named, "another file"],
    )
    .await;
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

async fn a_database_cut_in_half_is_refused(db: TestDatabase) {
    furnish(&db).await;
    let path = db.path().unwrap();
    let whole = std::fs::read(&path).unwrap();
    for half in [whole.len() / 2 / 4096 * 4096, whole.len() / 2 / 4096 * 4096 + 1234] {
        std::fs::write(&path, &whole[..half]).unwrap();
        let named = path.display().to_string();
        does_not_open(db.config(), ErrorKind::Corrupt, &["damaged", &named, "backup"]).await;
        assert!(
            std::fs::read(&path).unwrap() == whole[..half],
            "not a byte of it has changed"
        );
    }
    std::fs::write(&path, &whole).unwrap();
    assert!(
        open(&db)
            .await
            .bots()
            .get_by_slug(&slug("owl"))
            .await
            .unwrap()
            .is_some()
    );
}

pub(crate) const CHILD: &str = "open this file";

const CHILDS_FILE: &str = "STORE_TEST_CHILDS_FILE";

/// Opens a file as the user that this process runs as, and says how that went.
pub(crate) async fn child() {
    let path = PathBuf::from(std::env::var_os(CHILDS_FILE).unwrap());
    match Store::open(DatabaseConfig::sqlite(path).unwrap()).await {
        Ok(_) => println!("opened"),
        Err(error) => println!("{:?}|{error}", error.kind()),
    }
}

/// What a user hears who may do no more than everybody: root may write whatever the permissions are, so it hands the
/// work to a process without rights.
fn opened_without_rights(dir: &Path, file: &Path) -> String {
    let copy = dir.join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    std::fs::set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
    let mut command = crate::child::command(&copy, CHILD);
    command.env(CHILDS_FILE, file).current_dir("/");
    if std::fs::metadata(dir).unwrap().uid() == 0 {
        command.uid(65534).gid(65534);
    }
    let output = loop {
        match command.output() {
            // A process that another test starts at this moment may still hold the copy open for writing.
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            output => break output.unwrap(),
        }
    };
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8(said).unwrap().trim().to_owned()
}

/// A copy of the database in a directory that everybody may enter, and, if told so, write to.
async fn a_copy_for_everybody(db: &TestDatabase, dir: &Path, mode: u32) -> PathBuf {
    furnish(db).await;
    let inner = dir.join("databases");
    std::fs::create_dir(&inner).unwrap();
    let copy = inner.join("copy.db");
    std::fs::copy(db.path().unwrap(), &copy).unwrap();
    std::fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&copy, Permissions::from_mode(0o444)).unwrap();
    std::fs::set_permissions(&inner, Permissions::from_mode(mode)).unwrap();
    copy
}

async fn a_read_only_file_is_refused(db: TestDatabase) {
    let dir = tempfile::tempdir().unwrap();
    let copy = a_copy_for_everybody(&db, dir.path(), 0o777).await;
    let before = std::fs::read(&copy).unwrap();
    let said = opened_without_rights(dir.path(), &copy);
    let named = copy.display().to_string();
    assert!(
        said.starts_with("ReadOnly|") && said.contains(&named) && said.contains("read-only"),
        "{said}"
    );
    assert!(std::fs::read(&copy).unwrap() == before);
}

async fn a_file_in_a_read_only_directory_is_refused(db: TestDatabase) {
    let dir = tempfile::tempdir().unwrap();
    let copy = a_copy_for_everybody(&db, dir.path(), 0o555).await;
    let before = std::fs::read(&copy).unwrap();
    let said = opened_without_rights(dir.path(), &copy);
    std::fs::set_permissions(copy.parent().unwrap(), Permissions::from_mode(0o755)).unwrap();
    let named = copy.display().to_string();
    assert!(
        said.starts_with("ReadOnly|") && said.contains(&named) && said.contains("its directory is read-only"),
        "{said}"
    );
    assert!(std::fs::read(&copy).unwrap() == before);
}
