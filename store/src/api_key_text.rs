//! The text of an API key: `uc_` + 12 public characters + `_` + 43 secret ones.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{Error, ErrorKind, Result};

const MARK: &str = "uc_";
/// 9 bytes in base64: 12 characters. Two keys out of a million share a prefix with a chance of 1 in 10 billion, and the
/// unique index refuses the second.
const PREFIX_BYTES: usize = 9;
const SECRET_BYTES: usize = 32;

/// An API key in memory.
pub(crate) struct KeyText {
    prefix: String,
    secret: Zeroizing<[u8; SECRET_BYTES]>,
}

impl KeyText {
    /// A new key out of the system's randomness.
    pub(crate) fn random() -> Result<Self> {
        let mut prefix = [0; PREFIX_BYTES];
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        for bytes in [&mut prefix[..], &mut secret[..]] {
            getrandom::fill(bytes)
                .map_err(|error| Error::new(ErrorKind::Internal, "the system gave no random bytes").caused_by(error))?;
        }
        // `_` divides the parts of a key, so the public part must not hold one.
        let prefix = URL_SAFE_NO_PAD.encode(prefix).replace('_', "0").replace('-', "1");
        Ok(Self { prefix, secret })
    }

    /// The key in this text, if it has the form of one.
    pub(crate) fn parse(text: &SecretString) -> Option<Self> {
        let (prefix, secret) = text.expose_secret().strip_prefix(MARK)?.split_once('_')?;
        let public = prefix.len() == 12 && prefix.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(secret).ok()?);
        let secret = Zeroizing::new(<[u8; SECRET_BYTES]>::try_from(bytes.as_slice()).ok()?);
        public.then(|| Self {
            prefix: prefix.to_owned(),
            secret,
        })
    }

    /// The public part.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What is stored of the secret part.
    pub(crate) fn hash(&self) -> [u8; 32] {
        Sha256::digest(*self.secret).into()
    }

    /// Whether this is what was stored, in a time that does not depend on where it differs.
    pub(crate) fn matches(&self, stored: &[u8]) -> bool {
        self.hash().ct_eq(stored).into()
    }

    /// The whole text, to hand to the key's holder.
    pub(crate) fn into_plaintext(self) -> SecretString {
        let secret = Zeroizing::new(URL_SAFE_NO_PAD.encode(*self.secret));
        format!("{MARK}{}_{}", self.prefix, *secret).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_again_in_its_text() {
        for _ in 0..200 {
            let key = KeyText::random().unwrap();
            let (prefix, hash) = (key.prefix().to_owned(), key.hash());
            let text = key.into_plaintext();
            assert_eq!(text.expose_secret().len(), 3 + 12 + 1 + 43);
            let read = KeyText::parse(&text).unwrap();
            assert_eq!(read.prefix(), prefix);
            assert!(read.matches(&hash));
        }
    }

    #[test]
    fn anything_else_is_not_a_key() {
        for text in [
            "",
            "uc_",
            "uc_x_y",
            "uc_aaaaaaaaaaaa_short",
            "sk-live-123",
            "uc_aaaa%aaaaaaa_é",
        ] {
            assert!(KeyText::parse(&text.to_owned().into()).is_none(), "{text}");
        }
    }
}
