//! Values on their way to Postgres and back, in its binary format.

use std::error::Error;
use std::fmt;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use sea_orm::Value;
use sea_orm::sea_query::OptionEnum;
use tokio_postgres::Row;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, WasNull, WrongType, to_sql_checked};
use uuid::Uuid;

use super::super::row::{Columns, Kind, Unfit};

/// A value that Postgres has no type for here.
#[derive(Debug)]
pub(super) struct Refused(&'static str);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for Refused {}

/// A value to be bound. It is sent as the type that it has here, whatever the server would infer.
#[derive(Debug)]
pub(super) struct Bound<'v>(pub(super) &'v Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self.0 {
            Value::Bool(value) => value.to_sql(ty, out),
            Value::TinyInt(value) => value.map(i16::from).to_sql(ty, out),
            Value::SmallInt(value) => value.to_sql(ty, out),
            Value::Int(value) => value.to_sql(ty, out),
            Value::BigInt(value) => value.to_sql(ty, out),
            Value::TinyUnsigned(value) => value.map(i16::from).to_sql(ty, out),
            Value::SmallUnsigned(value) => value.map(i32::from).to_sql(ty, out),
            Value::Unsigned(value) => value.map(i64::from).to_sql(ty, out),
            Value::BigUnsigned(value) => {
                let signed = value.map(i64::try_from).transpose();
                signed.map_err(|_| Refused("a number is too large"))?.to_sql(ty, out)
            }
            Value::Float(value) => value.to_sql(ty, out),
            Value::Double(value) => value.to_sql(ty, out),
            Value::String(value) => value.as_deref().to_sql(ty, out),
            Value::Char(value) => value.map(String::from).to_sql(ty, out),
            Value::Enum(OptionEnum::Some(value)) => value.value.as_ref().to_sql(ty, out),
            Value::Enum(OptionEnum::None(_)) => Ok(IsNull::Yes),
            Value::Bytes(value) => value.as_deref().to_sql(ty, out),
            Value::Uuid(value) => value.to_sql(ty, out),
            Value::Json(value) => value.as_deref().to_sql(ty, out),
            Value::ChronoDate(value) => value.to_sql(ty, out),
            Value::ChronoTime(value) => value.to_sql(ty, out),
            Value::ChronoDateTime(value) => value.to_sql(ty, out),
            Value::ChronoDateTimeUtc(value) => value.to_sql(ty, out),
            Value::ChronoDateTimeLocal(value) => value.to_sql(ty, out),
            Value::ChronoDateTimeWithTimeZone(value) => value.to_sql(ty, out),
            #[allow(unreachable_patterns, reason = "a program may turn on more of SeaORM's types")]
            _ => Err(Refused("this type of value is not supported").into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// The type that a value is sent as.
pub(super) fn type_of(value: &Value) -> Type {
    match value {
        Value::Bool(_) => Type::BOOL,
        Value::TinyInt(_) | Value::SmallInt(_) | Value::TinyUnsigned(_) => Type::INT2,
        Value::Int(_) | Value::SmallUnsigned(_) => Type::INT4,
        Value::BigInt(_) | Value::Unsigned(_) | Value::BigUnsigned(_) => Type::INT8,
        Value::Float(_) => Type::FLOAT4,
        Value::Double(_) => Type::FLOAT8,
        Value::String(_) | Value::Char(_) | Value::Enum(_) => Type::TEXT,
        Value::Bytes(_) => Type::BYTEA,
        Value::Uuid(_) => Type::UUID,
        Value::Json(_) => Type::JSONB,
        Value::ChronoDate(_) => Type::DATE,
        Value::ChronoTime(_) => Type::TIME,
        Value::ChronoDateTime(_) => Type::TIMESTAMP,
        Value::ChronoDateTimeUtc(_) | Value::ChronoDateTimeLocal(_) | Value::ChronoDateTimeWithTimeZone(_) => {
            Type::TIMESTAMPTZ
        }
        // The server infers it.
        #[allow(unreachable_patterns, reason = "a program may turn on more of SeaORM's types")]
        _ => Type::UNKNOWN,
    }
}

/// A column of values, as an array.
#[derive(Debug)]
pub(super) struct Array<'v> {
    values: Vec<Bound<'v>>,
    pub(super) ty: Type,
}

impl ToSql for Array<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.values.to_sql(ty, out)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// The columns of rows as arrays. `None` when a column is of mixed types, or of one that no array is made of here.
pub(super) fn arrays<'v>(rows: &[&'v [Value]]) -> Option<Vec<Array<'v>>> {
    let column = |at: usize| {
        let values = rows.iter().map(|row| row.get(at)).collect::<Option<Vec<_>>>()?;
        let of = type_of(values.first()?);
        let alike = values.iter().all(|value| type_of(value) == of);
        let ty = array_of(&of).filter(|_| alike)?;
        Some(Array {
            values: values.into_iter().map(Bound).collect(),
            ty,
        })
    };
    (0..rows.first()?.len()).map(column).collect()
}

