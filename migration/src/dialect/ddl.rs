//! The DDL that both databases share, laid out to be read: SQLite keeps the text as it is given.

use super::{Action, Dialect, Shape};
use crate::model::{Check, Column, DefaultValue, ForeignKey, Index, Rule, Schema, Step, Table};

/// A name in quotes.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text literal.
pub(crate) fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// Names in quotes, separated by commas.
pub(crate) fn list(names: &[&str]) -> String {
    names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}

/// What a step runs, given the schema before and after it.
pub(crate) fn actions(dialect: Dialect, step: &Step, before: &Schema, after: &Schema) -> Vec<Action> {
    let shape = dialect.shape();
    match step {
        Step::CreateTable(table) => create(shape, table).into_iter().map(Action::Execute).collect(),
        Step::DropTable(name) => vec![Action::Execute(format!("DROP TABLE {}", quoted(name)))],
        Step::AddIndex(table, index) => {
            vec![Action::Execute(create_index(table, &index.clone().named_for(table)))]
        }
        Step::DropIndex(_, name) => vec![Action::Execute(format!("DROP INDEX {}", quoted(name)))],
        Step::Alter(name, changes) => match (before.table(name), after.table(name)) {
            (Some(before), Some(after)) => shape.alter(before, changes, after),
            _ => vec![],
        },
        Step::Sql(up, _) => vec![Action::Execute(shape.wording(*up).to_owned())],
    }
}

/// CREATE TABLE and the CREATE INDEX of each of its indexes.
pub(crate) fn create(shape: &dyn Shape, table: &Table) -> Vec<String> {
    let mut statements = vec![create_table(shape, table, table.name)];
    statements.extend(table.indexes.iter().map(|index| create_index(table.name, index)));
    statements
}

/// CREATE TABLE under a name of its own, without its indexes.
pub(crate) fn create_table(shape: &dyn Shape, table: &Table, name: &str) -> String {
    let mut lines: Vec<String> = table
        .columns
        .iter()
        .map(|column| column_definition(shape, table, column))
        .collect();
    lines.push(format!(
        "CONSTRAINT {} PRIMARY KEY ({})",
        quoted(&table.primary_key_name()),
        list(&table.primary_key)
    ));
    lines.extend(table.foreign_keys.iter().map(foreign_key));
    lines.extend(table.checks.iter().map(check));
    format!(
        "CREATE TABLE {} (\n    {}\n){}",
        quoted(name),
        lines.join(",\n    "),
        shape.table_suffix()
    )
}

/// A column as CREATE TABLE and ADD COLUMN write it.
pub(crate) fn column_definition(shape: &dyn Shape, table: &Table, column: &Column) -> String {
    let mut definition = format!("{} {}", quoted(column.name), shape.column_type(column.kind));
    if !column.nullable {
        definition.push_str(" NOT NULL");
    }
    if let Some(default) = &column.default {
        definition.push_str(" DEFAULT ");
        definition.push_str(&default_value(shape, default));
    }
    if let Some(rule) = rule(shape, column) {
        definition.push_str(&format!(
            " CONSTRAINT {} CHECK ({rule})",
            quoted(&table.rule_name(column))
        ));
    }
    definition
}

/// A default as SQL.
pub(crate) fn default_value(shape: &dyn Shape, value: &DefaultValue) -> String {
    match value {
        DefaultValue::Text(value) | DefaultValue::Json(value) => text(value),
        DefaultValue::Integer(value) => value.to_string(),
        DefaultValue::Boolean(value) => shape.boolean(*value).to_owned(),
    }
}

/// What the check of a column says, if it needs one.
pub(crate) fn rule(shape: &dyn Shape, column: &Column) -> Option<String> {
    let name = quoted(column.name);
    match column.rule() {
        Some(Rule::OneOf(words)) => {
            let words: Vec<String> = words.iter().map(|word| text(word)).collect();
            Some(format!("{name} IN ({})", words.join(", ")))
        }
        Some(Rule::AtLeast(least)) => Some(format!("{name} >= {least}")),
        Some(Rule::JsonArray) | None => shape.column_check(column),
    }
}

/// FOREIGN KEY as a table constraint.
pub(crate) fn foreign_key(key: &ForeignKey) -> String {
    format!(
        "CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {} ({}) ON DELETE {}",
        quoted(&key.name),
        quoted(key.column),
        quoted(key.parent),
        quoted(key.parent_column),
        key.on_delete.sql()
    )
}

/// CHECK as a table constraint.
pub(crate) fn check(check: &Check) -> String {
    format!("CONSTRAINT {} CHECK ({})", quoted(&check.name), check.expression)
}

/// CREATE INDEX.
pub(crate) fn create_index(table: &str, index: &Index) -> String {
    let unique = if index.unique { "UNIQUE " } else { "" };
    let predicate = index
        .predicate
        .map(|predicate| format!(" WHERE {predicate}"))
        .unwrap_or_default();
    format!(
        "CREATE {unique}INDEX {} ON {} ({}){predicate}",
        quoted(&index.name),
        quoted(table),
        list(&index.columns)
    )
}
