use super::{Check, Column, ForeignKey, Index, Schema, Table};

/// SQL that the model cannot express (data, expression indexes), possibly in two wordings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sql {
    pub(crate) sqlite: &'static str,
    pub(crate) postgres: &'static str,
}

impl Sql {
    /// One wording for both databases.
    pub const fn same(sql: &'static str) -> Self {
        Self {
            sqlite: sql,
            postgres: sql,
        }
    }

    /// A wording for each database.
    pub const fn each(sqlite: &'static str, postgres: &'static str) -> Self {
        Self { sqlite, postgres }
    }
}

/// One change to a table that exists. Postgres does each by ALTER TABLE; SQLite adds simple columns in place and rebuilds
/// the table for the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Adds a column at the end.
    AddColumn(Column),
    /// Removes a column and its rule.
    DropColumn(&'static str),
    /// Gives the column of the same name and kind another nullability, default or rule.
    SetColumn(Column),
    /// Adds a reference.
    AddForeignKey(ForeignKey),
    /// Removes the reference that this column holds.
    DropForeignKey(&'static str),
    /// Adds a rule over whole rows, named `ck_<table>_<what>`.
    AddCheck {
        /// The last part of the name.
        what: &'static str,
        /// SQL that both databases read alike.
        expression: &'static str,
    },
    /// Removes the rule `ck_<table>_<what>`.
    DropCheck {
        /// The last part of the name.
        what: &'static str,
    },
}

/// One reversible step of a migration. The way back is never written by hand: it follows from the step and from the
/// schema before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Creates a table and its indexes.
    CreateTable(Table),
    /// Removes a table and its rows.
    DropTable(&'static str),
    /// Adds an index.
    AddIndex(&'static str, Index),
    /// Removes an index by name.
    DropIndex(&'static str, String),
    /// Changes a table.
    Alter(&'static str, Vec<Change>),
    /// Runs SQL; the second is its way back. The model does not see what it does, so it must not change tables.
    Sql(Sql, Sql),
}

/// A step that does not fit the schema it is applied to: a mistake in a migration, found by its tests.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Defect(String);

impl Defect {
    fn missing(what: &str, name: &str) -> Self {
        Self(format!("there is no {what} `{name}` to change"))
    }

    fn exists(what: &str, name: &str) -> Self {
        Self(format!("{what} `{name}` exists already"))
    }
}

impl Schema {
    /// The schema after a step.
    pub(crate) fn after(&self, step: &Step) -> Result<Schema, Defect> {
        let mut next = self.clone();
        match step {
            Step::CreateTable(table) => next.create(table)?,
            Step::DropTable(name) => {
                next.expect(name)?;
                next.tables.retain(|table| table.name != *name);
            }
            Step::AddIndex(table, index) => next.edit(table)?.add_index(index)?,
            Step::DropIndex(table, name) => next.edit(table)?.drop_index(name)?,
            Step::Alter(table, changes) => {
                let table = next.edit(table)?;
                for change in changes {
                    table.change(change)?;
                }
            }
            Step::Sql(..) => {}
        }
        Ok(next)
    }

    /// The schema after some steps.
    pub(crate) fn after_all(&self, steps: &[Step]) -> Result<Schema, Defect> {
        steps.iter().try_fold(self.clone(), |schema, step| schema.after(step))
    }

    /// The step that leads from the schema after `step` back to this one.
    pub(crate) fn undo(&self, step: &Step) -> Result<Step, Defect> {
        Ok(match step {
            Step::CreateTable(table) => Step::DropTable(table.name),
            Step::DropTable(name) => Step::CreateTable(self.expect(name)?.clone()),
            Step::AddIndex(table, index) => Step::DropIndex(table, index.clone().named_for(table).name),
            Step::DropIndex(table, name) => Step::AddIndex(table, self.expect(table)?.index_named(name)?.clone()),
            Step::Alter(name, changes) => Step::Alter(name, self.expect(name)?.undo(changes)?),
            Step::Sql(up, down) => Step::Sql(*down, *up),
        })
    }

    fn create(&mut self, table: &Table) -> Result<(), Defect> {
        if self.table(table.name).is_some() {
            return Err(Defect::exists("the table", table.name));
        }
        self.tables.push(table.clone());
        Ok(())
    }

    fn expect(&self, name: &str) -> Result<&Table, Defect> {
        self.table(name).ok_or_else(|| Defect::missing("table", name))
    }

    fn edit(&mut self, name: &str) -> Result<&mut Table, Defect> {
        self.tables
            .iter_mut()
            .find(|table| table.name == name)
            .ok_or_else(|| Defect::missing("table", name))
    }
}

impl Table {
    fn add_index(&mut self, index: &Index) -> Result<(), Defect> {
        let index = index.clone().named_for(self.name);
        if self.index_named(&index.name).is_ok() {
            return Err(Defect::exists("the index", &index.name));
        }
        self.indexes.push(index);
        Ok(())
    }

    fn drop_index(&mut self, name: &str) -> Result<(), Defect> {
        self.index_named(name)?;
        self.indexes.retain(|index| index.name != name);
        Ok(())
    }

    fn index_named(&self, name: &str) -> Result<&Index, Defect> {
        self.indexes
            .iter()
            .find(|index| index.name == name)
            .ok_or_else(|| Defect::missing("index", name))
    }

    fn column_or_defect(&self, name: &str) -> Result<&Column, Defect> {
        self.column_named(name).ok_or_else(|| Defect::missing("column", name))
    }

    pub(crate) fn foreign_key_on(&self, column: &str) -> Result<&ForeignKey, Defect> {
        self.foreign_keys
            .iter()
            .find(|key| key.column == column)
            .ok_or_else(|| Defect::missing("foreign key on", column))
    }

    fn check_named(&self, what: &str) -> Result<&Check, Defect> {
        let name = format!("ck_{}_{what}", self.name);
        self.checks
            .iter()
            .find(|check| check.name == name)
            .ok_or_else(|| Defect::missing("check", &name))
    }

    /// Applies one change.
    pub(crate) fn change(&mut self, change: &Change) -> Result<(), Defect> {
        match change {
            Change::AddColumn(column) => {
                if self.column_named(column.name).is_some() {
                    return Err(Defect::exists("the column", column.name));
                }
                self.columns.push(column.clone());
            }
            Change::DropColumn(name) => self.drop_column(name)?,
            Change::SetColumn(column) => self.set_column(column)?,
            Change::AddForeignKey(key) => self.foreign_keys.push(key.clone().named_for(self.name)),
            Change::DropForeignKey(column) => {
                self.foreign_key_on(column)?;
                self.foreign_keys.retain(|key| key.column != *column);
            }
            Change::AddCheck { what, expression } => {
                self.checks.push(Check {
                    name: format!("ck_{}_{what}", self.name),
                    expression,
                });
            }
            Change::DropCheck { what } => {
                let name = self.check_named(what)?.name.clone();
                self.checks.retain(|check| check.name != name);
            }
        }
        Ok(())
    }

    fn drop_column(&mut self, name: &str) -> Result<(), Defect> {
        self.column_or_defect(name)?;
        let used = self.primary_key.contains(&name)
            || self.foreign_keys.iter().any(|key| key.column == name)
            || self.indexes.iter().any(|index| index.columns.contains(&name));
        if used {
            return Err(Defect(format!(
                "the column `{name}` of `{}` is still used by a key or an index: drop those first",
                self.name
            )));
        }
        self.columns.retain(|column| column.name != name);
        Ok(())
    }

    fn set_column(&mut self, new: &Column) -> Result<(), Defect> {
        let table = self.name;
        let column = self
            .columns
            .iter_mut()
            .find(|column| column.name == new.name)
            .ok_or_else(|| Defect::missing("column", new.name))?;
        if column.kind != new.kind {
            return Err(Defect(format!(
                "the column `{}` of `{table}` cannot change what it holds",
                new.name
            )));
        }
        new.clone_into(column);
        Ok(())
    }

    /// The changes that lead from this table after `changes` back to it.
    fn undo(&self, changes: &[Change]) -> Result<Vec<Change>, Defect> {
        let mut now = self.clone();
        let mut back = Vec::with_capacity(changes.len());
        for change in changes {
            back.push(now.undo_one(change)?);
            now.change(change)?;
        }
        back.reverse();
        Ok(back)
    }

    fn undo_one(&self, change: &Change) -> Result<Change, Defect> {
        Ok(match change {
            Change::AddColumn(column) => Change::DropColumn(column.name),
            Change::DropColumn(name) => Change::AddColumn(self.column_or_defect(name)?.clone()),
            Change::SetColumn(column) => Change::SetColumn(self.column_or_defect(column.name)?.clone()),
            Change::AddForeignKey(key) => Change::DropForeignKey(key.column),
            Change::DropForeignKey(column) => Change::AddForeignKey(self.foreign_key_on(column)?.clone()),
            Change::AddCheck { what, .. } => Change::DropCheck { what },
            Change::DropCheck { what } => Change::AddCheck {
                what,
                expression: self.check_named(what)?.expression,
            },
        })
    }
}
