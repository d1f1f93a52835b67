//! The test kit: a test is written once and runs on every backend, each time on a database of its own.
//!
//! This is what the project's own suite stands on, published (cargo feature `testkit`) for programs that keep their own
//! tables beside the store's.
//!
//! # Writing tests
//!
//! A test target with `harness = false` in its manifest:
//!
//! ```toml
//! [[test]]
//! name = "suite"
//! path = "tests/suite/main.rs"
//! harness = false
//! ```
//!
//! A test is a plain async function that is given its database; a module lists its tests with [`tests!`]:
//!
//! ```
//! # mod bots {
//! use store::testkit::TestDatabase;
//!
//! store::testkit::tests![creates_a_bot];
//!
//! async fn creates_a_bot(db: TestDatabase) {
//!     let connections = db.config().connect().await.unwrap();
//!     // …
//! }
//! # }
//! ```
//!
//! and `main` runs the lists, on the store's schema with [`run`], on another with a [`Suite`]:
//!
//! ```no_run
//! # mod bots { pub fn tests() -> Vec<store::testkit::Test> { vec![] } }
//! use store::testkit::{Suite, Template};
//!
//! fn main() -> std::process::ExitCode {
//!     let schema = Template::new("0001_bots 0002_souls", async |config: config::DatabaseConfig| {
//!         let connections = config.connect().await?;
//!         // … migrate …
//!         connections.writer.close().await?;
//!         Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//!     });
//!     Suite::new(schema).tests(bots::tests()).run()
//! }
//! ```
//!
//! It shows as `bots::creates_a_bot::sqlite` and `bots::creates_a_bot::postgres`. Filters, `--list`, `--exact` and
//! `--test-threads` work as always, and so does cargo-nextest. Each test has a thread and a multi-threaded runtime of
//! its own. A test that passed leaves nothing behind; one that failed keeps its database and says where it is.
//!
//! # Choosing backends
//!
//! `STORE_TEST_BACKENDS=sqlite` (or `postgres`, or both with a comma; unset means every one that is compiled in) selects.
//! What is not selected shows as ignored, with the reason. What is selected and cannot start fails, and says what was
//! tried. A run of the whole suite in which a selected backend has no test fails too.
//!
//! # Where the databases come from
//!
//! **SQLite**: a file in `target/testkit/sqlite`, copied from one that the [`Template`] has prepared.
//!
//! **Postgres**: a database on a server, copied from a template database. The server is the first of
//! 1. `STORE_TEST_POSTGRES_URL`, whose user must be allowed to create databases; when it does not answer, tests fail;
//! 2. a throwaway server of the Postgres installed here: `STORE_TEST_POSTGRES_BIN`, what `pg_config` names, `PATH`,
//!    `/usr/lib/postgresql/*/bin`, Homebrew, `target/postgres/*/bin`;
//! 3. a throwaway container, where a Docker engine answers (`STORE_TEST_POSTGRES_IMAGE` names another image).
//!
//! A throwaway server listens on loopback only, on a free port, with a password of its own, and is shared by all test
//! processes of one target directory. A keeper process ends it and removes its data two seconds after the last test
//! process is gone, however that one ended. Databases of failed tests hold it for ten minutes. It runs with `fsync=off`:
//! what was committed survives the death of any process, though not of the machine. Its data is in `/dev/shm` where that has a gigabyte free, else in the temporary directory.
//!
//! # Lending a database to a program
//!
//! `cargo test --test suite -- --with-database postgres PROGRAM …` runs a program with `STORE_URL` naming an empty
//! database, which is removed when the program ends: for trying a program on either backend without a server of one's own.
//!
//! # Variables
//!
//! | variable | meaning |
//! |---|---|
//! | `STORE_TEST_BACKENDS` | the backends to test, separated by commas |
//! | `STORE_TEST_TIMEOUT` | the seconds that a test may take: 120 |
//! | `STORE_TEST_POSTGRES_URL` | a server to use |
//! | `STORE_TEST_POSTGRES_BIN` | the directory of the `initdb` and `postgres` to use |
//! | `STORE_TEST_POSTGRES_IMAGE` | the image for Docker: `postgres:18` |
//! | `STORE_TEST_KEEP` | the seconds for which failed tests hold a throwaway server: 600 |
//! | `STORE_TEST_DIR` | where the kit keeps its files: `testkit` in the target directory |

#![allow(
    clippy::panic,
    reason = "a test's helper that cannot do its work ends the test, and says why"
)]
#![allow(clippy::print_stderr, reason = "the harness talks to the person who runs the tests")]

mod backend;
mod database;
mod harness;
mod lend;
mod own;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod rundir;
mod runner;
#[cfg(feature = "sqlite")]
mod sqlite;
mod template;
mod test;
mod workdir;

pub use backend::Backend;
pub use database::TestDatabase;
pub use harness::{Suite, run};
pub use template::Template;
pub use test::{Test, TestResult, tests};