/// Whether a column of such values can be sent as an array.
pub(super) fn has_array(value: &Value) -> bool {
    array_of(&type_of(value)).is_some()
}

fn array_of(of: &Type) -> Option<Type> {
    Some(match *of {
        Type::BOOL => Type::BOOL_ARRAY,
        Type::INT2 => Type::INT2_ARRAY,
        Type::INT4 => Type::INT4_ARRAY,
        Type::INT8 => Type::INT8_ARRAY,
        Type::FLOAT4 => Type::FLOAT4_ARRAY,
        Type::FLOAT8 => Type::FLOAT8_ARRAY,
        Type::TEXT => Type::TEXT_ARRAY,
        Type::BYTEA => Type::BYTEA_ARRAY,
        Type::UUID => Type::UUID_ARRAY,
        Type::JSONB => Type::JSONB_ARRAY,
        Type::DATE => Type::DATE_ARRAY,
        Type::TIME => Type::TIME_ARRAY,
        Type::TIMESTAMP => Type::TIMESTAMP_ARRAY,
        Type::TIMESTAMPTZ => Type::TIMESTAMPTZ_ARRAY,
        _ => return None,
    })
}

impl Columns for Row {
    fn value(&self, at: usize, kind: Kind) -> Result<Value, Unfit> {
        Ok(match kind {
            Kind::Bool => Value::Bool(get(self, at)?),
            Kind::I8 => Value::TinyInt(narrow(get::<i16>(self, at)?)?),
            Kind::I16 => Value::SmallInt(get(self, at)?),
            Kind::I32 => Value::Int(get(self, at)?),
            Kind::I64 => Value::BigInt(get(self, at)?),
            Kind::U8 => Value::TinyUnsigned(narrow(get::<i16>(self, at)?)?),
            Kind::U16 => Value::SmallUnsigned(narrow(get::<i32>(self, at)?)?),
            Kind::U32 => Value::Unsigned(narrow(get::<i64>(self, at)?)?),
            Kind::U64 => Value::BigUnsigned(narrow(get::<i64>(self, at)?)?),
            Kind::F32 => Value::Float(get(self, at)?),
            Kind::F64 => Value::Double(get(self, at)?),
            Kind::Text => Value::String(get(self, at)?),
            Kind::Bytes => Value::Bytes(get(self, at)?),
            Kind::Uuid => Value::Uuid(get::<Uuid>(self, at)?),
            Kind::Json => Value::Json(get::<serde_json::Value>(self, at)?.map(Box::new)),
            Kind::Date => Value::ChronoDate(get::<NaiveDate>(self, at)?),
            Kind::Time => Value::ChronoTime(get::<NaiveTime>(self, at)?),
            Kind::DateTime => Value::ChronoDateTime(get::<NaiveDateTime>(self, at)?),
            Kind::Instant => Value::ChronoDateTimeUtc(get::<DateTime<Utc>>(self, at)?),
            Kind::Unknown => return Err(Unfit::OtherType(type_name(self, at))),
        })
    }

    fn name(&self, at: usize) -> Option<&str> {
        self.columns().get(at).map(tokio_postgres::Column::name)
    }
}

fn get<'r, T: FromSql<'r>>(row: &'r Row, at: usize) -> Result<Option<T>, Unfit> {
    if at >= row.len() {
        return Err(Unfit::Missing);
    }
    row.try_get::<_, Option<T>>(at).map_err(|error| match error.source() {
        Some(source) if source.is::<WrongType>() => Unfit::OtherType(type_name(row, at)),
        Some(source) if source.is::<WasNull>() => Unfit::Damaged("is NULL".to_owned()),
        _ => Unfit::Damaged("holds a value of the wrong form".to_owned()),
    })
}

fn type_name(row: &Row, at: usize) -> String {
    row.columns()
        .get(at)
        .map_or_else(|| "?".to_owned(), |column| column.type_().name().to_owned())
}

fn narrow<T: TryFrom<N>, N>(number: Option<N>) -> Result<Option<T>, Unfit> {
    let narrow = number.map(T::try_from).transpose();
    narrow.map_err(|_| Unfit::Damaged("holds a number that is too large".to_owned()))
}
