//! The procedure of <https://www.sqlite.org/lang_altertable.html>, section 7: create, copy, drop, rename, recreate.

use sea_orm::{ConnectionTrait, DbErr};

use super::super::{Conn, ddl, rows};
use super::Sqlite;
use crate::model::Table;

/// Gives a table another shape and keeps its rows, its children's rows, and the indexes and triggers that somebody else
/// put on it. The caller has foreign keys off and checks them before it commits.
///
/// Columns that both shapes have are copied; a new one takes its default.
pub(super) async fn rebuild(conn: &Conn<'_>, before: &Table, after: &Table) -> Result<(), DbErr> {
    let old = ddl::quoted(before.name);
    let temporary_name = format!("undercroft_new_{}", after.name);
    let new = ddl::quoted(&temporary_name);
    let kept: Vec<&str> = after
        .columns
        .iter()
        .map(|column| column.name)
        .filter(|name| before.column_named(name).is_some())
        .collect();
    let columns = ddl::list(&kept);
    let foreign = foreign_objects(conn, before).await?;

    conn.execute_unprepared(&ddl::create_table(&Sqlite, after, &temporary_name))
        .await?;
    conn.execute_unprepared(&format!("INSERT INTO {new} ({columns}) SELECT {columns} FROM {old}"))
        .await?;
    conn.execute_unprepared(&format!("DROP TABLE {old}")).await?;
    rename(conn, &new, &old).await?;
    for index in &after.indexes {
        conn.execute_unprepared(&ddl::create_index(after.name, index)).await?;
    }
    for sql in foreign {
        conn.execute_unprepared(&sql).await?;
    }
    Ok(())
}

/// Renames without SQLite's look at every view: one that reads the table would fail while there is none of its name.
async fn rename(conn: &Conn<'_>, from: &str, to: &str) -> Result<(), DbErr> {
    conn.execute_unprepared("PRAGMA legacy_alter_table = ON").await?;
    conn.execute_unprepared(&format!("ALTER TABLE {from} RENAME TO {to}"))
        .await?;
    conn.execute_unprepared("PRAGMA legacy_alter_table = OFF").await?;
    Ok(())
}

/// The definitions of the table's indexes and triggers that are not ours.
async fn foreign_objects(conn: &Conn<'_>, table: &Table) -> Result<Vec<String>, DbErr> {
    let sql = format!(
        "SELECT name, sql FROM sqlite_schema \
         WHERE tbl_name = {} COLLATE NOCASE AND type IN ('index', 'trigger') AND sql IS NOT NULL ORDER BY rowid",
        ddl::text(table.name)
    );
    let mut definitions = vec![];
    for row in rows(conn, sql).await? {
        let name: String = row.try_get_by_index(0)?;
        if !table.indexes.iter().any(|index| index.name == name) {
            definitions.push(row.try_get_by_index(1)?);
        }
    }
    Ok(definitions)
}
