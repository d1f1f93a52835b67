//! SQLite: one writer, foreign keys off while tables move, the schema read from its own text.

mod introspect;
mod rebuild;
mod session;
mod tokens;

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, SqliteTransactionMode, TransactionOptions,
};
use sea_orm_migration::IntoSchemaManagerConnection;
use sea_orm_migration::async_trait::async_trait;

use super::ddl::{self, quoted};
use super::{Action, Conn, Reference, Shape, code, literals, rows};
use crate::error::{MigrationError, Result, Violation};
use crate::model::{Change, Column, Kind, Rule, Sql, Table};
use crate::snapshot::Snapshot;

pub(super) struct Sqlite;

#[async_trait]
impl Shape for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn column_type(&self, kind: Kind) -> &'static str {
        match kind {
            Kind::Uuid | Kind::Bytes => "BLOB",
            Kind::Text | Kind::Timestamp | Kind::Json => "TEXT",
            Kind::Integer | Kind::Boolean => "INTEGER",
        }
    }

    fn catalog_type(&self, kind: Kind) -> &'static str {
        self.column_type(kind)
    }

    fn boolean(&self, value: bool) -> &'static str {
        if value { "1" } else { "0" }
    }

    fn column_check(&self, column: &Column) -> Option<String> {
        let name = quoted(column.name);
        match (column.kind, column.rule()) {
            (Kind::Json, Some(Rule::JsonArray)) => Some(format!("json_valid({name}) AND json_type({name}) = 'array'")),
            (Kind::Json, _) => Some(format!("json_valid({name})")),
            (Kind::Boolean, _) => Some(format!("{name} IN (0, 1)")),
            _ => None,
        }
    }

    fn table_suffix(&self) -> &'static str {
        " STRICT"
    }

    fn drop_tables(&self, tables: &[&str]) -> Vec<String> {
        tables
            .iter()
            .map(|table| format!("DROP TABLE {}", quoted(table)))
            .collect()
    }

    fn wording(&self, sql: Sql) -> &'static str {
        sql.sqlite
    }

    fn alter(&self, before: &Table, changes: &[Change], after: &Table) -> Vec<Action> {
        let mut statements = vec![];
        for change in changes {
            match change {
                // ADD COLUMN only touches the catalog, but SQLite refuses a NOT NULL column without a default.
                Change::AddColumn(column) if column.nullable || column.default.is_some() => {
                    statements.push(Action::Execute(format!(
                        "ALTER TABLE {} ADD COLUMN {}",
                        quoted(before.name),
                        ddl::column_definition(self, before, column)
                    )));
                }
                _ => {
                    return vec![Action::Rebuild {
                        before: Box::new(before.clone()),
                        after: Box::new(after.clone()),
                    }];
                }
            }
        }
        statements
    }

    async fn rebuild(&self, conn: &Conn<'_>, before: &Table, after: &Table) -> Result<(), DbErr> {
        rebuild::rebuild(conn, before, after).await
    }

    fn transaction(&self) -> TransactionOptions {
        TransactionOptions {
            isolation_level: None,
            access_mode: None,
            // A deferred transaction that reads first and then writes fails at once when somebody wrote in between.
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        }
    }

    async fn enter(&self, db: &DatabaseConnection) -> Result<DatabaseConnection, DbErr> {
        session::enter(db).await
    }

    async fn leave(&self, run: DatabaseConnection) -> Result<(), DbErr> {
        session::leave(run).await
    }

    async fn lock(&self, txn: &DatabaseTransaction) -> Result<()> {
        // BEGIN IMMEDIATE is the lock. What is left is to see that this is the connection that `enter` spoke to.
        let on = rows(&txn.into_database_executor(), "PRAGMA foreign_keys")
            .await
            .and_then(|rows| rows.first().map_or(Ok(0), |row| row.try_get_by_index::<i64>(0)))
            .map_err(MigrationError::database("reading PRAGMA foreign_keys"))?;
        if on == 0 {
            Ok(())
        } else {
            Err(MigrationError::NotTheWriter)
        }
    }

    async fn verify(&self, txn: &DatabaseTransaction) -> Result<()> {
        let sql = "SELECT \"table\", parent, count(*) FROM pragma_foreign_key_check GROUP BY 1, 2 ORDER BY 1, 2";
        let violations: Vec<Violation> = rows(&txn.into_database_executor(), sql)
            .await
            .and_then(|rows| rows.iter().map(violation).collect())
            .map_err(MigrationError::database("checking foreign keys"))?;
        if violations.is_empty() {
            Ok(())
        } else {
            Err(MigrationError::ForeignKeyViolations(violations))
        }
    }

    async fn mirror(&self, conn: &Conn<'_>, applied: usize) -> Result<(), DbErr> {
        conn.execute_unprepared(&format!("PRAGMA user_version = {applied}"))
            .await
            .map(drop)
    }

    fn is_contention(&self, error: &DbErr) -> bool {
        // BUSY, LOCKED, BUSY_RECOVERY, LOCKED_SHAREDCACHE, BUSY_SNAPSHOT, BUSY_TIMEOUT.
        matches!(code(error).as_deref(), Some("5" | "6" | "261" | "262" | "517" | "773"))
    }

    fn is_lock_timeout(&self, error: &DbErr) -> bool {
        self.is_contention(error)
    }

    fn columns(&self, tables: &[&str]) -> String {
        format!(
            "SELECT m.name, c.name, upper(c.type) FROM sqlite_schema m JOIN pragma_table_xinfo(m.name) c \
             WHERE m.type = 'table' AND m.name IN ({})",
            literals(tables)
        )
    }

    async fn references(&self, conn: &Conn<'_>, tables: &[&str]) -> Result<Vec<Reference>, DbErr> {
        let names = literals(tables);
        let sql = format!(
            "SELECT DISTINCT m.name, f.\"table\" FROM sqlite_schema m JOIN pragma_foreign_key_list(m.name) f \
             WHERE m.type = 'table' AND f.\"table\" COLLATE NOCASE IN ({names}) \
             AND m.name COLLATE NOCASE NOT IN ({names}) ORDER BY 1, 2"
        );
        rows(conn, sql)
            .await?
            .iter()
            .map(|row| {
                Ok(Reference {
                    table: row.try_get_by_index(0)?,
                    parent: row.try_get_by_index(1)?,
                })
            })
            .collect()
    }

    async fn snapshot(&self, conn: &Conn<'_>, tables: &[&str]) -> Result<Snapshot> {
        introspect::snapshot(conn, tables)
            .await
            .map_err(MigrationError::database("reading the catalog"))
    }

    async fn expected(&self, _: &DatabaseConnection, count: usize) -> Result<Snapshot> {
        introspect::expected(count).await
    }
}

fn violation(row: &sea_orm::QueryResult) -> Result<Violation, DbErr> {
    Ok(Violation {
        table: row.try_get_by_index(0)?,
        parent: row.try_get_by_index(1)?,
        rows: row.try_get_by_index::<i64>(2)?.unsigned_abs(),
    })
}
