//! Guides: how things are done, and what can be relied on.

#[doc = include_str!("../../docs/adding-a-repository.md")]
pub mod adding_a_repository {}

#[doc = include_str!("../../docs/guarantees.md")]
pub mod guarantees {}

#[doc = include_str!("../../docs/configuration.md")]
pub mod configuration {}

/// The README's Rust is compiled with the tests of this crate's documentation.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    #[test]
    fn the_table_of_error_kinds_has_every_kind() {
        let source = include_str!("error.rs");
        let (_, rest) = source.split_once("pub enum ErrorKind {").unwrap();
        let (variants, _) = rest.split_once("\n}").unwrap();
        let declared = variants.lines().filter_map(|line| line.trim().strip_suffix(','));
        let table = include_str!("../../docs/guarantees.md");
        let told = table
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        assert_eq!(told.collect::<Vec<_>>(), declared.collect::<Vec<_>>());
    }
}
