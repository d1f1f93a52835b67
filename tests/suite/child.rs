//! Work for a process of its own: with a subscriber for all its logs, or as a user who may do less.

use std::process::{Command, ExitCode};

use crate::bad_input::files;
use crate::{full_disk, processes, sentinel};

/// The variable that names the work.
const WORK: &str = "STORE_TEST_CHILD";

/// Does the work that the variable names, if this process was started for that.
pub(crate) fn run() -> Option<ExitCode> {
    let work = std::env::var(WORK).ok()?;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        match work.as_str() {
            sentinel::CHILD => sentinel::child().await,
            files::CHILD => files::child().await,
            full_disk::CHILD => full_disk::child().await,
            processes::OPEN => processes::open_and_write_one().await,
            processes::WRITE => processes::write_until_killed().await,
            other => panic!("{WORK}={other}"),
        }
    });
    Some(ExitCode::SUCCESS)
}

/// This program, to do that work.
pub(crate) fn command(program: &std::path::Path, work: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env(WORK, work)
        .env("RUST_BACKTRACE", "0")
        .stdin(std::process::Stdio::null());
    command
}
