//! Password hashes as they are stored: made here as argon2id, read in every kind that an import may bring.
//!
//! PHC strings of argon2, scrypt and pbkdf2, passlib's spelling of pbkdf2, bcrypt, and Django's bcrypt of a SHA-256. Other
//! spellings are written anew by [`import`]. A hash that would cost more than it allows is never computed. Runs on the
//! threads of the pool alone.

mod foreign;

use std::num::NonZeroU32;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use aws_lc_rs::{digest, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use subtle::ConstantTimeEq as _;

use super::token::{hex, random_bytes};

pub use foreign::import;

/// What is made today: OWASP's first choice for argon2id (Password Storage Cheat Sheet).
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const HASH_BYTES: usize = 32;
const SALT_BYTES: usize = 16;

/// Of current parameters, and of no password: salt and hash were drawn at random.
const DUMMY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$/Foyf2h3WSxRMLV/UlklaA$D6sq+esOJWzVsM+IZe2+yswl4IfmtU0mHHTWJxSOgsU";

/// Why a stored hash is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedHash {
    /// Of no known kind, or damaged.
    #[error("not a password hash of a known kind (argon2, bcrypt, scrypt, pbkdf2)")]
    Unknown,
    /// Costs more to verify than is accepted (contract 3.2).
    #[error(
        "costs more to verify than argon2 of 64 MiB t=10, bcrypt 14, scrypt of 64 MiB, pbkdf2 of 2,000,000"
    )]
    TooCostly,
}

/// The argon2 memory of one worker, 19 MiB from its first use on. Allocating it anew for each hash
/// costs half as much again as the hash.
#[derive(Default)]
pub(super) struct Memory(Vec<Block>);

impl Memory {
    fn fill(&mut self, argon2: &Argon2<'_>, password: &[u8], salt: &[u8], hash: &mut [u8]) -> bool {
        let blocks = argon2.params().block_count();
        let mut large = Vec::new();
        let memory = if blocks > MEMORY_KIB as usize {
            &mut large
        } else {
            &mut self.0
        };
        if memory.len() < blocks {
            memory.resize(blocks.max(MEMORY_KIB as usize), Block::default());
        }
        argon2
            .hash_password_into_with_memory(password, salt, hash, memory.as_mut_slice())
            .is_ok()
    }
}

/// A PHC string with the current parameters. `None` would mean that argon2 refuses them.
pub(super) fn make(password: &[u8], memory: &mut Memory) -> Option<String> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(HASH_BYTES)).ok()?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let salt = random_bytes::<SALT_BYTES>();
    let mut hash = [0; HASH_BYTES];
    memory.fill(&argon2, password, &salt, &mut hash).then(|| {
        format!(
            "$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${}${}",
            STANDARD_NO_PAD.encode(salt),
            STANDARD_NO_PAD.encode(hash)
        )
    })
}

/// A stored hash that may be computed.
pub(super) enum StoredHash {
    Argon2 {
        argon2: Argon2<'static>,
        algorithm: Algorithm,
        version: Version,
        salted: Salted,
    },
    Scrypt {
        params: scrypt::Params,
        salted: Salted,
    },
    Pbkdf2 {
        algorithm: pbkdf2::Algorithm,
        rounds: NonZeroU32,
        salted: Salted,
    },
    Bcrypt(String),
    /// Of the password's SHA-256 in hexadecimal, so that all of a long password counts.
    BcryptSha256(String),
}

