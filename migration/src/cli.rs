//! What an operator can ask of a database's schema.

mod ask;
mod commands;
mod failure;
mod output;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use config::DatabaseConfig;

use failure::Failure;
use output::Output;

const AFTER_HELP: &str = "\
The database is the one that the store itself would open: built-in defaults, store.toml (or the file that STORE_CONFIG
names), STORE_* and DATABASE_URL in the environment. `migration config` shows what that comes to.

Exit codes:
  0  done; the schema is complete, or there was nothing to do
  1  the database could not be reached, or refused
  2  the command line or the configuration is wrong
  3  the schema is not what this program expects: status or check found it pending, ahead or drifted,
     or a command refused to move it for that
  4  a destructive command was not confirmed; nothing was changed

With --json, stdout is one JSON object, also for errors: {\"error\": {\"kind\": …, \"message\": …}}.";

/// Moves and inspects the schema of the store's database.
#[derive(Debug, Parser)]
#[command(name = "migration", version, arg_required_else_help = true, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    target: Target,
    /// Answer in JSON, for programs
    #[arg(long, global = true)]
    json: bool,
}

/// Another database than the configured one.
#[derive(Debug, Args)]
struct Target {
    /// A SQLite file instead of the configured database, with default settings
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "url")]
    path: Option<PathBuf>,
    /// A Postgres URL instead of the configured database, with default settings. Other users of this machine can see a
    /// password in it; STORE_URL is the quiet way
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
}

impl Target {
    fn load(&self) -> Result<DatabaseConfig, Failure> {
        let config = match (&self.path, &self.url) {
            (Some(path), _) => DatabaseConfig::sqlite(path),
            (None, Some(url)) => DatabaseConfig::postgres(url),
            (None, None) => DatabaseConfig::load(),
        };
        Ok(config?)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
enum Command {
    /// Apply every pending migration
    Up,
    /// Take back the newest migrations, with the rows in what they made
    Down {
        /// How many
        #[arg(default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        count: u32,
        #[command(flatten)]
        consent: Consent,
    },
    /// Show which migrations are applied and how the schema stands; exits 3 unless it is complete
    Status,
    /// Drop all tables of the store, whatever state they are in, and apply every migration. Other tables stay
    Fresh {
        #[command(flatten)]
        consent: Consent,
    },
    /// Take back every migration and apply all of them again
    Refresh {
        #[command(flatten)]
        consent: Consent,
    },
    /// Take back every migration and leave nothing
    Reset {
        #[command(flatten)]
        consent: Consent,
    },
    /// Compare the live schema with what the migrations make, down to defaults, constraints and indexes; exits 3 unless
    /// it is exactly that
    Check,
    /// Print the schema as DDL; needs no database
    Schema {
        /// In whose words; the configured database's if left out
        #[arg(long)]
        driver: Option<Driver>,
        /// As a Mermaid entity-relationship diagram instead
        #[arg(long, conflicts_with = "driver")]
        erd: bool,
    },
    /// Print the effective configuration, secrets left out; opens nothing
    Config,
}

/// The leave to destroy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
struct Consent {
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Driver {
    Sqlite,
    Postgres,
}

/// Does what is asked and says how it went.
pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    let output = Output::new(arguments.json);
    let code = match commands::run(&arguments, &output).await {
        Ok(code) => code,
        Err(failure) => {
            output.failure(&failure);
            failure.code()
        }
    };
    ExitCode::from(code)
}
