//! Proofs: secrets that were looked up a short while ago, so that a busy token costs no query for each request.
//!
//! A proof says no more than what the database said then; whether it was voided since is asked of the limiter with
//! each spending (`rate_limit/token.rs`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use super::scope::Scope;
use crate::clock::Timestamp;
use crate::rate_limit::Quota;

/// How long a proof spares the look-up, and with it the longest that a change can go unnoticed without Redis.
pub(super) const FRESH_FOR: Duration = Duration::from_secs(5);
/// How long a proof also refuses, for a scope that is missing or a time that is over, before it is looked up anew: what a
/// program that insists on something it may not do costs the database.
pub(super) const REFUSES_FOR: Duration = Duration::from_secs(1);
/// How long it is remembered that a secret was proven: for owners behind an address from which others guess.
const REMEMBERED_FOR: Duration = Duration::from_mins(5);
/// Proofs in one of the two generations.
const MOST: usize = 50_000;

/// What a secret was proven to be.
#[derive(Debug)]
pub(super) struct Proof {
    pub user_id: Uuid,
    pub scopes: Vec<Scope>,
    /// As the header carries them.
    pub scope_text: String,
    pub expires_at: Option<Timestamp>,
    pub quota: Quota,
    /// [`crate::clock::Clock::elapsed`].
    pub proven_at: Duration,
    /// It spares no look-up any more.
    pub is_outdated: AtomicBool,
}

type Digest = [u8; 32];

/// Bounded: two generations. A full one becomes the old one, and the one before it goes.
#[derive(Default)]
pub(super) struct Proofs(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: HashMap<Digest, Arc<Proof>>,
    old: HashMap<Digest, Arc<Proof>>,
}

impl Proofs {
    /// The proof of a secret, if it was looked up within [`FRESH_FOR`].
    pub(super) fn fresh(&self, digest: &Digest, now: Duration) -> Option<Arc<Proof>> {
        self.find(digest, now, FRESH_FOR)
            .filter(|proof| !proof.is_outdated.load(Ordering::Relaxed))
    }

    /// Whether the secret was proven within [`REMEMBERED_FOR`].
    pub(super) fn is_remembered(&self, digest: &Digest, now: Duration) -> bool {
        self.find(digest, now, REMEMBERED_FOR).is_some()
    }

    fn find(&self, digest: &Digest, now: Duration, age: Duration) -> Option<Arc<Proof>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let proof = known.young.get(digest).or_else(|| known.old.get(digest))?;
        (now < proof.proven_at + age).then(|| Arc::clone(proof))
    }

    pub(super) fn add(&self, digest: Digest, proof: Arc<Proof>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.young.len() >= MOST && !known.young.contains_key(&digest) {
            known.old = std::mem::take(&mut known.young);
        }
        known.young.insert(digest, proof);
    }

    pub(super) fn empty(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Generations::default();
    }

    /// Has the secrets of a token looked up anew, since it was changed. That they were proven stays remembered.
    pub(super) fn outdate(&self, token: Uuid) {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = known.young.values().chain(known.old.values());
        all.filter(|proof| proof.quota.token == token)
            .for_each(|proof| proof.is_outdated.store(true, Ordering::Relaxed));
    }

    pub(super) fn remove(&self, digest: &Digest) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.young.remove(digest);
        known.old.remove(digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate_limit::Version;

    fn proof(proven_at: u64) -> Arc<Proof> {
        Arc::new(Proof {
            user_id: Uuid::nil(),
            scopes: Vec::new(),
            scope_text: String::new(),
            expires_at: None,
            quota: Quota {
                token: Uuid::nil(),
                version: Version(1),
                most: [1, 1, 1],
                day: None,
            },
            proven_at: Duration::from_secs(proven_at),
            is_outdated: AtomicBool::default(),
        })
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_proof_spares_the_look_up_for_five_seconds_and_is_remembered_for_five_minutes() {
        let proofs = Proofs::default();
        proofs.add([1; 32], proof(100));
        assert!(proofs.fresh(&[1; 32], at(104)).is_some());
        assert!(proofs.fresh(&[1; 32], at(105)).is_none());
        assert!(proofs.is_remembered(&[1; 32], at(399)));
        assert!(!proofs.is_remembered(&[1; 32], at(400)));
        assert!(proofs.fresh(&[2; 32], at(100)).is_none());
        proofs.outdate(Uuid::nil());
        assert!(proofs.fresh(&[1; 32], at(101)).is_none());
        assert!(proofs.is_remembered(&[1; 32], at(101)));
        proofs.remove(&[1; 32]);
        assert!(!proofs.is_remembered(&[1; 32], at(101)));
    }

    #[test]
    fn memory_is_bounded_and_the_newest_stay() {
        let proofs = Proofs::default();
        let digest = |n: usize| {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&n.to_be_bytes());
            digest
        };
        for n in 0..3 * MOST {
            proofs.add(digest(n), proof(0));
        }
        let known = proofs.0.lock().unwrap();
        assert!(known.young.len() + known.old.len() <= 2 * MOST);
        drop(known);
        assert!(proofs.fresh(&digest(3 * MOST - 1), at(0)).is_some());
    }
}
