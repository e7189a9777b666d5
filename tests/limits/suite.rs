//! The cases of `limits.md` that say the same of every store.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use stile::clock::{Clock, Timestamp};
use stile::rate_limit::{Charge, Client, Decision, Limiter, Rule, Rules, Settings};

fn settings(limits: &[(Rule, &str)]) -> Settings {
    let mut rules = Rules::defaults(false);
    for (rule, limit) in limits {
        rules.set(*rule, limit.parse().unwrap());
    }
    Settings {
        enabled: true,
        rules,
        redis: None,
        key_prefix: "rate_limit".to_owned(),
        fleet_size: None,
        memory_keys: NonZeroUsize::new(200_000).unwrap(),
        ipv6_prefix: 64,
        allowlist: Vec::new(),
    }
}

fn client(text: &str) -> Client {
    Client::of(text.parse::<IpAddr>().unwrap(), 64)
}

fn remaining(decision: &Decision) -> Vec<u64> {
    decision.reports.iter().map(|report| report.remaining).collect()
}

/// 1, 2, 3, 4.
#[tokio::test]
async fn five_a_minute_pass_and_the_sixth_is_refused_until_the_reset() {
    let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_000));
    let limiter = Limiter::start(settings(&[(Rule::Login, "5/minute")]), clock.clone()).unwrap();
    let charges = [Charge::client(Rule::Login, client("10.0.0.1"))];
    for left in [4, 3, 2, 1, 0] {
        let decision = limiter.take(&charges).await;
        assert!(decision.is_admitted());
        assert_eq!(remaining(&decision), [left]);
    }
    for _ in 0..100 {
        let decision = limiter.take(&charges).await;
        assert!(!decision.is_admitted());
        assert_eq!(remaining(&decision), [0]);
        assert_eq!(decision.retry_after_seconds(), 60);
        assert_eq!(
            decision.refusal().unwrap().resets_at,
            Timestamp::from_millis(1_700_000_060_000)
        );
    }
    clock.advance(Duration::from_millis(60_000));
    assert_eq!(remaining(&limiter.take(&charges).await), [4]);
}
