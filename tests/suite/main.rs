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

mod api_keys;
mod bad_input;
mod cancellation;
mod child;
mod concurrency;
mod conformance;
mod coverage;
mod entities;
mod health;
mod kit;
mod listen;
mod migrations;
mod own_tables;
mod plans;
mod secrets;
mod sentinel;
mod souls;
mod statements;
mod support;
mod transactions;
mod users;
mod vault;

fn main() -> ExitCode {
    let elsewhere = kit::probe().or_else(child::run);
    elsewhere.unwrap_or_else(|| {
        store::testkit::run([
            conformance::tests(),
            souls::tests(),
            secrets::tests(),
            vault::tests(),
            users::tests(),
            api_keys::tests(),
            transactions::tests(),
            cancellation::tests(),
            concurrency::tests(),
            health::tests(),
            migrations::tests(),
            own_tables::tests(),
            bad_input::tests(),
            sentinel::tests(),
            entities::tests(),
            statements::tests(),
            plans::tests(),
            coverage::tests(),
            kit::tests(),
        ])
    })
}
