//! The newest schema as a table to look things up in, no database needed.
//!
//! SQLite reports a broken unique index by its columns and a broken foreign key not at all; with these a caller's error
//! can carry the same constraint name on both databases.

use std::sync::LazyLock;

use crate::model::{ForeignKey, Schema, Table};
use crate::plan;

/// Empty if a migration contradicts the ones before it; the tests of the list keep that from happening.
static SCHEMA: LazyLock<Schema> = LazyLock::new(|| plan::schema_at(usize::MAX).unwrap_or_default());

/// Every table of the newest schema, parents before children.
pub fn tables() -> &'static [Table] {
    SCHEMA.tables()
}

/// The table of this name.
pub fn table(name: &str) -> Option<&'static Table> {
    SCHEMA.table(name)
}

/// The name of the primary key or unique index over exactly these columns, in any order.
pub fn unique(table: &str, columns: &[&str]) -> Option<&'static str> {
    uniques(table)
        .find(|unique| unique.is_over(columns))
        .map(|unique| unique.name)
}

/// The primary key and the unique indexes of a table; nothing for a table that is not ours.
pub fn uniques(table: &str) -> impl Iterator<Item = &'static Unique> {
    UNIQUES.iter().filter(move |unique| unique.table == table)
}

/// The foreign keys of a table, in the order in which it declares them; none for a table that is not ours.
pub fn foreign_keys(table: &str) -> &'static [ForeignKey] {
    self::table(table).map_or(&[], Table::foreign_keys)
}

/// Which foreign keys point to a table, each with the table that holds it: the ones that forbid a delete
/// (`OnDelete::Restrict`) or follow it.
pub fn referencing(parent: &str) -> impl Iterator<Item = (&'static Table, &'static ForeignKey)> {
    let keys = tables()
        .iter()
        .flat_map(|table| table.foreign_keys().iter().map(move |key| (table, key)));
    keys.filter(move |(_, key)| key.parent() == parent)
}

/// The names of a table's checks that hold on both databases: those over one column (`ck_<table>_<column>`) and those
/// over whole rows. Both databases report these by name.
pub fn checks(table: &str) -> Vec<String> {
    let Some(table) = self::table(table) else {
        return vec![];
    };
    let rules = table
        .columns()
        .iter()
        .filter(|column| column.rule().is_some())
        .map(|column| table.rule_name(column));
    rules
        .chain(table.checks().iter().map(|check| check.name().to_owned()))
        .collect()
}

/// A primary key or a unique index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unique {
    /// The table.
    pub table: &'static str,
    /// The constraint's name.
    pub name: &'static str,
    /// Its columns, in order.
    pub columns: &'static [&'static str],
}

impl Unique {
    fn is_over(&self, columns: &[&str]) -> bool {
        self.columns.len() == columns.len() && columns.iter().all(|column| self.columns.contains(column))
    }
}

/// The names of primary keys follow from the tables' and have to live somewhere.
static PRIMARY_KEYS: LazyLock<Vec<String>> = LazyLock::new(|| tables().iter().map(Table::primary_key_name).collect());

static UNIQUES: LazyLock<Vec<Unique>> = LazyLock::new(|| {
    let mut uniques = vec![];
    for (table, name) in tables().iter().zip(PRIMARY_KEYS.iter()) {
        uniques.push(Unique {
            table: table.name(),
            name,
            columns: table.primary_key_columns(),
        });
        for index in table.indexes().iter().filter(|index| index.is_unique()) {
            uniques.push(Unique {
                table: table.name(),
                name: index.name(),
                columns: index.columns(),
            });
        }
    }
    uniques
});
