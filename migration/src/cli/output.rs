use std::io::{self, Write};

use serde::Serialize;
use serde_json::json;

use super::failure::Failure;

/// Where answers go: words for a person, or one JSON object.
pub(super) struct Output {
    json: bool,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Answers: `words` to a person, `value` to a program.
    pub(super) fn answer(&self, value: &impl Serialize, words: impl FnOnce() -> String) -> io::Result<()> {
        let text = if self.json {
            serde_json::to_string_pretty(value)?
        } else {
            words()
        };
        let mut out = io::stdout().lock();
        out.write_all(text.trim_end().as_bytes())?;
        out.write_all(b"\n")?;
        out.flush()
    }

    pub(super) fn failure(&self, failure: &Failure) {
        // A reader that went away (`migration schema | head`) is told nothing: there is nowhere to tell it.
        let value = json!({ "error": { "kind": failure.kind(), "message": failure.to_string() } });
        let told = if self.json {
            self.answer(&value, String::new)
        } else {
            writeln!(io::stderr().lock(), "error: {failure}")
        };
        drop(told);
    }
}

/// Rows as aligned columns, each indented.
pub(super) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("  {}", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// `1 row`, `1,234 rows`.
pub(super) fn count(number: u64, what: &str) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if number == 1 {
        format!("{grouped} {what}")
    } else {
        format!("{grouped} {what}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let said: Vec<String> = [0, 1, 999, 1_000, 1_234_567]
            .map(|number| count(number, "row"))
            .to_vec();
        assert_eq!(said, ["0 rows", "1 row", "999 rows", "1,000 rows", "1,234,567 rows"]);
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [["a".to_owned(), "b".to_owned()], ["long".to_owned(), String::new()]];
        assert_eq!(table(&rows), "  a     b\n  long");
    }
}
