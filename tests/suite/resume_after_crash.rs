//! The example of that name, run as a user runs it: this program runs it in place of the suite.

use std::process::{Command, ExitCode, Stdio};

use store::testkit::TestDatabase;

#[path = "../../examples/src/bin/resume_after_crash.rs"]
mod example;

store::testkit::tests![the_example_does_every_step_once];

const EXAMPLE: &str = "STORE_TEST_RESUME_AFTER_CRASH";

/// Runs the example, when this process was started for that.
pub(crate) fn run() -> Option<ExitCode> {
    std::env::var_os(EXAMPLE)?;
    Some(match example::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    })
}

async fn the_example_does_every_step_once(db: TestDatabase) {
    // The second time it finds what the first has left.
    for _ in 0..2 {
        let output = Command::new(std::env::current_exe().unwrap())
            .env(EXAMPLE, "")
            .env("STORE_URL", db.url())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}\n{errors}");
        println!("{said}");
        in_this_order(&said);
        for letter in 1..=4 {
            for step in ["gather", "draft", "review", "print", "post"] {
                let line = format!("letter {letter}: {step} done");
                assert_eq!(said.matches(&line).count(), 1, "{line}\n{said}");
            }
        }
    }
}

fn in_this_order(said: &str) {
    let mut rest = said;
    for part in [
        "ada   letter 1: draft done",
        "ada   turns to review",
        "SIGKILL: ada is gone",
        "ben   finds letter 1 with 2 of 5 steps done",
        "ben   letter 1: review done",
        "letter 1:  gather ada  draft ada  review ben  print ben  post ben",
        "Every step happened once.",
        "ada   takes letter 2",
        "ada   letter 2: gather done",
        "SIGSTOP: ada stands still",
        "takes over letter 2",
        "SIGCONT: ada goes on where she stood",
        "ada   is fenced: letter 2 has another worker by now",
        "letter 2:  gather ada  draft ",
        "Every step happened once.",
    ] {
        let Some((_, after)) = rest.split_once(part) else {
            panic!("not said, or not in this place: {part}\n{said}");
        };
        rest = after;
    }
}
