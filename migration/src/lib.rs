//! How a database gets its shape.
//!
//! One ordered list of migrations ([`migrations`]) serves SQLite and Postgres. A migration is data ([`model`]): the
//! statements up and down, the DDL ([`schema`]), the diagram ([`erd`]), the names of constraints ([`catalog`]) and the
//! schema that a live one is compared with ([`check()`]) are all derived from it.
//!
//! * Opening a database: [`state()`] tells at little cost whether it is complete, behind, ahead or drifted, [`state_of`]
//!   over a connection of any driver; [`up`] brings it up. Any number of processes may do so at once.
//! * Moving it: [`up`], [`down`], [`reset`], [`refresh`], [`fresh`]. Each is one transaction under one lock.
//! * A program's own tables in the same database: [`user`].
//!
//! # Adding a table
//!
//! Write `migrations/m<date>_<number>_<what>.rs` beside the others, with a `migration()` that returns the steps:
//!
//! ```
//! use migration::model::{Column, ForeignKey, Index, OnDelete, Step, Table};
//!
//! let table = Table::new("bot_notes")
//!     .column(Column::uuid("id"))
//!     .column(Column::uuid("bot_id"))
//!     .column(Column::text("status").default_text("open").one_of(&["open", "done"]))
//!     .column(Column::timestamp("created_at"))
//!     .foreign_key(ForeignKey::new("bot_id", "bots", OnDelete::Cascade))
//!     .index(Index::on(&["bot_id", "created_at", "id"]).named("idx_bot_notes_bot_id"));
//! let step = Step::CreateTable(table);
//! # let _ = step;
//! ```
//!
//! and name it at the end of `migrations::all`. The way down, both databases' DDL and the tests of the list follow.

pub mod catalog;
mod check;
mod dialect;
mod error;
pub mod migrations;
pub mod model;
mod plan;
mod print;
mod reader;
mod runner;
pub mod snapshot;
mod state;
#[cfg(test)]
mod tests;
mod toll;
pub mod user;

pub use check::{Checked, check, snapshot};
pub use dialect::{Dialect, Reference};
pub use error::{Direction, MigrationError, Result, Violation};
pub use plan::HISTORY_TABLE;
pub use print::{erd, schema};
pub use reader::{ReadError, Reader, TextRow};
pub use runner::{Moved, down, fresh, refresh, reset, up, up_by};
/// What a program writes its own migrations with.
pub use sea_orm_migration;
pub use state::{Applied, State, Status, state, state_of, status, status_of};
pub use toll::{TableRows, toll_of_down, toll_of_everything};
