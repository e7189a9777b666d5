//! Opaque one-time and refresh tokens: the secret that travels, and the hash that is stored.
//!
//! Two types, so that a secret cannot be written where a hash belongs, nor a hash used as a token.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// 256 bits of randomness in base64url, 43 characters. Wiped from memory when dropped.
#[derive(Clone)]
pub struct SecretToken(Zeroizing<String>);

impl SecretToken {
    const BYTES: usize = 32;

    /// A new token. No prefix and nothing predictable (ASVS 7.2.3: at least 128 bits).
    #[must_use]
    pub fn generate() -> Self {
        let bytes = Zeroizing::new(random_bytes::<{ Self::BYTES }>());
        Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice())))
    }

    /// Reads a token that a client sent. `None` if it cannot be one of ours, so that no look-up is spent on it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 43 {
            return None;
        }
        // The canonical spelling only: a 44th bit pattern of the last character is another text with the same bytes.
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
        (bytes.len() == Self::BYTES).then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The token itself, for the answer or the mail that carries it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored. A plain SHA-256 is enough: there is nothing to guess in 256 random bits.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash(hex(digest(&SHA256, self.0.as_bytes()).as_ref()))
    }
}

impl fmt::Debug for SecretToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretToken(..)")
    }
}

/// The hex SHA-256 of a [`SecretToken`]: what the database holds. Compared in constant time.
#[derive(Clone, Debug)]
pub struct TokenHash(String);

impl TokenHash {
    /// Of a text that is a hex SHA-256.
    pub(super) fn of_hex(text: String) -> Self {
        Self(text)
    }

    /// The stored text, 64 lower-case hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for TokenHash {}

/// `N` bytes from the operating system's random source.
#[expect(
    clippy::expect_used,
    reason = "without randomness there is no safe way to go on"
)]
pub(super) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's random source answers");
    bytes
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// RST-08
    #[test]
    fn two_thousand_tokens_never_repeat_and_share_no_prefix() {
        let tokens: Vec<_> = (0..2000).map(|_| SecretToken::generate()).collect();
        let distinct: HashSet<_> = tokens.iter().map(SecretToken::expose).collect();
        assert_eq!(distinct.len(), 2000);
        let prefixes: HashSet<_> = tokens.iter().map(|token| &token.expose()[..2]).collect();
        assert!(
            prefixes.len() > 500,
            "only {} different beginnings",
            prefixes.len()
        );
    }

    #[test]
    fn a_generated_token_is_read_back_with_the_same_hash() {
        let token = SecretToken::generate();
        let read = SecretToken::parse(token.expose()).unwrap();
        assert_eq!(read.hash(), token.hash());
        assert_eq!(token.hash().as_str().len(), 64);
    }

    /// REF-09
    #[test]
    fn a_stored_hash_is_not_a_token() {
        let token = SecretToken::generate();
        assert!(SecretToken::parse(token.hash().as_str()).is_none());
        assert!(!token.hash().as_str().contains(token.expose()));
    }

    #[test]
    fn what_cannot_be_a_token_is_not_read() {
        let good = "A".repeat(43);
        assert!(SecretToken::parse(&good).is_some());
        for bad in [
            String::new(),
            "A".repeat(42),
            "A".repeat(44),
            "A".repeat(42) + "=",
            "A".repeat(42) + "B", // spells bits beyond the 256
            "A".repeat(42) + "+",
            "A".repeat(41) + "é",
            " ".to_owned() + &"A".repeat(42),
        ] {
            assert!(SecretToken::parse(&bad).is_none(), "{bad:?} was read");
        }
    }

    #[test]
    fn a_token_never_shows_in_debug_output() {
        let token = SecretToken::generate();
        assert!(!format!("{token:?}").contains(token.expose()));
    }
}
