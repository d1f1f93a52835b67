//! What sqlite_schema says.

use sea_orm::{ConnectOptions, Database, DbErr};
use sea_orm_migration::IntoSchemaManagerConnection;

use super::super::{Conn, Dialect, literals, rows};
use super::tokens::{join, parts, tokens};
use crate::error::{MigrationError, Result};
use crate::plan;
use crate::snapshot::{ColumnShape, Snapshot, TableShape};

pub(super) async fn snapshot(conn: &Conn<'_>, tables: &[&str]) -> Result<Snapshot, DbErr> {
    let mut snapshot = Snapshot::default();
    read_columns(conn, tables, &mut snapshot).await?;
    read_definitions(conn, tables, &mut snapshot).await?;
    Ok(snapshot)
}

async fn read_columns(conn: &Conn<'_>, tables: &[&str], snapshot: &mut Snapshot) -> Result<(), DbErr> {
    let sql = format!(
        "SELECT m.name, c.name, upper(c.type), c.\"notnull\", c.dflt_value \
         FROM sqlite_schema m JOIN pragma_table_xinfo(m.name) c WHERE m.type = 'table' AND m.name IN ({})",
        literals(tables)
    );
    for row in rows(conn, sql).await? {
        let column = ColumnShape {
            data_type: row.try_get_by_index(2)?,
            nullable: row.try_get_by_index::<i64>(3)? == 0,
            default: row.try_get_by_index(4)?,
        };
        let table = snapshot.table_mut(&row.try_get_by_index::<String>(0)?);
        table.columns.insert(row.try_get_by_index(1)?, column);
    }
    Ok(())
}

async fn read_definitions(conn: &Conn<'_>, tables: &[&str], snapshot: &mut Snapshot) -> Result<(), DbErr> {
    // Indexes without text belong to a constraint and are told with it.
    let sql = format!(
        "SELECT type, name, tbl_name, sql FROM sqlite_schema \
         WHERE type IN ('table', 'index') AND sql IS NOT NULL AND tbl_name IN ({})",
        literals(tables)
    );
    for row in rows(conn, sql).await? {
        let kind: String = row.try_get_by_index(0)?;
        let table = snapshot.table_mut(&row.try_get_by_index::<String>(2)?);
        let tokens = tokens(&row.try_get_by_index::<String>(3)?);
        if kind == "table" {
            read_table(&tokens, table);
        } else {
            table.indexes.insert(row.try_get_by_index(1)?, index(&tokens));
        }
    }
    Ok(())
}

/// `unique (slug)`, `(bot_id) where …`: all of an index but its name and its table.
fn index(tokens: &[String]) -> String {
    let unique = if tokens.get(1).is_some_and(|token| token == "unique") {
        "unique "
    } else {
        ""
    };
    let open = tokens.iter().position(|token| token == "(").unwrap_or(tokens.len());
    format!("{unique}{}", join(&tokens[open..]))
}

fn read_table(tokens: &[String], table: &mut TableShape) {
    let Some(open) = tokens.iter().position(|token| token == "(") else {
        return;
    };
    let (definitions, options) = parts(tokens, open);
    table.options = join(options);
    for definition in definitions {
        match definition.first().map(String::as_str) {
            Some("constraint" | "primary" | "unique" | "check" | "foreign") => read_constraint(definition, None, table),
            Some(column) => read_column(column, definition, table),
            None => {}
        }
    }
}

/// A constraint with its name, if it has one; a column's own constraint is written as the table's would be.
fn read_constraint(definition: &[String], column: Option<&str>, table: &mut TableShape) {
    let (name, body) = match definition {
        [word, name, body @ ..] if word == "constraint" => (Some(name.clone()), body),
        body => (None, body),
    };
    let text = match (column, body.first().map(String::as_str)) {
        (Some(column), Some("references")) => format!("foreign key ({column}) {}", join(body)),
        (Some(column), Some("primary")) => join(body).replacen("primary key", &format!("primary key ({column})"), 1),
        (Some(column), Some("unique")) => join(body).replacen("unique", &format!("unique ({column})"), 1),
        _ => join(body),
    };
    table
        .constraints
        .insert(name.unwrap_or_else(|| format!("unnamed {text}")), text);
}

fn read_column(name: &str, definition: &[String], table: &mut TableShape) {
    for clause in clauses(definition) {
        let word = clause.iter().find(|token| *token != "constraint").map(String::as_str);
        let named = clause.first().is_some_and(|token| token == "constraint");
        let kind = if named { clause.get(2).map(String::as_str) } else { word };
        match kind {
            Some("check" | "references" | "unique" | "primary") => read_constraint(clause, Some(name), table),
            Some("collate" | "generated" | "as") => {
                if let Some(column) = table.columns.get_mut(name) {
                    column.data_type = format!("{} {}", column.data_type, join(clause));
                }
            }
            // NOT NULL and DEFAULT are told by the pragma.
            _ => {}
        }
    }
}

/// The clauses of a column's definition, each with the CONSTRAINT that names it.
fn clauses(definition: &[String]) -> Vec<&[String]> {
    let mut starts = vec![];
    let mut depth = 0_usize;
    let mut named = false;
    for (at, token) in definition.iter().enumerate() {
        let previous = at
            .checked_sub(1)
            .and_then(|at| definition.get(at))
            .map_or("", String::as_str);
        let next = definition.get(at + 1).map_or("", String::as_str);
        match token.as_str() {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            // The word after CONSTRAINT is a name, whatever it says.
            _ if previous == "constraint" => {}
            "constraint" => {
                starts.push(at);
                named = true;
            }
            "check" | "references" | "unique" | "primary" | "collate" | "generated" => {
                begin(&mut starts, &mut named, at);
            }
            "as" if previous != "always" => begin(&mut starts, &mut named, at),
            "not" if next == "null" => begin(&mut starts, &mut named, at),
            "default" if previous != "set" => begin(&mut starts, &mut named, at),
            _ => {}
        }
    }
    let ends = starts.iter().skip(1).copied().chain([definition.len()]);
    starts
        .iter()
        .copied()
        .zip(ends)
        .map(|(start, end)| &definition[start..end])
        .collect()
}

/// A clause begins here, unless the CONSTRAINT before it began it already.
fn begin(starts: &mut Vec<usize>, named: &mut bool, at: usize) {
    if !std::mem::take(named) {
        starts.push(at);
    }
}

/// Builds the schema in a database of its own, in memory, and reads it.
pub(super) async fn expected(count: usize) -> Result<Snapshot> {
    let opening = MigrationError::database("opening the scratch database");
    let mut options = ConnectOptions::new("sqlite::memory:");
    options.max_connections(1).sqlx_logging(false);
    let db = Database::connect(options).await.map_err(opening)?;
    let conn = (&db).into_database_executor();
    plan::build(&conn, Dialect::Sqlite, count).await?;
    let read = snapshot(&conn, &plan::every_table())
        .await
        .map_err(MigrationError::database("reading the catalog"));
    db.close()
        .await
        .map_err(MigrationError::database("closing the scratch database"))?;
    read
}
