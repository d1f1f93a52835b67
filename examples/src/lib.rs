//! What the example programs share.

pub mod key_file;
pub mod mission_file;
pub mod notes;
pub mod program;
pub mod souls;
pub mod table;
