//! Statements as values: what the engine needs to know to run them on its own terms.

use sea_orm::sea_query::Query;
use sea_orm::{
    ActiveModelTrait, DatabaseBackend, DeleteMany, EntityTrait, Insert, InsertMany, Iterable, QueryTrait, Statement,
    UpdateMany,
};

/// A statement that changes rows of one table.
///
/// It is a value and not a call, so that the engine can run it together with others, and again after a lost race.
pub trait Write: Send {
    /// The table.
    type Entity: EntityTrait;

    /// The statement; with `returning`, it answers the rows as they are now.
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
