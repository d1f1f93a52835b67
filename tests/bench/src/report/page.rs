//! docs/performance.md.

use std::fmt::Write as _;

use super::{number, row, targets};
use crate::plan::{Backend, Work, grouped};
use crate::results::{Measured, Results};

const INTRODUCTION: &str = "\
<!-- Written by `cargo run --release -p bench`; change tests/bench/src/report/page.rs, not this file. -->

# Performance

What the store costs, against what a program would use in its place. Every contender does the same work over the same
schema, which the store's own migrations have made, and decodes every column of what it reads.

";

const READING: &str = "
## How to read it

- **µs** is the time of the clock divided by the operations that were done in it, by all tasks together: with 64 tasks it
  is the inverse of the throughput, not what one caller waits. **min–max** are the rounds it lies between.
- **CPU µs** is the processor time of this process for one operation, all its threads together; the Postgres server's is
  not in it.
- **× limit** compares with the driver below everything, used in the best way that is known. It is the median of the
  rounds' own ratios, so that a slow moment of the machine falls on both.
- The limit on SQLite is the better of two, work by work: rusqlite on threads of its own, one that writes and two that
  read; and rusqlite on the caller's thread, with a connection to read for each processor, and only the commit on a thread
  that may block. Both write for all tasks in one transaction. Both are in the tables, and the one whose ratio is 1 is
  what everybody in that table is compared with; in pictures and ratios elsewhere, too, \"the limit\" is the better one.
- The limit on Postgres is tokio-postgres with prepared statements, reads of all tasks in one pipeline, an append to a
  chat as one statement, bulk by COPY.
- **MiB**, in the walk, is the memory that the process has for itself at most; files that it has mapped are not in it.
- Contenders take turns (A B C, A B C, …) within one run; the first round is discarded.
- Commits are durable everywhere: SQLite with `synchronous = FULL`, Postgres with `fsync` and `synchronous_commit`, on a
  disk. What a commit takes depends on the disk more than on anything else, and so does every ratio between one commit for
  each insert and one for 64.
- **newcomer** is SeaORM as it comes: `Database::connect`, `.one()`, `insert()`, `begin()`, pages by OFFSET; on SQLite
  with the rollback journal that a new file has. **tuned** has WAL, one writer beside readers, `BEGIN IMMEDIATE`, no
  pings, pages by sort keys. **sqlx** and **Diesel** are tuned alike; Diesel runs in `spawn_blocking` on SQLite, and is
  diesel-async on Postgres.
- Compare ratios, not microseconds of different machines, and mind how much of the machine other programs had meanwhile.
";

/// Found with `perf record -e cpu-clock --call-graph dwarf`; look again when a number above has changed.
const NOT_REACHED: &str = "
## Where the rest of the time goes

What is missed, and what it would take. These results are of one short run; the tables of 2 million rows have not been measured
since the engine has its own drivers.

- **SQLite, pages and the walk**: about 0.6 µs more for each row than the limit, which reads columns into plain structs: a row
  becomes values by its columns' types, then a model, then a checked type of the contract (a stored address, for example, is
  checked again). Less would take a decoder that is written for each entity.
- **SQLite, inserts of one task**: the way to the writer's thread and back. Diesel inserts on the thread that asks.
- **SQLite, bulk and batches of messages**: each row becomes a list of values before it is bound.
- **Postgres, pages**: the statement is built for each page, and rows are decoded as on SQLite. With 64 tasks, half of the
  connections carry batches of pages, one behind the other.
- **Postgres, the walk**: the next page is asked for when this one is used up; SeaORM reads one long stream.
- **Postgres, single inserts of one task**: BEGIN and COMMIT travel with the statement, which makes it serializable. They cost
  the server two messages more than a statement by itself at READ COMMITTED, as the peers send it.
- **Postgres, claims**: the statements of a claim are a transaction; the peer's is one statement.
- **A newcomer's insert at 40×** depends on the disk: here a sync takes a fifth of a millisecond.
";

/// The whole page.
pub(super) fn page(results: &Results) -> String {
    let mut page = INTRODUCTION.to_owned();
    machine(&mut page, results);
    page.push_str("\n## What was to be reached\n\nIn the table of middle size (200,000 rows) and as a multiple of the limit, unless it says otherwise.\n\n| work | target | measured | |\n|---|---|---|---|\n");
    for target in targets::targets(results) {
        let (what, bound) = (target.title(), target.bound);
        let _ = writeln!(
            page,
            "| {what} | {bound} | {} | {} |",
            target.found_text(),
            target.verdict()
        );
    }
    ahead(&mut page, results);
    page.push_str(NOT_REACHED);
    page.push_str(READING);
    page.push_str("\n## In pictures\n\n");
    for (file, title) in [
        ("ratio", "Cost as a multiple of the limit, work by work"),
        ("size", "Cost against the size of the table"),
        ("tasks", "Throughput against the number of tasks"),
    ] {
        let _ = writeln!(page, "### {title}\n\n![{title}](performance/{file}.svg)\n");
    }
    for backend in Backend::ALL {
        tables(&mut page, results, backend);
    }
    instructions(&mut page, results);
    page
}

