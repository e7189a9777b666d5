//! The cases of `limits.md` that say the same of every store, each run over four of them: memory, Redis, memory after
//! Redis was lost, and Redis that is lost and comes back empty at every turn of the case.

use std::time::Duration;

use stile::rate_limit::{Charge, Outcome, Receipt, Rule, Verdict};

use crate::stand::{Stand, admitted, charge, remaining};

macro_rules! over_every_store {
    ($($case:ident)*) => {$(
        mod $case {
            use super::Stand;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_memory() {
                super::$case(Stand::memory()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_redis() {
                super::$case(Stand::redis().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn after_redis_was_lost() {
                super::$case(Stand::lost().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn while_redis_comes_and_goes() {
                super::$case(Stand::flapping().await).await;
            }
        }
    )*};
}

over_every_store! {
    five_pass_and_the_rest_is_refused_without_moving_the_reset
    after_the_reset_the_whole_budget_is_back
    two_clients_count_apart
    a_take_that_does_not_fit_takes_nothing
    a_refusal_of_one_window_uses_up_none_of_the_others
    of_many_at_once_exactly_the_limit_passes
    exact_frees_each_request_by_itself
    a_charge_is_given_back_once_and_to_its_window_alone
    many_refunds_at_once_never_go_below_zero
    an_exact_charge_is_given_back
    a_shadow_rule_over_its_limit_refuses_nothing
    deny_refuses_all_and_off_nothing
    a_cleared_counter_is_free_and_stays_so
    the_refusing_window_that_resets_last_is_told
    every_decision_is_in_the_totals_under_its_rule
}

fn receipt(decision: stile::rate_limit::Decision) -> Receipt {
    match decision.outcome {
        Outcome::Admitted(receipt) => receipt,
        Outcome::Refused { rule } => panic!("refused by {rule:?}"),
    }
}

/// 1, 2, 3, 27; RL-01. Losing Redis moves neither the count nor the reset: 37.
async fn five_pass_and_the_rest_is_refused_without_moving_the_reset(stand: Stand) {
    let limiter = stand.limiter(&[(Rule::Login, "5/minute")]).await;
    let charges = [charge(Rule::Login, "10.0.0.1")];
    let mut resets = Vec::new();
    for left in [4, 3, 2, 1, 0] {
        let decision = limiter.take(&charges).await;
        assert!(decision.is_admitted());
        assert_eq!(remaining(&decision), [left]);
        resets.push(decision.reports[0].resets_at);
        stand.turn(&limiter).await;
    }
    for _ in 0..3 {
        for _ in 0..40 {
            let decision = limiter.take(&charges).await;
            assert!(!decision.is_admitted());
            assert_eq!(remaining(&decision), [0]);
            let refusal = decision.refusal().unwrap();
            assert!((1..=60).contains(&decision.retry_after_seconds()));
            assert!(u128::from(decision.retry_after_seconds()) * 1000 >= refusal.reset_after.as_millis());
            resets.push(refusal.resets_at);
        }
        stand.turn(&limiter).await;
    }
    resets.dedup();
    assert_eq!(resets.len(), 1, "one reset through the whole window: {resets:?}");
    assert_eq!(
        admitted(&limiter, &[charge(Rule::Refresh, "10.0.0.1")], 10).await,
        10,
        "other rules are unaffected"
    );
}

/// 4.
async fn after_the_reset_the_whole_budget_is_back(stand: Stand) {
    let limiter = stand.limiter(&[(Rule::Login, "3/2 seconds")]).await;
    let charges = [charge(Rule::Login, "10.0.0.1")];
    for _ in 0..2 {
        assert_eq!(admitted(&limiter, &charges, 5).await, 3);
        stand.turn(&limiter).await;
        let refused = limiter.take(&charges).await;
        assert!(!refused.is_admitted());
        stand.pass(refused.refusal().unwrap().reset_after).await;
        let decision = limiter.take(&charges).await;
        assert_eq!(remaining(&decision), [2]);
        stand.pass(decision.reports[0].reset_after).await;
    }
}

/// 6.
async fn two_clients_count_apart(stand: Stand) {
    let limiter = stand.limiter(&[(Rule::Login, "2/minute")]).await;
    let one = [charge(Rule::Login, "10.0.0.1")];
    let other = [charge(Rule::Login, "10.0.0.2")];
    assert_eq!(admitted(&limiter, &one, 3).await, 2);
    stand.turn(&limiter).await;
    assert_eq!(admitted(&limiter, &other, 3).await, 2);
    stand.turn(&limiter).await;
    assert_eq!(
        admitted(&limiter, &one, 1).await + admitted(&limiter, &other, 1).await,
        0
    );
}

/// 7.
async fn a_take_that_does_not_fit_takes_nothing(stand: Stand) {
    let limiter = stand.limiter(&[(Rule::Login, "5/minute")]).await;
    let three = vec![charge(Rule::Login, "10.0.0.1"); 3];
    assert_eq!(remaining(&limiter.take(&three).await), [2]);
    stand.turn(&limiter).await;
    let refused = limiter.take(&three).await;
    assert!(!refused.is_admitted());
    assert_eq!(remaining(&refused), [2]);
    stand.turn(&limiter).await;
    assert_eq!(admitted(&limiter, &three[..1], 3).await, 2);
}

/// 8.
async fn a_refusal_of_one_window_uses_up_none_of_the_others(stand: Stand) {
    let limiter = stand
        .limiter(&[
            (Rule::Login, "10/minute;4/hour;20/day"),
            (Rule::Global, "9/minute"),
        ])
        .await;
    let charges = [charge(Rule::Global, "10.0.0.1"), charge(Rule::Login, "10.0.0.1")];
    assert_eq!(admitted(&limiter, &charges, 4).await, 4);
    stand.turn(&limiter).await;
    for _ in 0..20 {
        let decision = limiter.take(&charges).await;
        assert_eq!(remaining(&decision), [5, 6, 0, 16]);
        assert_eq!(decision.refusal().unwrap().window, Duration::from_hours(1));
        assert!(matches!(decision.outcome, Outcome::Refused { rule: Rule::Login }));
    }
    stand.turn(&limiter).await;
    assert_eq!(admitted(&limiter, &charges[..1], 10).await, 5);
}

/// 9; RL-07.
async fn of_many_at_once_exactly_the_limit_passes(stand: Stand) {
    let limiter = stand
        .limiter(&[
            (Rule::Login, "100/minute"),
            (Rule::Refresh, "100/minute;strategy=exact"),
        ])
        .await;
    for rule in [Rule::Login, Rule::Refresh] {
        let tasks = (0..8).map(|_| {
            let limiter = limiter.clone();
            tokio::spawn(async move { admitted(&limiter, &[charge(rule, "10.0.0.1")], 300).await })
        });
        let admitted: Vec<usize> = futures_util::future::try_join_all(tasks).await.unwrap();
        assert_eq!(admitted.iter().sum::<usize>(), 100, "{rule:?}");
        stand.turn(&limiter).await;
        assert!(!limiter.take(&[charge(rule, "10.0.0.1")]).await.is_admitted());
    }
}

/// 12.
async fn exact_frees_each_request_by_itself(stand: Stand) {
    let limiter = stand
        .limiter(&[(Rule::Login, "2/3 seconds;strategy=exact")])
        .await;
    let charges = [charge(Rule::Login, "10.0.0.1")];
    let first = limiter.take(&charges).await;
    assert_eq!(remaining(&first), [1]);
    assert!(
        first.reports[0].reset_after <= Duration::from_secs(3),
        "{:?}",
        first.reports[0]
    );
    stand.turn(&limiter).await;
    stand.pass(Duration::from_millis(900)).await;
    assert_eq!(remaining(&limiter.take(&charges).await), [0]);
    let refused = limiter.take(&charges).await;
    assert!(!refused.is_admitted());
    // The first is freed three seconds after it was taken, the second 900 ms later.
    let wait = refused.refusal().unwrap().reset_after;
    assert!(wait <= Duration::from_millis(2101), "{wait:?}");
    stand.turn(&limiter).await;
    let refused = limiter.take(&charges).await;
    assert!(!refused.is_admitted());
    stand.pass(refused.refusal().unwrap().reset_after).await;
    assert!(limiter.take(&charges).await.is_admitted());
    assert!(!limiter.take(&charges).await.is_admitted());
}

/// 33, 34.
async fn a_charge_is_given_back_once_and_to_its_window_alone(stand: Stand) {
    let limiter = stand.limiter(&[(Rule::LoginAccount, "3/2 seconds")]).await;
    let charges = [Charge::account(Rule::LoginAccount, "ab12".to_owned())];
    let first = receipt(limiter.take(&charges).await);
    assert_eq!(remaining(&limiter.take(&charges).await), [1]);
    stand.turn(&limiter).await;
    limiter.refund(first).await;
    let decision = limiter.take(&charges).await;
    assert_eq!(remaining(&decision), [1]);
    stand.turn(&limiter).await;
    stand.pass(decision.reports[0].reset_after).await;
    limiter.refund(receipt(decision)).await;
    assert_eq!(
        remaining(&limiter.take(&charges).await),
        [2],
        "a window that has ended gives nothing to the next"
    );
}

/// 35.
async fn many_refunds_at_once_never_go_below_zero(stand: Stand) {
    let limiter = stand.limiter(&[(Rule::LoginAccount, "100/minute")]).await;
    let charges = [Charge::account(Rule::LoginAccount, "ab12".to_owned())];
    let mut receipts = Vec::new();
    for _ in 0..100 {
        receipts.push(receipt(limiter.take(&charges).await));
    }
    stand.turn(&limiter).await;
    assert!(!limiter.take(&charges).await.is_admitted());
    let refunds = receipts.into_iter().map(|receipt| {
        let limiter = limiter.clone();
        tokio::spawn(async move { limiter.refund(receipt).await })
    });
    futures_util::future::try_join_all(refunds).await.unwrap();
    stand.turn(&limiter).await;
    assert_eq!(remaining(&limiter.take(&charges).await), [99]);
    assert_eq!(admitted(&limiter, &charges, 150).await, 99);
}

/// 33 under `strategy=exact`.
async fn an_exact_charge_is_given_back(stand: Stand) {
    let limiter = stand
        .limiter(&[(Rule::LoginAccount, "2/minute;strategy=exact")])
        .await;
    let charges = [Charge::account(Rule::LoginAccount, "ab12".to_owned())];
    let first = receipt(limiter.take(&charges).await);
    assert_eq!(remaining(&limiter.take(&charges).await), [0]);
    limiter.refund(first).await;
    stand.turn(&limiter).await;
    assert_eq!(remaining(&limiter.take(&charges).await), [0]);
    assert!(!limiter.take(&charges).await.is_admitted());
}

/// 48.
async fn a_shadow_rule_over_its_limit_refuses_nothing(stand: Stand) {
    let limiter = stand
        .limiter(&[
            (Rule::Login, "2/minute;mode=shadow"),
            (Rule::Refresh, "2/minute;strategy=exact;mode=shadow"),
            (Rule::Global, "6/minute"),
        ])
        .await;
    let charges = [Rule::Global, Rule::Login, Rule::Refresh].map(|rule| charge(rule, "10.0.0.1"));
    for left in (0..6).rev() {
        let decision = limiter.take(&charges).await;
        assert!(decision.is_admitted());
        assert_eq!(remaining(&decision), [left], "a shadow rule is not told of");
        stand.turn(&limiter).await;
    }
    let refused = limiter.take(&charges).await;
    assert!(matches!(refused.outcome, Outcome::Refused { rule: Rule::Global }));
}

/// A limit of 0 and the default period under `deny`; no report under `off`.
async fn deny_refuses_all_and_off_nothing(stand: Stand) {
    let limiter = stand
        .limiter(&[
            (Rule::Registration, "deny"),
            (Rule::Login, "off"),
            (Rule::Global, "5/minute"),
        ])
        .await;
    let decision = limiter
        .take(&[Rule::Global, Rule::Registration].map(|rule| charge(rule, "10.0.0.1")))
        .await;
    let refusal = decision.refusal().unwrap();
    assert_eq!(
        (refusal.rule, refusal.limit, refusal.remaining),
        (Rule::Registration, 0, 0)
    );
    assert_eq!(decision.retry_after_seconds(), 3600);
    stand.turn(&limiter).await;
    let decision = limiter
        .take(&[Rule::Global, Rule::Login].map(|rule| charge(rule, "10.0.0.1")))
        .await;
    assert_eq!(remaining(&decision), [4], "what was refused cost nothing");
    assert_eq!(
        admitted(&limiter, &[charge(Rule::Login, "10.0.0.1")], 100).await,
        100
    );
}

/// A completed password reset; and 50, as far as one process goes.
async fn a_cleared_counter_is_free_and_stays_so(stand: Stand) {
    let limiter = stand
        .limiter(&[(Rule::LoginAccount, "2/minute"), (Rule::MailAccount, "2/minute")])
        .await;
    let failed = [Charge::account(Rule::LoginAccount, "ab12".to_owned())];
    let mailed = [Charge::account(Rule::MailAccount, "ab12".to_owned())];
    assert_eq!(
        admitted(&limiter, &failed, 3).await + admitted(&limiter, &mailed, 3).await,
        4
    );
    stand.turn(&limiter).await;
    limiter.clear(&failed).await;
    stand.turn(&limiter).await;
    assert_eq!(remaining(&limiter.take(&failed).await), [1]);
    stand.turn(&limiter).await;
    assert_eq!(admitted(&limiter, &failed, 3).await, 1);
    assert_eq!(
        admitted(&limiter, &mailed, 3).await,
        0,
        "only the named counter is cleared"
    );
}

/// 28.
async fn the_refusing_window_that_resets_last_is_told(stand: Stand) {
    let limiter = stand
        .limiter(&[(Rule::Login, "2/minute;2/hour"), (Rule::Global, "50/day")])
        .await;
    let charges = [charge(Rule::Global, "10.0.0.1"), charge(Rule::Login, "10.0.0.1")];
    let decision = limiter.take(&charges).await;
    assert_eq!(decision.tightest().unwrap().rule, Rule::Login);
    assert_eq!(admitted(&limiter, &charges, 2).await, 1);
    stand.turn(&limiter).await;
    let refused = limiter.take(&charges).await;
    assert_eq!(refused.refusal().unwrap().window, Duration::from_hours(1));
    assert!(refused.retry_after_seconds() > 3500);
}

/// What the metrics show: each decision once, whoever decided it; a refusal under the rule that is its reason.
async fn every_decision_is_in_the_totals_under_its_rule(stand: Stand) {
    let limiter = stand
        .limiter(&[
            (Rule::Global, "100/minute"),
            (Rule::Login, "2/minute;5/hour"),
            (Rule::Refresh, "1/minute;mode=shadow"),
            (Rule::Registration, "deny"),
        ])
        .await;
    let charges = [Rule::Global, Rule::Login, Rule::Refresh].map(|rule| charge(rule, "10.0.0.1"));
    assert_eq!(admitted(&limiter, &charges, 4).await, 2);
    stand.turn(&limiter).await;
    assert_eq!(admitted(&limiter, &charges[..1], 3).await, 3);
    assert_eq!(
        admitted(&limiter, &[charge(Rule::Registration, "10.0.0.1")], 1).await,
        0
    );
    let totals = limiter.totals();
    let counts = |rule| {
        let of_rule = totals.decisions.iter().filter(move |decision| decision.0 == rule);
        of_rule
            .map(|(_, verdict, count)| (*verdict, *count))
            .collect::<Vec<_>>()
    };
    use Verdict::{Admitted, Refused, Shadowed};
    let expected = |numbers: [u64; 3]| {
        [Admitted, Refused, Shadowed]
            .into_iter()
            .zip(numbers)
            .collect::<Vec<_>>()
    };
    assert_eq!(counts(Rule::Global), expected([5, 0, 0]));
    assert_eq!(counts(Rule::Login), expected([2, 2, 0]));
    assert_eq!(counts(Rule::Refresh), expected([1, 0, 3]));
    assert_eq!(counts(Rule::Registration), expected([0, 1, 0]));
}
