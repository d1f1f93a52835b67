//! Values on their way into SQLite and out of it.
//!
//! The forms are those of SeaORM's own driver, so that a program may use both on one file: ids as 16 bytes, instants as RFC
//! 3339 text, JSON as text.

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, SecondsFormat, TimeZone, Utc};
use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, Value as Owned, ValueRef};
use sea_orm::Value;
use sea_orm::sea_query::OptionEnum;

use super::super::row::{Columns, Kind, Unfit};

/// A value to be bound.
pub(super) struct Bound<'v>(pub(super) &'v Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let integer = |number: Option<i64>| Ok(ToSqlOutput::Borrowed(number.map_or(ValueRef::Null, ValueRef::Integer)));
        let real = |number: Option<f64>| Ok(ToSqlOutput::Borrowed(number.map_or(ValueRef::Null, ValueRef::Real)));
        let text = |text: Option<String>| Ok(ToSqlOutput::Owned(text.map_or(Owned::Null, Owned::Text)));
        match self.0 {
            Value::Bool(value) => integer(value.map(i64::from)),
            Value::TinyInt(value) => integer(value.map(i64::from)),
            Value::SmallInt(value) => integer(value.map(i64::from)),
            Value::Int(value) => integer(value.map(i64::from)),
            Value::BigInt(value) => integer(*value),
            Value::TinyUnsigned(value) => integer(value.map(i64::from)),
            Value::SmallUnsigned(value) => integer(value.map(i64::from)),
            Value::Unsigned(value) => integer(value.map(i64::from)),
            Value::BigUnsigned(value) => {
                let signed = value.map(i64::try_from).transpose();
                integer(signed.map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?)
            }
            Value::Float(value) => real(value.map(f64::from)),
            Value::Double(value) => real(*value),
            Value::String(value) => Ok(bytes_of_text(value.as_deref())),
            Value::Char(value) => text(value.map(String::from)),
            Value::Enum(OptionEnum::Some(value)) => Ok(bytes_of_text(Some(&value.value))),
            Value::Enum(OptionEnum::None(_)) => integer(None),
            Value::Bytes(value) => Ok(ToSqlOutput::Borrowed(
                value.as_deref().map_or(ValueRef::Null, ValueRef::Blob),
            )),
            Value::Uuid(value) => {
                let bytes = value.as_ref().map(|id| id.as_bytes().as_slice());
                Ok(ToSqlOutput::Borrowed(bytes.map_or(ValueRef::Null, ValueRef::Blob)))
            }
            Value::Json(value) => text(value.as_ref().map(ToString::to_string)),
            Value::ChronoDate(value) => text(value.map(|date| date.format("%F").to_string())),
            Value::ChronoTime(value) => text(value.map(|time| time.format("%T%.f").to_string())),
            Value::ChronoDateTime(value) => text(value.map(|at| at.format("%F %T%.f").to_string())),
            Value::ChronoDateTimeUtc(value) => text(value.as_ref().map(instant)),
            Value::ChronoDateTimeLocal(value) => text(value.as_ref().map(instant)),
            Value::ChronoDateTimeWithTimeZone(value) => text(value.as_ref().map(instant)),
            #[allow(unreachable_patterns, reason = "a program may turn on more of SeaORM's types")]
            _ => Err(rusqlite::Error::ToSqlConversionFailure(
                "this type of value is not supported".into(),
            )),
        }
    }
}

fn bytes_of_text(text: Option<&str>) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(text.map_or(ValueRef::Null, |text| ValueRef::Text(text.as_bytes())))
}

/// As long as all are in UTC, text order is time order.
fn instant<Z: TimeZone<Offset: std::fmt::Display>>(at: &DateTime<Z>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, false)
}

/// A row that outlives its statement.
pub(super) struct OwnedRow {
    values: Vec<Owned>,
    names: std::sync::Arc<[String]>,
}

impl OwnedRow {
    pub(super) fn new(row: &rusqlite::Row<'_>, names: &std::sync::Arc<[String]>) -> rusqlite::Result<Self> {
        let values = (0..names.len()).map(|at| row.get_ref(at).map(Owned::try_from));
        let values = values.map(|value| value?.map_err(rusqlite::Error::from));
        Ok(Self {
            values: values.collect::<rusqlite::Result<_>>()?,
            names: std::sync::Arc::clone(names),
        })
    }
}

impl Columns for OwnedRow {
    fn value(&self, at: usize, kind: Kind) -> Result<Value, Unfit> {
        let value = self.values.get(at).ok_or(Unfit::Missing)?;
        read(value.into(), kind)
    }

