//! Where the layers come from.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use figment::providers::{Format, Toml};
use figment::value::{Dict, Value};

use crate::layers::{self, Layer, LayerValues};
use crate::{ConfigError, DatabaseConfig, Problem, assemble, keys};

/// The built-in defaults; also the documentation of every key.
pub(crate) const DEFAULTS: &str = include_str!("../defaults.toml");

/// The file that is read from the current directory when no other is named.
const FILE_NAME: &str = "store.toml";

#[derive(Debug, Clone)]
enum FileChoice {
    Search,
    Named(PathBuf),
    None,
}

/// Chooses the layers and loads them.
///
/// As it starts it reads what [`DatabaseConfig::load`] reads: the defaults, the file that `STORE_CONFIG` names or
/// `store.toml` in the current directory, and the process's environment.
///
/// ```
/// # fn main() -> Result<(), config::ConfigError> {
/// let config = config::DatabaseConfig::loader()
///     .no_file()
///     .environment([("STORE_PATH", "bots.db")])
///     .set("sqlite.synchronous", "normal")
///     .load()?;
/// assert!(config.describe().ends_with("bots.db"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Loader {
    file: FileChoice,
    environment: Option<Vec<(OsString, OsString)>>,
    directory: Option<PathBuf>,
    code: Vec<(String, Result<Value, String>)>,
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The environment and the code's values may hold secrets.
        let code: Vec<_> = self.code.iter().map(|(key, _)| key).collect();
        f.debug_struct("Loader")
            .field("file", &self.file)
            .field("code", &code)
            .finish_non_exhaustive()
    }
}

impl Default for Loader {
    fn default() -> Self {
        Self {
            file: FileChoice::Search,
            environment: Some(process_environment()),
            directory: None,
            code: vec![],
        }
    }
}

fn process_environment() -> Vec<(OsString, OsString)> {
    std::env::vars_os().collect()
}

impl Loader {
    /// Reads this TOML file, which must exist; `STORE_CONFIG` and `store.toml` are not looked at.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = FileChoice::Named(path.into());
        self
    }

    /// Reads no file.
    pub fn no_file(mut self) -> Self {
        self.file = FileChoice::None;
        self
    }

    /// Takes the environment from these pairs in place of the process's own.
    pub fn environment<K: Into<OsString>, V: Into<OsString>>(
        mut self,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.environment = Some(
            pairs
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        );
        self
    }

    /// Reads no environment: neither `STORE_…`, `STORE_CONFIG`, `DATABASE_URL` nor `XDG_DATA_HOME`. Only the home
    /// directory is still the user's: when no place is given, SQLite's file is in the usual data directory below it.
    pub fn no_environment(mut self) -> Self {
        self.environment = None;
        self
    }

    /// Looks for `store.toml` here, and lets relative paths start here, in place of the current directory.
    pub fn directory(mut self, path: impl Into<PathBuf>) -> Self {
        self.directory = Some(path.into());
        self
    }

    /// Sets a key, such as `sqlite.readers`, above every other layer. An unknown key or a value of the wrong type is
    /// reported by [`load`](Self::load).
    pub fn set(mut self, key: &str, value: impl serde::Serialize) -> Self {
        let value = Value::serialize(value).map_err(|_| "the value cannot be represented".to_owned());
        self.code.push((key.to_owned(), value));
        self
    }

    /// Reads the layers, merges them and checks the result.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every problem found: unreadable or malformed files, unknown keys, empty or malformed values,
    /// contradictions. A file that is not TOML hides what else is wrong in that file only.
    pub fn load(self) -> Result<DatabaseConfig, ConfigError> {
        let (config, problems) = self.load_anyway();
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError::new(problems))
        }
    }

    /// The configuration as far as it goes, and what is wrong with it.
    pub(crate) fn load_anyway(self) -> (DatabaseConfig, Vec<Problem>) {
        let mut problems = vec![];
        let current = self.current_directory(&mut problems);
        let environment = self.environment.clone().unwrap_or_default();
        let mut layers = vec![read_toml(Layer::Default, DEFAULTS, &mut problems)];
        if let Some(path) = self.find_file(&current, &environment, &mut problems) {
            match std::fs::read_to_string(&path) {
                Ok(text) => layers.push(read_toml(Layer::File(path), &text, &mut problems)),
                Err(error) => problems.push(Problem::general(format!("cannot read {}: {error}", path.display()))),
            }
        }
        layers.extend(read_environment(&environment, &mut problems));
        layers.push(read_code(self.code, &mut problems));
        assemble::assemble(layers, &current, &environment, problems)
    }

    fn current_directory(&self, problems: &mut Vec<Problem>) -> PathBuf {
        let chosen = self.directory.clone().unwrap_or_default();
        if chosen.is_absolute() {
            return chosen;
        }
        match std::env::current_dir() {
            Ok(current) if chosen.as_os_str().is_empty() => current,
            Ok(current) => current.join(chosen),
            Err(error) => {
                problems.push(Problem::general(format!("there is no current directory: {error}")));
                chosen
            }
        }
    }

    fn find_file(
        &self,
        current: &Path,
        environment: &[(OsString, OsString)],
        problems: &mut Vec<Problem>,
    ) -> Option<PathBuf> {
        match &self.file {
            FileChoice::None => None,
            FileChoice::Named(path) => Some(current.join(path)),
            FileChoice::Search => match environment.iter().find(|(name, _)| name == "STORE_CONFIG") {
                Some((_, path)) if path.is_empty() => {
                    let message = "STORE_CONFIG is set but empty; remove it or name a TOML file";
                    problems.push(Problem::general(message));
                    None
                }
                Some((_, path)) => Some(current.join(path)),
                None => Some(current.join(FILE_NAME)).filter(|path| path.exists()),
            },
        }
    }
}

