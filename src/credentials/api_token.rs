//! Secrets of API tokens: `stile_`, 32 random bytes in base62, a checksum.
//!
//! The prefix lets scanners of code and logs recognise a leaked one; the checksum refuses what was mistyped or made
//! up before anything is looked up. It protects nothing else: whoever knows the form can compute it.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use zeroize::Zeroizing;

use super::token::{TokenHash, hex, random_bytes};

/// What every secret starts with.
const MARK: &str = "stile_";
/// Digits of 256 bits in base62.
const BODY: usize = 43;
/// Digits of a CRC32 in base62.
const CHECKSUM: usize = 6;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The secret of an API token. Wiped from memory when dropped.
#[derive(Clone)]
pub struct ApiTokenSecret(Zeroizing<String>);

impl ApiTokenSecret {
    /// A new secret.
    #[must_use]
    pub fn generate() -> Self {
        let bytes = Zeroizing::new(random_bytes::<32>());
        let mut text = Zeroizing::new(String::with_capacity(MARK.len() + BODY + CHECKSUM));
        text.push_str(MARK);
        push_base62(&mut text, &bytes[..], BODY);
        let checksum = crc32(text.as_bytes());
        push_base62(&mut text, &checksum.to_be_bytes(), CHECKSUM);
        Self(text)
    }

    /// Reads a secret that a client sent. `None` if it cannot be one of ours, so that no look-up is spent on it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(MARK)?;
        if digits.len() != BODY + CHECKSUM || !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return None;
        }
        let (body, checksum) = text.split_at_checked(MARK.len() + BODY)?;
        let mut expected = String::with_capacity(CHECKSUM);
        push_base62(&mut expected, &crc32(body.as_bytes()).to_be_bytes(), CHECKSUM);
        (checksum == expected).then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The secret itself, for the one answer that shows it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The first characters, by which its owner knows it again: 36 of its 256 bits.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.0.get(..MARK.len() + 6).unwrap_or(MARK)
    }

    /// SHA-256. There is nothing to guess in 256 random bits, so a plain hash is enough.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, self.0.as_bytes()).as_ref());
        bytes
    }

    /// The same as it is stored.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash::of_hex(hex(&self.digest()))
    }
}

impl fmt::Debug for ApiTokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiTokenSecret(..)")
    }
}

/// Appends a big-endian number as exactly `digits` digits, by long division.
fn push_base62(text: &mut String, number: &[u8], digits: usize) {
    let mut number = Zeroizing::new(number.to_vec());
    let mut reversed = Zeroizing::new(Vec::with_capacity(digits));
    for _ in 0..digits {
        let mut rest = 0_u32;
        for byte in number.iter_mut() {
            let part = rest << 8 | u32::from(*byte);
            *byte = u8::try_from(part / 62).unwrap_or_default();
            rest = part % 62;
        }
        reversed.push(DIGITS.get(rest as usize).copied().unwrap_or_default());
    }
    text.extend(reversed.iter().rev().map(|digit| char::from(*digit)));
}

/// CRC-32 as in ISO 3309 and zlib.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_checksum_is_crc_32() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn base62_is_of_fixed_length_and_distinct() {
        let text = |bytes: &[u8], digits| {
            let mut text = String::new();
            push_base62(&mut text, bytes, digits);
            text
        };
        assert_eq!(text(&[0; 32], BODY), "0".repeat(43));
        assert_eq!(text(&61_u32.to_be_bytes(), 6), "00000z");
        assert_eq!(text(&62_u32.to_be_bytes(), 6), "000010");
        assert_eq!(text(&u32::MAX.to_be_bytes(), 6), "4gfFC3");
        assert!(
            text(&[255; 32], BODY).as_bytes()[0] != b'0',
            "43 digits are needed"
        );
    }

    /// TOK-03.
    #[test]
    fn secrets_are_recognisable_never_repeat_and_are_read_back() {
        let secrets: Vec<_> = (0..1000).map(|_| ApiTokenSecret::generate()).collect();
        let distinct: HashSet<_> = secrets.iter().map(ApiTokenSecret::expose).collect();
        assert_eq!(distinct.len(), 1000);
        for secret in &secrets {
            assert_eq!(secret.expose().len(), 55);
            assert!(secret.expose().starts_with("stile_"));
            let read = ApiTokenSecret::parse(secret.expose()).unwrap();
            assert_eq!(read.hash(), secret.hash());
            assert!(!format!("{secret:?}").contains(&secret.expose()[6..]));
        }
    }

    #[test]
    fn one_wrong_character_is_seen_without_a_look_up() {
        let secret = ApiTokenSecret::generate();
        for place in 0..secret.expose().len() {
            let mut bytes = secret.expose().as_bytes().to_vec();
            bytes[place] = if bytes[place] == b'a' { b'b' } else { b'a' };
            let text = String::from_utf8(bytes).unwrap();
            assert!(ApiTokenSecret::parse(&text).is_none(), "place {place}");
        }
        for bad in ["", "stile_", "stile", &"x".repeat(20_000), "stile_é"] {
            assert!(ApiTokenSecret::parse(bad).is_none());
        }
    }

    /// REF-09.
    #[test]
    fn a_stored_hash_is_no_secret() {
        let secret = ApiTokenSecret::generate();
        assert!(ApiTokenSecret::parse(secret.hash().as_str()).is_none());
        assert!(ApiTokenSecret::parse(&format!("stile_{}", &secret.hash().as_str()[..49])).is_none());
    }
}
