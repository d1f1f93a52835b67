//! The kit itself, seen from outside: this program runs itself with other tests, and looks at what it says and leaves.

mod probe;

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use store::testkit::{Test, TestDatabase};

/// Runs one of the kit's own probes in place of the suite, when this process was started for that.
pub(crate) fn probe() -> Option<ExitCode> {
    probe::run()
}

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = any_server::tests();
    // A server that was given to us is not ours to end.
    if std::env::var_os("STORE_TEST_POSTGRES_URL").is_none() {
        tests.extend(throwaway_server::tests());
    }
    tests
}

/// Another process of this program, in a kit directory of its own, with nothing selected by the environment.
fn suite(dir: &Path, probe: &str, args: &[&str]) -> Command {
    let mut suite = Command::new(std::env::current_exe().unwrap());
    suite
        .args(args)
        .env(probe::PROBE, probe)
        .env("STORE_TEST_DIR", dir)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null());
    for variable in [
        "STORE_TEST_BACKENDS",
        "STORE_TEST_TIMEOUT",
        "STORE_TEST_KEEP",
        probe::PREPARED,
    ] {
        suite.env_remove(variable);
    }
    suite
}

/// What a run said, on both channels, and how it ended.
struct Said {
    code: Option<i32>,
    text: String,
    took: Duration,
}

impl Said {
    fn by(mut command: Command) -> Self {
        let begun = Instant::now();
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8(bytes).unwrap())
            .concat();
        Self {
            code: output.status.code(),
            text,
            took: begun.elapsed(),
        }
    }

    #[track_caller]
    fn ended(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.text);
        for word in words {
            assert!(self.text.contains(word), "not said: {word}\n{}", self.text);
        }
    }

    /// What follows each mention of the words, to the end of the word after them.
    fn after(&self, words: &str) -> Vec<String> {
        let found = self.text.split(words).skip(1);
        found
            .filter_map(|rest| rest.split_whitespace().next().map(str::to_owned))
            .collect()
    }
}

mod any_server {
    use super::*;

    store::testkit::tests! {
        on_both: [a_test_has_a_database_of_its_own, another_database_is_another, a_program_can_borrow_one],
        on_both_empty: [an_empty_database_has_no_tables],
        on_sqlite: [
            a_deselected_backend_shows_as_ignored,
            a_hanging_test_fails_by_name,
            a_failed_file_is_kept,
            a_passed_run_leaves_nothing,
        ],
        on_postgres: [
            processes_share_a_server,
            a_selected_backend_without_tests_fails,
            a_server_that_refuses_fails_at_once,
            a_server_that_is_silent_fails_soon,
            no_postgres_says_what_was_tried,
            a_list_names_every_test,
        ],
        without_database: [an_unknown_backend_is_refused, two_tests_of_one_name_are_refused],
    }

    async fn a_test_has_a_database_of_its_own(db: TestDatabase) {
        let dir = tempfile::tempdir().unwrap();
        let mut run = suite(dir.path(), "all", &["passes"]);
        run.env("STORE_TEST_BACKENDS", db.backend().name());
        Said::by(run).ended(0, &["test result: ok. 1 passed; 0 failed; 1 ignored"]);
    }

    async fn another_database_is_another(db: TestDatabase) {
        let (second, third) = (db.another().await, db.another_empty().await);
        assert!(db.url() != second.url() && second.url() != third.url());
        assert_eq!(second.backend(), db.backend());
    }

    async fn a_program_can_borrow_one(db: TestDatabase) {
        let dir = tempfile::tempdir().unwrap();
        let script = "echo lent $STORE_URL; exit 7";
        let lent = suite(
            dir.path(),
            "all",
            &["--with-database", db.backend().name(), "sh", "-c", script],
        );
        Said::by(lent).ended(7, &[&format!("lent {}://", db.backend())]);
        Said::by(suite(dir.path(), "all", &["--with-database", "mysql", "sh"])).ended(101, &["usage: --with-database"]);
    }

    async fn an_empty_database_has_no_tables(db: TestDatabase) {
        let dir = tempfile::tempdir().unwrap();
        let mut run = suite(dir.path(), "all", &["is_empty"]);
        run.env("STORE_TEST_BACKENDS", db.backend().name());
        Said::by(run).ended(0, &["1 passed"]);
    }

