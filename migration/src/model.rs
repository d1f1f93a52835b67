//! A schema as data: what the migrations build, told apart from how either database writes it down.
//!
//! Everything that must agree about the schema (the DDL of both databases, the way back down, the catalog that names
//! constraints, the drift check, the diagram) is derived from these values, so there is nothing to keep in step by hand.
//! sea-query's statements are not used for this: on SQLite they leave out the names of foreign keys, panic on expression
//! indexes and cannot be read back.

mod column;
mod step;
mod table;

pub use column::{Column, DefaultValue, Kind, Rule};
pub use step::{Change, Defect, Sql, Step};
pub use table::{Check, ForeignKey, Index, OnDelete, Table};

/// The tables that a run of steps leaves behind, in the order in which they were created (parents before children).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schema {
    tables: Vec<Table>,
}

impl Schema {
    /// A schema of these tables, parents before children.
    pub fn of(tables: impl IntoIterator<Item = Table>) -> Self {
        Self {
            tables: tables.into_iter().collect(),
        }
    }

    /// The tables, parents before children.
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// The table of this name, if the schema has it.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name() == name)
    }
}
