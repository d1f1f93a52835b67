//! Postgres: transactional DDL, an advisory lock, pg_catalog.

mod introspect;

use sea_orm::{
    AccessMode, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, IsolationLevel, TransactionOptions,
};
use sea_orm_migration::async_trait::async_trait;

use super::ddl::{self, quoted};
use super::{Action, Conn, Reference, Shape, code, literals, rows};
use crate::error::{MigrationError, Result};
use crate::model::{Change, Column, Kind, Rule, Sql, Table};
use crate::snapshot::Snapshot;

/// The advisory lock that everybody who migrates this database takes.
const LOCK: i64 = i64::from_be_bytes(*b"undrcrft");

/// Where our tables are: the first schema of the search path that exists. (A cast to regnamespace would fold its case.)
const CURRENT_SCHEMA: &str = "(SELECT oid FROM pg_namespace WHERE nspname = current_schema())";

pub(super) struct Postgres;

#[async_trait]
impl Shape for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn column_type(&self, kind: Kind) -> &'static str {
        match kind {
            Kind::Uuid => "uuid",
            Kind::Text => "text COLLATE \"C\"",
            Kind::Timestamp => "timestamptz",
            Kind::Json => "jsonb",
            Kind::Bytes => "bytea",
            Kind::Integer => "bigint",
            Kind::Boolean => "boolean",
        }
    }

    fn catalog_type(&self, kind: Kind) -> &'static str {
        match kind {
            Kind::Text => "text",
            Kind::Timestamp => "timestamp with time zone",
            other => self.column_type(other),
        }
    }

    fn boolean(&self, value: bool) -> &'static str {
        if value { "true" } else { "false" }
    }

    fn column_check(&self, column: &Column) -> Option<String> {
        match column.rule() {
            Some(Rule::JsonArray) => Some(format!("jsonb_typeof({}) = 'array'", quoted(column.name))),
            _ => None,
        }
    }

    fn table_suffix(&self) -> &'static str {
        ""
    }

    fn drop_tables(&self, tables: &[&str]) -> Vec<String> {
        if tables.is_empty() {
            vec![]
        } else {
            vec![format!("DROP TABLE {}", ddl::list(tables))]
        }
    }

    fn wording(&self, sql: Sql) -> &'static str {
        sql.postgres
    }

    fn alter(&self, before: &Table, changes: &[Change], _after: &Table) -> Vec<Action> {
        let mut now = before.clone();
        let mut clauses = vec![];
        for change in changes {
            clauses.extend(self.clauses(&now, change));
            // A change that does not fit has been refused where the schema after the step was derived.
            if now.change(change).is_err() {
                break;
            }
        }
        if clauses.is_empty() {
            return vec![];
        }
        vec![Action::Execute(format!(
            "ALTER TABLE {}\n    {}",
            quoted(before.name),
            clauses.join(",\n    ")
        ))]
    }

    async fn rebuild(&self, _: &Conn<'_>, _: &Table, _: &Table) -> Result<(), DbErr> {
        Err(DbErr::Migration("Postgres changes tables in place".to_owned()))
    }

    fn transaction(&self) -> TransactionOptions {
        TransactionOptions {
            // Not more than READ COMMITTED, whatever the session's default: a snapshot taken while waiting for the lock
            // would not show what the one before us did.
            isolation_level: Some(IsolationLevel::ReadCommitted),
            access_mode: Some(AccessMode::ReadWrite),
            sqlite_transaction_mode: None,
        }
    }

    async fn enter(&self, db: &DatabaseConnection) -> Result<DatabaseConnection, DbErr> {
        Ok(db.clone())
    }

    async fn leave(&self, _: DatabaseConnection) -> Result<(), DbErr> {
        Ok(())
    }

    async fn lock(&self, txn: &DatabaseTransaction) -> Result<()> {
        // lock_timeout stays on for the whole run: an ALTER that waits behind a long query holds up everybody who comes
        // after it, so it gives up rather than wait for ever.
        let sql = format!(
            "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; \
             SET LOCAL lock_timeout = {}; SELECT pg_advisory_xact_lock({LOCK})",
            crate::runner::PATIENCE.as_millis()
        );
        txn.execute_unprepared(&sql)
            .await
            .map_err(MigrationError::database("taking the migration lock"))?;
        Ok(())
    }

    async fn verify(&self, _: &DatabaseTransaction) -> Result<()> {
        Ok(())
    }

    async fn mirror(&self, _: &Conn<'_>, _: usize) -> Result<(), DbErr> {
        Ok(())
    }

    fn is_contention(&self, error: &DbErr) -> bool {
        // Serialisation failure, deadlock.
        matches!(code(error).as_deref(), Some("40001" | "40P01"))
    }

    fn is_lock_timeout(&self, error: &DbErr) -> bool {
        code(error).as_deref() == Some("55P03")
    }

    fn columns(&self, tables: &[&str]) -> String {
        introspect::columns(tables)
    }

    async fn references(&self, conn: &Conn<'_>, tables: &[&str]) -> Result<Vec<Reference>, DbErr> {
        let names = literals(tables);
        let sql = format!(
            "SELECT DISTINCT c.conrelid::regclass::text AS child, p.relname::text AS parent \
             FROM pg_constraint c JOIN pg_class p ON p.oid = c.confrelid JOIN pg_class t ON t.oid = c.conrelid \
             WHERE c.contype = 'f' AND p.relnamespace = {CURRENT_SCHEMA} AND p.relname IN ({names}) \
             AND NOT (t.relnamespace = p.relnamespace AND t.relname IN ({names})) ORDER BY 1, 2"
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

    async fn expected(&self, db: &DatabaseConnection, count: usize) -> Result<Snapshot> {
        introspect::expected(db, count).await
    }
}

impl Postgres {
    /// A change as clauses of one ALTER TABLE.
    fn clauses(&self, table: &Table, change: &Change) -> Vec<String> {
        let drop_constraint = |name: &str| format!("DROP CONSTRAINT {}", quoted(name));
        match change {
            Change::AddColumn(column) => {
                vec![format!("ADD COLUMN {}", ddl::column_definition(self, table, column))]
            }
            Change::DropColumn(name) => vec![format!("DROP COLUMN {}", quoted(name))],
            Change::SetColumn(column) => self.set_column(table, column),
            Change::AddForeignKey(key) => {
                vec![format!("ADD {}", ddl::foreign_key(&key.clone().named_for(table.name)))]
            }
            Change::DropForeignKey(column) => table
                .foreign_key_on(column)
                .map(|key| drop_constraint(&key.name))
                .into_iter()
                .collect(),
            Change::AddCheck { what, expression } => vec![format!(
                "ADD CONSTRAINT {} CHECK ({expression})",
                quoted(&format!("ck_{}_{what}", table.name))
            )],
            Change::DropCheck { what } => {
                vec![drop_constraint(&format!("ck_{}_{what}", table.name))]
            }
        }
    }

    fn set_column(&self, table: &Table, new: &Column) -> Vec<String> {
        let Some(old) = table.column_named(new.name) else {
            return vec![];
        };
        let column = quoted(new.name);
        let constraint = quoted(&table.rule_name(new));
        let mut clauses = vec![];
        if old.nullable != new.nullable {
            let verb = if new.nullable { "DROP" } else { "SET" };
            clauses.push(format!("ALTER COLUMN {column} {verb} NOT NULL"));
        }
        if old.default != new.default {
            clauses.push(match &new.default {
                Some(value) => format!("ALTER COLUMN {column} SET DEFAULT {}", ddl::default_value(self, value)),
                None => format!("ALTER COLUMN {column} DROP DEFAULT"),
            });
        }
        let (before, after) = (ddl::rule(self, old), ddl::rule(self, new));
        if before != after {
            clauses.extend(before.map(|_| format!("DROP CONSTRAINT {constraint}")));
            clauses.extend(after.map(|rule| format!("ADD CONSTRAINT {constraint} CHECK ({rule})")));
        }
        clauses
    }
}
