//! What executions used of models: amounts that add up.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use super::check;
use crate::{Error, Result};

/// What was used of one model: an entry of the array in which an execution keeps its usage.
///
/// As JSON it is one flat object, such as
/// `{"provider": "acme", "model": "m-1", "source": "agent", "input_tokens": 120, "cost": 0.02}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Who runs the model.
    pub provider: String,
    /// The model.
    pub model: String,
    /// Where the numbers come from, if that is told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The amounts by their names; what is no number is kept as it was told last.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

impl Usage {
    /// Nothing used yet of this model.
    pub fn new(provider: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            provider: provider.into(),
            model: model.into(),
            source: None,
            fields: Map::new(),
        }
    }

    /// The same, from this source.
    #[must_use]
    pub fn from_source(mut self, source: impl Into<String>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same, with an amount or another fact.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.fields.insert(name.into(), value.into());
        self
    }

    /// # Errors
    /// `InvalidInput` naming the field: a blank provider or model, U+0000, a field named like one of the three.
    pub fn check(&self) -> Result<()> {
        check::name("usage.provider", &self.provider)?;
        check::name("usage.model", &self.model)?;
        self.source
            .iter()
            .try_for_each(|source| check::text("usage.source", source))?;
        match KEY.iter().find(|name| self.fields.contains_key(**name)) {
            Some(name) => Err(Error::invalid(
                &format!("usage.{name}"),
                "is given twice: as itself and as a field",
            )),
            None => check::json("usage", Value::Object(self.fields.clone())).map(drop),
        }
    }

    /// `stored` with these added: an entry of the same provider, model and source takes the amounts (whole numbers stay
    /// whole, and a sum that does not fit 64 bits is an error), other facts as they are told last; what has no entry yet
    /// becomes one at the end. Entries of other forms stay as they are.
    ///
    /// # Errors
    /// `InvalidInput` naming the field that breaks a rule or does not add up.
    pub fn merged(stored: Option<Vec<Value>>, more: &[Usage]) -> Result<Vec<Value>> {
        let mut entries = stored.unwrap_or_default();
        for usage in more {
            usage.check()?;
            let entry = entries
                .iter_mut()
                .filter_map(Value::as_object_mut)
                .find(|entry| usage.is_for(entry));
            match entry {
                Some(entry) => usage.add_to(entry)?,
                None => entries.push(usage.to_value()),
            }
        }
        check::array("usage", entries)
    }

    fn is_for(&self, entry: &Map<String, Value>) -> bool {
        let text = |name: &str| entry.get(name).and_then(Value::as_str);
        let source = entry.get("source").filter(|source| !source.is_null());
        text("provider") == Some(&self.provider)
            && text("model") == Some(&self.model)
            && source == self.source.clone().map(Value::String).as_ref()
    }

    fn add_to(&self, entry: &mut Map<String, Value>) -> Result<()> {
        for (name, value) in &self.fields {
            let sum = added(name, entry.get(name), value)?;
            entry.insert(name.clone(), sum);
        }
        Ok(())
    }

    fn to_value(&self) -> Value {
        let mut entry = self.fields.clone();
        entry.insert("provider".into(), self.provider.clone().into());
        entry.insert("model".into(), self.model.clone().into());
        if let Some(source) = &self.source {
            entry.insert("source".into(), source.clone().into());
        }
        Value::Object(entry)
    }
}

/// What tells one entry from another.
const KEY: [&str; 3] = ["provider", "model", "source"];

fn added(name: &str, stored: Option<&Value>, more: &Value) -> Result<Value> {
    match (stored, more) {
        (Some(Value::Number(stored)), Value::Number(more)) => sum(name, stored, more).map(Value::Number),
        (Some(Value::Number(stored)), Value::Null) => Ok(Value::Number(stored.clone())),
        (Some(Value::Number(_)), _) => Err(Error::invalid(
            &format!("usage.{name}"),
            "is a number so far and cannot become anything else",
        )),
        (_, told_last) => Ok(told_last.clone()),
    }
}

fn sum(name: &str, a: &Number, b: &Number) -> Result<Number> {
    let sum = match (whole(a), whole(b)) {
        (Some(a), Some(b)) => i64::try_from(a + b).ok().map(Number::from),
        _ => a.as_f64().zip(b.as_f64()).and_then(|(a, b)| Number::from_f64(a + b)),
    };
    sum.ok_or_else(|| Error::invalid(&format!("usage.{name}"), "adds up to more than 64 bits hold"))
}

fn whole(number: &Number) -> Option<i128> {
    number
        .as_i64()
        .map(i128::from)
        .or_else(|| number.as_u64().map(i128::from))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn usage() -> Usage {
        Usage::new("acme", "m-1")
    }

    #[test]
    fn amounts_of_the_same_provider_model_and_source_add_up() {
        let stored = vec![
            json!({"provider": "acme", "model": "m-1", "input": 1, "cost": 0.5, "note": "a"}),
            json!({"provider": "acme", "model": "m-1", "source": "agent", "input": 10}),
            json!("something else"),
        ];
        let more = [
            usage()
                .with("input", 2)
                .with("cost", 0.25)
                .with("note", "b")
                .with("output", 3),
            usage().from_source("agent").with("input", 5),
            usage().from_source("tool").with("input", 7),
            usage().from_source("tool").with("input", 1),
        ];
        let expected = vec![
            json!({"provider": "acme", "model": "m-1", "input": 3, "cost": 0.75, "note": "b", "output": 3}),
            json!({"provider": "acme", "model": "m-1", "source": "agent", "input": 15}),
            json!("something else"),
            json!({"provider": "acme", "model": "m-1", "source": "tool", "input": 8}),
        ];
        assert_eq!(Usage::merged(Some(stored), &more).unwrap(), expected);
    }

    #[test]
    fn whole_numbers_never_become_floats_and_never_wrap() {
        let stored = || Some(vec![json!({"provider": "acme", "model": "m-1", "n": i64::MAX - 1})]);
        let merged = Usage::merged(stored(), &[usage().with("n", 1)]).unwrap();
        assert_eq!(merged[0]["n"], json!(i64::MAX));
        let error = Usage::merged(stored(), &[usage().with("n", 2)]).unwrap_err();
        assert!(error.to_string().contains("usage.n"), "{error}");
        let huge = Some(vec![json!({"provider": "acme", "model": "m-1", "n": 1.7e308})]);
        Usage::merged(huge, &[usage().with("n", 1.7e308)]).unwrap_err();
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (bad, place) in [
            (Usage::new(" ", "m"), "usage.provider"),
            (Usage::new("p", "m\0"), "usage.model"),
            (usage().from_source("\0"), "usage.source"),
            (usage().with("a", "\0"), "usage.a"),
            (usage().with("model", "m-2"), "usage.model"),
        ] {
            let error = Usage::merged(None, &[bad]).unwrap_err();
            assert!(error.to_string().contains(place), "{error}");
        }
        let stored = Some(vec![json!({"provider": "acme", "model": "m-1", "n": 1})]);
        Usage::merged(stored, &[usage().with("n", "one")]).unwrap_err();
    }

    #[test]
    fn as_json_it_is_one_flat_object() {
        let flat = json!({"provider": "acme", "model": "m-1", "input": 3});
        let usage: Usage = serde_json::from_value(flat.clone()).unwrap();
        assert_eq!(usage.fields["input"], 3);
        assert_eq!(serde_json::to_value(usage).unwrap(), flat);
    }
}
