//! Loading: layers, inference, contradictions, bad input, redaction.

mod files;
mod loading;
mod locations;
mod secrets;
mod vaults;

use crate::{ConfigError, DatabaseConfig, Loader};

/// No file, no environment: what a test adds is all there is.
fn bare() -> Loader {
    DatabaseConfig::loader()
        .no_file()
        .no_environment()
        .directory("/nowhere")
}

fn env(pairs: &[(&str, &str)]) -> Result<DatabaseConfig, ConfigError> {
    bare().environment(pairs.iter().copied()).load()
}

/// The message of a load that has to fail.
fn wrong(loaded: Result<DatabaseConfig, ConfigError>) -> String {
    match loaded {
        Ok(config) => panic!("loaded {}", config.describe()),
        Err(error) => error.to_string(),
    }
}

/// A directory with a `store.toml`.
fn with_file(toml: &str) -> (tempfile::TempDir, Loader) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("store.toml"), toml).unwrap();
    let loader = DatabaseConfig::loader().no_environment().directory(dir.path());
    (dir, loader)
}

fn source_of(config: &DatabaseConfig, key: &str) -> String {
    let settings = config.explain().settings();
    settings
        .iter()
        .find(|setting| setting.key == key)
        .unwrap_or_else(|| panic!("{key} is missing"))
        .source
        .clone()
}

fn value_of(config: &DatabaseConfig, key: &str) -> Option<String> {
    config
        .explain()
        .settings()
        .iter()
        .find(|setting| setting.key == key)
        .map(|setting| setting.value.clone())
}
