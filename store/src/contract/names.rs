//! Names that callers pass: each is a type whose values obey its rule.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A name type over text: made by `new`, read by `as_str`, checked when it is deserialised.
macro_rules! names {
    ($($(#[$doc:meta])* $name:ident => $rule:path;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Takes the text if it obeys the rule.
            ///
            /// # Errors
            /// `InvalidInput` that tells the rule.
            pub fn new(text: impl Into<String>) -> Result<Self> {
                let text = text.into();
                $rule(&text)?;
                Ok(Self(text))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    )+};
}

names! {
    /// A bot's name in addresses: 1 to 64 of `a-z`, `0-9` and single hyphens between them.
    Slug => slug;

    /// An e-mail address: something on both sides of one `@`, no blanks or control characters, at most 254 bytes
    /// (RFC 5321, 4.5.3.1.3). Kept as written; compared without regard to case.
    Email => email;

    /// A key of a secret or a value: 1 to 512 bytes without U+0000. The limit is what an index entry of Postgres can
    /// take with room to spare.
    Key => key;

    /// The id of a memory, which is kept elsewhere: 1 to 512 bytes without U+0000.
    MemoryId => memory_id;

    /// The name of a provider of models or tools: 1 to 512 bytes without U+0000.
    ProviderName => provider_name;

    /// The name of a bot's file, path included if the bot uses paths: 1 to 512 bytes without U+0000.
    FileName => file_name;
    /// A workflow's name: not blank, at most 512 bytes, without U+0000. It is unique for its owner, and so it is in an
    /// index; the limit is that of [`Key`].
    WorkflowName => workflow_name;
    /// A channel's name: 1 to 512 bytes without U+0000, as a [`Key`].
    ChannelName => channel_name;

    /// What the caller calls one execution of a workflow: 1 to 512 bytes without U+0000.
    WorkflowExecId => workflow_exec_id;

    /// What the caller calls a workflow that is executed: 1 to 512 bytes without U+0000.
    WorkflowKey => workflow_id;

    /// What the caller calls one execution of a task: 1 to 512 bytes without U+0000.
    TaskExecId => task_exec_id;

    /// What the caller calls a task that is executed: 1 to 512 bytes without U+0000.
    TaskKey => task_id;
}

impl Email {
    /// The form in which two addresses are compared: Unicode lower case.
    pub fn folded(&self) -> String {
        self.0.to_lowercase()
    }
}

fn slug(text: &str) -> Result<()> {
    let word = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    if text.len() <= 64 && text.split('-').all(word) {
        return Ok(());
    }
    Err(Error::invalid(
        "slug",
        "must be 1 to 64 of a-z, 0-9 and single hyphens between them, like `night-owl-2`",
    ))
}

fn email(text: &str) -> Result<()> {
    let parts = text.split('@').collect::<Vec<_>>();
    let shape = matches!(parts[..], [local, domain] if !local.is_empty() && !domain.is_empty());
    if shape && text.len() <= 254 && !text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Ok(());
    }
    Err(Error::invalid(
        "email",
        "must be like `name@example.org`: one @, no blanks, at most 254 bytes",
    ))
}

fn key(text: &str) -> Result<()> {
    super::check::indexed("key", text)
}

fn memory_id(text: &str) -> Result<()> {
    super::check::indexed("memory_id", text)
}

fn provider_name(text: &str) -> Result<()> {
    super::check::indexed("name", text)
}

fn file_name(text: &str) -> Result<()> {
    super::check::indexed("filename", text)
}

fn workflow_name(text: &str) -> Result<()> {
    super::check::indexed_name("workflow name", text)
}

fn channel_name(text: &str) -> Result<()> {
    super::check::indexed("channel", text)
}

fn workflow_exec_id(text: &str) -> Result<()> {
    super::check::indexed("workflow_exec_id", text)
}

fn workflow_id(text: &str) -> Result<()> {
    super::check::indexed("workflow_id", text)
}

fn task_exec_id(text: &str) -> Result<()> {
    super::check::indexed("task_exec_id", text)
}

fn task_id(text: &str) -> Result<()> {
    super::check::indexed("task_id", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs() {
        for good in ["a", "night-owl-2", "0", &"x".repeat(64)] {
            assert_eq!(Slug::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a-", "a--b", "Owl", "a_b", "a b", "é", "a\0", &"x".repeat(65)] {
            let error = Slug::new(bad).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::InvalidInput, "{bad:?}");
        }
    }

    #[test]
    fn emails() {
        for good in ["a@b", "Ada.Lovelace@Example.ORG", "ü@exämple.de"] {
            Email::new(good).unwrap();
        }
        for bad in [
            "",
            "a",
            "@b",
            "a@",
            "a@b@c",
            "a b@c",
            "a@b\n",
            "a@b\0",
            &format!("{}@b", "x".repeat(254)),
        ] {
            Email::new(bad).unwrap_err();
        }
        assert_eq!(Email::new("ÄDA@Example.org").unwrap().folded(), "äda@example.org");
    }

    #[test]
    fn keys() {
        Key::new("x".repeat(512)).unwrap();
        for bad in [String::new(), "x".repeat(513), "a\0b".into()] {
            Key::new(bad.clone()).unwrap_err();
            let error = TaskExecId::new(bad).unwrap_err();
            assert!(error.to_string().contains("task_exec_id"), "{error}");
        }
    }

    #[test]
    fn workflow_names() {
        WorkflowName::new("x".repeat(512)).unwrap();
        for bad in [String::new(), " \t".into(), "x".repeat(513), "a\0b".into()] {
            WorkflowName::new(bad).unwrap_err();
        }
    }

    #[test]
    fn a_deserialised_name_obeys_its_rule() {
        assert!(serde_json::from_str::<Slug>("\"Not A Slug\"").is_err());
        assert_eq!(serde_json::from_str::<Slug>("\"owl\"").unwrap().as_str(), "owl");
    }
}
