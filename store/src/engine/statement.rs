//! Statements as values: what the engine needs to know to run them on its own terms.

use std::future::Future;

use sea_orm::sea_query::Query;
use sea_orm::{
    ActiveModelTrait, ConnectionTrait, DatabaseBackend, DbErr, DeleteMany, EntityTrait, ExecResult, Insert, InsertMany,
    Iterable, QueryResult, QueryTrait, Statement, UpdateMany,
};

/// A statement that changes rows of one table.
///
/// It is a value and not a call, so that the engine can run it again after a lost race, and step it to its end before it
/// believes the answer: sqlx's `fetch_one`, which SeaORM's own `insert` and `update` use, stops at the first row and so
/// misses an error that SQLite reports after it (<https://github.com/launchbadge/sqlx/issues/3430>).
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

/// How a statement is stepped: always to its end, to its rows or to the number of rows it changed.
pub(super) trait Step: Send + Sized {
    fn step<C: ConnectionTrait>(
        connection: &C,
        statement: Statement,
    ) -> impl Future<Output = Result<Self, DbErr>> + Send;
}

impl Step for Vec<QueryResult> {
    async fn step<C: ConnectionTrait>(connection: &C, statement: Statement) -> Result<Self, DbErr> {
        connection.query_all_raw(statement).await
    }
}

impl Step for ExecResult {
    async fn step<C: ConnectionTrait>(connection: &C, statement: Statement) -> Result<Self, DbErr> {
        connection.execute_raw(statement).await
    }
}
