//! The vault: seals secrets before they are stored, and opens them again.
//!
//! AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce per sealing. The scope and the key go in as associated data,
//! so a sealed value that was moved to another row does not open. Random nonces are good for 2³² sealings under one key
//! (8.3 of the standard): [rotate](SecretVault::rotate) to a new key long before that.
//!
//! A sealed value is `"UCV1"`, the length of the key's id in one byte, the id, the nonce, the ciphertext with its tag.

use std::collections::BTreeMap;
use std::fmt;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::contract::{Key, PageRequest, Scope, SealedValue, SecretInfo, SecretProvider, SecretRepository};
use crate::{Error, ErrorKind, Result};

const MARK: &[u8; 4] = b"UCV1";
const NONCE_BYTES: usize = 12;

/// Why a sealed value did not open: the source of an error of kind [`Vault`](ErrorKind::Vault).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// It was sealed with a key that the ring does not have.
    #[error("it was sealed with the key `{0}`, which is not in the key ring: add that key to the ring")]
    UnknownKey(String),
    /// The key of that id is another one, or the value was changed or moved since it was sealed.
    #[error("it does not open: the key of this id is another one, or the value was changed or moved")]
    Rejected,
    /// It does not have the form of a sealed value.
    #[error("it was not sealed by this vault: set it again through the vault")]
    NotSealed,
    /// What it holds is not text.
    #[error("it holds bytes that are not text")]
    NotText,
}

/// The keys that a vault knows: one to seal with, any number to open with.
#[derive(Clone)]
pub struct KeyRing {
    active: String,
    keys: BTreeMap<String, Aes256Gcm>,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing")
            .field("active", &self.active)
            .field("keys", &self.keys.keys().collect::<Vec<_>>())
            .finish()
    }
}

impl KeyRing {
    /// A ring of one key, to seal and to open with. The id is written, in the clear, into every sealed value.
    ///
    /// # Errors
    /// `Config` when the id is empty or longer than 255 bytes.
    pub fn new(id: impl Into<String>, key: &[u8; 32]) -> Result<Self> {
        let id = id.into();
        let ring = Self {
            active: id.clone(),
            keys: BTreeMap::new(),
        };
        ring.and(id, key)
    }

    /// The ring with one more key, to open with.
    ///
    /// # Errors
    /// `Config` when the id is empty, longer than 255 bytes, or there already.
    pub fn and(mut self, id: impl Into<String>, key: &[u8; 32]) -> Result<Self> {
        let id = id.into();
        if id.is_empty() || id.len() > 255 {
            return Err(Error::new(
                ErrorKind::Config,
                "a vault key's id must be 1 to 255 bytes long",
            ));
        }
        if self.keys.insert(id.clone(), Aes256Gcm::new(key.into())).is_some() {
            return Err(Error::new(
                ErrorKind::Config,
                format!("the vault key `{id}` is there twice"),
            ));
        }
        Ok(self)
    }

    /// Seals a text for this place. Sealing the same text again gives other bytes.
    ///
    /// # Errors
    /// `Internal` when the system gives no random bytes.
    pub fn seal(&self, scope: Scope, key: &Key, plaintext: &SecretString) -> Result<SealedValue> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce)
            .map_err(|error| Error::new(ErrorKind::Internal, "the system gave no random bytes").caused_by(error))?;
        let header = header(&self.active);
        let payload = Payload {
            msg: plaintext.expose_secret().as_bytes(),
            aad: &associated_data(&header, scope, key),
        };
        let cipher = self
            .keys
            .get(&self.active)
            .ok_or_else(|| vault(VaultError::UnknownKey(self.active.clone())))?;
        let sealed = cipher
            .encrypt(&Nonce::from(nonce), payload)
            .map_err(|_| Error::new(ErrorKind::InvalidInput, "the secret is too large to be sealed"))?;
        Ok(SealedValue::from_sealed([header, nonce.to_vec(), sealed].concat()))
    }

    /// Opens what was sealed for this place.
    ///
    /// # Errors
    /// `Vault`, with a [`VaultError`] as its source.
    pub fn open(&self, scope: Scope, key: &Key, sealed: &SealedValue) -> Result<SecretString> {
        let parts = Parts::of(sealed).ok_or_else(|| vault(VaultError::NotSealed))?;
        let unknown = || vault(VaultError::UnknownKey(parts.key_id.to_owned()));
        let cipher = self.keys.get(parts.key_id).ok_or_else(unknown)?;
        let aad = associated_data(&header(parts.key_id), scope, key);
        let opened = cipher
            .decrypt(
                &Nonce::from(parts.nonce),
                Payload {
                    msg: parts.ciphertext,
                    aad: &aad,
                },
            )
            .map_err(|_| vault(VaultError::Rejected))?;
        let opened = Zeroizing::new(opened);
        let text = std::str::from_utf8(&opened).map_err(|_| vault(VaultError::NotText))?;
        Ok(text.to_owned().into())
    }

    /// Whether the value was sealed with the key that this ring seals with.
    fn sealed_lately(&self, sealed: &SealedValue) -> bool {
        Parts::of(sealed).is_some_and(|parts| parts.key_id == self.active)
    }
}

