//! A live schema as it was read, and the differences between two of them in words.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

/// Tables as a database's catalog has them. Only comparable with another snapshot of the same kind of database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// The tables by name.
    pub tables: BTreeMap<String, TableShape>,
}

/// A table as the catalog has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TableShape {
    /// What kind of table: `strict`, `unlogged`; empty for a plain one.
    pub options: String,
    /// Its columns by name.
    pub columns: BTreeMap<String, ColumnShape>,
    /// The definitions of its constraints by name: primary key, foreign keys, checks.
    pub constraints: BTreeMap<String, String>,
    /// The definitions of its indexes by name, without those that belong to a constraint.
    pub indexes: BTreeMap<String, String>,
}

/// A column as the catalog has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ColumnShape {
    /// Its type, with the collation where it is not the type's own.
    pub data_type: String,
    /// Whether it can be NULL.
    pub nullable: bool,
    /// Its default as SQL.
    pub default: Option<String>,
}

/// What a [`Difference`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Aspect {
    /// Whether a table is there.
    Table,
    /// What kind of table it is.
    TableOptions,
    /// Whether a column is there.
    Column,
    /// A column's type.
    ColumnType,
    /// Whether a column can be NULL.
    Nullability,
    /// A column's default.
    Default,
    /// A primary key, foreign key or check.
    Constraint,
    /// An index, unique or not.
    Index,
}

impl Aspect {
    fn words(self) -> &'static str {
        match self {
            Aspect::Table => "table",
            Aspect::TableOptions => "kind of table",
            Aspect::Column => "column",
            Aspect::ColumnType => "type of column",
            Aspect::Nullability => "nullability of column",
            Aspect::Default => "default of column",
            Aspect::Constraint => "constraint",
            Aspect::Index => "index",
        }
    }
}

/// One thing in which a database is not as its migrations make it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Difference {
    /// The table.
    pub table: String,
    /// What differs.
    pub aspect: Aspect,
    /// The column, constraint or index; `None` where it is the table itself.
    pub name: Option<String>,
    /// What the migrations make; `None` where they make nothing of the kind.
    pub expected: Option<String>,
    /// What the database has; `None` where it has nothing of the kind.
    pub found: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.aspect.words())?;
        match &self.name {
            Some(name) => write!(f, " {}.{name}: ", self.table)?,
            None => write!(f, " {}: ", self.table)?,
        }
        match (&self.expected, &self.found) {
            (Some(expected), Some(found)) => write!(f, "should be {expected}, is {found}"),
            (Some(expected), None) => write!(f, "is missing (should be {expected})"),
            (None, Some(found)) => write!(f, "should not be there (is {found})"),
            (None, None) => f.write_str("differs"),
        }
    }
}

impl Snapshot {
    /// The table of this name, made if it is not there.
    pub(crate) fn table_mut(&mut self, name: &str) -> &mut TableShape {
        self.tables.entry(name.to_owned()).or_default()
    }

    /// Every difference of `found` from this snapshot, by table.
    pub fn differences(&self, found: &Snapshot) -> Vec<Difference> {
        let mut differences = vec![];
        for table in union(&self.tables, &found.tables) {
            match (self.tables.get(table), found.tables.get(table)) {
                (Some(expected), Some(found)) => expected.compare(table, found, &mut differences),
                (expected, found) => differences.push(Difference {
                    table: table.to_owned(),
                    aspect: Aspect::Table,
                    name: None,
                    expected: expected.map(TableShape::size),
                    found: found.map(TableShape::size),
                }),
            }
        }
        differences
    }
}

impl TableShape {
    fn size(&self) -> String {
        format!("a table of {} columns", self.columns.len())
    }

    fn compare(&self, table: &str, found: &TableShape, differences: &mut Vec<Difference>) {
        let mut tell = |aspect, name: Option<&str>, expected: Option<String>, found: Option<String>| {
            if expected != found {
                differences.push(Difference {
                    table: table.to_owned(),
                    aspect,
                    name: name.map(str::to_owned),
                    expected,
                    found,
                });
            }
        };
        let or_plain = |options: &str| {
            Some(if options.is_empty() {
                "plain".to_owned()
            } else {
                options.to_owned()
            })
        };
        tell(
            Aspect::TableOptions,
            None,
            or_plain(&self.options),
            or_plain(&found.options),
        );
        for column in union(&self.columns, &found.columns) {
            let name = Some(column);
            match (self.columns.get(column), found.columns.get(column)) {
                (Some(expected), Some(found)) => {
                    tell(
                        Aspect::ColumnType,
                        name,
                        Some(expected.data_type.clone()),
                        Some(found.data_type.clone()),
                    );
                    tell(Aspect::Nullability, name, Some(expected.null()), Some(found.null()));
                    tell(Aspect::Default, name, Some(expected.default()), Some(found.default()));
                }
                (expected, found) => {
                    tell(
                        Aspect::Column,
                        name,
                        expected.map(ColumnShape::words),
                        found.map(ColumnShape::words),
                    );
                }
            }
        }
        for name in union(&self.constraints, &found.constraints) {
            let of = |shape: &TableShape| shape.constraints.get(name).cloned();
            tell(Aspect::Constraint, Some(name), of(self), of(found));
        }
        for name in union(&self.indexes, &found.indexes) {
            let of = |shape: &TableShape| shape.indexes.get(name).cloned();
            tell(Aspect::Index, Some(name), of(self), of(found));
        }
    }
}

impl ColumnShape {
    fn null(&self) -> String {
        if self.nullable { "null" } else { "not null" }.to_owned()
    }

    fn default(&self) -> String {
        self.default.clone().unwrap_or_else(|| "none".to_owned())
    }

    fn words(&self) -> String {
        let default = self
            .default
            .as_ref()
            .map(|default| format!(" default {default}"))
            .unwrap_or_default();
        format!("{} {}{default}", self.data_type, self.null())
    }
}

/// The keys of both maps, each once, in order.
fn union<'a, V>(one: &'a BTreeMap<String, V>, other: &'a BTreeMap<String, V>) -> BTreeSet<&'a str> {
    one.keys().chain(other.keys()).map(String::as_str).collect()
}
