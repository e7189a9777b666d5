//! Limits as clients meet them: who is counted, what is refused, what the headers say.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use stile::rate_limit::{Per, Rule};

use crate::app::{Answer, Engine, TestApp};

/// An endpoint of each rule that counts per client.
fn endpoint(rule: Rule) -> (Method, &'static str) {
    let post = |path| (Method::POST, path);
    match rule {
        Rule::Registration => post("/auth/register"),
        Rule::Login => post("/auth/login"),
        Rule::Refresh => post("/auth/refresh"),
        Rule::PasswordReset => post("/auth/password-reset/request"),
        Rule::ResetVerify => post("/auth/password-reset/verify"),
        Rule::ResetConfirm => post("/auth/password-reset/confirm"),
        Rule::VerifyEmail => post("/auth/verify-email"),
        Rule::ResendVerification => post("/auth/resend-verification"),
        Rule::ChangePassword => post("/auth/change-password"),
        Rule::Global => (Method::GET, "/health"),
        Rule::GatewayFailures => panic!("counts refused credentials alone: gateway.rs"),
        Rule::LoginAccount | Rule::MailAccount | Rule::TokenMinute | Rule::TokenHour | Rule::TokenDay => {
            panic!("{} counts no client", rule.name())
        }
    }
}

fn client_rules() -> impl Iterator<Item = Rule> {
    let client_rules = Rule::ALL.iter().copied().filter(|rule| rule.per() == Per::Client);
    client_rules.filter(|rule| *rule != Rule::GatewayFailures)
}

/// RL-01, limits.md 1, 2, 3: for each rule, with the limit that the environment sets.
#[tokio::test]
async fn each_endpoint_admits_what_its_variable_says_and_refuses_the_next() {
    for rule in client_rules() {
        let app = TestApp::on(Engine::Sqlite)
            .set(rule.variable(), "3/hour")
            .limited()
            .start()
            .await;
        let (method, path) = endpoint(rule);
        let ask = || app.request(method.clone(), path).send();
        for remaining in ["2", "1", "0"] {
            let answer = ask().await;
            assert_ne!(answer.status, 429, "{}", rule.name());
            assert_eq!(answer.header("x-ratelimit-limit"), Some("3"), "{}", rule.name());
            assert_eq!(answer.header("x-ratelimit-remaining"), Some(remaining));
            assert_eq!(answer.header("retry-after"), None);
        }
        let refused = ask().await.expect_problem(429, "rate_limited");
        assert_eq!(refused.body["limit"], rule.name());
        let reset = refused.header("x-ratelimit-reset").map(ToOwned::to_owned);
        for _ in 0..20 {
            let again = ask().await.expect_problem(429, "rate_limited");
            assert_eq!(again.header("x-ratelimit-reset").map(ToOwned::to_owned), reset);
            assert_eq!(again.header("x-ratelimit-remaining"), Some("0"));
        }
        // Another endpoint, another client: untouched.
        assert_ne!(ask_other(&app, rule).await.status, 429, "{}", rule.name());
        assert_ne!(
            app.request(method.clone(), path).from("203.0.113.7").await.status,
            429
        );
    }
}

async fn ask_other(app: &TestApp, rule: Rule) -> Answer {
    let other = if rule == Rule::Login {
        Rule::Refresh
    } else {
        Rule::Login
    };
    // The global rule covers every endpoint of /api/, so only /health outside is another one for it.
    if rule == Rule::Global {
        return app.get("//health").await;
    }
    let (method, path) = endpoint(other);
    app.request(method, path).await
}

/// limits.md 2, 4, 27: the wait it tells is long enough, and then the whole budget is back.
#[tokio::test]
async fn who_waits_as_told_finds_the_whole_budget() {
    let app = TestApp::on(Engine::Sqlite)
        .set("RATE_LIMIT_LOGIN", "2/minute")
        .limited()
        .start()
        .await;
    let ask = || app.post("/auth/login", json!({})).send();
    ask().await;
    app.advance(Duration::from_millis(20_300));
    ask().await;
    let refused = ask().await.expect(429);
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert_eq!(wait, 40);
    assert_eq!(refused.body["retry_after"], 40);
    app.advance(Duration::from_secs(wait));
    let fresh = ask().await.expect(422);
    assert_eq!(fresh.header("x-ratelimit-remaining"), Some("1"));
}