impl TryFrom<&config::VaultConfig> for KeyRing {
    type Error = Error;

    /// The key ring of a configuration.
    fn try_from(config: &config::VaultConfig) -> Result<Self> {
        let ring = Self {
            active: config.active().to_owned(),
            keys: BTreeMap::new(),
        };
        config
            .keys()
            .iter()
            .try_fold(ring, |ring, (id, key)| ring.and(id, key.expose()))
    }
}

struct Parts<'a> {
    key_id: &'a str,
    nonce: [u8; NONCE_BYTES],
    ciphertext: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(sealed: &'a SealedValue) -> Option<Self> {
        let (length, rest) = sealed.as_bytes().strip_prefix(MARK)?.split_first()?;
        let (key_id, rest) = rest.split_at_checked(usize::from(*length))?;
        let (nonce, ciphertext) = rest.split_first_chunk()?;
        Some(Self {
            key_id: std::str::from_utf8(key_id).ok()?,
            nonce: *nonce,
            ciphertext,
        })
    }
}

fn header(key_id: &str) -> Vec<u8> {
    // KeyRing::and keeps ids within 255 bytes.
    let length = u8::try_from(key_id.len()).unwrap_or(u8::MAX);
    [&MARK[..], &[length], key_id.as_bytes()].concat()
}

/// The header, then the scope, then the key: each of a fixed or a told length, so that no two places have the same.
fn associated_data(header: &[u8], scope: Scope, key: &Key) -> Vec<u8> {
    let scope = match scope {
        Scope::Global => vec![0],
        Scope::Bot(id) => [&[1], &id.0.as_bytes()[..]].concat(),
    };
    [header, &scope, key.as_str().as_bytes()].concat()
}

fn vault(error: VaultError) -> Error {
    Error::new(ErrorKind::Vault, error.to_string()).caused_by(error)
}

/// How a [rotation](SecretVault::rotate) went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Sealed again, with the active key.
    pub resealed: u64,
    /// Already sealed with the active key.
    pub current: u64,
    /// Left alone: another provider sealed them.
    pub foreign: u64,
}

/// Secrets in the clear for the program, sealed in the database.
#[derive(Debug, Clone)]
pub struct SecretVault<R> {
    secrets: R,
    ring: KeyRing,
}

impl<R: SecretRepository> SecretVault<R> {
    /// A vault over these secrets. In a transaction: `SecretVault::new(tx.secrets(), ring)`.
    pub fn new(secrets: R, ring: KeyRing) -> Self {
        Self { secrets, ring }
    }

    /// The same keys over other secrets: those of a transaction, `vault.over(tx.secrets())`.
    pub fn over<S: SecretRepository>(&self, secrets: S) -> SecretVault<S> {
        SecretVault::new(secrets, self.ring.clone())
    }

    /// Seals the value and stores it, in place of an earlier one.
    ///
    /// # Errors
    /// `ForeignKey` when the scope's bot does not exist.
    pub async fn set(&self, scope: Scope, key: &Key, value: &SecretString) -> Result<SecretInfo> {
        let sealed = self.ring.seal(scope, key, value)?;
        self.secrets.set(scope, key, sealed, SecretProvider::Vault).await
    }

    /// The value, in the clear.
    ///
    /// # Errors
    /// `Vault`, with a [`VaultError`] as its source, when it does not open.
    pub async fn get(&self, scope: Scope, key: &Key) -> Result<Option<SecretString>> {
        match self.secrets.get(scope, key).await? {
            Some(sealed) => self.open(scope, key, &sealed).map(Some),
            None => Ok(None),
        }
    }

    /// Seals every secret of the vault again that was sealed with another key than the active one, so that the old keys
    /// can be thrown away. A secret that is set meanwhile keeps its new value. It may be stopped and run again.
    ///
    /// # Errors
    /// `Vault` at the first secret that does not open; those before it stay resealed.
    pub async fn rotate(&self) -> Result<Rotation> {
        let mut rotation = Rotation::default();
        let mut next = Some(PageRequest::first(500));
        while let Some(request) = next {
            let page = self.secrets.list(None, request).await?;
            for secret in &page.items {
                self.reseal(secret, &mut rotation).await?;
            }
            next = page.next.map(|cursor| PageRequest::after(cursor, 500));
        }
        Ok(rotation)
    }

