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
mod chats;
mod child;
mod concurrency;
mod conformance;
mod coverage;
mod deletion;
mod entities;
mod executions;
mod faults;
mod fill;
mod full_disk;
mod groups;
mod health;
mod in_memory_kv;
mod kit;
mod limits;
mod listen;
mod memory;
mod messages;
mod migrations;
mod missions;
mod own_tables;
mod plans;
mod processes;
mod reads;
mod resume_after_crash;
mod retention;
mod runtimes;
mod secrets;
mod sentinel;
mod souls;
mod statements;
mod support;
mod transactions;
mod users;
mod vault;
mod walks;
mod workflows;

fn main() -> ExitCode {
    let elsewhere = kit::probe()
        .or_else(child::run)
        .or_else(workflows::checkpoints)
        .or_else(resume_after_crash::run);
    elsewhere.unwrap_or_else(|| {
        listen::keep_talking();
        store::testkit::run([
            conformance::tests(),
            souls::tests(),
            secrets::tests(),
            vault::tests(),
            users::tests(),
            api_keys::tests(),
            memory::tests(),
            in_memory_kv::tests(),
            chats::tests(),
            messages::tests(),
            workflows::tests(),
            executions::tests(),
            missions::tests(),
            deletion::tests(),
            limits::tests(),
            retention::tests(),
            walks::tests(),
            transactions::tests(),
            cancellation::tests(),
            concurrency::tests(),
            groups::tests(),
            reads::tests(),
            runtimes::tests(),
            faults::tests(),
            full_disk::tests(),
            health::tests(),
            migrations::tests(),
            own_tables::tests(),
            processes::tests(),
            bad_input::tests(),
            sentinel::tests(),
            entities::tests(),
            resume_after_crash::tests(),
            statements::tests(),
            plans::tests(),
            coverage::tests(),
            kit::tests(),
        ])
    })
}