    fn name(&self, at: usize) -> Option<&str> {
        self.names.get(at).map(String::as_str)
    }
}

impl Columns for rusqlite::Row<'_> {
    fn value(&self, at: usize, kind: Kind) -> Result<Value, Unfit> {
        read(self.get_ref(at).map_err(|_| Unfit::Missing)?, kind)
    }

    fn name(&self, at: usize) -> Option<&str> {
        self.as_ref().column_name(at).ok()
    }
}

/// A stored value as the program reads it. The class of what is stored is that of the column in a STRICT table: another one
/// is another type, and a value of the right class that cannot be understood is damaged.
fn read(stored: ValueRef<'_>, kind: Kind) -> Result<Value, Unfit> {
    match (kind, stored) {
        (_, ValueRef::Null) => Ok(null(kind)),
        (Kind::Bool, ValueRef::Integer(number)) => match number {
            0 | 1 => Ok(Value::Bool(Some(number == 1))),
            _ => Err(Unfit::Damaged(format!("holds {number}, which is not a boolean"))),
        },
        (Kind::I64, ValueRef::Integer(number)) => Ok(Value::BigInt(Some(number))),
        (Kind::I8, ValueRef::Integer(number)) => narrow(number).map(Value::TinyInt),
        (Kind::I16, ValueRef::Integer(number)) => narrow(number).map(Value::SmallInt),
        (Kind::I32, ValueRef::Integer(number)) => narrow(number).map(Value::Int),
        (Kind::U8, ValueRef::Integer(number)) => narrow(number).map(Value::TinyUnsigned),
        (Kind::U16, ValueRef::Integer(number)) => narrow(number).map(Value::SmallUnsigned),
        (Kind::U32, ValueRef::Integer(number)) => narrow(number).map(Value::Unsigned),
        (Kind::U64, ValueRef::Integer(number)) => narrow(number).map(Value::BigUnsigned),
        (Kind::F64, ValueRef::Real(number)) => Ok(Value::Double(Some(number))),
        #[allow(clippy::cast_possible_truncation, reason = "it was an f32 when it was stored")]
        (Kind::F32, ValueRef::Real(number)) => Ok(Value::Float(Some(number as f32))),
        (Kind::Text, ValueRef::Text(text)) => Ok(Value::String(Some(utf8(text)?.to_owned()))),
        (Kind::Bytes, ValueRef::Blob(bytes)) => Ok(Value::Bytes(Some(bytes.to_vec()))),
        (Kind::Uuid, ValueRef::Blob(bytes)) => {
            let id = uuid::Uuid::from_slice(bytes).map_err(|_| {
                let length = bytes.len();
                Unfit::Damaged(format!("holds {length} bytes, and an id has 16"))
            })?;
            Ok(Value::Uuid(Some(id)))
        }
        (Kind::Json, ValueRef::Text(text) | ValueRef::Blob(text)) => {
            let json = serde_json::from_slice(text).map_err(|_| Unfit::Damaged("holds no valid JSON".to_owned()))?;
            Ok(Value::Json(Some(Box::new(json))))
        }
        (Kind::Instant, ValueRef::Text(text)) => {
            let at = read_instant(utf8(text)?).ok_or_else(no_time)?;
            Ok(Value::ChronoDateTimeUtc(Some(at)))
        }
        (Kind::DateTime, ValueRef::Text(text)) => {
            let at = read_date_time(utf8(text)?).ok_or_else(no_time)?;
            Ok(Value::ChronoDateTime(Some(at)))
        }
        (Kind::Date, ValueRef::Text(text)) => {
            let date = NaiveDate::parse_from_str(utf8(text)?, "%F").map_err(|_| no_time())?;
            Ok(Value::ChronoDate(Some(date)))
        }
        (Kind::Time, ValueRef::Text(text)) => {
            let time = NaiveTime::parse_from_str(utf8(text)?, "%T%.f").map_err(|_| no_time())?;
            Ok(Value::ChronoTime(Some(time)))
        }
        (_, other) => Err(Unfit::OtherType(other.data_type().to_string().to_uppercase())),
    }
}