    async fn a_deselected_backend_shows_as_ignored(_db: TestDatabase) {
        let dir = tempfile::tempdir().unwrap();
        let mut run = suite(dir.path(), "all", &["passes"]);
        run.env("STORE_TEST_BACKENDS", "sqlite");
        Said::by(run).ended(
            0,
            &[
                "test passes::sqlite   ... ok",
                "test passes::postgres ... ignored (deselected by STORE_TEST_BACKENDS=sqlite)",
                "sqlite: 1 ran; postgres: deselected by STORE_TEST_BACKENDS=sqlite",
            ],
        );
    }

    async fn a_hanging_test_fails_by_name(_db: TestDatabase) {
        let dir = tempfile::tempdir().unwrap();
        let mut run = suite(dir.path(), "all", &["hangs"]);
        run.env("STORE_TEST_BACKENDS", "sqlite").env("STORE_TEST_TIMEOUT", "1");
        let said = Said::by(run);
        said.ended(
            101,
            &[
                "---- hangs::sqlite ----",
                "still running after 1 s",
                "the database is kept: ",
            ],
        );
        assert!(said.took < Duration::from_secs(20), "{:?}", said.took);
    }

    async fn a_failed_file_is_kept(_db: TestDatabase) {
        let dir = tempfile::tempdir().unwrap();
        for (test, words) in [("panics", "on purpose"), ("returns_an_error", "InvalidDigit")] {
            let mut run = suite(dir.path(), "all", &[test]);
            run.env("STORE_TEST_BACKENDS", "sqlite");
            let said = Said::by(run);
            said.ended(101, &[words, "1 failed"]);
            let kept = said.after("the database is kept: ");
            let kept = config::DatabaseConfig::sqlite(&kept[0])
                .unwrap()
                .connect()
                .await
                .unwrap();
            assert_eq!(words_in(&kept.writer).await, ["prepared", "written"]);
        }
    }

    async fn processes_share_a_server(db: TestDatabase) {
        let authority = |url: &str| url.split('/').nth(2).unwrap().to_owned();
        let mut run = suite(Path::new("."), "all", &["--exact", "passes::postgres"]);
        match std::env::var_os("STORE_TEST_DIR") {
            Some(dir) => run.env("STORE_TEST_DIR", dir),
            None => run.env_remove("STORE_TEST_DIR"),
        };
        let said = Said::by(run);
        said.ended(0, &["1 passed"]);
        for opened in said.after("opened ") {
            assert_eq!(authority(&opened), authority(&db.url()));
        }
    }

