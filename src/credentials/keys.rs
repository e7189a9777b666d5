//! The secret key, and the subkeys that are derived from it, one for each purpose.
//!
//! `SECRET_KEY` itself never touches data: HKDF-SHA256 (RFC 5869) turns it into one key per
//! [`Purpose`], so that a value made for one purpose is worthless for another.

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::token::hex;

/// What a derived key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Names an account in a limit's key without writing its address there.
    AccountKey,
    /// Seals the successor of a refresh token while the grace lasts (contract 3.3).
    RefreshSeal,
    /// Binds a form of the pages to the browser that it was shown to.
    PageForm,
}

impl Purpose {
    /// Part of every derived key: changing one makes everything derived under it unreadable.
    fn label(self) -> &'static [u8] {
        match self {
            Self::AccountKey => b"stile account key v1",
            Self::RefreshSeal => b"stile refresh seal v1",
            Self::PageForm => b"stile page form v1",
        }
    }
}

/// Why a secret was refused. Never repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeakSecret {
    /// Fewer than 32 bytes (RFC 7518 3.2 asks as much of an HS256 key).
    #[error("it has fewer than 32 bytes; `openssl rand -base64 32` makes a good one")]
    TooShort,
    /// A text that stands in examples and templates.
    #[error("it is a placeholder; `openssl rand -base64 32` makes a good one")]
    Placeholder,
    /// One byte, or a few, again and again.
    #[error("it repeats itself; `openssl rand -base64 32` makes a good one")]
    Repetitive,
}

/// `SECRET_KEY` and `SECRET_KEY_PREVIOUS`. Cheap to clone.
#[derive(Clone)]
pub struct SecretKeys {
    current: SecretString,
    previous: Option<SecretString>,
}

impl SecretKeys {
    /// Both at least 32 bytes and no placeholder.
    pub fn new(current: SecretString, previous: Option<SecretString>) -> Result<Self, WeakSecret> {
        refuse_weak_secret(&current)?;
        previous.as_ref().map_or(Ok(()), refuse_weak_secret)?;
        Ok(Self { current, previous })
    }

    /// Hex HMAC-SHA256 of `text` under the current key.
    #[must_use]
    pub fn mac(&self, purpose: Purpose, text: &str) -> String {
        mac_under(&self.current, purpose, text)
    }

    /// [`SecretKeys::mac`] under the previous key, for finding what was stored before a rotation.
    #[must_use]
    pub fn previous_mac(&self, purpose: Purpose, text: &str) -> Option<String> {
        self.previous.as_ref().map(|key| mac_under(key, purpose, text))
    }

    /// Encrypts `plaintext` (AES-256-GCM, random nonce) under a key made from the secret key, the
    /// purpose and `bound_to`: whoever lacks any of the three cannot open it. Base64url.
    ///
    /// # Panics
    /// When the system's random source fails.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "fails only for a key or text of impossible length"
    )]
    pub fn seal(&self, purpose: Purpose, bound_to: &str, plaintext: &[u8]) -> String {
        let mut sealed = plaintext.to_vec();
        let nonce = sealing_key(&self.current, purpose, bound_to)
            .seal_in_place_append_tag(Aad::empty(), &mut sealed)
            .expect("AES-256-GCM seals a text of this size");
        let mut bytes = nonce.as_ref().to_vec();
        bytes.append(&mut sealed);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Opens what [`SecretKeys::seal`] made, also with the previous key. `None` if it was made for
    /// another purpose or bound to something else, or is damaged.
    #[must_use]
    pub fn open(&self, purpose: Purpose, bound_to: &str, sealed: &str) -> Option<Vec<u8>> {
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        std::iter::once(&self.current)
            .chain(&self.previous)
            .find_map(|key| open_under(key, purpose, bound_to, &bytes))
    }
}

impl std::fmt::Debug for SecretKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretKeys(..)")
    }
}

fn mac_under(key: &SecretString, purpose: Purpose, text: &str) -> String {
    let subkey = derive(key.expose_secret().as_bytes(), &[purpose.label()]);
    let key = hmac::Key::new(hmac::HMAC_SHA256, subkey.as_slice());
    hex(hmac::sign(&key, text.as_bytes()).as_ref())
}

#[expect(
    clippy::expect_used,
    reason = "a derived key has the 32 bytes that AES-256 takes"
)]
fn sealing_key(key: &SecretString, purpose: Purpose, bound_to: &str) -> RandomizedNonceKey {
    let subkey = derive(
        key.expose_secret().as_bytes(),
        &[purpose.label(), b"\0", bound_to.as_bytes()],
    );
    RandomizedNonceKey::new(&AES_256_GCM, subkey.as_slice()).expect("32 bytes are an AES-256 key")
}

