//! The secret vault's keys.

use std::collections::BTreeMap;

use super::Assembler;
use crate::{VaultConfig, vault};

impl Assembler<'_> {
    pub(super) fn vault(&mut self) -> Option<VaultConfig> {
        let (inline, file) = ("vault.keys", "vault.key_file");
        let active: Option<String> = self.optional("vault.active");
        let (key, keys) = match (self.merged.get(inline).is_some(), self.merged.get(file).is_some()) {
            (true, true) => {
                self.contradiction(inline, file, "both give the keys; remove one");
                return None;
            }
            (true, false) => {
                let pairs: BTreeMap<String, String> = self.read(inline)?;
                (
                    inline,
                    vault::decode(pairs.iter().map(|(id, key)| (id.as_str(), key.as_str()))),
                )
            }
            (false, true) => (file, vault::read_file(&self.existing_file(file)?)),
            (false, false) => {
                if self.merged.get("vault.active").is_some() {
                    self.problem("vault.active", "needs `vault.keys` or `vault.key_file`");
                }
                return None;
            }
        };
        let keys = match keys {
            Ok(keys) => keys,
            Err(errors) => {
                errors.into_iter().for_each(|error| self.problem(key, error));
                return None;
            }
        };
        if key == inline {
            let shown: Vec<_> = keys.keys().map(|id| format!("{id}=***")).collect();
            let label = self.merged.label(key);
            self.note(key, shown.join(" "), label);
        }
        let blame = if active.is_some() { "vault.active" } else { key };
        match VaultConfig::new(active, keys) {
            Ok(vault) => {
                if blame != "vault.active" {
                    let source = format!("follows from `{key}`");
                    self.note("vault.active", vault.active().to_owned(), source);
                }
                Some(vault)
            }
            Err(error) if blame == "vault.active" => {
                self.problem(blame, error);
                None
            }
            Err(error) => {
                self.problem(blame, format!("`vault.active` {error}"));
                None
            }
        }
    }
}
