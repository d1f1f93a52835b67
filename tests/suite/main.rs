//! The suite: every test runs on every backend that is selected.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
#![allow(
    clippy::print_stdout,
    reason = "what a test prints is read by whoever looks into its failure"
)]

use std::process::ExitCode;

mod cancellation;
mod concurrency;
mod conformance;
mod health;
mod kit;
mod migrations;
mod own_tables;
mod resume_after_crash;
mod support;
mod transactions;
mod workflows;

fn main() -> ExitCode {
    kit::probe()
        .or_else(workflows::checkpoints)
        .or_else(resume_after_crash::run)
        .unwrap_or_else(|| {
            store::testkit::run([
                conformance::tests(),
                cancellation::tests(),
                concurrency::tests(),
                health::tests(),
                own_tables::tests(),
                resume_after_crash::tests(),
                transactions::tests(),
                workflows::tests(),
                migrations::tests(),
                kit::tests(),
            ])
        })
}
