//! The connection that a run of migrations works on. Foreign keys are off on it: with them on, DROP TABLE deletes the
//! children's rows, and inside a transaction the pragma does nothing.

use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr};
use sea_orm_migration::IntoSchemaManagerConnection;

use super::super::rows;

/// A file, and a database in memory that others find by its name, gets a second connection of its own, so that what they
/// write through theirs meanwhile is still held to its foreign keys. One without a name lives and dies with its one
/// connection, which is set up and set back.
pub(super) async fn enter(db: &DatabaseConnection) -> Result<DatabaseConnection, DbErr> {
    if !is_alone(db).await? {
        return dedicated(db).await;
    }
    db.execute_unprepared("PRAGMA foreign_keys = OFF").await?;
    Ok(db.clone())
}

/// Closes the second connection, or puts foreign keys back on.
pub(super) async fn leave(run: DatabaseConnection) -> Result<(), DbErr> {
    if is_alone(&run).await? {
        run.execute_unprepared("PRAGMA legacy_alter_table = OFF; PRAGMA foreign_keys = ON")
            .await
            .map(drop)
    } else {
        run.close().await
    }
}

/// Whether there is no second way to this database.
async fn is_alone(db: &DatabaseConnection) -> Result<bool, DbErr> {
    // In this order: a named database cannot be read while somebody writes it, and a run that is done must not fail for
    // that when it leaves.
    Ok(!is_named(db) && is_memory(db).await?)
}

/// Whether it is opened as a name in SQLite's `memdb`, where a name that begins with a slash is the same database for
/// all of a process. The database itself does not say so: its file reads like that of any database in memory.
#[cfg(feature = "sqlite")]
fn is_named(db: &DatabaseConnection) -> bool {
    use sea_orm::sqlx::ConnectOptions;

    let options = db.get_sqlite_connection_pool().connect_options();
    let file = options.get_filename().to_string_lossy();
    let (name, by_uri) = match file.strip_prefix("file:").and_then(|uri| uri.split_once('?')) {
        Some((name, parameters)) => (name, parameters.split('&').any(|parameter| parameter == "vfs=memdb")),
        None => (file.as_ref(), false),
    };
    // The address cannot be made of every name, but of these it can.
    let by_option = || {
        let url = options.to_url_lossy();
        url.query_pairs().any(|pair| pair == ("vfs".into(), "memdb".into()))
    };
    name.starts_with('/') && (by_uri || by_option())
}

#[cfg(not(feature = "sqlite"))]
fn is_named(_: &DatabaseConnection) -> bool {
    false
}

async fn is_memory(db: &DatabaseConnection) -> Result<bool, DbErr> {
    let sql = "SELECT file FROM pragma_database_list WHERE name = 'main'";
    let files = rows(&db.into_database_executor(), sql).await?;
    let file: Option<String> = files.first().map_or(Ok(None), |row| row.try_get_by_index(0))?;
    Ok(file.is_none_or(|file| file.is_empty()))
}

#[cfg(feature = "sqlite")]
async fn dedicated(db: &DatabaseConnection) -> Result<DatabaseConnection, DbErr> {
    use sea_orm::sqlx::sqlite::SqlitePoolOptions;
    use sea_orm::{RuntimeErr, SqlxSqliteConnector};

    let options = db.get_sqlite_connection_pool().connect_options();
    let options = options.as_ref().clone().foreign_keys(false);
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None);
    match pool.connect_with(options).await {
        Ok(pool) => Ok(SqlxSqliteConnector::from_sqlx_sqlite_pool(pool)),
        Err(error) => Err(DbErr::Conn(RuntimeErr::SqlxError(error.into()))),
    }
}

#[cfg(not(feature = "sqlite"))]
async fn dedicated(db: &DatabaseConnection) -> Result<DatabaseConnection, DbErr> {
    Ok(db.clone())
}

#[cfg(test)]
#[cfg(feature = "sqlite")]
mod tests {
    use sea_orm::sqlx::SqlitePool;
    use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
    use sea_orm::{SqlxSqliteConnector, TransactionTrait};

    use super::*;
    use crate::State;
    use crate::error::MigrationError;

    /// Of a bot that is not there.
    const ORPHAN: &str = "INSERT INTO soul_versions (id, bot_id, content, hash, version, created_at) \
                          VALUES (zeroblob(16), zeroblob(16), '', '', 1, '2026-11-21T00:00:00Z')";