fn open_under(key: &SecretString, purpose: Purpose, bound_to: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    let (nonce, ciphertext) = bytes.split_at_checked(AES_256_GCM.nonce_len())?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut text = ciphertext.to_vec();
    let opened = sealing_key(key, purpose, bound_to)
        .open_in_place(nonce, Aad::empty(), &mut text)
        .ok()?;
    Some(opened.to_vec())
}

/// 32 bytes of HKDF-SHA256 from `secret`; `info` keeps the uses of one secret apart.
#[expect(clippy::expect_used, reason = "HKDF-SHA256 can always make 32 bytes")]
pub(super) fn derive(secret: &[u8], info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    Salt::new(HKDF_SHA256, b"stile")
        .extract(secret)
        .expand(info, HKDF_SHA256)
        .and_then(|okm| okm.fill(key.as_mut_slice()))
        .expect("32 bytes are within HKDF-SHA256's range");
    key
}

/// Refuses what no operator should run with: RFC 8725 3.5, and the placeholders that templates ship.
pub(super) fn refuse_weak_secret(secret: &SecretString) -> Result<(), WeakSecret> {
    const PLACEHOLDERS: &[&str] = &[
        "changeme",
        "changethis",
        "changeit",
        "replaceme",
        "replacethis",
        "replacewith",
        "yoursecret",
        "yourkey",
        "yourjwt",
        "yoursuper",
        "insertyour",
        "placeholder",
        "examplesecret",
        "examplekey",
        "mysecretkey",
        "supersecret",
        "notasecret",
        "insecure",
        "generateme",
        "fillmein",
    ];
    let secret = secret.expose_secret();
    let letters: Zeroizing<String> = Zeroizing::new(
        secret
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase())
            .collect(),
    );
    if PLACEHOLDERS.iter().any(|known| letters.contains(known)) {
        return Err(WeakSecret::Placeholder);
    }
    if secret.len() < 32 {
        return Err(WeakSecret::TooShort);
    }
    let bytes = secret.as_bytes();
    let repeats = |period: usize| bytes.iter().zip(bytes.iter().skip(period)).all(|(a, b)| a == b);
    let distinct = bytes.iter().collect::<std::collections::BTreeSet<_>>().len();
    if distinct < 8 || (1..=8).any(repeats) {
        return Err(WeakSecret::Repetitive);
    }
    Ok(())
}

