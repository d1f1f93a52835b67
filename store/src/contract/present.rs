//! JSON that may be absent, in serde: a field that is missing is absent, and one that is `null` holds JSON's `null`.
//!
//! For fields with `#[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present::json")]`.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

pub(super) fn json<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}
