//! What pg_catalog says. The server deparses both sides of a comparison, so the same definition always reads the same.

use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, TransactionTrait};
use sea_orm_migration::IntoSchemaManagerConnection;

use super::super::{Conn, Dialect, Shape, code, ddl, literals, rows};
use super::{CURRENT_SCHEMA, Postgres};
use crate::error::{MigrationError, Result};
use crate::plan;
use crate::snapshot::{ColumnShape, Snapshot};

/// The tables of the current schema that are ours, as the beginning of a FROM.
fn ours(tables: &[&str]) -> String {
    format!(
        "pg_class t ON t.relnamespace = {CURRENT_SCHEMA} AND t.relkind IN ('r', 'p') \
         AND t.relname IN ({})",
        literals(tables)
    )
}

pub(super) fn columns(tables: &[&str]) -> String {
    format!(
        "SELECT t.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod) \
         FROM pg_attribute a JOIN {} AND t.oid = a.attrelid WHERE a.attnum > 0 AND NOT a.attisdropped",
        ours(tables)
    )
}

pub(super) async fn snapshot(conn: &Conn<'_>, tables: &[&str]) -> Result<Snapshot, DbErr> {
    let mut snapshot = Snapshot::default();
    read_columns(conn, tables, &mut snapshot).await?;
    read_constraints(conn, tables, &mut snapshot).await?;
    read_indexes(conn, tables, &mut snapshot).await?;
    Ok(snapshot)
}

async fn read_columns(conn: &Conn<'_>, tables: &[&str], snapshot: &mut Snapshot) -> Result<(), DbErr> {
    let sql = format!(
        "SELECT t.relname::text, t.relpersistence::text, a.attname::text, \
         format_type(a.atttypid, a.atttypmod) \
         || CASE WHEN a.attcollation <> y.typcollation THEN ' collate ' || quote_ident(l.collname) ELSE '' END \
         || CASE WHEN a.attidentity <> '' THEN ' identity' ELSE '' END \
         || CASE WHEN a.attgenerated <> '' THEN ' generated' ELSE '' END, \
         NOT a.attnotnull, pg_get_expr(d.adbin, d.adrelid) \
         FROM pg_attribute a JOIN {} AND t.oid = a.attrelid \
         JOIN pg_type y ON y.oid = a.atttypid LEFT JOIN pg_collation l ON l.oid = a.attcollation \
         LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
         WHERE a.attnum > 0 AND NOT a.attisdropped",
        ours(tables)
    );
    for row in rows(conn, sql).await? {
        let table = snapshot.table_mut(&row.try_get_by_index::<String>(0)?);
        table.options = match row.try_get_by_index::<String>(1)?.as_str() {
            "u" => "unlogged".to_owned(),
            "t" => "temporary".to_owned(),
            _ => String::new(),
        };
        let column = ColumnShape {
            data_type: row.try_get_by_index(3)?,
            nullable: row.try_get_by_index(4)?,
            default: row.try_get_by_index(5)?,
        };
        table.columns.insert(row.try_get_by_index(2)?, column);
    }
    Ok(())
}

async fn read_constraints(conn: &Conn<'_>, tables: &[&str], snapshot: &mut Snapshot) -> Result<(), DbErr> {
    // NOT NULL is a constraint of its own from Postgres 18 on; here it is told with the column.
    let sql = format!(
        "SELECT t.relname::text, c.conname::text, pg_get_constraintdef(c.oid) \
         FROM pg_constraint c JOIN {} AND t.oid = c.conrelid WHERE c.contype IN ('p', 'u', 'f', 'c', 'x')",
        ours(tables)
    );
    for row in rows(conn, sql).await? {
        let table = snapshot.table_mut(&row.try_get_by_index::<String>(0)?);
        table
            .constraints
            .insert(row.try_get_by_index(1)?, row.try_get_by_index(2)?);
    }
    Ok(())
}

async fn read_indexes(conn: &Conn<'_>, tables: &[&str], snapshot: &mut Snapshot) -> Result<(), DbErr> {
    let sql = format!(
        "SELECT t.relname::text, n.relname::text, i.indisunique, i.indisvalid, pg_get_indexdef(i.indexrelid) \
         FROM pg_index i JOIN {} AND t.oid = i.indrelid JOIN pg_class n ON n.oid = i.indexrelid \
         WHERE NOT EXISTS (SELECT 1 FROM pg_constraint c WHERE c.conindid = i.indexrelid AND c.contype IN ('p', 'u', 'x'))",
        ours(tables)
    );
    for row in rows(conn, sql).await? {
        let table = snapshot.table_mut(&row.try_get_by_index::<String>(0)?);
        let unique = if row.try_get_by_index(2)? { "unique " } else { "" };
        let broken = if row.try_get_by_index(3)? { "" } else { " (invalid)" };
        let definition: String = row.try_get_by_index(4)?;
        // What comes before USING names the schema, which differs between the two sides.
        let definition = definition
            .split_once(" USING ")
            .map_or(definition.as_str(), |(_, rest)| rest);
        table
            .indexes
            .insert(row.try_get_by_index(1)?, format!("{unique}{definition}{broken}"));
    }
    Ok(())
}

/// Builds the schema in a schema of its own, reads it and rolls everything back.
pub(super) async fn expected(db: &DatabaseConnection, count: usize) -> Result<Snapshot> {
    let txn = db
        .begin_with_options(Postgres.transaction())
        .await
        .map_err(MigrationError::database("beginning a transaction"))?;
    let result = build(&(&txn).into_database_executor(), count).await;
    let rolled_back = txn
        .rollback()
        .await
        .map_err(MigrationError::database("rolling back the scratch schema"));
    let snapshot = result?;
    rolled_back?;
    Ok(snapshot)
}

async fn build(conn: &Conn<'_>, count: usize) -> Result<Snapshot> {
    let reading = MigrationError::database("reading the catalog");
    let name: String = match rows(conn, "SELECT 'undercroft_check_' || pg_backend_pid()").await {
        Ok(rows) => match rows.first().map(|row| row.try_get_by_index(0)) {
            Some(name) => name.map_err(reading)?,
            None => "undercroft_check".to_owned(),
        },
        Err(error) => return Err(reading(error)),
    };
    let schema = ddl::quoted(&name);
    let sql = format!("CREATE SCHEMA {schema}; SET LOCAL search_path TO {schema}");
    conn.execute_unprepared(&sql)
        .await
        .map_err(|error| match code(&error).as_deref() {
            // Not allowed; read-only.
            Some("42501" | "25006") => MigrationError::ScratchSchema(error),
            _ => MigrationError::database("creating the scratch schema")(error),
        })?;
    plan::build(conn, Dialect::Postgres, count).await?;
    snapshot(conn, &plan::every_table())
        .await
        .map_err(MigrationError::database("reading the catalog"))
}