/// limits.md 14 of the contract's order: a request is charged before its body is read, whatever it holds.
#[tokio::test]
async fn rubbish_is_charged_too() {
    let app = TestApp::on(Engine::Sqlite)
        .set("RATE_LIMIT_LOGIN", "3/minute")
        .limited()
        .start()
        .await;
    app.request(Method::POST, "/auth/login")
        .raw("x")
        .await
        .expect(415);
    app.request(Method::POST, "/auth/login")
        .header("content-type", "application/json")
        .raw("{")
        .await
        .expect(400);
    app.post("/auth/login", json!({"email": "y".repeat(17_000)}))
        .await
        .expect(413);
    app.post("/auth/login", json!({})).await.expect(429);
}

/// limits.md 16, 19: neither a path parameter nor an unknown path makes a new count.
#[tokio::test]
async fn paths_share_the_clients_global_count() {
    let app = TestApp::on(Engine::Sqlite)
        .set("RATE_LIMIT_GLOBAL", "12/minute")
        .limited()
        .start()
        .await;
    for n in 0..6 {
        app.delete(&format!("/auth/sessions/{n}")).await.expect(401);
        app.get(&format!("/unknown/{n}")).await.expect(404);
    }
    app.get("/unknown/x").await.expect(429);
    app.get("//health").await.expect(200);
    app.get("//livez").await.expect(200);
    app.get("//.well-known/jwks.json").await.expect(200);
}

/// limits.md 17.
#[tokio::test]
async fn head_counts_as_get_and_a_preflight_is_free() {
    let app = TestApp::on(Engine::Sqlite)
        .set("RATE_LIMIT_GLOBAL", "2/minute")
        .limited()
        .start()
        .await;
    app.request(Method::HEAD, "/health").await.expect(200);
    for _ in 0..5 {
        let preflight = app
            .request(Method::OPTIONS, "/auth/login")
            .header("origin", "https://a.example");
        let answer = preflight.header("access-control-request-method", "POST").await;
        assert_ne!(answer.status, 429);
    }
    app.get("/health").await.expect(200);
    app.request(Method::HEAD, "/health").await.expect(429);
}

/// RL-02, limits.md 20, 25.
#[tokio::test]
async fn no_header_moves_a_client_that_no_proxy_vouches_for() {
    let limits = TestApp::on(Engine::Sqlite)
        .set("RATE_LIMIT_GLOBAL", "5/minute")
        .set("TRUSTED_PROXIES", "");
    let app = limits.limited().start().await;
    let names = [
        "x-forwarded-for",
        "x-real-ip",
        "forwarded",
        "cf-connecting-ip",
        "true-client-ip",
    ];
    for (n, name) in names.into_iter().enumerate() {
        app.get("/health")
            .header(name, &format!("203.0.113.{n}"))
            .await
            .expect(200);
    }
    for name in names {
        app.get("/health").header(name, "198.51.100.1").await.expect(429);
    }
}

/// RL-03, limits.md 21 to 24.
#[tokio::test]
async fn behind_a_trusted_proxy_the_rightmost_untrusted_hop_is_the_client() {
    let app = TestApp::on(Engine::Sqlite)
        .set("RATE_LIMIT_GLOBAL", "1/minute")
        .limited()
        .start()
        .await;
    let ask = |forwarded: &'static str| app.get("/health").from(forwarded).send();
    ask("9.9.9.9").await.expect(200);
    for same in [
        "6.6.6.6, 9.9.9.9",
        "9.9.9.9:4711",
        "::ffff:9.9.9.9",
        "[::ffff:909:909]:80",
        "9.9.9.9, 10.0.0.1",
    ] {
        ask(same).await.expect(429);
    }
    app.get("/health")
        .from("6.6.6.6")
        .from("9.9.9.9")
        .await
        .expect(429);
    ask("2001:db8:0:1::1").await.expect(200);
    ask("2001:db8:0:1:ffff::2").await.expect(429);
    ask("2001:db8:0:2::1").await.expect(200);
    // Garbage is nobody new: it falls back to the hop that passed it on.
    ask("garbage").await.expect(200);
    ask("other garbage").await.expect(429);
    let hops = vec!["10.0.0.1"; 200].join(",");
    assert!(app.get("/health").from(&hops).await.status < 500);
}

