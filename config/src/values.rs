//! From a layer's raw value to a typed one, and back to text for `explain`.

use std::collections::BTreeMap;
use std::time::Duration;

use figment::value::{Num, Value};

/// The longest duration a configuration may hold: SQLite and Postgres count milliseconds in 31 bits.
const LONGEST: Duration = Duration::from_secs(24 * 24 * 3600);

/// A type that a configuration value can have.
///
/// An error says what was expected and never repeats the value: the caller adds it, unless it is a secret.
pub(crate) trait FromValue: Sized {
    /// Reads it; `text` says that the layer gives everything as text.
    fn from_value(value: &Value, text: bool) -> Result<Self, String>;

    /// The value as `explain` shows it.
    fn show(&self) -> String;
}

impl FromValue for String {
    fn from_value(value: &Value, _: bool) -> Result<Self, String> {
        value
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| "expected text in quotes".to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl FromValue for bool {
    fn from_value(value: &Value, text: bool) -> Result<Self, String> {
        match value {
            Value::Bool(_, yes) => Ok(*yes),
            Value::String(_, word) if text => word.parse().map_err(|_| "expected true or false".to_owned()),
            _ => Err("expected true or false".to_owned()),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl FromValue for u32 {
    fn from_value(value: &Value, text: bool) -> Result<Self, String> {
        let number = match value {
            Value::Num(_, number) => whole(number),
            Value::String(_, digits) if text => digits.parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| "expected a whole number, 0 or more".to_owned())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

fn whole(number: &Num) -> Option<u32> {
    let unsigned = number.to_u128().and_then(|n| u32::try_from(n).ok());
    unsigned.or_else(|| number.to_i128().and_then(|n| u32::try_from(n).ok()))
}

impl FromValue for Duration {
    fn from_value(value: &Value, _: bool) -> Result<Self, String> {
        value.as_str().and_then(parse_duration).ok_or_else(|| {
            r#"expected a duration with its unit, such as "250ms", "30s", "5m" or "1h", at most 24 days"#.to_owned()
        })
    }

    fn show(&self) -> String {
        show_duration(*self)
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, after) = leading_number(rest)?;
        let unit_len = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, next) = after.split_at_checked(unit_len)?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total = total.checked_add(Duration::from_millis(number.checked_mul(millis)?))?;
        rest = next.trim_start();
    }
    (total <= LONGEST).then_some(total)
}

fn leading_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, rest))
}

/// The shortest exact spelling: `90s`, not `1m30s`.
pub(crate) fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let exact = units
        .iter()
        .find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit));
    match exact {
        Some((unit, name)) => format!("{}{name}", millis / unit),
        None if millis == 0 => "0s".to_owned(),
        None => format!("{millis}ms"),
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Size(pub(crate) u64);

const UNITS: [(u64, &str); 4] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")];

impl FromValue for Size {
    fn from_value(value: &Value, _: bool) -> Result<Self, String> {
        let parse = |text: &str| {
            let (number, unit) = leading_number(text.trim())?;
            let unit = unit.trim();
            let (bytes, _) = UNITS.iter().find(|(_, name)| *name == unit)?;
            let size = number.checked_mul(*bytes)?;
            // SQLite takes both sizes as signed 64-bit numbers.
            i64::try_from(size).ok().map(|_| Self(size))
        };
        value
            .as_str()
            .and_then(parse)
            .ok_or_else(|| r#"expected a size with its unit, such as "512B", "64KiB", "16MiB" or "1GiB""#.to_owned())
    }

    fn show(&self) -> String {
        let unit = UNITS
            .iter()
            .find(|(unit, _)| self.0 > 0 && self.0.is_multiple_of(*unit));
        unit.map_or_else(|| "0B".to_owned(), |(unit, name)| format!("{}{name}", self.0 / unit))
    }
}

/// A list of texts.
impl FromValue for Vec<String> {
    fn from_value(value: &Value, text: bool) -> Result<Self, String> {
        let items = value.as_array().ok_or_else(|| "expected a list of texts".to_owned())?;
        items.iter().map(|item| String::from_value(item, text)).collect()
    }

    fn show(&self) -> String {
        self.join(" ")
    }
}

/// A table of texts.
impl FromValue for BTreeMap<String, String> {
    fn from_value(value: &Value, text: bool) -> Result<Self, String> {
        let dict = value.as_dict().ok_or_else(|| "expected a table of texts".to_owned())?;
        dict.iter()
            .map(|(name, item)| Ok((name.clone(), String::from_value(item, text)?)))
            .collect()
    }

    fn show(&self) -> String {
        self.iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// What a message says was found in place of the expected value.
pub(crate) fn found(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("{text:?}"),
        Value::Dict(..) => "a table".to_owned(),
        Value::Array(..) => "a list".to_owned(),
        Value::Empty(..) => "nothing".to_owned(),
        other => other.to_actual().to_string(),
    }
}

/// Makes an enum of words a configuration value: `word!(Type { "word" => Variant, … })`.
macro_rules! word {
    ($type:ident { $($word:literal => $variant:ident),+ $(,)? }) => {
        impl $crate::values::FromValue for $type {
            fn from_value(value: &figment::value::Value, _: bool) -> Result<Self, String> {
                match value.as_str() {
                    $(Some($word) => Ok(Self::$variant),)+
                    _ => Err(concat!("expected one of:" $(, " \"", $word, "\"")+).to_owned()),
                }
            }

            fn show(&self) -> String {
                match self { $(Self::$variant => $word,)+ }.to_owned()
            }
        }
    };
}
pub(crate) use word;
