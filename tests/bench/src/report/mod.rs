//! The measurements as people read them: tables on the terminal, a page and plots in docs.

mod page;
mod plots;
mod readme;
mod svg;
mod targets;

use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::plan::{Cell, Work};
use crate::results::{Measured, Results, Run};

/// The project's own documents, which are among what is written.
pub(crate) fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

/// Writes the page and its plots into this directory, and the README's table where the directory is the project's own.
pub(crate) fn write(results: &Results, out: &Path) -> Result<()> {
    fs::create_dir_all(out.join("performance"))?;
    for (name, text) in documents(results) {
        fs::write(out.join(name), text)?;
    }
    if out.canonicalize()? == docs().canonicalize()? {
        let readme = docs().join("../README.md");
        let text = fs::read_to_string(&readme)?;
        fs::write(readme, readme::renewed(&text, results)?)?;
    }
    Ok(())
}

/// The page and its plots, as the results give them.
fn documents(results: &Results) -> [(&'static str, String); 4] {
    [
        ("performance.md", page::page(results)),
        ("performance/ratio.svg", plots::ratios(results)),
        ("performance/size.svg", plots::sizes(results)),
        ("performance/tasks.svg", plots::tasks(results)),
    ]
}

/// One cell for the terminal.
pub(crate) fn table(measured: &Measured) -> String {
    let mut lines = vec![format!("\n{}", measured.cell)];
    let header = ["", "µs", "min–max", "CPU µs", "× limit", ""];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(measured.contenders.iter().map(|run| row(measured, run)));
    lines.extend(aligned(&rows));
    lines.join("\n")
}

/// What all tables say about a contender: its name, time, spread, processor time, ratio to the limit, and remarks.
fn row(measured: &Measured, run: &Run) -> Vec<String> {
    let none = || "–".to_owned();
    let ratio = match run.who {
        who if measured.limit() == Some(who) => Some("1".to_owned()),
        who => measured.against_limit(who).map(|ratio| number(ratio.median)),
    };
    let micros = run.micros();
    vec![
        run.who.title(measured.cell.backend).to_owned(),
        micros.map_or_else(none, |micros| number(micros.median)),
        micros.map_or_else(none, |micros| format!("{}–{}", number(micros.low), number(micros.high))),
        run.cpu_micros().map_or_else(none, |cpu| number(cpu.median)),
        ratio.unwrap_or_else(none),
        remarks(measured, run),
    ]
}

fn remarks(measured: &Measured, run: &Run) -> String {
    let mut remarks = Vec::new();
    if measured.cell.work == Work::Mixed
        && let Some(changes) = run.changes_per_second()
    {
        remarks.push(format!("{} changes/s", number(changes)));
    }
    if let Some(peak) = run.peak_mib() {
        remarks.push(format!("{peak:.0} MiB"));
    }
    if run.errors() > 0 {
        let share = run.errors() as f64 * 100.0 / run.attempts() as f64;
        let error = run.error().unwrap_or_default();
        remarks.push(format!("{} errors ({share:.1} %): {error}", run.errors()));
    }
    remarks.join(", ")
}

/// Three digits are enough.
fn number(number: f64) -> String {
    match number.abs() {
        large if large >= 99.95 => crate::plan::grouped(number.round() as u64),
        middle if middle >= 9.995 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

/// Columns of equal width; the first to the left, numbers to the right.
fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| {
        rows.iter()
            .filter_map(|row| row.get(at))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..columns).map(|at| width(at).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().enumerate().map(|(at, cell)| {
            let width = widths[at];
            match at {
                0 => format!("  {cell:<width$}"),
                last if last + 1 == columns => cell.clone(),
                _ => format!("{cell:>width$}"),
            }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// What was to be reached, and whether it was, for the terminal. Only what this run has touched.
pub(crate) fn summary(results: &Results, cells: &[Cell]) -> String {
    let mut rows = vec![["target", "at", "measured", ""].map(str::to_owned).to_vec()];
    let touched = |target: &targets::Target| {
        let works = cells
            .iter()
            .any(|cell| cell.backend == target.backend && target.work.is_none_or(|work| work == cell.work));
        works || cells.is_empty()
    };
    for target in targets::targets(results).iter().filter(|target| touched(target)) {
        rows.push(vec![
            target.title(),
            target.bound.to_string(),
            target.found_text(),
            target.verdict().to_owned(),
        ]);
    }
    let mut lines = aligned(&rows);
    let ahead = targets::ahead(results).into_iter();
    let ahead = ahead.filter(|it| cells.is_empty() || cells.contains(&it.cell));
    lines.extend(ahead.map(|it| format!("  ahead of the store: {it}")));
    if let Some(share) = results.elsewhere().filter(|share| *share > BUSY) {
        let share = share * 100.0;
        lines.push(format!(
            "\nOther programs had {share:.0} % of the processors: trust ratios with care, and measure again."
        ));
    }
    lines.join("\n")
}

/// From this share on, other programs' work shows in the numbers.
const BUSY: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Backend, Who};
    use crate::results::tests::measured;

    fn cell() -> Cell {
        Cell {
            backend: Backend::Sqlite,
            work: Work::ReadKey,
            rows: 10_000,
            tasks: 1,
        }
    }

    #[test]
    fn numbers_have_three_digits() {
        let numbers = [0.123, 1.0, 9.994, 12.34, 99.94, 99.96, 4321.9];
        assert_eq!(
            numbers.map(number),
            ["0.12", "1.00", "9.99", "12.3", "99.9", "100", "4,322"]
        );
    }

    #[test]
    fn a_table_shows_time_spread_and_ratio() {
        let mut cell = measured(
            cell(),
            &[
                (Who::Limit, &[10.0, 12.0, 11.0]),
                (Who::LimitInline, &[9.0, 10.0, 11.0]),
                (Who::Undercroft, &[20.0, 36.0, 22.0]),
            ],
        );
        cell.contenders[2].rounds[0].errors = 3;
        cell.contenders[2].rounds[0].error = Some("database is locked".to_owned());
        let expected = "
SQLite, read by key, 10,000 rows, 1 task
                                       µs    min–max  CPU µs  × limit
  limit (rusqlite, own threads)      11.0  10.0–12.0    5.50     1.11
  limit (rusqlite, caller's thread)  10.0  9.00–11.0    5.00        1
  undercroft                         22.0  20.0–36.0    11.0     2.22  3 errors (0.1 %): database is locked";
        assert_eq!(table(&cell), expected);
    }

    #[test]
    fn a_report_is_written_from_nothing_and_from_little() {
        let dir = std::env::temp_dir().join(format!("undercroft-bench-report-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let mut results = Results::default();
        write(&results, &dir).unwrap();
        results.put(measured(cell(), &[(Who::Limit, &[10.0]), (Who::Undercroft, &[11.0])]));
        write(&results, &dir).unwrap();
        let page = fs::read_to_string(dir.join("performance.md")).unwrap();
        assert!(
            page.contains("| SQLite, read by key, 1 task | ≤ 2× | 1.10× | met |"),
            "{page}"
        );
        assert!(
            page.contains("| undercroft | 11.0 | 11.0–11.0 | 5.50 | 1.10 |  |"),
            "{page}"
        );
        for plot in ["ratio", "size", "tasks"] {
            let text = fs::read_to_string(dir.join(format!("performance/{plot}.svg"))).unwrap();
            assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>") && !text.contains("NaN"));
        }
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn the_documents_are_what_the_saved_results_give() {
        let results = Results::load(&docs().join("performance.json")).unwrap();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            write(&results, &docs()).unwrap();
        }
        let readme = fs::read_to_string(docs().join("../README.md")).unwrap();
        assert!(
            readme::renewed(&readme, &results).unwrap() == readme,
            "the README's table of costs is stale: run cargo run -p bench -- --report"
        );
        for (name, text) in documents(&results) {
            let there = fs::read_to_string(docs().join(name)).unwrap_or_default();
            assert!(
                there == text,
                "docs/{name} is stale: run cargo run -p bench -- --report"
            );
        }
    }
}
