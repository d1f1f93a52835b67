//! An application's own table beside the store's: what `docs/adding-a-repository.md` builds, step by step.

pub mod contract;
pub mod entity;
pub mod migration;
pub mod sql;

pub use contract::{NewNote, Note, NoteRepository};
pub use migration::Migrator;
pub use sql::{Notes, WithNotes};
