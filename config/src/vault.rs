//! The secret vault's key ring.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretBox};

/// How long a key id may be, in characters.
const LONGEST_ID: usize = 64;

/// One 256-bit key. Never prints; its memory is wiped when the last copy goes.
#[derive(Clone)]
pub struct VaultKey(Arc<SecretBox<[u8; 32]>>);

impl VaultKey {
    /// The key's bytes, for the cipher.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose_secret()
    }
}

impl fmt::Debug for VaultKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VaultKey(***)")
    }
}

/// The vault's key ring: the key that seals, and every key that can still open.
#[derive(Debug, Clone)]
pub struct VaultConfig {
    active: String,
    keys: BTreeMap<String, VaultKey>,
}

impl VaultConfig {
    /// The id of the key that seals new secrets; always one of [`keys`](Self::keys).
    pub fn active(&self) -> &str {
        &self.active
    }

    /// Every key by its id, in order of the ids; never empty.
    pub fn keys(&self) -> &BTreeMap<String, VaultKey> {
        &self.keys
    }

    /// A ring of these keys. Without `active` a single key is the active one.
    pub(crate) fn new(active: Option<String>, keys: BTreeMap<String, VaultKey>) -> Result<Self, String> {
        let ids = || keys.keys().cloned().collect::<Vec<_>>().join(", ");
        let active = match active {
            Some(active) if keys.contains_key(&active) => active,
            Some(active) => {
                return Err(format!("there is no key `{active}`; the keys are: {}", ids()));
            }
            None if keys.len() == 1 => ids(),
            None => {
                return Err(format!("is needed to say which key seals new secrets: {}", ids()));
            }
        };
        Ok(Self { active, keys })
    }
}

/// Decodes `id` → base64 text. Errors name the id, never the key.
pub(crate) fn decode<'a>(
    pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<BTreeMap<String, VaultKey>, Vec<String>> {
    let mut keys = BTreeMap::new();
    let mut errors = vec![];
    for (id, text) in pairs {
        match check_id(id).and_then(|()| decode_key(id, text)) {
            Ok(key) => {
                if keys.insert(id.to_owned(), key).is_some() {
                    errors.push(format!("key `{id}` is given twice"));
                }
            }
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(keys) } else { Err(errors) }
}

fn check_id(id: &str) -> Result<(), String> {
    if id.is_empty() {
        return Err("a key id is empty".to_owned());
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if id.len() > LONGEST_ID || !id.chars().all(allowed) {
        // Not repeated: what stands before the colon by mistake may be a key.
        return Err(format!(
            "a key id is not up to {LONGEST_ID} letters, digits, `.`, `_` and `-`"
        ));
    }
    Ok(())
}

fn decode_key(id: &str, text: &str) -> Result<VaultKey, String> {
    let bytes = STANDARD
        .decode(text.trim())
        .map_err(|_| format!("key `{id}` is not base64"))?;
    let length = bytes.len();
    let bytes: [u8; 32] = bytes
        .try_into()
        .map_err(|_| format!("key `{id}` has {length} bytes and needs 32 (`openssl rand -base64 32`)"))?;
    Ok(VaultKey(Arc::new(SecretBox::new(Box::new(bytes)))))
}

/// Reads a file of `id:base64` lines.
pub(crate) fn read_file(path: &Path) -> Result<BTreeMap<String, VaultKey>, Vec<String>> {
    let text =
        std::fs::read_to_string(path).map_err(|error| vec![format!("cannot read {}: {error}", path.display())])?;
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    let mut pairs = vec![];
    let mut errors = vec![];
    for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        match line.split_once(':') {
            Some((id, key)) => pairs.push((id.trim(), key)),
            None => errors.push(format!("line {number} of {} is not `id:base64`", path.display())),
        }
    }
    if pairs.is_empty() && errors.is_empty() {
        errors.push(format!("{} holds no key", path.display()));
    }
    match decode(pairs) {
        Ok(keys) if errors.is_empty() => Ok(keys),
        Ok(_) => Err(errors),
        Err(more) => Err(errors.into_iter().chain(more).collect()),
    }
}
