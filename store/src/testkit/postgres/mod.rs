//! Databases on Postgres: one per test, on a server that all test processes share.

mod cluster;
mod connection;
mod docker;
mod find;
mod keeper;
mod server;
mod template;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use config::DatabaseConfig;

pub(crate) use keeper::keeper_main;
use server::Server;
pub(crate) use server::version;

use super::Template;
use super::workdir::KEPT_FOR;

/// What every database of the kit is named after.
const PREFIX: &str = "undercroft_test_";

/// A database on the shared server.
#[derive(Debug)]
pub(crate) struct PostgresDatabase {
    server: &'static Server,
    name: String,
}

impl PostgresDatabase {
    /// A database copied from the template, or, without one, an empty one.
    pub(crate) async fn create(label: &str, template: Option<&Template>) -> Result<Self, String> {
        let server = server::shared().await?;
        sweep_once(server).await?;
        let source = match template {
            Some(template) => template::prepared(server, template).await?,
            None => "template0".to_owned(),
        };
        let database = Self {
            server,
            name: fresh_name(label),
        };
        database.server.copy_database(&source, &database.name).await?;
        Ok(database)
    }

    pub(crate) fn url(&self) -> String {
        self.server.url(&self.name)
    }

    pub(crate) fn config(&self) -> Result<DatabaseConfig, String> {
        config_for(self.server, &self.name)
    }

    /// Removes it, whoever is still connected.
    pub(crate) async fn delete(&self) -> Result<(), String> {
        self.server.drop_database(&self.name).await
    }

    /// Holds the server for it, and says how to look at it.
    pub(crate) fn keep(&self) -> String {
        self.server.keep(&self.name)
    }
}

fn config_for(server: &Server, name: &str) -> Result<DatabaseConfig, String> {
    DatabaseConfig::postgres(&server.url(name)).map_err(|error| format!("no configuration for {name}: {error}"))
}

/// A name that says when it was made and for which test, unlike every other one.
fn fresh_name(label: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!(
        "{PREFIX}{:x}_{:x}_{count:x}_{label}",
        seconds_since_1970(),
        std::process::id()
    )
}

#[allow(
    clippy::disallowed_methods,
    reason = "the age of leftovers on a shared server, which no test's clock governs"
)]
fn seconds_since_1970() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Whether a name made here is more than a day old.
fn is_old(name: &str) -> bool {
    let made = name.strip_prefix(PREFIX).and_then(|rest| rest.split('_').next());
    let made = made.and_then(|hex| u64::from_str_radix(hex, 16).ok());
    made.is_some_and(|made| Duration::from_secs(seconds_since_1970().saturating_sub(made)) > KEPT_FOR)
}

/// Drops what killed processes and failed tests left on the server a day ago.
async fn sweep_once(server: &Server) -> Result<(), String> {
    static SWEPT: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    SWEPT
        .get_or_try_init(|| async {
            for name in server.databases(PREFIX).await? {
                if is_old(&name) {
                    server.drop_database(&name).await?;
                }
            }
            Ok(())
        })
        .await
        .copied()
}

/// The log's last lines, for a message.
fn tail(log: &PathBuf) -> String {
    let Ok(text) = fs::read_to_string(log) else {
        return String::new();
    };
    let lines: Vec<&str> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(12)..];
    if shown.is_empty() {
        String::new()
    } else {
        format!("\n{}:\n    {}", log.display(), shown.join("\n    "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_knows_its_age_and_fits() {
        let name = fresh_name("a_label_of_the_length_of_24");
        assert!(!is_old(&name) && name.len() <= 63, "{name}");
        assert!(is_old("undercroft_test_5f000000_1_0_old"));
        assert!(!is_old("undercroft_test_zz") && !is_old("somebody_elses"));
    }
}
