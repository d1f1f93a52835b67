//! Statements as values: what the engine needs to know to run them on its own terms.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use sea_orm::sea_query::{FromValueTuple as _, IntoValueTuple as _, Query};
use sea_orm::{
    ActiveModelTrait, DatabaseBackend, DeleteMany, EntityTrait, Insert, InsertMany, Iterable, PrimaryKeyTrait,
    QueryTrait, Statement, UpdateMany, Value,
};

use super::progress::Progress;
use super::row::Columns;

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
    #[cfg_attr(
        not(feature = "sqlite"),
        expect(dead_code, reason = "Postgres's errors have what they need")
    )]
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

pub(super) type KeyOf<E> = <<E as EntityTrait>::PrimaryKey as PrimaryKeyTrait>::ValueType;

impl Texts {
    pub(super) fn by_key<E: EntityTrait>(
        &self,
        backend: DatabaseBackend,
        key: impl Into<KeyOf<E>>,
    ) -> (Arc<str>, Vec<Value>) {
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

/// What a changing statement did.
pub(super) struct Answer {
    /// The rows that it returned, as the driver has them.
    pub(super) rows: Vec<Box<dyn Columns + Send + Sync>>,
    /// How many rows it changed.
    pub(super) changed: u64,
}

impl Answer {
    /// Of a statement that returned no rows.
    pub(super) fn changed(changed: u64) -> Self {
        Self { rows: vec![], changed }
    }
}

/// How a transaction begins.
#[derive(Debug, Clone, Copy)]
pub(super) enum Begin {
    /// It ends with a closure, and may share its commit with others.
    Closure {
        #[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "Postgres's commits are"))]
        durable: bool,
    },
    /// Its caller ends it.
    ByHand,
}
