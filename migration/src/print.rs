//! The newest schema to read: as DDL and as a diagram. No database needed.

use crate::catalog;
use crate::dialect::{Dialect, ddl};
use crate::model::{Column, ForeignKey, Index, Table};

/// The DDL of the newest schema in one database's words, parents before children, each statement with its semicolon.
pub fn schema(dialect: Dialect) -> String {
    let shape = dialect.shape();
    let tables: Vec<String> = catalog::tables()
        .iter()
        .map(|table| {
            ddl::create(shape, table)
                .iter()
                .map(|sql| format!("{sql};\n"))
                .collect()
        })
        .collect();
    tables.join("\n")
}

/// The newest schema as a Mermaid entity-relationship diagram.
pub fn erd() -> String {
    let mut lines = vec!["erDiagram".to_owned()];
    for table in catalog::tables() {
        lines.push(format!("    {} {{", table.name()));
        lines.extend(table.columns().iter().map(|column| attribute(table, column)));
        lines.push("    }".to_owned());
    }
    for table in catalog::tables() {
        lines.extend(table.foreign_keys().iter().map(|key| relation(table, key)));
    }
    lines.join("\n") + "\n"
}

fn attribute(table: &Table, column: &Column) -> String {
    let name = column.name();
    let alone = |index: &&Index| index.is_unique() && index.columns() == [name];
    let marks = [
        ("PK", table.primary_key_columns().contains(&name)),
        ("FK", table.foreign_keys().iter().any(|key| key.column() == name)),
        (
            "UK",
            table
                .indexes()
                .iter()
                .any(|index| alone(&index) && index.predicate().is_none()),
        ),
    ];
    let marks: Vec<&str> = marks.iter().filter(|(_, is)| *is).map(|(mark, _)| *mark).collect();
    let marks = if marks.is_empty() {
        String::new()
    } else {
        format!(" {}", marks.join(", "))
    };
    let comment = if column.is_nullable() { " \"nullable\"" } else { "" };
    format!("        {} {name}{marks}{comment}", column.kind().word())
}

/// The parent on the left: exactly one, or none where the reference may be NULL.
fn relation(table: &Table, key: &ForeignKey) -> String {
    let optional = table.column_named(key.column()).is_some_and(Column::is_nullable);
    let parent = if optional { "|o" } else { "||" };
    let one = |columns: &[&str]| columns == [key.column()];
    let unique = one(table.primary_key_columns())
        || table
            .indexes()
            .iter()
            .any(|index| index.is_unique() && one(index.columns()));
    let child = if unique { "o|" } else { "o{" };
    let action = key.on_delete().sql().to_lowercase();
    format!(
        "    {} {parent}--{child} {} : \"{} (on delete {action})\"",
        key.parent(),
        table.name(),
        key.column()
    )
}