fn null(kind: Kind) -> Value {
    match kind {
        Kind::Bool => Value::Bool(None),
        Kind::I8 => Value::TinyInt(None),
        Kind::I16 => Value::SmallInt(None),
        Kind::I32 => Value::Int(None),
        Kind::I64 => Value::BigInt(None),
        Kind::U8 => Value::TinyUnsigned(None),
        Kind::U16 => Value::SmallUnsigned(None),
        Kind::U32 => Value::Unsigned(None),
        Kind::U64 => Value::BigUnsigned(None),
        Kind::F32 => Value::Float(None),
        Kind::F64 => Value::Double(None),
        Kind::Text | Kind::Unknown => Value::String(None),
        Kind::Bytes => Value::Bytes(None),
        Kind::Uuid => Value::Uuid(None),
        Kind::Json => Value::Json(None),
        Kind::Date => Value::ChronoDate(None),
        Kind::Time => Value::ChronoTime(None),
        Kind::DateTime => Value::ChronoDateTime(None),
        Kind::Instant => Value::ChronoDateTimeUtc(None),
    }
}

fn narrow<T: TryFrom<i64>>(number: i64) -> Result<Option<T>, Unfit> {
    let narrow = T::try_from(number);
    narrow
        .map(Some)
        .map_err(|_| Unfit::Damaged("holds a number that is too large".to_owned()))
}

fn utf8(text: &[u8]) -> Result<&str, Unfit> {
    std::str::from_utf8(text).map_err(|_| Unfit::Damaged("holds text that is not UTF-8".to_owned()))
}

fn no_time() -> Unfit {
    Unfit::Damaged("holds no date or time".to_owned())
}

/// RFC 3339, or without a time zone as SQLite's own functions write it, which is UTC.
fn read_instant(text: &str) -> Option<DateTime<Utc>> {
    if let Some(at) = own_instant(text.as_bytes()) {
        return Some(at);
    }
    let with_zone = DateTime::<FixedOffset>::parse_from_rfc3339(text).ok();
    with_zone
        .map(|at| at.to_utc())
        .or_else(|| read_date_time(text).map(|at| at.and_utc()))
}

/// As this store writes it, `2026-11-21T18:06:07.123456+00:00`: a tenth of the work that any format takes, and half of the
/// columns of a page are of it.
fn own_instant(text: &[u8]) -> Option<DateTime<Utc>> {
    let (at, nanos) = match text.strip_suffix(b"+00:00")? {
        at if at.len() == 19 => (at, 0),
        [at @ .., b'.', a, b, c] if at.len() == 19 => (at, digits(&[*a, *b, *c])? * 1_000_000),
        [at @ .., b'.', a, b, c, d, e, f] if at.len() == 19 => (at, digits(&[*a, *b, *c, *d, *e, *f])? * 1_000),
        _ => return None,
    };
    let [
        ..,
        _,
        _,
        _,
        _,
        b'-',
        _,
        _,
        b'-',
        _,
        _,
        b'T',
        _,
        _,
        b':',
        _,
        _,
        b':',
        _,
        _,
    ] = at
    else {
        return None;
    };
    let number = |range: std::ops::Range<usize>| digits(at.get(range)?);
    let year = i32::try_from(number(0..4)?).ok()?;
    let date = NaiveDate::from_ymd_opt(year, number(5..7)?, number(8..10)?)?;
    let time = date.and_hms_nano_opt(number(11..13)?, number(14..16)?, number(17..19)?, nanos)?;
    Some(time.and_utc())
}

fn digits(text: &[u8]) -> Option<u32> {
    text.iter().try_fold(0, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0'))
    })
}

fn read_date_time(text: &str) -> Option<NaiveDateTime> {
    let formats = ["%F %T%.f", "%FT%T%.f"];
    formats
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_of_our_own_is_read_as_any_other() {
        for text in [
            "2026-11-21T18:06:07+00:00",
            "2026-11-21T18:06:07.120+00:00",
            "0001-01-01T00:00:00.000001+00:00",
            "9999-12-31T23:59:59.999999+00:00",
            "2024-02-29T12:00:00.123456+00:00",
        ] {
            let read = DateTime::<FixedOffset>::parse_from_rfc3339(text).unwrap().to_utc();
            assert_eq!(own_instant(text.as_bytes()), Some(read), "{text}");
            assert_eq!(instant(&read), text);
        }
        for text in [
            "2026-11-21T18:06:07Z",
            "2026-11-21 18:06:07+00:00",
            "2026-02-30T18:06:07+00:00",
            "2026-11-21T18:06:07.12+00:00",
            "2026-11-21T25:06:07+00:00",
            "2026-11-2xT18:06:07+00:00",
            "12026-11-21T18:06:07+00:00",
            "+00:00",
        ] {
            assert_eq!(own_instant(text.as_bytes()), None, "{text}");
        }
    }
}
