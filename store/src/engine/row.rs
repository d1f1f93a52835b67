//! From a row to values, one way for both databases: each column is read by its index as the type that the program has for
//! it, first as a [`Value`] and then as a field of a model or a struct.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use sea_orm::sea_query::ValueType;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ColumnType, EntityTrait, IdenStatic, Iterable, ModelTrait, PrimaryKeyToColumn,
    TryIntoModel, Value,
};

use crate::{Error, ErrorKind, Result};

/// What the program reads a column as: which [`Value`] it becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    F32,
    F64,
    Text,
    Bytes,
    Uuid,
    Json,
    Date,
    Time,
    /// Without a time zone.
    DateTime,
    Instant,
    /// A type that the store does not read.
    Unknown,
}

impl Kind {
    fn of(column: &ColumnType) -> Self {
        match column {
            ColumnType::Boolean => Self::Bool,
            ColumnType::TinyInteger => Self::I8,
            ColumnType::SmallInteger => Self::I16,
            ColumnType::Integer => Self::I32,
            ColumnType::BigInteger => Self::I64,
            ColumnType::TinyUnsigned => Self::U8,
            ColumnType::SmallUnsigned => Self::U16,
            ColumnType::Unsigned => Self::U32,
            ColumnType::BigUnsigned => Self::U64,
            ColumnType::Float => Self::F32,
            ColumnType::Double => Self::F64,
            ColumnType::Char(_) | ColumnType::String(_) | ColumnType::Text | ColumnType::Enum { .. } => Self::Text,
            ColumnType::Binary(_) | ColumnType::VarBinary(_) | ColumnType::Blob => Self::Bytes,
            ColumnType::Uuid => Self::Uuid,
            ColumnType::Json | ColumnType::JsonBinary => Self::Json,
            ColumnType::Date => Self::Date,
            ColumnType::Time => Self::Time,
            ColumnType::DateTime | ColumnType::Timestamp => Self::DateTime,
            ColumnType::TimestampWithTimeZone => Self::Instant,
            _ => Self::Unknown,
        }
    }

    /// The type's name in the program.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::Text => "String",
            Self::Bytes => "Vec<u8>",
            Self::Uuid => "Uuid",
            Self::Json => "JSON",
            Self::Date => "NaiveDate",
            Self::Time => "NaiveTime",
            Self::DateTime => "NaiveDateTime",
            Self::Instant => "DateTime<Utc>",
            Self::Unknown => "a type that the store does not read",
        }
    }
}

/// Why a column did not become a value of its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unfit {
    /// The value is of the column's type and cannot be understood: it is damaged.
    Damaged(String),
    /// The column is of another type than the program reads it as.
    OtherType(String),
    /// The row has fewer columns.
    Missing,
}

/// A row as its driver has it.
pub(super) trait Columns {
    /// The value of the column at this index; of the kind, and NULL as the kind's own NULL.
    fn value(&self, at: usize, kind: Kind) -> std::result::Result<Value, Unfit>;

    /// The column's name.
    fn name(&self, at: usize) -> Option<&str>;
}

/// A row of a query, whose columns are read in their order.
pub struct Row<'r> {
    columns: &'r dyn Columns,
    next: usize,
    kinds: Kinds,
}

/// The kinds of an entity's columns, in their order.
#[derive(Clone, Copy)]
struct Kinds {
    entity: TypeId,
    kinds: &'static [Kind],
}

/// How the rows of a query are read as a type. It is made once for all of them.
pub(super) struct Decode<M> {
    kinds: Kinds,
    row: fn(&dyn Columns, Kinds) -> Result<M>,
}

impl<M> Clone for Decode<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Decode<M> {}

impl<M: FromRow> Decode<M> {
    /// Of a query on this entity.
    pub(super) fn of<E: EntityTrait>() -> Self {
        Self {
            kinds: Kinds::of::<E>(),
            row: decode::<E, M>,
        }
    }
}

impl<M> Decode<M> {
    pub(super) fn row(&self, columns: &dyn Columns) -> Result<M> {
        (self.row)(columns, self.kinds)
    }
}

/// What a row is read as: a model of an entity, or a struct of some columns.
///
/// ```
/// use store::engine::{FromRow, Row};
///
/// struct Counted {
///     status: String,
///     tasks: i64,
/// }
///
/// impl FromRow for Counted {
///     fn from_row(row: &mut Row<'_>) -> store::Result<Self> {
///         Ok(Self { status: row.read()?, tasks: row.read()? })
///     }
/// }
/// ```
pub trait FromRow: Sized + Send + 'static {
    /// Reads its columns from the row, in the order in which the query selects them.
    ///
    /// # Errors
    /// Those of [`Row::read`].
    fn from_row(row: &mut Row<'_>) -> Result<Self>;
}

impl<M> FromRow for M
where
    M: ModelTrait + Send + 'static,
    <M::Entity as EntityTrait>::ActiveModel: TryIntoModel<M>,
{
    fn from_row(row: &mut Row<'_>) -> Result<Self> {
        let mut model = <<M::Entity as EntityTrait>::ActiveModel as ActiveModelTrait>::default();
        let kinds = row.kinds.or_of::<M::Entity>().kinds;
        for (column, kind) in <M::Entity as EntityTrait>::Column::iter().zip(kinds) {
            row.next_column(*kind, |value| model.try_set(column, value).is_ok())?;
        }
        model
            .try_into_model()
            .map_err(|error| row.damaged(0, &error.to_string()))
    }
}