    fn pool(options: SqliteConnectOptions) -> SqlitePool {
        SqlitePoolOptions::new()
            .max_connections(2)
            .idle_timeout(None)
            .connect_lazy_with(options)
    }

    fn named(name: &str) -> SqliteConnectOptions {
        SqliteConnectOptions::new().filename(name).vfs("memdb")
    }

    async fn opened(options: SqliteConnectOptions) -> DatabaseConnection {
        let db = SqlxSqliteConnector::from_sqlx_sqlite_pool(pool(options));
        db.ping().await.unwrap();
        db
    }

    async fn number(db: &DatabaseConnection, sql: &str) -> i64 {
        let rows = rows(&db.into_database_executor(), sql).await.unwrap();
        rows[0].try_get_by_index(0).unwrap()
    }

    #[tokio::test]
    async fn a_named_database_in_memory_moves_under_others_who_keep_their_foreign_keys() {
        let bystander = opened(named("/moves")).await;
        // Whoever migrates comes and goes; the database stays with whoever else has it open.
        let migrator = opened(named("/moves")).await;
        assert!(!is_alone(&migrator).await.unwrap());
        let up = crate::up(&migrator).await.unwrap();
        assert_eq!(up.applied.len(), crate::migrations::all().len());
        assert_eq!(number(&migrator, "PRAGMA foreign_keys").await, 1);
        migrator.close().await.unwrap();

        assert_eq!(crate::state(&bystander).await.unwrap(), State::Complete);
        assert_eq!(number(&bystander, "PRAGMA foreign_keys").await, 1);
        let refused = bystander.execute_unprepared(ORPHAN).await.unwrap_err();
        assert!(refused.to_string().contains("FOREIGN KEY"), "{refused}");

        // A way down rebuilds tables, which is where foreign keys that are on would delete rows.
        let again = opened(named("/moves")).await;
        crate::refresh(&again).await.unwrap();
        assert!(crate::check(&again).await.unwrap().is_sound());
        crate::down(&again, 1).await.unwrap();
        assert!(matches!(crate::state(&bystander).await.unwrap(), State::Pending { .. }));
        crate::up(&bystander).await.unwrap();
        let user_version = number(&again, "PRAGMA user_version").await;
        assert_eq!(usize::try_from(user_version), Ok(crate::migrations::all().len()));
    }

    #[tokio::test]
    async fn runs_on_one_named_database_in_memory_wait_for_each_other() {
        let (one, other) = (opened(named("/waits")).await, opened(named("/waits")).await);
        let (first, second) = tokio::join!(crate::up(&one), crate::up(&other));
        let applied = first.unwrap().applied.len() + second.unwrap().applied.len();
        assert_eq!(applied, crate::migrations::all().len());
    }

    #[tokio::test]
    async fn a_run_gives_up_on_a_named_database_that_somebody_writes() {
        let options = || named("/busy").busy_timeout(std::time::Duration::from_millis(10));
        let (db, other) = (opened(options()).await, opened(options()).await);
        other.execute_unprepared("CREATE TABLE theirs (a)").await.unwrap();
        let writing = other.begin().await.unwrap();
        writing
            .execute_unprepared("INSERT INTO theirs VALUES (1)")
            .await
            .unwrap();
        let error = crate::up(&db).await.unwrap_err();
        assert!(matches!(error, MigrationError::LockTimeout { .. }), "{error}");
        writing.rollback().await.unwrap();
        crate::up(&db).await.unwrap();
    }

    #[tokio::test]
    async fn a_second_way_to_a_database_is_known() {
        for (options, alone) in [
            (named("/known"), false),
            (SqliteConnectOptions::new().filename("file:/known?vfs=memdb"), false),
            (
                SqliteConnectOptions::new().filename("file:/known?mode=rw&vfs=memdb"),
                false,
            ),
            (named("private"), true),
            (SqliteConnectOptions::new().filename("file:private?vfs=memdb"), true),
            (SqliteConnectOptions::new().filename(":memory:"), true),
            (SqliteConnectOptions::new().in_memory(true).filename(":memory:"), true),
            ("sqlite::memory:".parse().unwrap(), true),
        ] {
            let told = format!("{options:?}");
            assert_eq!(is_alone(&opened(options).await).await.unwrap(), alone, "{told}");
        }
    }
}