/// Whether words, names, dates or patterns make up so much of a secret that it takes fewer than 2^80 guesses
/// (`openssl rand` makes 2^128 and more). An estimate: it warns, and refuses nothing.
#[must_use]
pub fn can_be_guessed(secret: &SecretString) -> bool {
    /// zxcvbn counts no further than 2^64, so it is shown pieces. A random one comes to ten for each character.
    const PIECE: usize = 16;
    const LOG10_OF_2_TO_THE_80: f64 = 24.0;
    let characters: Zeroizing<Vec<char>> = Zeroizing::new(secret.expose_secret().chars().collect());
    let pieces = characters
        .chunks(PIECE)
        .map(|piece| Zeroizing::new(piece.iter().collect::<String>()));
    let log10: f64 = pieces
        .map(|piece| zxcvbn::zxcvbn(&piece, &["stile"]).guesses_log10())
        .sum();
    log10 < LOG10_OF_2_TO_THE_80
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURRENT: &str = "Zm9yIHRlc3RzIG9ubHksIG5vdCBzZWNyZXQ-1";
    const OTHER: &str = "YW5vdGhlciBvbmUgZm9yIHRlc3RzIG9ubHk-2";

    fn keys(current: &str, previous: Option<&str>) -> SecretKeys {
        SecretKeys::new(current.into(), previous.map(Into::into)).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_only_for_its_purpose_its_binding_and_its_key() {
        let keys_now = keys(CURRENT, None);
        let sealed = keys_now.seal(Purpose::RefreshSeal, "predecessor", b"successor");
        assert_eq!(
            keys_now
                .open(Purpose::RefreshSeal, "predecessor", &sealed)
                .unwrap(),
            b"successor"
        );
        assert_eq!(keys_now.open(Purpose::PageForm, "predecessor", &sealed), None);
        assert_eq!(keys_now.open(Purpose::RefreshSeal, "another", &sealed), None);
        assert_eq!(
            keys(OTHER, None).open(Purpose::RefreshSeal, "predecessor", &sealed),
            None
        );
    }

    #[test]
    fn a_damaged_seal_does_not_open_at_any_bit() {
        let keys = keys(CURRENT, None);
        let bytes = URL_SAFE_NO_PAD
            .decode(keys.seal(Purpose::RefreshSeal, "7", b"x"))
            .unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                keys.open(Purpose::RefreshSeal, "7", &URL_SAFE_NO_PAD.encode(damaged)),
                None,
                "bit {bit}"
            );
        }
        for short in ["", "AAAA", "not base64!"] {
            assert_eq!(keys.open(Purpose::RefreshSeal, "7", short), None);
        }
    }

    #[test]
    fn sealing_twice_never_gives_the_same_text() {
        let keys = keys(CURRENT, None);
        assert_ne!(
            keys.seal(Purpose::RefreshSeal, "7", b"x"),
            keys.seal(Purpose::RefreshSeal, "7", b"x")
        );
    }

    #[test]
    fn after_a_rotation_the_previous_key_still_opens_and_finds() {
        let old = keys(OTHER, None);
        let rotated = keys(CURRENT, Some(OTHER));
        let sealed = old.seal(Purpose::RefreshSeal, "p", b"s");
        assert_eq!(rotated.open(Purpose::RefreshSeal, "p", &sealed).unwrap(), b"s");
        assert_eq!(
            rotated.previous_mac(Purpose::AccountKey, "c").unwrap(),
            old.mac(Purpose::AccountKey, "c")
        );
        assert_ne!(
            rotated.mac(Purpose::AccountKey, "c"),
            old.mac(Purpose::AccountKey, "c")
        );
    }

    #[test]
    fn one_text_has_another_mac_for_each_purpose() {
        let keys = keys(CURRENT, None);
        assert_ne!(
            keys.mac(Purpose::AccountKey, "a"),
            keys.mac(Purpose::PageForm, "a")
        );
        assert_eq!(
            keys.mac(Purpose::AccountKey, "a"),
            keys.mac(Purpose::AccountKey, "a")
        );
        assert_eq!(keys.mac(Purpose::AccountKey, "a").len(), 64);
    }

    /// JWT-08
    #[test]
    fn short_repetitive_and_placeholder_secrets_are_refused_without_being_repeated() {
        let refused = [
            ("", WeakSecret::TooShort),
            ("q8Zk2LxP9vRt4WnY", WeakSecret::TooShort),
            ("changeme", WeakSecret::Placeholder),
            ("change-me-change-me-change-me-change-me", WeakSecret::Placeholder),
            (
                "your-secret-key-here-at-least-32-bytes!!",
                WeakSecret::Placeholder,
            ),
            (
                "REPLACE_WITH_openssl_rand_-base64_32_output",
                WeakSecret::Placeholder,
            ),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", WeakSecret::Repetitive),
            ("abcdefghabcdefghabcdefghabcdefgh", WeakSecret::Repetitive),
            ("0101101001101001011010010110100101", WeakSecret::Repetitive),
        ];
        for (secret, why) in refused {
            let error = SecretKeys::new(secret.into(), None).unwrap_err();
            assert_eq!(error, why, "{secret}");
            assert!(secret.is_empty() || !error.to_string().contains(secret));
            assert!(SecretKeys::new(CURRENT.into(), Some(secret.into())).is_err());
        }
    }

    #[test]
    fn random_secrets_in_hex_and_base64_are_accepted() {
        for _ in 0..200 {
            let bytes = super::super::token::random_bytes::<32>();
            assert!(SecretKeys::new(hex(&bytes).into(), None).is_ok());
            assert!(SecretKeys::new(URL_SAFE_NO_PAD.encode(bytes).into(), None).is_ok());
        }
    }

    #[test]
    fn words_can_be_guessed_and_random_secrets_cannot() {
        for words in [
            "password-password1-password2-password3",
            "stile-production-jwt-signing-2026",
            "iloveyou-iloveyou2-qwertyuiop-monkey",
        ] {
            assert!(can_be_guessed(&words.into()), "{words}");
        }
        for _ in 0..100 {
            let bytes = super::super::token::random_bytes::<32>();
            let (hex_of_16, base64_of_24) = (hex(&bytes[..16]), URL_SAFE_NO_PAD.encode(&bytes[..24]));
            for random in [hex_of_16, base64_of_24, hex(&bytes)] {
                assert!(!can_be_guessed(&random.as_str().into()), "{random}");
            }
        }
    }

    #[test]
    fn the_keys_never_show_in_debug_output() {
        assert_eq!(format!("{:?}", keys(CURRENT, None)), "SecretKeys(..)");
    }
}
