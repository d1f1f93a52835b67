//! The suite: every test runs on every backend that is selected.

use std::process::ExitCode;

mod kit;

fn main() -> ExitCode {
    match kit::probe() {
        Some(code) => code,
        None => store::testkit::run([kit::tests()]),
    }
}