    async fn reseal(&self, secret: &SecretInfo, rotation: &mut Rotation) -> Result<()> {
        if secret.provider != SecretProvider::Vault {
            rotation.foreign += 1;
            return Ok(());
        }
        let (scope, key) = (secret.scope, &secret.key);
        // Again when it was set in between; gone is done as well.
        while let Some(old) = self.secrets.get(scope, key).await? {
            if self.ring.sealed_lately(&old) {
                rotation.current += 1;
                return Ok(());
            }
            let new = self.ring.seal(scope, key, &self.open(scope, key, &old)?)?;
            if self.secrets.reseal(scope, key, &old, new).await? {
                rotation.resealed += 1;
                return Ok(());
            }
        }
        Ok(())
    }

    fn open(&self, scope: Scope, key: &Key, sealed: &SealedValue) -> Result<SecretString> {
        self.ring.open(scope, key, sealed).map_err(|error| {
            let place = format!("secret `{key}` ({scope}): {}", plain(&error));
            match error.vault_error() {
                Some(cause) => Error::new(ErrorKind::Vault, place)
                    .of("secret")
                    .caused_by(cause.clone()),
                None => error,
            }
        })
    }
}

fn plain(error: &Error) -> String {
    error.vault_error().map(VaultError::to_string).unwrap_or_default()
}

impl Error {
    /// Why a sealed value did not open, if this is such an error.
    pub fn vault_error(&self) -> Option<&VaultError> {
        std::error::Error::source(self)?.downcast_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key::new("openai").unwrap()
    }

    fn ring() -> KeyRing {
        KeyRing::new("2026", &[7; 32]).unwrap()
    }

    fn cause(opened: Result<SecretString>) -> VaultError {
        opened.unwrap_err().vault_error().unwrap().clone()
    }

    #[test]
    fn what_was_sealed_opens_in_its_place_only() {
        let sealed = ring().seal(Scope::Global, &key(), &"sk-1".into()).unwrap();
        assert_eq!(
            ring().open(Scope::Global, &key(), &sealed).unwrap().expose_secret(),
            "sk-1"
        );
        let elsewhere = Key::new("anthropic").unwrap();
        assert_eq!(
            cause(ring().open(Scope::Global, &elsewhere, &sealed)),
            VaultError::Rejected
        );
        let bot = Scope::Bot(uuid::Uuid::nil().into());
        assert_eq!(cause(ring().open(bot, &key(), &sealed)), VaultError::Rejected);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let sealed = ring().seal(Scope::Global, &key(), &"sk-1".into()).unwrap();
        for at in 0..sealed.as_bytes().len() * 8 {
            let mut bytes = sealed.as_bytes().to_vec();
            bytes[at / 8] ^= 1 << (at % 8);
            assert!(
                ring()
                    .open(Scope::Global, &key(), &SealedValue::from_sealed(bytes))
                    .is_err(),
                "bit {at}"
            );
        }
    }

    #[test]
    fn a_cut_value_and_plaintext_are_refused() {
        let sealed = ring().seal(Scope::Global, &key(), &"sk-1".into()).unwrap();
        for length in 0..sealed.as_bytes().len() {
            let cut = SealedValue::from_sealed(sealed.as_bytes()[..length].to_vec());
            assert!(ring().open(Scope::Global, &key(), &cut).is_err(), "{length} bytes");
        }
        let plain = SealedValue::from_sealed(b"sk-in-the-clear".to_vec());
        assert_eq!(cause(ring().open(Scope::Global, &key(), &plain)), VaultError::NotSealed);
    }

    #[test]
    fn the_key_counts_and_so_does_its_id() {
        let sealed = ring().seal(Scope::Global, &key(), &"sk-1".into()).unwrap();
        let same_id = KeyRing::new("2026", &[8; 32]).unwrap();
        assert_eq!(
            cause(same_id.open(Scope::Global, &key(), &sealed)),
            VaultError::Rejected
        );
        let other_id = KeyRing::new("2027", &[7; 32]).unwrap();
        assert_eq!(
            cause(other_id.open(Scope::Global, &key(), &sealed)),
            VaultError::UnknownKey("2026".into())
        );
        let both = KeyRing::new("2027", &[8; 32]).unwrap().and("2026", &[7; 32]).unwrap();
        assert_eq!(
            both.open(Scope::Global, &key(), &sealed).unwrap().expose_secret(),
            "sk-1"
        );
    }

    #[test]
    fn ids_must_make_sense() {
        assert_eq!(KeyRing::new("", &[0; 32]).unwrap_err().kind(), ErrorKind::Config);
        assert_eq!(
            KeyRing::new("x".repeat(256), &[0; 32]).unwrap_err().kind(),
            ErrorKind::Config
        );
        assert_eq!(ring().and("2026", &[1; 32]).unwrap_err().kind(), ErrorKind::Config);
    }

    #[test]
    fn a_ring_does_not_show_its_keys() {
        assert_eq!(format!("{:?}", ring()), r#"KeyRing { active: "2026", keys: ["2026"] }"#);
    }
}