/// A salt, and the hash that comes out of it for the right password.
pub(super) struct Salted {
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl StoredHash {
    /// Reads a stored hash, and refuses one that would cost too much.
    pub(super) fn parse(text: &str) -> Result<Self, RefusedHash> {
        let fields: Vec<&str> = text.split('$').collect();
        match fields.as_slice() {
            ["", kind, version, params, salt, hash] if kind.starts_with("argon2") => {
                argon2_hash(kind, version, params, Salted::parse(salt, hash)?)
            }
            // Before version 1.3 of argon2 the version was not written.
            ["", kind, params, salt, hash] if kind.starts_with("argon2") => {
                argon2_hash(kind, "v=16", params, Salted::parse(salt, hash)?)
            }
            ["", "scrypt", params, salt, hash] => scrypt_hash(params, Salted::parse(salt, hash)?),
            ["", kind, params, salt, hash] if kind.starts_with("pbkdf2") => {
                // passlib writes '.' for base64's '+'.
                pbkdf2_hash(
                    kind,
                    params,
                    Salted::parse(&salt.replace('.', "+"), &hash.replace('.', "+"))?,
                )
            }
            ["", "2a" | "2b" | "2y", _, _] => bcrypt_hash(text).map(Self::Bcrypt),
            ["bcrypt_sha256", "", "2a" | "2b" | "2y", _, _] => {
                let bcrypt = text.trim_start_matches("bcrypt_sha256$");
                bcrypt_hash(bcrypt).map(Self::BcryptSha256)
            }
            _ => Err(RefusedHash::Unknown),
        }
    }

    /// A hash of current parameters for an account that does not exist, so that the answer takes as
    /// long as for one that does.
    pub(super) fn dummy() -> Result<Self, RefusedHash> {
        Self::parse(DUMMY)
    }

    /// Whether `password` is the right one.
    ///
    /// bcrypt sees only the first 72 bytes: that is a property of the hash, and ends when a good
    /// login has it rewritten.
    pub(super) fn verify(&self, password: &[u8], memory: &mut Memory) -> bool {
        match self {
            Self::Argon2 { argon2, salted, .. } => {
                salted.verify(|salt, hash| memory.fill(argon2, password, salt, hash))
            }
            Self::Scrypt { params, salted } => {
                salted.verify(|salt, hash| scrypt::scrypt(password, salt, params, hash).is_ok())
            }
            Self::Pbkdf2 {
                algorithm,
                rounds,
                salted,
            } => salted.verify(|salt, hash| {
                pbkdf2::derive(*algorithm, *rounds, salt, password, hash);
                true
            }),
            Self::Bcrypt(text) => bcrypt::verify(password, text).unwrap_or(false),
            Self::BcryptSha256(text) => {
                let digest = digest::digest(&digest::SHA256, password);
                bcrypt::verify(hex(digest.as_ref()), text).unwrap_or(false)
            }
        }
    }

    /// Whether the hash is at least as strong as what [`make`] makes.
    pub(super) fn is_current(&self) -> bool {
        match self {
            Self::Argon2 {
                argon2,
                algorithm,
                version,
                salted,
            } => {
                let params = argon2.params();
                *algorithm == Algorithm::Argon2id
                    && *version == Version::V0x13
                    && params.m_cost() >= MEMORY_KIB
                    && params.t_cost() >= PASSES
                    && salted.hash.len() >= HASH_BYTES
                    && salted.salt.len() >= SALT_BYTES
            }
            _ => false,
        }
    }
}

impl Salted {
    /// The lengths of a salt and of a hash that is long enough not to be met by chance.
    fn parse(salt: &str, hash: &str) -> Result<Self, RefusedHash> {
        let decode = |text| STANDARD_NO_PAD.decode(text).map_err(|_| RefusedHash::Unknown);
        let salted = Self {
            salt: decode(salt)?,
            hash: decode(hash)?,
        };
        let fits = (1..=256).contains(&salted.salt.len()) && (16..=128).contains(&salted.hash.len());
        if fits {
            Ok(salted)
        } else {
            Err(RefusedHash::Unknown)
        }
    }