fn ahead(page: &mut String, results: &Results) {
    let all = targets::ahead(results);
    if all.is_empty() {
        return;
    }
    page.push_str("\nThe tables in which a peer is more than 5 % ahead of the store, and how many times its time the store takes:\n\n");
    for one in all {
        let _ = writeln!(page, "- {one}");
    }
}

fn machine(page: &mut String, results: &Results) {
    let machine = &results.machine;
    let dates: Vec<String> = results
        .cells
        .iter()
        .map(|cell| cell.taken.format("%Y-%m-%d").to_string())
        .collect();
    let (first, last) = (dates.iter().min(), dates.iter().max());
    let date = match (first, last) {
        (Some(first), Some(last)) if first == last => first.clone(),
        (Some(first), Some(last)) => format!("{first} to {last}"),
        _ => "–".to_owned(),
    };
    let crates: Vec<String> = machine
        .crates
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    let lines = [
        ("measured", date),
        ("commit", distinct(results, |cell| &cell.commit).join(", ")),
        ("with", commands(results)),
        ("processor", format!("{} × {}", machine.processors, machine.processor)),
        ("memory", format!("{} GiB", machine.memory_gib)),
        ("system", machine.system.clone()),
        ("databases", databases(results)),
        ("other programs", others(results)),
        ("built with", format!("{}, {}", machine.rust, crates.join(", "))),
    ];
    page.push_str("| | |\n|---|---|\n");
    for (name, value) in lines {
        let _ = writeln!(page, "| {name} | {value} |");
    }
}

fn databases(results: &Results) -> String {
    let sqlite = format!("SQLite {}", results.machine.sqlite);
    match &results.machine.postgres {
        Some(version) => format!("{sqlite}, Postgres {version}"),
        None => sqlite,
    }
}

fn others(results: &Results) -> String {
    let share = results.elsewhere().map(|share| format!("{:.0} %", share * 100.0));
    let share = share.unwrap_or_else(|| "–".to_owned());
    format!("{share} of the processors' time meanwhile (median of SQLite's cells)")
}

/// Parts that were measured later may be of another commit, and of another command.
fn distinct(results: &Results, of: impl Fn(&Measured) -> &str) -> Vec<&str> {
    let mut all: Vec<&str> = results.cells.iter().map(of).filter(|text| !text.is_empty()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn commands(results: &Results) -> String {
    let commands = distinct(results, |cell| &cell.command);
    let quoted: Vec<String> = commands.iter().map(|command| format!("`{command}`")).collect();
    quoted.join("<br>")
}

fn tables(page: &mut String, results: &Results, backend: Backend) {
    let of_backend = |measured: &&Measured| measured.cell.backend == backend;
    if !results.cells.iter().any(|measured| of_backend(&measured)) {
        return;
    }
    let _ = writeln!(page, "## {} in numbers\n", backend.title());
    for work in Work::ALL {
        let cells: Vec<&Measured> = results
            .cells
            .iter()
            .filter(of_backend)
            .filter(|it| it.cell.work == work)
            .collect();
        if cells.is_empty() {
            continue;
        }
        let _ = writeln!(
            page,
            "### {}: {}\n\n{}\n",
            backend.title(),
            work.title(),
            work.explanation()
        );
        for measured in cells {
            table(page, measured);
        }
    }
}

fn table(page: &mut String, measured: &Measured) {
    let tasks = if measured.cell.tasks == 1 { "task" } else { "tasks" };
    let title = format!("{} rows, {} {tasks}", grouped(measured.cell.rows), measured.cell.tasks);
    let _ = writeln!(
        page,
        "| {title} | µs | min–max | CPU µs | × limit | |\n|---|--:|--:|--:|--:|---|"
    );
    for run in &measured.contenders {
        let _ = writeln!(page, "| {} |", row(measured, run).join(" | "));
    }
    page.push('\n');
}

fn instructions(page: &mut String, results: &Results) {
    if results.instructions.is_empty() {
        return;
    }
    page.push_str(
        "## Instructions of a read by key\n\nCounted by callgrind in the program alone, without the server, on a \
         runtime of one thread; a longer run less a shorter one, so that starting is not in it.\n\n| | instructions | × limit |\n|---|--:|--:|\n",
    );
    for counted in &results.instructions {
        let limit = results.fewest_instructions(counted.backend);
        let ratio = limit.map_or_else(|| "–".to_owned(), |limit| number(counted.per_read / limit));
        let name = format!("{}, {}", counted.backend.title(), counted.who.title(counted.backend));
        let _ = writeln!(page, "| {name} | {} | {ratio} |", number(counted.per_read));
    }
}
