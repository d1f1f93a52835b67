//! The rules for arguments that every implementation of the contract applies, before it asks its database.

use chrono::{DateTime, Datelike, Utc};
use serde_json::{Number, Value};

use crate::{Error, Result};

/// Text may hold anything but U+0000.
///
/// # Errors
/// `InvalidInput` naming `field`.
pub fn text(field: &str, text: &str) -> Result<()> {
    match text.find('\0') {
        Some(at) => Err(Error::invalid(
            field,
            format_args!("holds U+0000 at byte {at}; remove it"),
        )),
        None => Ok(()),
    }
}

/// [`text`] for each of them.
///
/// # Errors
/// `InvalidInput` naming `field` and the place in the list.
pub fn texts(field: &str, texts: &[String]) -> Result<()> {
    texts
        .iter()
        .enumerate()
        .try_for_each(|(at, item)| text(&format!("{field}[{at}]"), item))
}

/// A name a person reads: text, and not blank.
///
/// # Errors
/// `InvalidInput` naming `field`.
pub fn name(field: &str, name: &str) -> Result<()> {
    if name.trim().is_empty() {
        return Err(Error::invalid(field, "is blank; give it a name"));
    }
    text(field, name)
}

/// The longest text of an index, in bytes: three of them fit an index entry of Postgres, which takes 2,704 bytes, with
/// room to spare. SQLite has no such limit.
const LONGEST_INDEXED: usize = 512;

/// Text that an index holds: 1 to 512 bytes.
///
/// # Errors
/// `InvalidInput` naming `field`.
pub fn indexed(field: &str, text: &str) -> Result<()> {
    self::text(field, text)?;
    match text.len() {
        1..=LONGEST_INDEXED => Ok(()),
        length => Err(Error::invalid(
            field,
            format_args!("must be 1 to {LONGEST_INDEXED} bytes long and has {length}"),
        )),
    }
}

/// A [`name`] that an index holds: at most 512 bytes.
///
/// # Errors
/// `InvalidInput` naming `field`.
pub fn indexed_name(field: &str, name: &str) -> Result<()> {
    self::name(field, name)?;
    indexed(field, name)
}

/// An instant between the years 0 and 9999, which both databases can keep and order.
///
/// # Errors
/// `InvalidInput` naming `field`.
pub fn instant(field: &str, instant: DateTime<Utc>) -> Result<()> {
    match instant.year() {
        0..=9999 => Ok(()),
        year => Err(Error::invalid(
            field,
            format_args!("is in the year {year}; the store keeps 0 to 9999"),
        )),
    }
}

/// A count or a size.
///
/// # Errors
/// `InvalidInput` naming `field` when it is negative.
pub fn not_negative(field: &str, number: i64) -> Result<()> {
    if number < 0 {
        return Err(Error::invalid(
            field,
            format_args!("must not be negative and is {number}"),
        ));
    }
    Ok(())
}

/// How deep JSON may be nested: what serde_json reads back.
const JSON_DEPTH: usize = 127;

/// The JSON value as both databases will give it back: a float that Postgres writes as a whole number (10¹⁶ and above)
/// becomes one.
///
/// # Errors
/// `InvalidInput` naming `field` and the path for U+0000 in a key or a text, and for more than 127 levels.
pub fn json(field: &str, value: Value) -> Result<Value> {
    json_at(field, value, JSON_DEPTH)
}

/// [`json`] for a value that may be absent. Absent and `null` are two things.
///
/// # Errors
/// As [`json`].
pub fn optional_json(field: &str, value: Option<Value>) -> Result<Option<Value>> {
    value.map(|value| json(field, value)).transpose()
}

/// [`json`] for an array.
///
/// # Errors
/// As [`json`].
pub fn array(field: &str, items: Vec<Value>) -> Result<Vec<Value>> {
    let items = items.into_iter().enumerate();
    items
        .map(|(at, item)| json_at(&format!("{field}[{at}]"), item, JSON_DEPTH - 1))
        .collect()
}

fn json_at(path: &str, value: Value, depth: usize) -> Result<Value> {
    let nested = || {
        depth
            .checked_sub(1)
            .ok_or_else(|| Error::invalid(path, "is nested more than 127 levels deep"))
    };
    Ok(match value {
        Value::String(string) => {
            text(path, &string)?;
            Value::String(string)
        }
        Value::Number(number) => Value::Number(as_read_back(number)),
        Value::Array(items) => {
            let depth = nested()?;
            let items = items.into_iter().enumerate();
            items
                .map(|(at, item)| json_at(&format!("{path}[{at}]"), item, depth))
                .collect::<Result<_>>()?
        }
        Value::Object(entries) => {
            let depth = nested()?;
            let entry = |(name, item): (String, Value)| {
                text(&format!("a key of {path}"), &name)?;
                let item = json_at(&format!("{path}.{name}"), item, depth)?;
                Ok((name, item))
            };
            Value::Object(entries.into_iter().map(entry).collect::<Result<_>>()?)
        }
        plain @ (Value::Null | Value::Bool(_)) => plain,
    })
}

/// serde_json writes a float from 10¹⁶ on with an exponent; jsonb keeps it as a decimal number and gives back its digits,
/// which read as an integer if they fit one.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the ranges are checked"
)]
fn as_read_back(number: Number) -> Number {
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() >= 1e16 => match float {
            float if (0.0..18_446_744_073_709_551_616.0).contains(&float) => (float as u64).into(),
            float if (-9_223_372_036_854_775_808.0..0.0).contains(&float) => (float as i64).into(),
            _ => number,
        },
        _ => number,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nul_is_found_wherever_it_hides() {
        for (value, place) in [
            (json!("a\0"), "v holds"),
            (json!({"a": [1, "x\0"]}), "v.a[1] holds"),
            (json!({"a\0": 1}), "a key of v holds"),
        ] {
            let error = json("v", value).unwrap_err();
            assert!(error.to_string().contains(place), "{error}");
        }
    }

    #[test]
    fn nesting_has_a_bound() {
        let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
        assert_eq!(json("v", nested(127)).unwrap(), nested(127));
        assert!(json("v", nested(128)).is_err());
    }

    #[test]
    fn a_float_that_comes_back_whole_is_whole() {
        for (told, kept) in [
            (json!(1e16), json!(10_000_000_000_000_000_u64)),
            (json!(-1e18), json!(-1_000_000_000_000_000_000_i64)),
            (json!(1e20), json!(1e20)),
            (json!(1.0), json!(1.0)),
            (json!(0.1), json!(0.1)),
            (json!(u64::MAX), json!(u64::MAX)),
        ] {
            assert_eq!(json("v", told).unwrap(), kept);
        }
    }
}