    fn verify(&self, compute: impl FnOnce(&[u8], &mut [u8]) -> bool) -> bool {
        let mut computed = vec![0; self.hash.len()];
        compute(&self.salt, &mut computed) && bool::from(computed.ct_eq(&self.hash))
    }
}

fn argon2_hash(kind: &str, version: &str, params: &str, salted: Salted) -> Result<StoredHash, RefusedHash> {
    let algorithm = Algorithm::new(kind).map_err(|_| RefusedHash::Unknown)?;
    let version = match version {
        "v=16" => Version::V0x10,
        "v=19" => Version::V0x13,
        _ => return Err(RefusedHash::Unknown),
    };
    let [m, t, p] = numbers(params, ["m", "t", "p"]).ok_or(RefusedHash::Unknown)?;
    if m > 64 * 1024 || t > 10 {
        return Err(RefusedHash::TooCostly);
    }
    let params = Params::new(m, t, p, Some(salted.hash.len())).map_err(|_| RefusedHash::Unknown)?;
    if salted.salt.len() < argon2::MIN_SALT_LEN {
        return Err(RefusedHash::Unknown);
    }
    let argon2 = Argon2::new(algorithm, version, params);
    Ok(StoredHash::Argon2 {
        argon2,
        algorithm,
        version,
        salted,
    })
}

fn scrypt_hash(params: &str, salted: Salted) -> Result<StoredHash, RefusedHash> {
    let [ln, r, p] = numbers(params, ["ln", "r", "p"]).ok_or(RefusedHash::Unknown)?;
    let log_n = u8::try_from(ln).map_err(|_| RefusedHash::TooCostly)?;
    // 128 * N * r bytes of memory, walked through p times. OWASP's choices within 64 MiB come to 128 MiB
    // in all; twice that is the most that is accepted, so that p alone cannot make a hash dear.
    let memory = 1_u64
        .checked_shl(ln)
        .and_then(|n| n.checked_mul(128 * u64::from(r)))
        .ok_or(RefusedHash::TooCostly)?;
    if memory > 64 << 20 || memory.saturating_mul(u64::from(p)) > 256 << 20 {
        return Err(RefusedHash::TooCostly);
    }
    let params = scrypt::Params::new(log_n, r, p).map_err(|_| RefusedHash::Unknown)?;
    Ok(StoredHash::Scrypt { params, salted })
}

fn pbkdf2_hash(kind: &str, params: &str, salted: Salted) -> Result<StoredHash, RefusedHash> {
    let (algorithm, digest_bytes) = match kind {
        "pbkdf2" | "pbkdf2-sha1" => (pbkdf2::PBKDF2_HMAC_SHA1, 20),
        "pbkdf2-sha256" => (pbkdf2::PBKDF2_HMAC_SHA256, 32),
        "pbkdf2-sha512" => (pbkdf2::PBKDF2_HMAC_SHA512, 64),
        _ => return Err(RefusedHash::Unknown),
    };
    let rounds = match (
        numbers(params, ["i"]),
        numbers(params, ["i", "l"]),
        number(params),
    ) {
        (Some([rounds]), _, _) | (_, _, Some(rounds)) => rounds,
        (_, Some([rounds, length]), _) if length as usize == salted.hash.len() => rounds,
        _ => return Err(RefusedHash::Unknown),
    };
    // Each digest's worth of output runs all the rounds again.
    let blocks = salted.hash.len().div_ceil(digest_bytes) as u64;
    if u64::from(rounds) * blocks > 2_000_000 {
        return Err(RefusedHash::TooCostly);
    }
    let rounds = NonZeroU32::new(rounds).ok_or(RefusedHash::Unknown)?;
    Ok(StoredHash::Pbkdf2 {
        algorithm,
        rounds,
        salted,
    })
}

fn bcrypt_hash(text: &str) -> Result<String, RefusedHash> {
    let parts: bcrypt::HashParts = text.parse().map_err(|_| RefusedHash::Unknown)?;
    match parts.get_cost() {
        4..=14 => Ok(text.to_owned()),
        15..=31 => Err(RefusedHash::TooCostly),
        _ => Err(RefusedHash::Unknown),
    }
}

/// The values of `name=NUMBER,…`: these names, in this order, no others.
fn numbers<const N: usize>(params: &str, names: [&str; N]) -> Option<[u32; N]> {
    let mut given = params.split(',');
    let mut values = [0; N];
    for (value, name) in values.iter_mut().zip(names) {
        *value = number(given.next()?.strip_prefix(name)?.strip_prefix('=')?)?;
    }
    given.next().is_none().then_some(values)
}

fn number(digits: &str) -> Option<u32> {
    digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests;
