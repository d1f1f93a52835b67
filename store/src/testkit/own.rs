//! Where the kit meets this project's store: its schema, and opening a store on a test's database.

use super::Template;

/// The schema of this project, as its migrations make it.
pub(crate) fn template() -> Template {
    Template::new("", |_config| async { Ok::<(), std::io::Error>(()) })
}
