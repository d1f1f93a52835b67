//! Which values are in effect, and why.

use std::fmt;

use serde::Serialize;

/// One value in effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Setting {
    /// The key, such as `sqlite.busy_timeout`.
    pub key: String,
    /// The value; `***` stands in place of a secret.
    pub value: String,
    /// Who set it: `default`, a file's path, `environment variable STORE_…`, `code`, or what it follows from.
    pub source: String,
}

/// Every value in effect with its source, in the order of `defaults.toml`; keys without a value are left out.
///
/// Displays as an aligned table and serialises as a list of [`Setting`]s. It shows the configuration as it was loaded:
/// fields of [`DatabaseConfig`](crate::DatabaseConfig) changed afterwards do not show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Explain {
    settings: Vec<Setting>,
}

impl Explain {
    pub(crate) fn new(settings: Vec<Setting>) -> Self {
        Self { settings }
    }

    /// The values, one by one.
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }
}

impl fmt::Display for Explain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ("KEY", "VALUE", "SOURCE");
        let rows = || {
            self.settings
                .iter()
                .map(|s| (s.key.as_str(), s.value.as_str(), s.source.as_str()))
        };
        let width = |of: fn((&str, &str, &str)) -> usize| rows().chain([head]).map(of).max().unwrap_or_default();
        let key_width = width(|row| row.0.chars().count());
        let value_width = width(|row| row.1.chars().count());
        for (index, (key, value, source)) in [head].into_iter().chain(rows()).enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{key:key_width$}  {value:value_width$}  {source}")?;
        }
        Ok(())
    }
}
