//! What is wrong with a configuration.

use std::fmt;

/// One thing that is wrong, with where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The keys it is about, such as `sqlite.busy_timeout`; two or more when they contradict each other.
    pub keys: Vec<String>,
    /// For each key, the layer that set it: `default`, a file's path, `environment variable STORE_…`, or `code`.
    pub sources: Vec<String>,
    /// What is wrong and what to do. Never contains a secret.
    pub message: String,
}

impl Problem {
    pub(crate) fn new(key: &str, source: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            keys: vec![key.to_owned()],
            sources: vec![source.into()],
            message: message.into(),
        }
    }

    /// Two keys that cannot both hold.
    pub(crate) fn between(a: (&str, String), b: (&str, String), message: impl Into<String>) -> Self {
        Self {
            keys: vec![a.0.to_owned(), b.0.to_owned()],
            sources: vec![a.1, b.1],
            message: message.into(),
        }
    }

    /// About the configuration as a whole.
    pub(crate) fn general(message: impl Into<String>) -> Self {
        Self {
            keys: vec![],
            sources: vec![],
            message: message.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, source)) in self.keys.iter().zip(&self.sources).enumerate() {
            let join = if index == 0 { "" } else { " and " };
            write!(f, "{join}`{key}` ({source})")?;
        }
        let join = if self.keys.is_empty() { "" } else { ": " };
        write!(f, "{join}{}", self.message)
    }
}

/// A configuration that cannot be used, with every problem that was found, not only the first.
///
/// Nothing in it shows a secret, however it is printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    pub(crate) fn new(problems: Vec<Problem>) -> Self {
        Self { problems }
    }

    /// Every problem, in the order of the keys in `defaults.toml` as far as they have one; never empty.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [problem] = self.problems.as_slice() {
            return write!(f, "the configuration cannot be used: {problem}");
        }
        write!(f, "the configuration cannot be used, {} problems:", self.problems.len())?;
        self.problems
            .iter()
            .try_for_each(|problem| write!(f, "\n  - {problem}"))
    }
}

impl std::error::Error for ConfigError {}
