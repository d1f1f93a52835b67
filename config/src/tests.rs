//! Loading: layers, inference, contradictions, bad input, redaction.

mod documents;
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

/// Everything that is logged at TRACE while this runs, spans included.
#[cfg(feature = "postgres")]
pub(crate) fn logged(work: impl Future<Output = ()>) -> String {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);
    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
        .with_writer(move || writer.clone())
        .finish();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tracing::subscriber::with_default(subscriber, || runtime.block_on(work));
    String::from_utf8(log.0.lock().unwrap().clone()).unwrap()
}

#[test]
fn a_driver_that_is_switched_off_says_so() {
    let config = match (cfg!(feature = "sqlite"), cfg!(feature = "postgres")) {
        (false, _) => DatabaseConfig::memory(),
        (_, false) => DatabaseConfig::postgres("postgres://u@h/d").unwrap(),
        _ => return,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let errors = [
        runtime.block_on(config.open()).err().unwrap(),
        runtime.block_on(config.connect()).err().unwrap(),
    ];
    for error in errors {
        assert_eq!(error.kind, crate::ConnectErrorKind::UnsupportedDriver);
        let advice = format!("enable the cargo feature `{}`", config.driver);
        assert!(error.to_string().contains(&advice), "{error}");
    }
}
