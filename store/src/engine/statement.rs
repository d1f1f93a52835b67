//! Statements as values: what the engine needs to know to run them on its own terms.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use sea_orm::sea_query::{FromValueTuple as _, IntoValueTuple as _, Query};
use sea_orm::{
    ActiveModelTrait, DatabaseBackend, DeleteMany, EntityTrait, Insert, InsertMany, IntoActiveModel, Iterable,
    PrimaryKeyTrait, QueryTrait, Statement, UpdateMany, Value,
};

use super::operation::{Operation, Progress};
use crate::Result;

/// A statement that changes rows of one table.
///
/// It is a value and not a call, so that the engine can run it together with others, and again after a lost race.
pub trait Write: Send {
    /// The table.
    type Entity: EntityTrait;

    /// The statement; with `returning`, it returns the rows as they are now.
    fn build(self, backend: DatabaseBackend, returning: bool) -> Statement;
}

macro_rules! writes {
    ($($statement:ident<$of:ident: $bound:path> => $entity:ty),+ $(,)?) => {$(
        impl<$of: $bound + Send> Write for $statement<$of> {
            type Entity = $entity;

            fn build(self, backend: DatabaseBackend, returning: bool) -> Statement {
                let mut query = self.into_query();
                if returning {
                    query.returning(Query::returning().columns(<$entity as EntityTrait>::Column::iter()));
                }
                backend.build(&query)
            }
        }
    )+};
}

writes! {
    Insert<A: ActiveModelTrait> => A::Entity,
    InsertMany<A: ActiveModelTrait> => A::Entity,
    UpdateMany<E: EntityTrait> => E,
    DeleteMany<E: EntityTrait> => E,
}

/// A statement ready to be run, with what its run depends on.
#[derive(Debug, Clone)]
pub(super) struct Command {
    pub(super) sql: Arc<str>,
    /// The values of each run: one list for a statement, one for each row of a bulk insert.
    pub(super) values: Values,
    /// The table, for errors.
    pub(super) table: &'static str,
    /// The operation that it is a part of.
    pub(super) progress: Arc<Progress>,
}

#[derive(Debug, Clone)]
pub(super) enum Values {
    Once(Vec<Value>),
    /// The rows of an INSERT whose text is that of one row.
    Rows(Vec<Vec<Value>>),
}

impl Command {
    pub(super) fn new(statement: Statement, table: &'static str, progress: &Arc<Progress>) -> Self {
        Self {
            sql: statement.sql.into(),
            values: Values::Once(statement.values.map_or_else(Vec::new, |values| values.0)),
            table,
            progress: Arc::clone(progress),
        }
    }

    /// The values of a statement that runs once.
    pub(super) fn once(&self) -> Option<&[Value]> {
        match &self.values {
            Values::Once(values) => Some(values),
            Values::Rows(_) => None,
        }
    }

    /// Whether it is known to take long: an INSERT of many rows, or a DELETE, which may cascade.
    #[cfg(feature = "sqlite")]
    pub(super) fn is_long(&self) -> bool {
        match &self.values {
            Values::Rows(rows) => rows.len() > 100,
            Values::Once(_) => self.sql.starts_with("DELETE "),
        }
    }
}

/// The texts of reads by primary key, by entity. To build one for each read costs as much as a third of the read.
#[derive(Debug, Default)]
pub(super) struct Texts(RwLock<HashMap<TypeId, Arc<str>>>);

type KeyOf<E> = <<E as EntityTrait>::PrimaryKey as PrimaryKeyTrait>::ValueType;

impl Texts {
    fn by_key<E: EntityTrait>(&self, backend: DatabaseBackend, key: impl Into<KeyOf<E>>) -> (Arc<str>, Vec<Value>) {
        let values = key.into().into_value_tuple();
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(sql) = known.get(&TypeId::of::<E>()) {
            return (Arc::clone(sql), values.into_iter().collect());
        }
        drop(known);
        let select = E::find_by_id(KeyOf::<E>::from_value_tuple(values)).build(backend);
        let sql: Arc<str> = select.sql.into();
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(TypeId::of::<E>(), Arc::clone(&sql));
        (sql, select.values.map_or_else(Vec::new, |values| values.0))
    }
}

impl Operation {
    /// The row with this primary key, if there is one. Cheaper than [`one`](Self::one): its statement is known already.
    ///
    /// # Errors
    /// As [`all`](Self::all).
    pub async fn by_key<E: EntityTrait>(&self, key: impl Into<KeyOf<E>>) -> Result<Option<E::Model>>
    where
        E::Model: super::FromRow,
    {
        let (sql, values) = self.engine().texts.by_key::<E>(self.backend(), key);
        let select = Command {
            sql,
            values: Values::Once(values),
            table: E::default().table_name(),
            progress: Arc::clone(self.progress()),
        };
        self.read_one::<E, E::Model>(select).await
    }

    /// Inserts any number of rows, in their order, thousands by one statement. Call it inside [`atomic`](Self::atomic): it
    /// may take several.
    ///
    /// # Errors
    /// `Conflict`, `ForeignKey` and `Check` with the constraint's name.
    pub async fn insert_all<E>(&self, models: impl IntoIterator<Item = E::Model, IntoIter: Send>) -> Result<()>
    where
        E: EntityTrait,
        E::Model: IntoActiveModel<E::ActiveModel>,
        E::ActiveModel: Send,
    {
        let size = self.engine().database.rows_at_once();
        let mut models = models.into_iter().map(|model| model.into_active_model().reset_all());
        let mut chunk = || {
            let some = models.by_ref().take(size).collect::<Vec<E::ActiveModel>>();
            (!some.is_empty()).then(|| self.insert_of::<E>(some))
        };
        let mut next = chunk();
        while let Some(insert) = next.take() {
            // The next one is made while the database is at work on this one.
            let made = async { next = chunk() };
            let (inserted, ()) = tokio::join!(self.change(insert), made);
            inserted?;
        }
        Ok(())
    }

    fn insert_of<E: EntityTrait>(&self, models: Vec<E::ActiveModel>) -> Command {
        let value = |model: &E::ActiveModel, column| model.get(column).into_value();
        let row = |model| E::Column::iter().filter_map(|column| value(model, column)).collect();
        let rows = models.iter().map(row).collect::<Vec<Vec<Value>>>();
        let one = models
            .into_iter()
            .next()
            .map(|first| E::insert(first).build(self.backend()).sql);
        Command {
            sql: one.unwrap_or_default().into(),
            values: Values::Rows(rows),
            table: E::default().table_name(),
            progress: Arc::clone(self.progress()),
        }
    }
}
