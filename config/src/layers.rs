//! Layers of values, their names, and their merge.

use std::fmt;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use crate::Problem;
use crate::keys::{self, Shape};

/// Where a value comes from, lowest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Layer {
    Default,
    File(PathBuf),
    DatabaseUrl,
    Environment,
    Code,
}

impl Layer {
    /// The layer as an error or a table names it for one key.
    pub(crate) fn label(&self, key: &str) -> String {
        match self {
            Self::Default => "default".to_owned(),
            Self::File(path) => path.display().to_string(),
            Self::DatabaseUrl => "environment variable DATABASE_URL".to_owned(),
            Self::Environment => format!("environment variable {}", keys::variable(key)),
            Self::Code => "code".to_owned(),
        }
    }

    /// Whether its values arrive as text whatever their type.
    pub(crate) fn is_text(&self) -> bool {
        matches!(self, Self::DatabaseUrl | Self::Environment)
    }

    /// Where its relative paths start, when that is not the current directory.
    pub(crate) fn directory(&self) -> Option<&Path> {
        match self {
            Self::File(path) => path.parent(),
            _ => None,
        }
    }
}

/// The values of one layer, by full key (`sqlite.readers`).
#[derive(Debug, Clone)]
pub(crate) struct LayerValues {
    pub(crate) layer: Layer,
    pub(crate) values: Map<String, Value>,
}

impl LayerValues {
    pub(crate) fn new(layer: Layer) -> Self {
        Self {
            layer,
            values: Map::new(),
        }
    }

    /// Takes a layer's nested table apart, reporting unknown keys and empty values.
    pub(crate) fn from_dict(layer: Layer, dict: Dict, problems: &mut Vec<Problem>) -> Self {
        let mut this = Self::new(layer);
        this.flatten("", dict, problems);
        this
    }

    fn flatten(&mut self, prefix: &str, dict: Dict, problems: &mut Vec<Problem>) {
        for (name, value) in dict {
            let key = if prefix.is_empty() {
                name
            } else {
                format!("{prefix}.{name}")
            };
            match (keys::shape(&key), value) {
                (Some(_), value) => self.insert(&key, value, problems),
                (None, Value::Dict(_, inner)) if keys::is_section(&key) => self.flatten(&key, inner, problems),
                (None, _) if keys::is_section(&key) => {
                    problems.push(Problem::new(
                        &key,
                        self.layer.label(&key),
                        "is a section: expected a table",
                    ));
                }
                (None, _) => problems.push(unknown(&key, &self.layer)),
            }
        }
    }

    /// Adds one known key, unless its value is empty.
    pub(crate) fn insert(&mut self, key: &str, value: Value, problems: &mut Vec<Problem>) {
        if is_empty(key, &value) {
            problems.push(Problem::new(
                key,
                self.layer.label(key),
                "is set but empty; remove it or give it a value",
            ));
        } else {
            self.values.insert(key.to_owned(), value);
        }
    }
}

fn is_empty(key: &str, value: &Value) -> bool {
    match value {
        // Spaces can be a password's own.
        Value::String(_, text) if keys::is_secret(key) => text.is_empty(),
        Value::String(_, text) => text.trim().is_empty(),
        Value::Dict(_, dict) => dict.is_empty(),
        _ => false,
    }
}

fn unknown(key: &str, layer: &Layer) -> Problem {
    let hint = keys::nearest(key)
        .map(|near| format!("; did you mean `{near}`?"))
        .unwrap_or_default();
    Problem::new(key, layer.label(key), format!("unknown key{hint}"))
}

impl Provider for LayerValues {
    fn metadata(&self) -> Metadata {
        Metadata::named(Tagged(&self.layer).to_string())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut root = Dict::new();
        for (key, value) in &self.values {
            match key.split_once('.') {
                None => {
                    root.insert(key.clone(), value.clone());
                }
                Some((section, name)) => {
                    let entry = root
                        .entry(section.to_owned())
                        .or_insert_with(|| Value::from(Dict::new()));
                    if let Value::Dict(_, inner) = entry {
                        inner.insert(name.to_owned(), value.clone());
                    }
                }
            }
        }
        Ok(Profile::Default.collect(root))
    }
}

/// A name that tells layers apart in figment's metadata.
struct Tagged<'a>(&'a Layer);

impl fmt::Display for Tagged<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Layer::Default => "default",
            Layer::File(_) => "file",
            Layer::DatabaseUrl => "DATABASE_URL",
            Layer::Environment => "environment",
            Layer::Code => "code",
        })
    }
}

/// The layers merged, the highest winning; each value still knows its layer.
pub(crate) struct Merged {
    figment: Figment,
    layers: Vec<Layer>,
}

impl Merged {
    pub(crate) fn new(layers: Vec<LayerValues>) -> Self {
        let mut figment = Figment::new();
        for layer in &layers {
            figment = figment.merge(layer.clone());
        }
        Self {
            figment,
            layers: layers.into_iter().map(|values| values.layer).collect(),
        }
    }

    /// The value in effect and its layer.
    pub(crate) fn get(&self, key: &str) -> Option<(Value, Layer)> {
        let value = self.figment.find_value(key).ok()?;
        // A table has no single layer; the one of its first entry stands for it.
        let tag = match &value {
            Value::Dict(tag, dict) if tag.is_default() => dict.values().next().map_or(*tag, Value::tag),
            other => other.tag(),
        };
        let name = &self.figment.get_metadata(tag)?.name;
        let layer = self.layers.iter().find(|layer| Tagged(layer).to_string() == *name)?;
        Some((value, layer.clone()))
    }

    /// The layer of the value in effect.
    pub(crate) fn layer(&self, key: &str) -> Option<Layer> {
        self.get(key).map(|(_, layer)| layer)
    }

    /// Whether a layer above the defaults set it.
    pub(crate) fn is_chosen(&self, key: &str) -> bool {
        self.layer(key).is_some_and(|layer| layer != Layer::Default)
    }

    /// The key's layer, for a message.
    pub(crate) fn label(&self, key: &str) -> String {
        self.layer(key)
            .map_or_else(|| "default".to_owned(), |layer| layer.label(key))
    }
}

/// Splits the text that an environment variable gives for a list or a table.
pub(crate) fn from_text(key: &str, text: &str) -> Result<Value, String> {
    match keys::shape(key) {
        Some(Shape::List) => Ok(Value::from(
            text.split_whitespace().map(Value::from).collect::<Vec<_>>(),
        )),
        Some(Shape::Table(separator)) => {
            let pairs = text.split_whitespace().map(|item| {
                item.split_once(separator)
                    .map(|(name, value)| (name.to_owned(), Value::from(value)))
            });
            let dict: Option<Dict> = pairs.collect();
            dict.map(Value::from)
                .ok_or_else(|| format!("expected `name{separator}value` items separated by spaces"))
        }
        _ => Ok(Value::from(text)),
    }
}
