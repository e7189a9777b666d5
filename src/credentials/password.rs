//! Passwords: what is typed, and the front of the pool that judges, hashes and verifies it.

use std::fmt;
use std::sync::Arc;

use tracing::Instrument as _;
use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

use super::password_policy::{PasswordPolicy, PasswordRefusal};
use super::pool::{Overloaded, Pool, PoolSettings, PoolState};
use super::stored_hash::{self, Memory, StoredHash};
use crate::telemetry::traces::span;

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
            .instrument(span!("password.judge"))
            .await??;
        Ok(password)
    }

    /// A PHC string with the current parameters.
    pub async fn hash(&self, password: &Password) -> Result<String, Overloaded> {
        let password = password.clone();
        self.pool
            .run(move |memory| stored_hash::make(password.as_bytes(), memory))
            .instrument(span!("password.hash"))
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
            .instrument(span!("password.verify"))
            .await
    }

    /// How busy the pool is at this moment.
    #[must_use]
    pub fn pool(&self) -> PoolState {
        self.pool.state()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: PasswordPolicy = PasswordPolicy {
        min_length: 8,
        min_score: 3,
    };

    fn passwords(workers: usize, queue: usize) -> Passwords {
        Passwords::start(
            POLICY,
            PoolSettings {
                workers,
                queue,
                ..PoolSettings::default()
            },
        )
        .unwrap()
    }

    fn password(text: &str) -> Password {
        Password::parse(text).unwrap()
    }

    /// REG-03
    #[tokio::test]
    async fn the_whole_password_counts_and_nothing_is_folded() {
        let passwords = passwords(2, 10);
        let whole = "Vier Zebras und ein Kamel laufen im Regen zum Bahnhof, um 7 Uhr.";
        assert_eq!(whole.len(), 64);
        let stored = passwords.hash(&password(whole)).await.unwrap();
        assert_eq!(
            passwords.verify(&password(whole), Some(&stored)).await,
            Ok(Verdict::Right)
        );
        for wrong in [
            &whole[..63],
            &format!("{whole}x"),
            &whole.to_uppercase(),
            &format!(" {whole}"),
            &format!("{whole} "),
        ] {
            assert_eq!(
                passwords.verify(&password(wrong), Some(&stored)).await,
                Ok(Verdict::Wrong),
                "{wrong}"
            );
        }
        // Beyond the 72 bytes at which bcrypt stops.
        let longest = "ß".repeat(Password::LONGEST);
        let stored = passwords.hash(&password(&longest)).await.unwrap();
        assert_eq!(
            passwords.verify(&password(&longest), Some(&stored)).await,
            Ok(Verdict::Right)
        );
        let other_end = "ß".repeat(Password::LONGEST - 1) + "s";
        assert_eq!(
            passwords.verify(&password(&other_end), Some(&stored)).await,
            Ok(Verdict::Wrong)
        );
    }

    #[tokio::test]
    async fn an_accent_typed_in_two_ways_is_one_password() {
        let passwords = passwords(1, 10);
        let stored = passwords.hash(&password("caf\u{e9} au lait")).await.unwrap();
        assert_eq!(
            passwords
                .verify(&password("cafe\u{301} au lait"), Some(&stored))
                .await,
            Ok(Verdict::Right)
        );
    }

    /// LOG-05
    #[test]
    fn a_password_over_128_code_points_is_refused_however_long_it_is() {
        assert!(Password::parse(&"😀".repeat(128)).is_ok());
        assert!(Password::parse("").is_ok());
        for long in [
            "😀".repeat(129),
            "x".repeat(4097),
            "x".repeat(1 << 20),
            "\u{301}".repeat(1 << 20),
        ] {
            assert_eq!(Password::parse(&long).unwrap_err(), PasswordTooLong);
        }
    }

    /// LOG-02, LOG-11
    #[tokio::test]
    async fn a_verdict_tells_weak_hashes_from_current_ones_and_never_admits_without_a_hash() {
        let passwords = passwords(1, 10);
        let weak = "$2b$05$abcdefghijklmnopqrstuuZVEMa1pjhlynBQ1qXmSvGBJpN9h1w8G";
        let costly = weak.replace("$05$", "$15$");
        let typed = password("pässwörd");
        assert_eq!(
            passwords.verify(&typed, Some(weak)).await,
            Ok(Verdict::RightButWeak)
        );
        for stored in [None, Some(""), Some("!"), Some(costly.as_str())] {
            assert_eq!(
                passwords.verify(&typed, stored).await,
                Ok(Verdict::Wrong),
                "{stored:?}"
            );
            assert_eq!(
                passwords.verify(&password(""), stored).await,
                Ok(Verdict::Wrong),
                "{stored:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_new_password_is_judged_by_length_and_by_strength() {
        let passwords = passwords(1, 10);
        assert!(
            passwords
                .admit("correct horse battery staple", &["owner"])
                .await
                .is_ok()
        );
        for (raw, code) in [
            ("short", "too_short"),
            ("password1", "too_weak"),
            (&"x".repeat(129), "too_long"),
        ] {
            let Err(AdmitError::Refused(refusal)) = passwords.admit(raw, &["owner"]).await else {
                panic!("{raw} was admitted");
            };
            assert_eq!(refusal.code, code);
        }
    }

    /// LOG-10
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_storm_of_logins_is_answered_in_part_and_refused_in_part() {
        let passwords = passwords(2, 6);
        let stored = passwords.hash(&password("right")).await.unwrap();
        let logins: Vec<_> = (0..200)
            .map(|number| {
                let (passwords, stored) = (passwords.clone(), stored.clone());
                let typed = password(if number % 2 == 0 { "right" } else { "wrong" });
                tokio::spawn(async move { (number, passwords.verify(&typed, Some(&stored)).await) })
            })
            .collect();
        let mut answered = 0;
        for login in logins {
            let (number, outcome) = login.await.unwrap();
            let expected = if number % 2 == 0 {
                Verdict::Right
            } else {
                Verdict::Wrong
            };
            answered += usize::from(outcome.is_ok());
            assert!(
                outcome == Ok(expected) || outcome == Err(Overloaded),
                "{outcome:?}"
            );
        }
        assert!((8..200).contains(&answered), "{answered} of 200 were answered");
        assert_eq!(
            passwords.verify(&password("right"), Some(&stored)).await,
            Ok(Verdict::Right)
        );
        assert_eq!(passwords.pool().waiting, 0);
    }

    #[test]
    fn a_password_never_shows_in_debug_output() {
        assert_eq!(format!("{:?}", password("secret")), "Password(..)");
    }
}