fn read_toml(layer: Layer, text: &str, problems: &mut Vec<Problem>) -> LayerValues {
    match Toml::from_str::<Dict>(text) {
        Ok(dict) => LayerValues::from_dict(layer, dict, problems),
        Err(error) => {
            // Its Display quotes the line, which may hold a password.
            let line = error
                .span()
                .and_then(|span| text.get(..span.start))
                .map_or(1, |head| head.matches('\n').count() + 1);
            let message = error.message().lines().next().unwrap_or("malformed").to_owned();
            problems.push(Problem::general(format!(
                "{} is not valid TOML: line {line}: {message}",
                layer.label("")
            )));
            LayerValues::new(layer)
        }
    }
}

/// `DATABASE_URL` as a layer of its own below the `STORE_…` variables.
fn read_environment(environment: &[(OsString, OsString)], problems: &mut Vec<Problem>) -> [LayerValues; 2] {
    let mut url = LayerValues::new(Layer::DatabaseUrl);
    let mut own = LayerValues::new(Layer::Environment);
    for (name, value) in environment {
        let Some(name) = name.to_str() else { continue };
        let (layer, key) = match name.strip_prefix("STORE_") {
            Some(rest) if rest == "CONFIG" || rest.starts_with("TEST_") => continue,
            Some(rest) => (&mut own, rest.to_lowercase().replace("__", ".")),
            None if name == "DATABASE_URL" => (&mut url, "url".to_owned()),
            None => continue,
        };
        let known = keys::shape(&key).is_some() && layer.layer.label(&key).ends_with(name);
        if !known {
            problems.push(unknown_variable(name, &key));
        } else if let Some(text) = value.to_str() {
            match layers::from_text(&key, text) {
                _ if text.is_empty() => layer.insert(&key, Value::from(text), problems),
                Ok(value) => layer.insert(&key, value, problems),
                Err(error) => problems.push(Problem::new(&key, layer.layer.label(&key), error)),
            }
        } else {
            problems.push(Problem::new(&key, layer.layer.label(&key), "is not UTF-8"));
        }
    }
    [url, own]
}

fn unknown_variable(name: &str, key: &str) -> Problem {
    let hint = keys::nearest(key)
        .map(|near| format!("; did you mean {}?", keys::variable(near)))
        .unwrap_or_default();
    Problem::new(
        key,
        format!("environment variable {name}"),
        format!("unknown key{hint}"),
    )
}

fn read_code(code: Vec<(String, Result<Value, String>)>, problems: &mut Vec<Problem>) -> LayerValues {
    let mut values = LayerValues::new(Layer::Code);
    for (key, value) in code {
        match value {
            Ok(value) if keys::shape(&key).is_some() => values.insert(&key, value, problems),
            Ok(_) => {
                let near = keys::nearest(&key)
                    .map(|near| format!("; did you mean `{near}`?"))
                    .unwrap_or_default();
                problems.push(Problem::new(&key, "code", format!("unknown key{near}")));
            }
            Err(error) => problems.push(Problem::new(&key, "code", error)),
        }
    }
    values
}
