//! Columns of plain text.

/// How a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows as lines, two spaces before and between the columns, none at the ends.
pub fn lines<const N: usize>(align: [Align; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row
            .iter()
            .zip(&widths)
            .zip(&align)
            .map(|((cell, width), align)| match align {
                Align::Left => format!("  {cell:<width$}"),
                Align::Right => format!("  {cell:>width$}"),
            });
        format!("{}\n", cells.collect::<String>().trim_end())
    };
    rows.iter().map(line).collect()
}

/// A number of things: `1 bot`, `4 bots`.
pub fn count(number: usize, thing: &str) -> String {
    match number {
        1 => format!("1 {thing}"),
        _ => format!("{number} {thing}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_lines_end_with_words() {
        let rows = [["ünder", "1", ""], ["a", "10", "b"]].map(|row| row.map(str::to_owned));
        let said = lines([Align::Left, Align::Right, Align::Left], &rows);
        assert_eq!(said, "  ünder   1\n  a      10  b\n");
    }

    #[test]
    fn one_is_one() {
        assert_eq!(
            [count(0, "bot"), count(1, "bot"), count(2, "bot")],
            ["0 bots", "1 bot", "2 bots"]
        );
    }
}
