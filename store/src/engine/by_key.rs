//! Reads by primary key, whose text is written once for each table.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use sea_orm::sea_query::{FromValueTuple as _, IntoValueTuple as _};
use sea_orm::{DatabaseBackend, EntityTrait, PrimaryKeyTrait, QueryTrait as _, Statement, Value, Values};

use super::connection::Command;
use super::lane::Access;
use super::operation::Operation;
use crate::Result;

/// The texts by entity. Writing one for each read costs as much as a third of the read.
#[derive(Debug, Default)]
pub(super) struct Texts(RwLock<HashMap<TypeId, String>>);

impl Texts {
    fn of<E: EntityTrait>(&self, backend: DatabaseBackend, key: impl Into<KeyOf<E>>) -> Statement {
        let values = key.into().into_value_tuple();
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(sql) = known.get(&TypeId::of::<E>()) {
            let values = values.into_iter().collect::<Vec<Value>>();
            return Statement {
                sql: sql.clone(),
                values: Some(Values(values)),
                db_backend: backend,
            };
        }
        drop(known);
        let select = E::find_by_id(KeyOf::<E>::from_value_tuple(values)).build(backend);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(TypeId::of::<E>(), select.sql.clone());
        select
    }
}

type KeyOf<E> = <<E as EntityTrait>::PrimaryKey as PrimaryKeyTrait>::ValueType;

impl Operation {
    /// The row with this primary key, if there is one. Cheaper than [`one`](Self::one): its statement is known already.
    ///
    /// # Errors
    /// As [`all`](Self::all).
    pub async fn by_key<E: EntityTrait>(&self, key: impl Into<KeyOf<E>>) -> Result<Option<E::Model>> {
        let select = self.engine().by_key.of::<E>(self.backend(), key);
        let rows = self
            .read::<E, E::Model>(Access::ReadOne, Command::Statement(select))
            .await?;
        Ok(rows.into_iter().next())
    }
}