    async fn an_unknown_backend_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for list in ["mysql", "", "postgress"] {
            let mut run = suite(dir.path(), "all", &[]);
            run.env("STORE_TEST_BACKENDS", list);
            Said::by(run).ended(101, &["error: STORE_TEST_BACKENDS=", "known are sqlite, postgres"]);
        }
    }

    async fn a_selected_backend_without_tests_fails(_db: TestDatabase) {
        let dir = tempfile::tempdir().unwrap();
        let mut run = suite(dir.path(), "sqlite only", &[]);
        run.env("STORE_TEST_BACKENDS", "postgres");
        Said::by(run).ended(
            101,
            &[
                "test testkit::postgres_ran_nothing",
                "postgres is selected and no test ran on it",
            ],
        );
        let mut filtered = suite(dir.path(), "sqlite only", &["passes"]);
        filtered.env("STORE_TEST_BACKENDS", "postgres");
        Said::by(filtered).ended(0, &["test result: ok. 0 passed; 0 failed; 1 ignored"]);
    }

    async fn two_tests_of_one_name_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        Said::by(suite(dir.path(), "twice the same", &[])).ended(101, &["error: two tests are named passes"]);
    }

    async fn a_server_that_refuses_fails_at_once(_db: TestDatabase) {
        let said = with_server("postgres://me:hunter2@127.0.0.1:1/postgres");
        said.ended(
            101,
            &[
                "STORE_TEST_POSTGRES_URL=postgres://me:***@127.0.0.1:1/postgres does not answer",
                "unset it",
            ],
        );
        assert!(
            !said.text.contains("hunter2") && said.took < Duration::from_secs(5),
            "{:?} {}",
            said.took,
            said.text
        );
        with_server("127.0.0.1:5432").ended(101, &["STORE_TEST_POSTGRES_URL is not a URL"]);
        with_server("mysql://127.0.0.1/x").ended(101, &["STORE_TEST_POSTGRES_URL does not begin with postgres://"]);
    }

    async fn a_server_that_is_silent_fails_soon(_db: TestDatabase) {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let said = with_server(&format!("postgres://me@{}/postgres", silent.local_addr().unwrap()));
        said.ended(101, &["does not answer: no answer within 2.5 s"]);
        assert!(said.took < Duration::from_secs(6), "{:?}", said.took);
    }

    fn with_server(url: &str) -> Said {
        let dir = tempfile::tempdir().unwrap();
        let mut run = suite(dir.path(), "all", &["passes"]);
        run.env("STORE_TEST_BACKENDS", "postgres")
            .env("STORE_TEST_POSTGRES_URL", url);
        Said::by(run)
    }

    async fn no_postgres_says_what_was_tried(_db: TestDatabase) {
        let dir = tempfile::tempdir().unwrap();
        let mut run = suite(dir.path(), "all", &["s"]);
        run.args(["--skip", "hangs", "--skip", "waits", "--test-threads", "1"]);
        run.env("STORE_TEST_BACKENDS", "postgres")
            .env_remove("STORE_TEST_POSTGRES_URL");
        run.env("STORE_TEST_POSTGRES_BIN", dir.path());
        let said = Said::by(run);
        let named = format!("STORE_TEST_POSTGRES_BIN={}: ", dir.path().display());
        said.ended(
            101,
            &[
                "no Postgres to test on. Tried:",
                &named,
                "scripts/test",
                "1 passed; 4 failed",
                "postgres: 0 ran",
            ],
        );
        assert_eq!(
            said.after("no Postgres to test on").len(),
            1,
            "said once, not by every test\n{}",
            said.text
        );
    }

    async fn a_list_names_every_test(_db: TestDatabase) {
        let dir = tempfile::tempdir().unwrap();
        let mut run = suite(dir.path(), "all", &["--list", "--format", "terse"]);
        run.env("STORE_TEST_BACKENDS", "postgres");
        let said = Said::by(run);
        said.ended(
            0,
            &["passes::sqlite: test\npasses::postgres: test\n", "stands_alone: test\n"],
        );
        let mut run = suite(dir.path(), "all", &["--list", "--format", "terse", "--ignored"]);
        run.env("STORE_TEST_BACKENDS", "postgres");
        let said = Said::by(run);
        said.ended(0, &["passes::sqlite: test\n"]);
        assert!(!said.text.contains("postgres: test"), "{}", said.text);
    }

    async fn a_passed_run_leaves_nothing(_db: TestDatabase) {
        let dir = tempfile::tempdir().unwrap();
        let mut run = suite(dir.path(), "all", &["passes"]);
        run.env("STORE_TEST_BACKENDS", "sqlite");
        Said::by(run).ended(0, &[]);
        let left = std::fs::read_dir(dir.path().join("sqlite"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let left: Vec<_> = left
            .filter(|name| !name.to_string_lossy().starts_with("template"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

async fn words_in(database: &sea_orm::DatabaseConnection) -> Vec<String> {
    use sea_orm::ConnectionTrait;
    let query = "SELECT word FROM probe ORDER BY word";
    let query = sea_orm::Statement::from_string(database.get_database_backend(), query);
    let rows = database.query_all_raw(query).await.unwrap();
    rows.iter().map(|row| row.try_get("", "word").unwrap()).collect()
}

mod throwaway_server {
    use super::*;

    store::testkit::tests! {
        on_postgres: [
            a_killed_process_leaves_no_server,
            a_killed_keeper_is_replaced,
            a_failed_test_holds_its_server,
            eight_processes_share_one_server_and_one_template,
        ],
    }

    const SOON: Duration = Duration::from_secs(15);

    async fn a_killed_process_leaves_no_server(_db: TestDatabase) {
        let dir = tempfile::tempdir().unwrap();
        let (mut child, url) = waiting(dir.path());
        let home = home_of(dir.path());
        assert!(answers(&url) && home.as_ref().is_none_or(|home| home.exists()));
        child.kill().unwrap();
        child.wait().unwrap();
        eventually("the server is gone", || !answers(&url));
        eventually("its data is gone", || home.as_ref().is_none_or(|home| !home.exists()));
    }

    async fn a_killed_keeper_is_replaced(_db: TestDatabase) {
        let dir = tempfile::tempdir().unwrap();
        let (mut child, url) = waiting(dir.path());
        let home = home_of(dir.path());
        kill_keeper(dir.path());
        child.kill().unwrap();
        child.wait().unwrap();
        // Nobody is left to end the server; the next run does, and starts its own.
        let mut run = suite(dir.path(), "all", &["--exact", "passes::postgres"]);
        run.env_remove("STORE_TEST_POSTGRES_URL");
        Said::by(run).ended(0, &["1 passed"]);
        assert!(!answers(&url) && home.is_none_or(|home| !home.exists()));
        eventually("the second server is gone", || home_of(dir.path()).is_none());
    }

    async fn a_failed_test_holds_its_server(_db: TestDatabase) {
        let dir = tempfile::tempdir().unwrap();
        let said = Said::by(suite(dir.path(), "all", &["--exact", "panics::postgres"]));
        said.ended(101, &["panicked at tests/suite/kit/probe.rs", "on purpose"]);
        let url = said.after("the database is kept: ").remove(0);
        tokio::time::sleep(Duration::from_secs(4)).await;
        let kept = config::DatabaseConfig::postgres(&url).unwrap().connect().await.unwrap();
        assert_eq!(words_in(&kept.writer).await, ["prepared", "written"]);
        let note = said.after("remove ").remove(0);
        std::fs::remove_file(note).unwrap();
        eventually("the server is gone", || !answers(&url));
    }

    async fn eight_processes_share_one_server_and_one_template(_db: TestDatabase) {
        let dir = tempfile::tempdir().unwrap();
        let prepared = dir.path().join("prepared");
        let runs: Vec<_> = (0..8)
            .map(|_| {
                let mut run = suite(dir.path(), "all", &["--exact", "passes::postgres"]);
                run.env(probe::PREPARED, &prepared);
                std::thread::spawn(move || Said::by(run))
            })
            .collect();
        let said: Vec<_> = runs.into_iter().map(|run| run.join().unwrap()).collect();
        let mut ports: Vec<_> = said
            .iter()
            .flat_map(|said| said.after("opened "))
            .map(|url| port(&url))
            .collect();
        assert_eq!(ports.len(), 16, "two databases each");
        ports.dedup();
        assert_eq!(ports.len(), 1, "one server");
        assert_eq!(std::fs::read_to_string(prepared).unwrap(), "prepared\n", "one template");
        eventually("the server is gone", || home_of(dir.path()).is_none());
    }

    /// A process in the middle of a test on Postgres, and the test's database.
    fn waiting(dir: &Path) -> (Child, String) {
        let mut run = suite(dir, "all", &["--exact", "waits::postgres"]);
        let mut child = run.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = lines
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("opened ").map(str::to_owned));
        (child, url.expect("the test opens its database"))
    }

    /// The one directory of a server below the kit's own.
    fn server_dir(dir: &Path) -> Option<PathBuf> {
        let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        entries.into_iter().find(|path| path.join("plan.json").exists())
    }

    /// Where the server's data is, as long as there is a server.
    fn home_of(dir: &Path) -> Option<PathBuf> {
        let plan = std::fs::read(server_dir(dir)?.join("plan.json")).ok()?;
        let plan: serde_json::Value = serde_json::from_slice(&plan).unwrap();
        plan["Installed"]["home"].as_str().map(PathBuf::from)
    }

    fn kill_keeper(dir: &Path) {
        let pid = std::fs::read_to_string(server_dir(dir).unwrap().join("keeper")).unwrap();
        assert!(
            Command::new("kill")
                .args(["-9", pid.trim()])
                .status()
                .unwrap()
                .success()
        );
    }

    fn port(url: &str) -> u16 {
        url.rsplit_once(':')
            .unwrap()
            .1
            .split('/')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    }

    fn answers(url: &str) -> bool {
        TcpStream::connect(("127.0.0.1", port(url))).is_ok()
    }

    #[track_caller]
    fn eventually(what: &str, check: impl Fn() -> bool) {
        let begun = Instant::now();
        while !check() {
            assert!(begun.elapsed() < SOON, "not within {SOON:?}: {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
