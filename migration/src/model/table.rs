use super::Column;

/// What happens to a row when the row it points to is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnDelete {
    /// It goes too.
    Cascade,
    /// Its reference becomes NULL.
    SetNull,
    /// The delete is refused.
    Restrict,
}

impl OnDelete {
    /// The action as SQL writes it.
    pub fn sql(self) -> &'static str {
        match self {
            OnDelete::Cascade => "CASCADE",
            OnDelete::SetNull => "SET NULL",
            OnDelete::Restrict => "RESTRICT",
        }
    }
}

/// A reference to another table's row, named `fk_<table>_<column>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKey {
    pub(crate) name: String,
    pub(crate) column: &'static str,
    pub(crate) parent: &'static str,
    pub(crate) parent_column: &'static str,
    pub(crate) on_delete: OnDelete,
}

impl ForeignKey {
    /// `column` points to the `id` of `parent`.
    pub fn new(column: &'static str, parent: &'static str, on_delete: OnDelete) -> Self {
        Self {
            name: String::new(),
            column,
            parent,
            parent_column: "id",
            on_delete,
        }
    }

    /// Points to another column than `id`.
    #[must_use]
    pub fn to(mut self, parent_column: &'static str) -> Self {
        self.parent_column = parent_column;
        self
    }

    pub(crate) fn named_for(mut self, table: &str) -> Self {
        self.name = format!("fk_{table}_{}", self.column);
        self
    }

    /// The constraint's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The column that holds the reference.
    pub fn column(&self) -> &'static str {
        self.column
    }

    /// The table it points to.
    pub fn parent(&self) -> &'static str {
        self.parent
    }

    /// The column it points to.
    pub fn parent_column(&self) -> &'static str {
        self.parent_column
    }

    /// What a delete of the parent does.
    pub fn on_delete(&self) -> OnDelete {
        self.on_delete
    }
}

/// An index; a unique one is also how this schema writes a unique constraint, because only indexes can be partial and
/// only so do both databases know it by one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    pub(crate) name: String,
    pub(crate) columns: Vec<&'static str>,
    pub(crate) unique: bool,
    pub(crate) predicate: Option<&'static str>,
}

impl Index {
    /// An index over these columns, named `idx_<table>_<columns>` unless [`named`](Self::named).
    pub fn on(columns: &[&'static str]) -> Self {
        Self {
            name: String::new(),
            columns: columns.to_vec(),
            unique: false,
            predicate: None,
        }
    }

    /// A unique index over these columns, named `uq_<table>_<columns>` unless [`named`](Self::named).
    pub fn unique(columns: &[&'static str]) -> Self {
        Self {
            unique: true,
            ..Self::on(columns)
        }
    }

    /// Gives the index a name of its own: for one that carries further columns behind the ones it is named for, so that
    /// it serves a list's order too.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Only rows that satisfy this SQL, which both databases must read alike.
    #[must_use]
    pub fn only_where(mut self, predicate: &'static str) -> Self {
        self.predicate = Some(predicate);
        self
    }

    pub(crate) fn named_for(mut self, table: &str) -> Self {
        if self.name.is_empty() {
            let prefix = if self.unique { "uq" } else { "idx" };
            self.name = format!("{prefix}_{table}_{}", self.columns.join("_"));
        }
        self
    }

    /// The index's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its columns, in order.
    pub fn columns(&self) -> &[&'static str] {
        &self.columns
    }

    /// Whether it forbids two equal keys.
    pub fn is_unique(&self) -> bool {
        self.unique
    }

    /// Which rows it covers; `None` is all of them.
    pub fn predicate(&self) -> Option<&'static str> {
        self.predicate
    }
}

/// A rule over a whole row, named `ck_<table>_<what>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub(crate) name: String,
    pub(crate) expression: &'static str,
}

impl Check {
    /// The constraint's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its SQL, the same on both databases.
    pub fn expression(&self) -> &'static str {
        self.expression
    }
}

/// One table with everything that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub(crate) name: &'static str,
    pub(crate) columns: Vec<Column>,
    pub(crate) primary_key: Vec<&'static str>,
    pub(crate) foreign_keys: Vec<ForeignKey>,
    pub(crate) checks: Vec<Check>,
    pub(crate) indexes: Vec<Index>,
}

impl Table {
    /// A table whose primary key is the column `id` unless [`primary_key`](Self::primary_key) says otherwise.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            columns: vec![],
            primary_key: vec!["id"],
            foreign_keys: vec![],
            checks: vec![],
            indexes: vec![],
        }
    }

    /// Adds a column at the end.
    #[must_use]
    pub fn column(mut self, column: Column) -> Self {
        self.columns.push(column);
        self
    }

    /// The columns of the primary key, named `pk_<table>`.
    #[must_use]
    pub fn primary_key(mut self, columns: &[&'static str]) -> Self {
        self.primary_key = columns.to_vec();
        self
    }

    /// Adds a reference.
    #[must_use]
    pub fn foreign_key(mut self, key: ForeignKey) -> Self {
        self.foreign_keys.push(key.named_for(self.name));
        self
    }

    /// Adds the rule `ck_<table>_<what>` over a whole row, in SQL that both databases read alike.
    #[must_use]
    pub fn check(mut self, what: &str, expression: &'static str) -> Self {
        self.checks.push(Check {
            name: format!("ck_{}_{what}", self.name),
            expression,
        });
        self
    }

    /// Adds an index.
    #[must_use]
    pub fn index(mut self, index: Index) -> Self {
        self.indexes.push(index.named_for(self.name));
        self
    }

    /// Adds a unique index over all rows.
    #[must_use]
    pub fn unique(self, columns: &[&'static str]) -> Self {
        self.index(Index::unique(columns))
    }

    /// The table's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its columns, in order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The column of this name.
    pub fn column_named(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The name of its primary key.
    pub fn primary_key_name(&self) -> String {
        format!("pk_{}", self.name)
    }

    /// The columns of its primary key.
    pub fn primary_key_columns(&self) -> &[&'static str] {
        &self.primary_key
    }

    /// Its references.
    pub fn foreign_keys(&self) -> &[ForeignKey] {
        &self.foreign_keys
    }

    /// Its rules over whole rows (those over one column are [`Column::rule`]).
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Its indexes, unique ones included, the primary key's left out.
    pub fn indexes(&self) -> &[Index] {
        &self.indexes
    }

    /// The name of the constraint that a column's rule becomes.
    pub(crate) fn rule_name(&self, column: &Column) -> String {
        format!("ck_{}_{}", self.name, column.name)
    }
}
