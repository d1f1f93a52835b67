//! The command line. What it does is in `cli`; this starts it.

mod cli;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    log_to_stderr();
    cli::run(arguments).await
}

/// Warnings, or what RUST_LOG says; never on stdout, which is the answer's.
fn log_to_stderr() {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::WARN.into())
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
