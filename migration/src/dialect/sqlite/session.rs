//! The connection that a run of migrations works on. Foreign keys are off on it: with them on, DROP TABLE deletes the
//! children's rows, and inside a transaction the pragma does nothing.

use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr};
use sea_orm_migration::IntoSchemaManagerConnection;

use super::super::rows;

/// A file gets a second connection of its own, so that what others write through theirs meanwhile is still held to its
/// foreign keys. A database in memory lives and dies with its one connection, which is set up and set back.
pub(super) async fn enter(db: &DatabaseConnection) -> Result<DatabaseConnection, DbErr> {
    if !is_memory(db).await? {
        return dedicated(db).await;
    }
    db.execute_unprepared("PRAGMA foreign_keys = OFF").await?;
    Ok(db.clone())
}

/// Closes the second connection, or puts foreign keys back on.
pub(super) async fn leave(run: DatabaseConnection) -> Result<(), DbErr> {
    if is_memory(&run).await? {
        run.execute_unprepared("PRAGMA legacy_alter_table = OFF; PRAGMA foreign_keys = ON")
            .await
            .map(drop)
    } else {
        run.close().await
    }
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
