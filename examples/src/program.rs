//! What every example program does around its work.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use store::prelude::*;

/// Prints what the program has to tell, or what went wrong.
#[allow(clippy::print_stderr, reason = "a program tells its user what went wrong")]
pub fn finish(outcome: Result<String, Box<dyn Error>>) -> ExitCode {
    let printed = outcome.and_then(|report| Ok(std::io::stdout().write_all(report.as_bytes())?));
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", explained(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// The error, and the causes that it does not tell itself.
fn explained(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            let _ = write!(text, "\n  because: {message}");
        }
        cause = error.source();
    }
    text
}

/// All items of a list, page by page.
///
/// # Errors
/// Those of the list.
pub async fn every<T>(list: impl AsyncFn(PageRequest) -> store::Result<Page<T>>) -> store::Result<Vec<T>> {
    let mut items = Vec::new();
    let mut request = PageRequest::first(PageRequest::MAX);
    loop {
        let page = list(request).await?;
        items.extend(page.items);
        match page.next {
            Some(cursor) => request = PageRequest::after(cursor, PageRequest::MAX),
            None => return Ok(items),
        }
    }
}
