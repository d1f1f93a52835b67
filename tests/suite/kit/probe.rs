//! Suites that the kit's tests run in a process of their own, to see from outside what becomes of them.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use sea_orm::ConnectionTrait;
use store::testkit::{Suite, Template, Test, TestDatabase};

/// The variable that names the suite to run in place of the real one.
pub(crate) const PROBE: &str = "STORE_TESTKIT_PROBE";
/// Names a file to which the template adds a line each time it is prepared.
pub(crate) const PREPARED: &str = "STORE_TESTKIT_PROBE_PREPARED";

/// Runs the suite that the variable names, if it does.
pub(crate) fn run() -> Option<ExitCode> {
    let tests = match std::env::var(PROBE).ok()?.as_str() {
        "all" => all(),
        "sqlite only" => vec![Test::on_sqlite("passes", passes)],
        "twice the same" => vec![Test::on_both("passes", passes), Test::on_both("passes", passes)],
        other => panic!("{PROBE}={other}"),
    };
    Some(Suite::new(Template::new("probe", prepare)).tests(tests).run())
}

fn all() -> Vec<Test> {
    vec![
        Test::on_both("passes", passes),
        Test::on_both("returns_an_error", returns_an_error),
        Test::on_both("panics", panics),
        Test::on_both("hangs", hangs),
        Test::on_both("waits", waits),
        Test::on_both_empty("is_empty", is_empty),
        Test::without_database("stands_alone", async || ()),
    ]
}

async fn prepare(config: config::DatabaseConfig) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    if let Some(file) = std::env::var_os(PREPARED) {
        writeln!(
            std::fs::File::options().create(true).append(true).open(file)?,
            "prepared"
        )?;
    }
    let connections = config.connect().await?;
    connections
        .writer
        .execute_unprepared("CREATE TABLE probe (word TEXT NOT NULL)")
        .await?;
    connections
        .writer
        .execute_unprepared("INSERT INTO probe VALUES ('prepared')")
        .await?;
    connections.reader.close().await?;
    connections.writer.close().await?;
    Ok(())
}

/// Opens the database, finds the template's row there, and adds one.
async fn write(db: &TestDatabase) {
    let writer = db.config().connect().await.unwrap().writer;
    let rows = writer
        .query_all_raw(sea_orm::Statement::from_string(
            writer.get_database_backend(),
            "SELECT word FROM probe",
        ))
        .await
        .unwrap();
    assert_eq!(
        rows.len(),
        1,
        "a database of its own has the template's row and no other test's"
    );
    writer
        .execute_unprepared("INSERT INTO probe VALUES ('written')")
        .await
        .unwrap();
    println!("\nopened {}", db.url());
}

async fn passes(db: TestDatabase) {
    write(&db).await;
    write(&db.another().await).await;
}

async fn returns_an_error(db: TestDatabase) -> Result<(), std::num::ParseIntError> {
    write(&db).await;
    "seven".parse::<i32>().map(drop)
}

async fn panics(db: TestDatabase) {
    write(&db).await;
    panic!("on purpose");
}

async fn hangs(db: TestDatabase) {
    write(&db).await;
    // Blocks the thread too: a limit that needs the test's help would be none.
    std::thread::sleep(Duration::from_secs(3600));
}

async fn waits(db: TestDatabase) {
    write(&db).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
}

async fn is_empty(db: TestDatabase) {
    let writer = db.config().connect().await.unwrap().writer;
    writer
        .execute_unprepared("CREATE TABLE probe (word TEXT NOT NULL)")
        .await
        .unwrap();
}
