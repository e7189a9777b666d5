//! The share of this process in a limit while Redis is lost.
//!
//! Each of `n` processes admits `limit div n`, and the `limit mod n` that stand first by a hash of key and process admit
//! one more. All processes that know the same fleet agree on the order without a word, so for each key the shares sum
//! to the limit exactly.

use std::num::NonZeroU32;
use std::time::Duration;

/// The processes that share a limit, and this one among them.
#[derive(Clone, Debug)]
pub struct Fleet {
    me: u64,
    /// All known processes, this one among them; each once.
    members: Vec<u64>,
    /// Members of before an outage, and how long they are taken for alive after it.
    before: (Vec<u64>, Duration),
    /// Processes that share, where the operator says so.
    size: Option<NonZeroU32>,
}

impl Fleet {
    /// A process that knows of no other. `size` is `RATE_LIMIT_FLEET_SIZE`.
    #[must_use]
    pub fn alone(me: u64, size: Option<NonZeroU32>) -> Self {
        Self {
            me,
            members: vec![me],
            before: (Vec::new(), Duration::ZERO),
            size,
        }
    }

    /// Redis is back. Until `until` all that were alive before the outage are taken for alive: the list knows only who was
    /// faster than this process, and its share must not grow before the others have said what they admitted.
    pub fn rejoin(&mut self, until: Duration) {
        self.before = (self.members.clone(), until);
    }

    /// The same process, having learned who is alive.
    pub fn learn(&mut self, alive: impl IntoIterator<Item = u64>, now: Duration) {
        let (before, until) = &self.before;
        let before = before.iter().filter(|_| now < *until);
        self.members = alive
            .into_iter()
            .chain(before.copied())
            .chain([self.me])
            .collect();
        self.members.sort_unstable();
        self.members.dedup();
    }

    /// Processes that share a limit.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.size.map_or_else(
            || u32::try_from(self.members.len()).unwrap_or(u32::MAX),
            NonZeroU32::get,
        )
    }

    /// Whether another process is known to be alive.
    #[must_use]
    pub fn has_others(&self) -> bool {
        self.members.len() > 1
    }

    /// How many of `limit` this process may admit in a window of the counter named `key`.
    ///
    /// Where the operator names more processes than are known, the order among all of them is unknown. Then nobody
    /// takes of the remainder, so that the sum stays within the limit; but a process never has less than 1, because a
    /// limit below the fleet's size would lock everybody out.
    #[must_use]
    pub fn share(&self, key: &str, limit: u32) -> u32 {
        let size = self.size();
        if size <= 1 {
            return limit;
        }
        let (even, rest) = (limit / size, limit % size);
        if (self.members.len() as u64) < u64::from(size) {
            return even.max(1);
        }
        let mine = order(key, self.me);
        let before = self
            .members
            .iter()
            .filter(|other| order(key, **other) < mine)
            .count();
        even + u32::from((before as u64) < u64::from(rest))
    }
}

/// The place of `process` for `key`. The process itself breaks ties.
fn order(key: &str, process: u64) -> (u64, u64) {
    (stable_hash(key.bytes().chain(process.to_le_bytes())), process)
}

/// FNV-1a, mixed (the finalizer of splitmix64): the same in every process and every build, which the standard library's
/// hashers do not promise.
pub(super) fn stable_hash(bytes: impl Iterator<Item = u8>) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut hash = bytes.fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleets(n: u64) -> Vec<Fleet> {
        let ids: Vec<u64> = (0..n)
            .map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 7)
            .collect();
        ids.iter()
            .map(|me| {
                let mut fleet = Fleet::alone(*me, None);
                fleet.learn(ids.iter().copied(), Duration::ZERO);
                fleet
            })
            .collect()
    }

    /// limits.md 39, for all limits 1 to 50 and fleets 1 to 20.
    #[test]
    fn shares_sum_to_the_limit_for_every_key() {
        for n in 1..=20 {
            let fleets = fleets(n);
            for limit in 1..=50 {
                for key in 0..20 {
                    let key = format!("rate_limit:ip:10.0.0.{key}");
                    let shares: Vec<u32> = fleets.iter().map(|fleet| fleet.share(&key, limit)).collect();
                    assert_eq!(
                        shares.iter().sum::<u32>(),
                        limit,
                        "limit {limit} over {n}: {shares:?}"
                    );
                    let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
                    assert!(most - least <= 1, "limit {limit} over {n}: {shares:?}");
                }
            }
        }
    }

    #[test]
    fn a_share_does_not_grow_because_others_come_back_later_than_this_process() {
        let seconds = Duration::from_secs;
        let mut fleet = Fleet::alone(1, None);
        fleet.learn([1, 2, 3], seconds(1));
        fleet.rejoin(seconds(25));
        fleet.learn([1], seconds(20));
        assert_eq!(fleet.share("key", 9), 3);
        fleet.learn([1, 4], seconds(21));
        assert_eq!(fleet.size(), 4, "one who is new is one more");
        fleet.learn([1, 4], seconds(25));
        assert_eq!(fleet.size(), 2, "who does not come back is gone");
    }

    #[test]
    fn the_remainder_is_spread_over_the_fleet_by_key() {
        let fleets = fleets(4);
        let mut extra = [0; 4];
        for key in 0..4000 {
            for (place, fleet) in fleets.iter().enumerate() {
                extra[place] += fleet.share(&format!("key {key}"), 1);
            }
        }
        assert_eq!(extra.iter().sum::<u32>(), 4000);
        assert!(extra.iter().all(|n| (800..1200).contains(n)), "{extra:?}");
    }

    #[test]
    fn a_size_given_by_the_operator_holds_before_anyone_is_known() {
        let fleet = Fleet::alone(1, NonZeroU32::new(3));
        assert_eq!(fleet.share("key", 10), 3);
        assert_eq!(fleet.share("key", 9), 3);
        assert_eq!(fleet.share("key", 1), 1, "no process is left without any");
        assert_eq!(Fleet::alone(1, None).share("key", 10), 10);
    }
}
