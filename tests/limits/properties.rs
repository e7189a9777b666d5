//! The bounds of the two strategies (12), and what holds of memory whatever is asked of it.

use std::time::Duration;

use proptest::prelude::*;
use stile::clock::{Clock, Timestamp};
use stile::rate_limit::{Limiter, Rule, StoreState};

use crate::stand::{admitted, charge, settings};

const PERIOD_MS: u64 = 2_000;

/// Moments (in milliseconds) at which requests were admitted, of those at which they were made.
fn admitted_at(limit: &str, gaps_ms: &[u64]) -> Vec<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_000));
        let limiter = Limiter::start(settings(&[(Rule::Login, limit)]), clock.clone()).unwrap();
        let mut admitted = Vec::new();
        let mut now = 0;
        for gap in gaps_ms {
            clock.advance(Duration::from_millis(*gap));
            now += gap;
            if limiter
                .take(&[charge(Rule::Login, "10.0.0.1")])
                .await
                .is_admitted()
            {
                admitted.push(now);
            }
        }
        admitted
    })
}

/// The most of `moments` in any span `[t, t + PERIOD)`.
fn most_in_a_period(moments: &[u64]) -> usize {
    let in_span = |start: &u64| {
        moments
            .iter()
            .filter(|at| (*start..start + PERIOD_MS).contains(at))
            .count()
    };
    moments.iter().map(in_span).max().unwrap_or(0)
}

/// Mostly short gaps, some that land on the very edge of a period.
fn gaps() -> impl Strategy<Value = Vec<u64>> {
    let gap = prop_oneof![8 => 0..200_u64, 1 => Just(PERIOD_MS), 1 => PERIOD_MS - 2..PERIOD_MS + 2];
    prop::collection::vec(gap, 1..200)
}

proptest! {
    #[test]
    fn fixed_admits_at_most_twice_the_limit_less_one_in_any_period(n in 1_usize..10, gaps in gaps()) {
        let most = most_in_a_period(&admitted_at(&format!("{n}/2 seconds"), &gaps));
        prop_assert!(most < 2 * n, "{most} of {n}");
    }

    #[test]
    fn exact_admits_at_most_the_limit_in_any_period(n in 1_usize..10, gaps in gaps()) {
        let most = most_in_a_period(&admitted_at(&format!("{n}/2 seconds;strategy=exact"), &gaps));
        prop_assert!(most <= n, "{most} of {n}");
    }

    #[test]
    fn exact_refuses_nobody_who_made_fewer_requests(n in 1_usize..10, gaps in gaps()) {
        let mut now = 0;
        let asked: Vec<u64> = gaps.iter().map(|gap| { now += gap; now }).collect();
        let in_period = |at: &u64| asked.iter().filter(|other| (at.saturating_sub(PERIOD_MS - 1)..=*at).contains(other)).count();
        let calm = asked.iter().all(|at| in_period(at) <= n);
        let admitted = admitted_at(&format!("{n}/2 seconds;strategy=exact"), &gaps);
        prop_assert!(!calm || admitted.len() == asked.len());
    }
}

/// The bound of `fixed` is reached: N − 1 at the end of a window and N in the next, after one that opened it.
#[test]
fn fixed_reaches_its_bound() {
    let mut gaps = vec![0, PERIOD_MS - 1, 0, 0, 0, 1];
    gaps.extend([0; 9]);
    assert_eq!(most_in_a_period(&admitted_at("5/2 seconds", &gaps)), 9);
}

/// The same bounds in Redis, in real time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_keeps_the_bounds_in_real_time() {
    let redis = crate::redis_server::RedisServer::start().await;
    let limits = [
        (Rule::Login, "20/second"),
        (Rule::Refresh, "20/second;strategy=exact"),
    ];
    let limiter = crate::stand::limiter_on(&redis, &limits).await;
    for (rule, bound) in [(Rule::Login, 39), (Rule::Refresh, 20)] {
        let clock = Clock::system();
        let mut admitted = Vec::new();
        while clock.elapsed() < Duration::from_millis(3_500) {
            let before = clock.elapsed();
            if limiter.take(&[charge(rule, "10.0.0.1")]).await.is_admitted() {
                admitted.push((before, clock.elapsed()));
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        // Surely within a second: from before the first was asked until after the last was answered.
        for (place, (start, _)) in admitted.iter().enumerate() {
            let inside = admitted[place..]
                .iter()
                .filter(|(_, end)| *end < *start + Duration::from_secs(1))
                .count();
            assert!(inside <= bound, "{rule:?}: {inside} in a second");
        }
        assert!(
            admitted.len() >= 60,
            "{rule:?}: {} in three and a half seconds",
            admitted.len()
        );
    }
}

/// 47.
#[tokio::test]
async fn a_wall_clock_that_jumps_moves_no_window_in_memory() {
    for jump in [-3_600_000, 3_600_000] {
        let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_000));
        let limits = [
            (Rule::Login, "2/minute"),
            (Rule::Refresh, "2/minute;strategy=exact"),
        ];
        let limiter = Limiter::start(settings(&limits), clock.clone()).unwrap();
        for rule in [Rule::Login, Rule::Refresh] {
            let charges = [charge(rule, "10.0.0.1")];
            assert_eq!(admitted(&limiter, &charges, 3).await, 2);
            let before = limiter.take(&charges).await;
            clock.shift_wall(jump);
            clock.advance(Duration::from_millis(59_999));
            let refused = limiter.take(&charges).await;
            assert!(!refused.is_admitted());
            assert_eq!(refused.reports[0].resets_at, before.reports[0].resets_at);
            assert_eq!(refused.retry_after_seconds(), 1);
            clock.advance(Duration::from_millis(1));
            assert_eq!(admitted(&limiter, &charges, 3).await, 2);
        }
    }
}

/// `ENABLE_RATE_LIMITING=false`.
#[tokio::test]
async fn a_limiter_that_is_off_admits_everything_and_reports_nothing() {
    let mut settings = settings(&[(Rule::Login, "1/day"), (Rule::Registration, "deny")]);
    settings.enabled = false;
    let limiter = Limiter::start(settings, Clock::system()).unwrap();
    assert_eq!(limiter.state(), StoreState::Off);
    let charges = [
        charge(Rule::Login, "10.0.0.1"),
        charge(Rule::Registration, "10.0.0.1"),
    ];
    assert_eq!(admitted(&limiter, &charges, 50).await, 50);
    assert!(limiter.take(&charges).await.reports.is_empty());
}
