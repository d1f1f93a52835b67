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

#[cfg(test)]
#[cfg(feature = "sqlite")]
mod tests {
    use sea_orm::{ConnectOptions, Database, DatabaseConnection, TransactionTrait};
    use sea_orm_migration::IntoSchemaManagerConnection;

    use super::*;
    use crate::model::{Change, Column, ForeignKey, Index, OnDelete};

    fn parents() -> Table {
        Table::new("parents")
            .column(Column::integer("id"))
            .column(Column::text("name"))
            .column(Column::integer("next").nullable())
            .foreign_key(ForeignKey::new("next", "parents", OnDelete::SetNull))
            .index(Index::on(&["name"]))
    }

    async fn number(db: &DatabaseConnection, sql: &str) -> i64 {
        let rows = rows(&db.into_database_executor(), sql).await.unwrap();
        rows[0].try_get_by_index(0).unwrap()
    }

    /// A parent that points to itself, with a child, an index, a trigger and a view of somebody else's.
    async fn database() -> DatabaseConnection {
        let mut options = ConnectOptions::new("sqlite::memory:");
        options.max_connections(1).sqlx_logging(false);
        let db = Database::connect(options).await.unwrap();
        for sql in ddl::create(&Sqlite, &parents()) {
            db.execute_unprepared(&sql).await.unwrap();
        }
        db.execute_unprepared(
            "CREATE TABLE children (parent INTEGER NOT NULL REFERENCES parents (id) ON DELETE CASCADE); \
             CREATE TABLE log (name TEXT); \
             CREATE INDEX theirs ON parents (name, id); \
             CREATE TRIGGER noted AFTER DELETE ON parents BEGIN INSERT INTO log VALUES (old.name); END; \
             CREATE VIEW seen AS SELECT name FROM parents; \
             INSERT INTO parents (id, name, next) VALUES (1, 'one', 1), (2, 'two', 1); \
             INSERT INTO children VALUES (1), (2)",
        )
        .await
        .unwrap();
        db
    }

    #[tokio::test]
    async fn a_rebuilt_table_keeps_rows_children_indexes_triggers_and_views() {
        let db = database().await;
        let mut after = parents();
        after
            .change(&Change::SetColumn(
                Column::text("name").default_text("none").one_of(&["one", "two"]),
            ))
            .unwrap();
        after
            .change(&Change::AddColumn(Column::integer("age").default_integer(7)))
            .unwrap();

        db.execute_unprepared("PRAGMA foreign_keys = OFF").await.unwrap();
        let txn = db.begin().await.unwrap();
        rebuild(&(&txn).into_database_executor(), &parents(), &after)
            .await
            .unwrap();
        txn.commit().await.unwrap();
        db.execute_unprepared("PRAGMA foreign_keys = ON").await.unwrap();

        assert_eq!(number(&db, "SELECT count(*) FROM parents WHERE age = 7").await, 2);
        assert_eq!(number(&db, "SELECT count(*) FROM children").await, 2);
        assert_eq!(
            number(&db, "SELECT count(*) FROM log").await,
            0,
            "dropping the old table was a delete"
        );
        assert_eq!(number(&db, "SELECT count(*) FROM seen").await, 2);
        assert_eq!(number(&db, "SELECT count(*) FROM pragma_foreign_key_check").await, 0);
        let kept = "SELECT count(*) FROM sqlite_schema WHERE tbl_name = 'parents' \
                    AND name IN ('idx_parents_name', 'theirs', 'noted')";
        assert_eq!(number(&db, kept).await, 3);
        assert_eq!(
            number(
                &db,
                "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'undercroft_new%'"
            )
            .await,
            0
        );
        assert_eq!(number(&db, "PRAGMA legacy_alter_table").await, 0);

        db.execute_unprepared("UPDATE parents SET name = 'three'")
            .await
            .unwrap_err();
        db.execute_unprepared("INSERT INTO children VALUES (3)")
            .await
            .unwrap_err();
        db.execute_unprepared("DELETE FROM parents WHERE id = 1").await.unwrap();
        assert_eq!(
            number(&db, "SELECT count(*) FROM children").await,
            1,
            "the cascade is gone"
        );
        assert_eq!(number(&db, "SELECT count(*) FROM log").await, 1, "the trigger is gone");
        assert_eq!(number(&db, "SELECT count(*) FROM parents WHERE next IS NULL").await, 1);
    }
}
