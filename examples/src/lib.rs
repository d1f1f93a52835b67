//! What the example programs share.

pub mod key_file;
pub mod notes;
pub mod souls;
pub mod table;
