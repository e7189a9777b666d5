//! Which tokens were seen to be genuine: the costly half of a verification, done once for each token.
//!
//! A client shows one access token for 15 minutes, and an Ed25519 signature takes 30 µs to verify, half of the time of
//! an answer. Remembered is only that these very bytes were signed by one of the keys, which never changes while the process
//! lives; when the token ends, and whether its session still lives, is asked each time.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};

/// Tokens in a generation; two are held, so at most a megabyte.
const GENERATION: usize = 8192;

/// SHA-256 of a whole token: whoever reads this memory finds no token in it.
type Fingerprint = [u8; 32];

/// Tokens whose signature has been verified. Clones are one.
#[derive(Clone, Default)]
pub(super) struct Genuine(Arc<Mutex<Generations>>);

#[derive(Default)]
struct Generations {
    young: HashSet<Fingerprint>,
    old: HashSet<Fingerprint>,
}

impl fmt::Debug for Genuine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Genuine(..)")
    }
}

impl Genuine {
    /// Whether `token` is genuine: known to be, or else what `verify` says. What it refuses is not remembered, so nobody
    /// can fill this but with tokens of ours.
    pub(super) fn or_verify(&self, token: &str, verify: impl FnOnce() -> bool) -> bool {
        let mut fingerprint = Fingerprint::default();
        fingerprint.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        if self.knows(&fingerprint) {
            return true;
        }
        let genuine = verify();
        if genuine {
            self.remember(fingerprint);
        }
        genuine
    }

    fn knows(&self, fingerprint: &Fingerprint) -> bool {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.young.contains(fingerprint) {
            return true;
        }
        let is_old = held.old.contains(fingerprint);
        if is_old {
            // In use, so it outlives its generation.
            held.add(*fingerprint);
        }
        is_old
    }

    fn remember(&self, fingerprint: Fingerprint) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .add(fingerprint);
    }
}

impl Generations {
    fn add(&mut self, fingerprint: Fingerprint) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(fingerprint);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_verified_once_and_a_false_one_each_time() {
        let genuine = Genuine::default();
        assert!(genuine.or_verify("good", || true));
        assert!(genuine.or_verify("good", || panic!("it is known")));
        for _ in 0..2 {
            assert!(!genuine.or_verify("false", || false));
        }
        assert!(
            genuine.or_verify("false", || true),
            "nothing was remembered of it"
        );
    }

    #[test]
    fn what_is_in_use_stays_and_the_rest_is_bounded() {
        let genuine = Genuine::default();
        assert!(genuine.or_verify("in use", || true));
        for n in 0..5 * GENERATION {
            assert!(genuine.or_verify(&n.to_string(), || true));
            if n % 1000 == 0 {
                assert!(genuine.or_verify("in use", || panic!("it is in use")));
            }
        }
        let held = genuine.0.lock().unwrap();
        assert!(held.young.len() + held.old.len() <= 2 * GENERATION);
    }
}
