use std::io::{self, BufRead, IsTerminal, Write};

use migration::TableRows;

use super::Consent;
use super::failure::Failure;
use super::output::count;

/// Gets leave to destroy: `--yes`, or a yes from a person who has been told which database and how much is in it. Nothing
/// is asked where there is nothing to lose.
pub(super) fn leave(consent: Consent, deed: &str, database: &str, toll: &[TableRows]) -> Result<(), Failure> {
    if consent.yes || toll.is_empty() {
        return Ok(());
    }
    let loss = loss(deed, database, toll);
    if !io::stdin().is_terminal() {
        return Err(Failure::NotConfirmed(format!(
            "{loss} Give --yes to do it from a script"
        )));
    }
    if confirmed(&loss)? {
        Ok(())
    } else {
        Err(Failure::NotConfirmed("not confirmed".to_owned()))
    }
}

fn loss(deed: &str, database: &str, toll: &[TableRows]) -> String {
    let (tables, columns): (Vec<_>, Vec<_>) = toll.iter().partition(|table| table.columns.is_empty());
    let rows = tables.iter().map(|table| table.rows).sum();
    let number = u64::try_from(tables.len()).unwrap_or(u64::MAX);
    let whole = (number > 0).then(|| format!("{} with {}", count(number, "table"), count(rows, "row")));
    let parts = columns.iter().map(|table| {
        format!(
            "{} of {} with {}",
            table.columns.join(", "),
            table.table,
            count(table.rows, "row")
        )
    });
    let parts: Vec<_> = whole.into_iter().chain(parts).collect();
    format!("`{deed}` on {database} removes {}.", parts.join(" and "))
}

/// The question goes to stderr: stdout is the answer's.
fn confirmed(loss: &str) -> io::Result<bool> {
    let mut out = io::stderr().lock();
    write!(out, "{loss}\nType yes to go on: ")?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_and_the_loss_are_named() {
        let mut toll = [("bots", 1_200), ("users", 34), ("chats", 5)].map(|(table, rows)| TableRows {
            table: table.to_owned(),
            columns: vec![],
            rows,
        });
        toll[2].columns = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(
            loss("reset", "SQLite at /data/store.db", &toll[..2]),
            "`reset` on SQLite at /data/store.db removes 2 tables with 1,234 rows."
        );
        assert_eq!(
            loss("down 2", "a", &toll[1..]),
            "`down 2` on a removes 1 table with 34 rows and a, b of chats with 5 rows."
        );
        assert_eq!(
            loss("down", "a", &toll[2..]),
            "`down` on a removes a, b of chats with 5 rows."
        );
    }
}