/// limits.md 49.
#[tokio::test]
async fn an_allow_listed_address_is_never_limited_and_cannot_be_forged() {
    let limits = TestApp::on(Engine::Sqlite).set("RATE_LIMIT_GLOBAL", "1/minute");
    let app = limits
        .set("RATE_LIMIT_ALLOWLIST", "10.1.0.0/16, 203.0.113.5")
        .limited()
        .start()
        .await;
    for _ in 0..4 {
        let answer = app.get("/health").from("203.0.113.5").await.expect(200);
        assert_eq!(answer.header("x-ratelimit-limit"), None);
    }
    // 10.1.2.3 is a trusted proxy's address here: the leftmost of a list that is trusted throughout is a claim.
    app.get("/health").from("10.1.2.3").await.expect(200);
    app.get("/health").from("10.1.2.3").await.expect(429);
    app.get("/health")
        .from("203.0.113.5, 198.51.100.1")
        .await
        .expect(200);
    app.get("/health")
        .from("203.0.113.5, 198.51.100.1")
        .await
        .expect(429);
}

/// limits.md 28, 29: one value per header, of the tightest rule; on a refusal of the refusing one.
#[tokio::test]
async fn the_headers_tell_of_the_tightest_rule() {
    let limits = TestApp::on(Engine::Sqlite).set("RATE_LIMIT_LOGIN", "3/minute");
    let app = limits.set("RATE_LIMIT_GLOBAL", "5/hour").limited().start().await;
    let login = || app.post("/auth/login", json!({})).send();
    assert_eq!(tightest(&login().await), ("3".into(), "2".into()));
    app.get("/health").await.expect(200);
    app.get("/health").await.expect(200);
    // Global: 3 used of 5; login: 2 used of 3 after this one.
    assert_eq!(tightest(&login().await), ("5".into(), "1".into()));
    let last = login().await;
    assert_eq!(tightest(&last).1, "0");
    let refused = login().await.expect(429);
    // Both are used up; the global one resets last.
    assert_eq!(refused.body["limit"], "global");
    assert_eq!(refused.header("x-ratelimit-limit"), Some("5"));
    for name in [
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
        "retry-after",
    ] {
        assert_eq!(refused.headers.get_all(name).iter().count(), 1, "{name}");
    }
    assert_eq!(refused.header("cache-control"), Some("no-store"));
}

fn tightest(answer: &Answer) -> (String, String) {
    let header = |name| answer.header(name).unwrap().to_owned();
    (header("x-ratelimit-limit"), header("x-ratelimit-remaining"))
}

/// limits.md 30 (RFC 9651).
#[tokio::test]
async fn the_ratelimit_fields_are_structured_fields() {
    let limits = TestApp::on(Engine::Sqlite).set("RATE_LIMIT_LOGIN", "5/minute;50/hour");
    let app = limits
        .set("RATE_LIMIT_GLOBAL", "60/minute")
        .limited()
        .start()
        .await;
    let answer = app.post("/auth/login", json!({})).await;
    let policy = answer.header("ratelimit-policy").unwrap();
    assert_eq!(
        policy,
        r#""global";q=60;w=60, "login";q=5;w=60, "login-3600";q=50;w=3600"#
    );
    let state = answer.header("ratelimit").unwrap();
    assert_eq!(
        state,
        r#""global";r=59;t=60, "login";r=4;t=60, "login-3600";r=49;t=3600"#
    );
    for field in [policy, state] {
        let list: sfv::List = sfv::Parser::new(field).parse().unwrap();
        assert_eq!(list.len(), 3);
    }
}

/// limits.md 13: `off` and `deny`.
#[tokio::test]
async fn off_is_no_limit_and_deny_refuses_all() {
    let limits = TestApp::on(Engine::Sqlite).set("RATE_LIMIT_REFRESH", "deny");
    let app = limits.limited().start().await;
    for _ in 0..50 {
        let answer = app.post("/auth/login", json!({})).await.expect(422);
        assert_eq!(answer.header("x-ratelimit-limit"), None);
    }
    let refused = app
        .post("/auth/refresh", json!({}))
        .await
        .expect_problem(429, "rate_limited");
    assert_eq!(refused.header("x-ratelimit-limit"), Some("0"));
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
}

