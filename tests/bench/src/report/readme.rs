//! The README's table of costs: what matters most out of the page.

use std::fmt::Write as _;

use super::number;
use crate::Result;
use crate::plan::{Backend, Who, Work};
use crate::results::Results;

const BEGIN: &str =
    "<!-- What it costs, written by `cargo run --release -p bench` (tests/bench/src/report/readme.rs) -->\n";
const END: &str = "<!-- until here -->\n";

/// The lines: where, what, how it is called, and with how many tasks.
const LINES: [(Backend, Work, &str, usize); 7] = [
    (Backend::Sqlite, Work::ReadKey, "read by key, 64 tasks", 64),
    (Backend::Sqlite, Work::Insert, "durable insert, 64 tasks", 64),
    (Backend::Sqlite, Work::Transaction, "transaction, 64 tasks", 64),
    (Backend::Sqlite, Work::PageDeep, "page of 50 at depth 100,000", 1),
    (Backend::Postgres, Work::ReadKey, "read by key, 64 tasks", 64),
    (Backend::Postgres, Work::Insert, "durable insert, 64 tasks", 64),
    (Backend::Postgres, Work::Transaction, "transaction, 64 tasks", 64),
];

/// The columns.
const COLUMNS: [(Who, &str); 3] = [
    (Who::Undercroft, "Undercroft"),
    (Who::Tuned, "SeaORM, tuned"),
    (Who::Newcomer, "SeaORM, as it comes"),
];

/// The README with what these results give between its two marks.
pub(super) fn renewed(readme: &str, results: &Results) -> Result<String> {
    let parts = readme.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    let (before, after) = parts.ok_or("README.md has lost the marks around its table of costs")?;
    Ok(format!("{before}{BEGIN}\n{}\n{END}{after}", costs(results)))
}

fn costs(results: &Results) -> String {
    let mut text = format!(
        "As a multiple of what the driver below everything takes for the same work (rusqlite, in the better of two ways to\n\
         use it, and tokio-postgres), on {}:\n\n|",
        processors(results.machine.processors)
    );
    for (_, name) in COLUMNS {
        let _ = write!(text, " | {name}");
    }
    text.push_str(" |\n|---|---|---|---|\n");
    for (backend, work, name, tasks) in LINES {
        let measured = results.at_middle(backend, work, tasks);
        let _ = write!(text, "| {}, {name}", backend.title());
        for (who, _) in COLUMNS {
            let ratio = measured.and_then(|it| it.against_limit(who));
            let ratio = ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{}×", number(ratio.median)));
            let _ = write!(text, " | {ratio}");
        }
        text.push_str(" |\n");
    }
    text
}

fn processors(count: usize) -> String {
    match count {
        1 => "one processor".to_owned(),
        2 => "two processors".to_owned(),
        _ => format!("{count} processors"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Cell;
    use crate::results::tests::measured;

    #[test]
    fn the_table_stands_between_its_marks_and_compares_with_the_better_limit() {
        let mut results = Results::default();
        let cell = Cell {
            backend: Backend::Sqlite,
            work: Work::Insert,
            rows: 200_000,
            tasks: 64,
        };
        let rounds: [(Who, &[f64]); 4] = [
            (Who::Limit, &[60.0]),
            (Who::LimitInline, &[50.0]),
            (Who::Undercroft, &[75.0]),
            (Who::Newcomer, &[1_500.0]),
        ];
        results.put(measured(cell, &rounds));
        let readme = format!("# Name\n\n{BEGIN}old\n{END}\nmore\n");
        let written = renewed(&readme, &results).unwrap();
        assert!(written.starts_with("# Name\n\n<!-- What") && written.ends_with("-->\n\nmore\n"));
        assert!(!written.contains("old"));
        assert!(
            written.contains("\n| | Undercroft | SeaORM, tuned | SeaORM, as it comes |\n"),
            "{written}"
        );
        assert!(
            written.contains("\n| SQLite, durable insert, 64 tasks | 1.50× | – | 30.0× |\n"),
            "{written}"
        );
        assert_eq!(renewed(&written, &results).unwrap(), written);
        assert!(renewed("# Name\n", &results).is_err());
    }
}