impl<'r> Row<'r> {
    /// The next column.
    ///
    /// # Errors
    /// `Corrupt` for a value that cannot be understood; `Schema` for a column of another type than `T`, with both types.
    pub fn read<T: ValueType>(&mut self) -> Result<T> {
        let mut read = None;
        self.next_column(Kind::of(&T::column_type()), |value| {
            read = T::try_from(value).ok();
            read.is_some()
        })?;
        read.ok_or_else(|| self.damaged(self.next, "cannot be read"))
    }

    /// Gives the next column's value to `accept`, which says whether its type takes it.
    fn next_column(&mut self, kind: Kind, mut accept: impl FnMut(Value) -> bool) -> Result<()> {
        let at = self.next;
        self.next += 1;
        if accept(self.value(at, kind)?) {
            return Ok(());
        }
        // Read again, rather than copied each time for a message that is rarely needed.
        let value = self.value(at, kind)?;
        if with_offset(&value).is_some_and(accept) {
            return Ok(());
        }
        Err(self.refused(at, &value))
    }

    fn value(&self, at: usize, kind: Kind) -> Result<Value> {
        self.columns.value(at, kind).map_err(|unfit| match unfit {
            Unfit::Damaged(how) => self.damaged(at, &how),
            Unfit::OtherType(found) => Error::new(
                ErrorKind::Schema,
                format!(
                    "column `{}` is {found} in the database and {} in the program; correct the one or the other",
                    self.name(at),
                    kind.name()
                ),
            ),
            Unfit::Missing => Error::new(ErrorKind::Schema, "a column is missing; run the migrations' `check`"),
        })
    }

    /// A value of the right kind that the field's own type refuses.
    fn refused(&self, at: usize, value: &Value) -> Error {
        match value {
            value if *value == value.as_null() => self.damaged(at, "is NULL"),
            Value::String(Some(word)) => self.damaged(at, &format!("holds `{word}`, which is none of its words")),
            _ => self.damaged(at, "holds a value of another shape"),
        }
    }

    fn damaged(&self, at: usize, how: &str) -> Error {
        Error::new(ErrorKind::Corrupt, format!("column `{}` {how}", self.name(at)))
    }

    fn name(&self, at: usize) -> &str {
        self.columns.name(at).unwrap_or("?")
    }

    /// The row's primary key, as far as the row has it and it can be read.
    fn key<E: EntityTrait>(&self) -> String {
        let part = |key: E::PrimaryKey| {
            let column = key.into_column();
            let named = |at: &usize| self.columns.name(*at) == Some(column.as_str());
            let at = (0..).take_while(|at| self.columns.name(*at).is_some()).find(named);
            let value = at.and_then(|at| self.columns.value(at, Kind::of(column.def().get_column_type())).ok());
            match value {
                Some(Value::Uuid(Some(id))) => id.to_string(),
                Some(Value::String(Some(text))) => text,
                Some(Value::BigInt(Some(number))) => number.to_string(),
                _ => "?".to_owned(),
            }
        };
        E::PrimaryKey::iter().map(part).collect::<Vec<_>>().join(", ")
    }
}

/// Reads a whole row; what cannot be understood says in which table and row it is.
fn decode<E: EntityTrait, M: FromRow>(columns: &dyn Columns, kinds: Kinds) -> Result<M> {
    let mut row = Row {
        columns,
        next: 0,
        kinds,
    };
    M::from_row(&mut row).map_err(|error| {
        let place = format!("table {}, row {}", E::default().table_name(), row.key::<E>());
        error.within(place)
    })
}

/// An instant with an offset is the same column type as one in UTC.
fn with_offset(value: &Value) -> Option<Value> {
    match value {
        Value::ChronoDateTimeUtc(instant) => Some(Value::ChronoDateTimeWithTimeZone(
            instant.map(|instant| instant.fixed_offset()),
        )),
        _ => None,
    }
}

impl Kinds {
    /// These, when they are of this entity.
    fn or_of<E: EntityTrait>(self) -> Self {
        match self.entity == TypeId::of::<E>() {
            true => self,
            false => Self::of::<E>(),
        }
    }

    /// They are made once for each entity: a column's definition is too much to be made for each query.
    fn of<E: EntityTrait>() -> Self {
        static KNOWN: RwLock<Option<HashMap<TypeId, &'static [Kind]>>> = RwLock::new(None);
        let entity = TypeId::of::<E>();
        let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(kinds) = known.as_ref().and_then(|known| known.get(&entity)) {
            return Self { entity, kinds };
        }
        drop(known);
        let kinds = E::Column::iter().map(|column| Kind::of(column.def().get_column_type()));
        // Never freed: a program has a fixed number of entities.
        let kinds: &'static [Kind] = Box::leak(kinds.collect());
        let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
        known.get_or_insert_default().insert(entity, kinds);
        Self { entity, kinds }
    }
}
