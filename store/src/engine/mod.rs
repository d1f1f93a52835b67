//! Connections at work: reading, writing, transactions, retry, deadlines, errors.
//!
//! A repository is a [`Session`] with methods. Each method is one [`Session::run`], which gives it an [`Operation`] to
//! read and write through; that is where the deadline, the tracing span, the retry and the rule about failed
//! transactions are, once for all of them. `docs/adding-a-repository.md` shows it.
//!
//! What is the same on both databases is here; how each of them runs is told, whole, in `sqlite/` and `postgres/`.

mod database;
mod errors;
mod health;
mod metrics;
mod open;
mod operation;
#[cfg(feature = "postgres")]
mod postgres;
mod progress;
mod retry;
mod row;
#[cfg(feature = "sqlite")]
mod sqlite;
mod statement;
mod transaction;

pub use errors::Cause;
pub use health::Health;
pub use metrics::{Metrics, PoolUse};
pub(crate) use open::Engine;
pub use operation::{Operation, Session};
pub use row::{FromRow, Row};
pub use statement::Write;
pub use transaction::Tx;