/// limits.md 48.
#[tokio::test]
async fn a_shadow_rule_never_refuses() {
    let limits = TestApp::on(Engine::Sqlite).set("RATE_LIMIT_LOGIN", "1/minute;mode=shadow");
    let app = limits
        .set("RATE_LIMIT_GLOBAL", "4/minute")
        .limited()
        .start()
        .await;
    for _ in 0..4 {
        app.post("/auth/login", json!({})).await.expect(422);
    }
    let refused = app.post("/auth/login", json!({})).await.expect(429);
    assert_eq!(refused.body["limit"], "global");
}

/// limits.md 12, through the door.
#[tokio::test]
async fn an_exact_rule_lets_no_span_of_its_period_exceed_it() {
    let limits = TestApp::on(Engine::Sqlite).set("RATE_LIMIT_LOGIN", "2/minute;strategy=exact");
    let app = limits.limited().start().await;
    let ask = || app.post("/auth/login", json!({})).send();
    ask().await.expect(422);
    app.advance(Duration::from_secs(40));
    ask().await.expect(422);
    app.advance(Duration::from_secs(19));
    ask().await.expect(429);
    app.advance(Duration::from_secs(2));
    ask().await.expect(422);
    ask().await.expect(429);
}

/// limits.md 9, RL-07 in one process.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_exactly_the_limit_pass() {
    let app = TestApp::on(Engine::Sqlite)
        .set("RATE_LIMIT_GLOBAL", "10/minute")
        .limited()
        .start()
        .await;
    let answers = futures_util::future::join_all((0..200).map(|_| app.get("/health").send())).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 10);
    assert_eq!(answers.iter().filter(|answer| answer.status == 429).count(), 190);
}

#[tokio::test]
async fn switched_off_nothing_is_limited_and_no_header_sent() {
    let app = TestApp::on(Engine::Sqlite)
        .set("RATE_LIMIT_GLOBAL", "1/minute")
        .start()
        .await;
    for _ in 0..300 {
        let answer = app.get("/health").await.expect(200);
        assert!(
            answer
                .headers
                .keys()
                .all(|name| !name.as_str().contains("ratelimit"))
        );
    }
    assert_eq!(app.get("/rate-limits").await.body["enabled"], false);
}

/// The local stage: a flood is refused in the process, with the contract's shape.
#[tokio::test]
async fn a_flood_is_refused_by_the_local_stage() {
    let limits = TestApp::on(Engine::Sqlite)
        .set("RATE_LIMIT_BURST", "5")
        .set("RATE_LIMIT_GLOBAL", "1000/minute");
    let app = limits.limited().start().await;
    let answers = futures_util::future::join_all((0..50).map(|_| app.get("/health").send())).await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(refused.len() >= 40, "{}", refused.len());
    for answer in refused {
        assert_eq!(answer.body["limit"], "burst");
        assert_eq!(answer.body["code"], "rate_limited");
        assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
        for name in ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"] {
            assert_eq!(answer.headers.get_all(name).iter().count(), 1, "{name}");
        }
    }
    // What the global limit does not cover, the local stage does not cover either.
    app.get("//health").await.expect(200);
}

#[tokio::test]
async fn the_limits_in_force_are_public() {
    let app = TestApp::on(Engine::Sqlite)
        .set("RATE_LIMIT_LOGIN", "7 per 2 minutes;mode=shadow")
        .limited()
        .start()
        .await;
    let body = app.get("/rate-limits").await.expect(200).body;
    assert_eq!(body["enabled"], true);
    let rules = body["rules"].as_array().unwrap();
    assert_eq!(rules.len(), Rule::ALL.len() + Rule::TOKEN.len());
    let login = rules.iter().find(|rule| rule["name"] == "login").unwrap();
    let expected = json!({"name": "login", "limit": "7/2 minutes", "strategy": "fixed", "mode": "shadow", "per": "client"});
    assert_eq!(*login, expected);
}
