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
mod in_memory_kv;
mod kit;
mod memory;
mod migrations;
mod own_tables;
mod support;
mod transactions;

fn main() -> ExitCode {
    kit::probe().unwrap_or_else(|| {
        store::testkit::run([
            conformance::tests(),
            cancellation::tests(),
            concurrency::tests(),
            health::tests(),
            in_memory_kv::tests(),
            memory::tests(),
            own_tables::tests(),
            transactions::tests(),
            migrations::tests(),
            kit::tests(),
        ])
    })
}
