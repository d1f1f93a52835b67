//! A JSON value that may be absent, in serde: absent and `null` stay two things.
//!
//! `#[serde(default, skip_serializing_if = "Option::is_none", with = "maybe_null")]`

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// Writes what is there.
///
/// # Errors
/// The serializer's.
pub fn serialize<S: Serializer>(value: &Option<Value>, serializer: S) -> Result<S::Ok, S::Error> {
    value.serialize(serializer)
}

/// Reads what is there: `null` is a value.
///
/// # Errors
/// The deserializer's.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}
