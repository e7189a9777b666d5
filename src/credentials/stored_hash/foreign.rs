//! Spellings of other programs, written as PHC strings where there is one for them: Django's and Werkzeug's.
//!
//! What they compute is computed here too; only how it is written down differs. Salts that they write as text are salts of
//! that text's bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::{RefusedHash, StoredHash};

/// A hash from elsewhere as it may be stored.
///
/// # Errors
/// If it is of no known kind, or costs more to verify than is accepted.
pub fn import(text: &str) -> Result<String, RefusedHash> {
    let stored = django(text)
        .or_else(|| werkzeug(text))
        .unwrap_or_else(|| text.to_owned());
    StoredHash::parse(&stored).map(|_| stored)
}

/// `algorithm$…`, where a PHC string begins with `$`.
fn django(text: &str) -> Option<String> {
    match text.split('$').collect::<Vec<_>>().as_slice() {
        ["pbkdf2_sha256", rounds, salt, hash] => Some(pbkdf2("sha256", rounds, salt, unpadded(hash))),
        ["pbkdf2_sha1", rounds, salt, hash] => Some(pbkdf2("sha1", rounds, salt, unpadded(hash))),
        ["scrypt", n, salt, r, p, hash] => scrypt(n, r, p, salt, unpadded(hash)),
        // Django puts its own word before what the library made.
        ["argon2", ..] => text.strip_prefix("argon2").map(str::to_owned),
        ["bcrypt", "", ..] => text.strip_prefix("bcrypt$").map(str::to_owned),
        _ => None,
    }
}

/// `method:parameters$salt$hexadecimal`
fn werkzeug(text: &str) -> Option<String> {
    let [method, salt, hash] = text.split('$').collect::<Vec<_>>()[..] else {
        return None;
    };
    let hash = STANDARD_NO_PAD.encode(hexadecimal(hash)?);
    match method.split(':').collect::<Vec<_>>()[..] {
        ["pbkdf2", digest @ ("sha1" | "sha256" | "sha512"), rounds] => {
            Some(pbkdf2(digest, rounds, salt, &hash))
        }
        ["scrypt", n, r, p] => scrypt(n, r, p, salt, &hash),
        _ => None,
    }
}

fn pbkdf2(digest: &str, rounds: &str, salt: &str, hash: &str) -> String {
    let salt = STANDARD_NO_PAD.encode(salt);
    format!("$pbkdf2-{digest}$i={rounds}${salt}${hash}")
}

fn scrypt(n: &str, r: &str, p: &str, salt: &str, hash: &str) -> Option<String> {
    let n: u64 = n.parse().ok()?;
    let salt = STANDARD_NO_PAD.encode(salt);
    n.is_power_of_two()
        .then(|| format!("$scrypt$ln={},r={r},p={p}${salt}${hash}", n.trailing_zeros()))
}

fn unpadded(base64: &str) -> &str {
    base64.trim_end_matches('=')
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits = text.bytes().map(|digit| char::from(digit).to_digit(16));
    let digits: Vec<u8> = digits
        .map(|digit| u8::try_from(digit?).ok())
        .collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    pairs.remainder().is_empty().then(|| {
        pairs
            .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
            .collect()
    })
}
