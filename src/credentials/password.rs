//! Passwords: what is typed, and the front of the pool that judges, hashes and verifies it.

use std::fmt;
use std::sync::Arc;

use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

use super::password_policy::{PasswordPolicy, PasswordRefusal};
use super::pool::{Overloaded, Pool, PoolSettings, PoolState};
use super::stored_hash::{self, Memory, StoredHash};

/// A password in NFC, at most 128 code points, wiped from memory when dropped.
///
/// NFC because one keyboard composes an accent and another does not (NIST SP 800-63B, memorized
/// secret verifiers). Nothing else is changed: no trimming, no folding, no cutting.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

/// More than 128 code points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the password is longer than {} characters", Password::LONGEST)]
pub struct PasswordTooLong;

impl Password {
    /// Most code points.
    pub const LONGEST: usize = 128;

    /// Reads a password that is to be verified: it may be empty, and no policy applies.
    pub fn parse(raw: &str) -> Result<Self, PasswordTooLong> {
        // Room for the longest, so that the text never moves and leaves a copy behind.
        let mut text = Zeroizing::new(String::with_capacity(4 * Self::LONGEST));
        for (count, character) in raw.nfc().enumerate() {
            if count == Self::LONGEST {
                return Err(PasswordTooLong);
            }
            text.push(character);
        }
        Ok(Self(text))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// What verifying a password against a stored hash found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not the password.
    Wrong,
    /// The password.
    Right,
    /// The password, but the stored hash is weaker than what is made today: hash it anew.
    RightButWeak,
}

/// Why a new password was not admitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmitError {
    /// It breaks the policy.
    #[error(transparent)]
    Refused(#[from] PasswordRefusal),
    /// The pool has no room.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
}

/// Judges, hashes and verifies passwords on a fixed pool of threads. Cheap to clone.
#[derive(Clone)]
pub struct Passwords {
    policy: PasswordPolicy,
    pool: Arc<Pool<Memory>>,
}

impl Passwords {
    /// Starts the pool's threads; the error is the operating system's refusal of one.
    pub fn start(policy: PasswordPolicy, pool: PoolSettings) -> std::io::Result<Self> {
        Ok(Self {
            policy,
            pool: Arc::new(Pool::start(pool)?),
        })
    }

    /// Judges a new password. `own_words` are the user's own, which he must not use: the local part
    /// and the domain of the address, the name; they are taken apart here.
    pub async fn admit(&self, raw: &str, own_words: &[&str]) -> Result<Password, AdmitError> {
        let password = self.policy.check_text(raw)?;
        if self.policy.min_score == 0 {
            return Ok(password);
        }
        let (policy, judged) = (self.policy, password.clone());
        let own_words: Vec<String> = own_words.iter().map(|&word| word.to_owned()).collect();
        // zxcvbn takes milliseconds for a long password.
        self.pool
            .run(move |_| policy.check_strength(&judged, &own_words))
            .await??;
        Ok(password)
    }

    /// A PHC string with the current parameters.
    pub async fn hash(&self, password: &Password) -> Result<String, Overloaded> {
        let password = password.clone();
        self.pool
            .run(move |memory| stored_hash::make(password.as_bytes(), memory))
            .await?
            .ok_or(Overloaded)
    }

    /// Verifies against a stored hash. `None` (no such account) takes as long as a hash of current
    /// parameters and is always [`Verdict::Wrong`]; so does a hash that cannot be read or costs too much.
    pub async fn verify(&self, password: &Password, stored: Option<&str>) -> Result<Verdict, Overloaded> {
        let password = password.clone();
        let stored = stored.and_then(|stored| StoredHash::parse(stored).ok());
        self.pool
            .run(move |memory| {
                if let Some(stored) = stored {
                    match stored.verify(password.as_bytes(), memory) {
                        false => Verdict::Wrong,
                        true if stored.is_current() => Verdict::Right,
                        true => Verdict::RightButWeak,
                    }
                } else {
                    let _same_work =
                        StoredHash::dummy().map(|dummy| dummy.verify(password.as_bytes(), memory));
                    Verdict::Wrong
                }
            })
            .await
    }

    /// How busy the pool is at this moment.
    #[must_use]
    pub fn pool(&self) -> PoolState {
        self.pool.state()
    }
}
