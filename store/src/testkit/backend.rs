//! Which databases a run tests.

use std::fmt;

/// The variable that selects the backends: a comma-separated list of their names.
pub(crate) const SELECTION: &str = "STORE_TEST_BACKENDS";

/// A kind of database that a test can run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Backend {
    /// One file, opened by the test's own process.
    Sqlite,
    /// A database of its own on a shared server.
    Postgres,
}

impl Backend {
    /// Every backend, in the order in which tests are listed.
    pub const ALL: [Self; 2] = [Self::Sqlite, Self::Postgres];

    /// The last part of a test's name, and the word in `STORE_TEST_BACKENDS`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }

    const fn is_compiled_in(self) -> bool {
        match self {
            Self::Sqlite => cfg!(feature = "sqlite"),
            Self::Postgres => cfg!(feature = "postgres"),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a run does with each backend: `None` runs it, `Some(reason)` leaves it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selection([Option<String>; 2]);

impl Selection {
    /// Reads `STORE_TEST_BACKENDS`.
    pub(crate) fn from_env() -> Result<Self, String> {
        match std::env::var(SELECTION) {
            Ok(list) => Self::parse(&list),
            Err(std::env::VarError::NotPresent) => Ok(Self(Backend::ALL.map(left_out_of_the_build))),
            Err(std::env::VarError::NotUnicode(_)) => Err(format!("{SELECTION} is not UTF-8")),
        }
    }

    fn parse(list: &str) -> Result<Self, String> {
        let mut wanted = Vec::new();
        for word in list.split(',').map(str::trim) {
            wanted.push(parse_word(word, list)?);
        }
        Ok(Self(Backend::ALL.map(|backend| {
            if wanted.contains(&backend) {
                None
            } else {
                Some(format!("deselected by {SELECTION}={list}"))
            }
        })))
    }

    /// Why the backend is left out of this run, or `None` when it takes part.
    pub(crate) fn reason_to_skip(&self, backend: Backend) -> Option<&str> {
        self.0[backend as usize].as_deref()
    }
}

fn left_out_of_the_build(backend: Backend) -> Option<String> {
    (!backend.is_compiled_in()).then(|| format!("not compiled in: build with the cargo feature `{backend}`"))
}

fn parse_word(word: &str, list: &str) -> Result<Backend, String> {
    let known = Backend::ALL.map(Backend::name).join(", ");
    let Some(backend) = Backend::ALL.into_iter().find(|b| b.name() == word) else {
        let what = if word.is_empty() {
            "an empty name".to_owned()
        } else {
            format!("unknown backend `{word}`")
        };
        return Err(format!(
            "{SELECTION}={list}: {what}; known are {known}, separated by commas (unset it to test every backend)"
        ));
    };
    match left_out_of_the_build(backend) {
        None => Ok(backend),
        Some(reason) => Err(format!("{SELECTION}={list}: {backend} is {reason}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "sqlite")]
    #[test]
    fn a_list_selects_what_it_names() {
        let only = Selection::parse(" sqlite ").unwrap();
        assert_eq!(only.reason_to_skip(Backend::Sqlite), None);
        assert_eq!(
            only.reason_to_skip(Backend::Postgres),
            Some("deselected by STORE_TEST_BACKENDS= sqlite ")
        );
    }

    #[cfg(all(feature = "sqlite", feature = "postgres"))]
    #[test]
    fn a_list_can_name_both() {
        let both = Selection::parse("postgres,sqlite").unwrap();
        assert!(Backend::ALL.iter().all(|b| both.reason_to_skip(*b).is_none()));
    }

    #[test]
    fn what_is_not_a_backend_is_named() {
        for (list, named) in [
            ("mysql", "`mysql`"),
            ("", "empty name"),
            ("mysql,", "`mysql`"),
            ("SQLite", "`SQLite`"),
        ] {
            let error = Selection::parse(list).unwrap_err();
            assert!(
                error.contains(named) && error.contains("known are sqlite, postgres"),
                "{error}"
            );
        }
    }
}
