//! What answers take: equal where a difference would tell somebody whether an address has an account.
//!
//! A binary of its own, because `cargo test` runs one binary after the other, and its tests take turns: so
//! nothing else of the suite runs beside a measurement. What else the machine does falls on both halves of each
//! pair alike.

#[path = "../support/app.rs"]
#[macro_use]
#[expect(dead_code, reason = "other test binaries use the rest")]
mod app;
#[path = "../support/port.rs"]
mod port;
#[path = "../support/postgres.rs"]
mod postgres;
#[path = "../support/sql.rs"]
#[expect(dead_code, reason = "other test binaries use the rest")]
mod sql;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::Mutex;

use app::{Engine, PASSWORD, TestApp, long};

static TURN: Mutex<()> = Mutex::const_new(());

/// One kind of request: path, and the body of the n-th.
type Kind<'a> = (&'static str, &'a (dyn Fn(usize) -> Value + Sync));

/// Times of the two kinds, taken in turn, without a pause: what one leaves behind for the next must not show
/// either. Which comes first changes from pair to pair.
async fn measure(app: &TestApp, kinds: [Kind<'_>; 2], from: usize, pairs: usize) -> [Vec<Duration>; 2] {
    let mut times = [Vec::new(), Vec::new()];
    for n in from..from + pairs {
        let first = n % 2;
        for kind in [first, 1 - first] {
            let (path, body) = kinds[kind];
            let request = app.post(path, body(n));
            let started = Instant::now();
            let answer = request.await;
            times[kind].push(started.elapsed());
            assert!(matches!(answer.status, 200 | 202 | 401), "{}", answer.text);
        }
    }
    for times in &mut times {
        times.sort();
    }
    times
}

/// Of the best of three rounds: the ratio of the medians is within 0.9 to 1.1, and one kind is faster than the
/// other in 40 to 60 of 100 comparisons. The second is asked of optimised builds (`cargo test --release --test
/// timing`): without optimisation, reading a row takes a tenth of a millisecond, one hundredth of a hash, and on a
/// quiet machine ranks show even that.
async fn assert_alike(app: &TestApp, kinds: [Kind<'_>; 2]) {
    let pairs = if long() { 300 } else { 60 };
    measure(app, kinds, 0, 10).await;
    let mut seen = Vec::new();
    for round in 0..3 {
        let [one, other] = measure(app, kinds, 10 + round * pairs, pairs).await;
        let ratio = one[pairs / 2].as_secs_f64() / other[pairs / 2].as_secs_f64();
        let faster: usize = one.iter().map(|a| other.partition_point(|b| b < a)).sum();
        let rank =
            f64::from(u32::try_from(faster).unwrap()) / f64::from(u32::try_from(pairs * pairs).unwrap());
        seen.push((ratio, rank, one[pairs / 2], other[pairs / 2]));
        let ranks_alike = cfg!(debug_assertions) || (0.4..=0.6).contains(&rank);
        if (0.9..=1.1).contains(&ratio) && ranks_alike {
            return;
        }
    }
    panic!("ratio of medians, rank, and the medians of three rounds: {seen:?}");
}

async fn with_inactive(app: &TestApp) {
    for email in ["ada@example.com", "gone@example.com"] {
        app.signed_up(email).await;
    }
    app.deactivate("gone@example.com").await;
    app.until_no_mail_waits().await;
}

on_both_engines! {
    /// LOG-03
    async fn a_wrong_password_takes_as_long_as_an_unknown_address(engine: Engine) {
        let _turn = TURN.lock().await;
        let app = TestApp::on(engine).start().await;
        with_inactive(&app).await;
        let wrong = |_| json!({"email": "ada@example.com", "password": "wrong-password-1"});
        let unknown = |n| json!({"email": format!("user{n}@example.com"), "password": "wrong-password-1"});
        let inactive = |_| json!({"email": "gone@example.com", "password": "wrong-password-1"});
        assert_alike(&app, [("/auth/login", &wrong), ("/auth/login", &unknown)]).await;
        assert_alike(&app, [("/auth/login", &inactive), ("/auth/login", &unknown)]).await;
    }
}

on_both_engines! {
    /// RST-03
    async fn a_reset_is_asked_for_as_fast_for_a_known_address_as_for_an_unknown(engine: Engine) {
        let _turn = TURN.lock().await;
        let app = TestApp::on(engine).start().await;
        with_inactive(&app).await;
        let known = |_| json!({"email": "ada@example.com"});
        let unknown = |n| json!({"email": format!("user{n}@example.com")});
        let inactive = |_| json!({"email": "gone@example.com"});
        let path = "/auth/password-reset/request";
        assert_alike(&app, [(path, &known), (path, &unknown)]).await;
        app.until_no_mail_waits().await;
        assert_alike(&app, [(path, &inactive), (path, &unknown)]).await;
    }
}

on_both_engines! {
    /// Contract, 3.1
    async fn under_verification_a_taken_address_is_registered_as_fast_as_a_new_one(engine: Engine) {
        let _turn = TURN.lock().await;
        let app = TestApp::on(engine).start().await;
        app.signed_up("ada@example.com").await;
        let mut app = app;
        app.sql("UPDATE users SET is_verified = TRUE").await;
        app.set("REQUIRE_EMAIL_VERIFICATION", "true");
        app.restart().await;
        let taken = |_| json!({"email": "ada@example.com", "password": PASSWORD});
        let new = |n| json!({"email": format!("user{n}@example.com"), "password": PASSWORD});
        assert_alike(&app, [("/auth/register", &taken), ("/auth/register", &new)]).await;
    }
}
