//! The gateway check, as a reverse proxy asks it.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::api_tokens::{Owner, id};
use crate::app::{Answer, Engine, TestApp};

const VERIFY: &str = "/api-gateway/verify";
const IDENTITY: [&str; 5] = [
    "x-auth-user-id",
    "x-auth-token-id",
    "x-auth-scopes",
    "x-auth-session-id",
    "x-auth-role",
];

async fn verify(app: &TestApp, token: &Value) -> Answer {
    app.get(VERIFY).bearer(token).await
}

#[track_caller]
fn no_identity(answer: &Answer) {
    for name in IDENTITY {
        assert_eq!(answer.header(name), None, "{name}");
    }
}

fn limited(engine: Engine) -> crate::app::Builder {
    TestApp::on(engine).limited()
}

on_both_engines! {
    /// GW-01, GW-03, GW-08.
    async fn a_good_token_passes_with_its_identity_and_no_other_does(engine: Engine) {
        let app = limited(engine).start().await;
        let owner = Owner::sign_up(&app, "ada@example.com").await;
        let soon = app.clock.now().plus(Duration::from_secs(3)).to_string();
        let good = owner.create(json!({"name": "x", "scopes": ["read:*", "write:a"]})).await.expect(201).body;
        let bare = owner.create(json!({"name": "x"})).await.expect(201).body;
        let expiring = owner.create(json!({"name": "x", "expires_at": soon})).await.expect(201).body;

        let passed = app
            .get(&format!("{VERIFY}?scope=read:things&scope=write:a"))
            .bearer(&good["token"])
            .header("x-auth-user-id", "root")
            .header("x-auth-scopes", "admin")
            .header("X_Auth_User_Id", "root")
            .header("X-User-Id", "root")
            .await
            .expect(204);
        assert!(passed.headers.values().all(|value| !["root", "admin"].contains(&value.to_str().unwrap())));
        assert_eq!(passed.header("x-auth-user-id"), Some(owner.id.as_str()));
        assert_eq!(passed.header("x-auth-token-id"), good["id"].as_str());
        assert_eq!(passed.header("x-auth-scopes"), Some("read:* write:a"));
        for name in IDENTITY {
            assert!(passed.headers.get_all(name).iter().count() <= 1);
        }
        assert_eq!(passed.header("x-ratelimit-limit"), Some("60"));
        assert_eq!(passed.header("x-ratelimit-remaining"), Some("59"));
        assert_eq!(
            passed.header("ratelimit-policy"),
            Some(r#""token_minute";q=60;w=60, "token_hour";q=1000;w=3600, "token_day";q=10000;w=86400"#)
        );
        assert_eq!(passed.header("retry-after"), None);

        let nothing = app.get(VERIFY).await.expect_problem(401, "not_authenticated");
        assert_eq!(nothing.header("www-authenticate"), Some("Bearer"));
        no_identity(&nothing);
        let mut wrong = good["token"].as_str().unwrap().to_owned();
        wrong.replace_range(20..21, if &wrong[20..21] == "a" { "b" } else { "a" });
        let invalid = verify(&app, &json!(wrong)).await.expect_problem(401, "token_invalid");
        assert_eq!(invalid.header("www-authenticate"), Some(r#"Bearer error="invalid_token""#));
        no_identity(&invalid);
        for (token, scope) in [(&good, "delete:a"), (&bare, "read:things"), (&good, "read:a%20write:a"), (&good, "")] {
            let path = format!("{VERIFY}?scope=write:a&scope={scope}");
            let refused = app.get(&path).bearer(&token["token"]).await.expect_problem(403, "insufficient_scope");
            assert_eq!(refused.header("www-authenticate"), Some(r#"Bearer error="insufficient_scope""#));
            no_identity(&refused);
        }
        verify(&app, &expiring["token"]).await.expect(204);
        app.advance(Duration::from_secs(3));
        let expired = verify(&app, &expiring["token"]).await.expect_problem(401, "token_expired");
        assert_eq!(expired.header("www-authenticate"), Some(r#"Bearer error="invalid_token""#));
        no_identity(&expired);
        let empty = verify(&app, &bare["token"]).await.expect(204);
        assert_eq!(empty.header("x-auth-scopes"), Some(""));
    }
}

/// GW-02, GW-05: what is malformed never passes, and costs no look-up.
#[tokio::test]
async fn malformed_doubled_and_misplaced_credentials_are_refused() {
    let app = limited(Engine::Sqlite).start().await;
    let owner = Owner::sign_up(&app, "ada@example.com").await;
    let made = owner.create(json!({"name": "x"})).await.expect(201).body;
    let token = made["token"].as_str().unwrap();
    let long = format!("Bearer {}", "x".repeat(15_000));
    for header in [
        "Bearer",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        "Bearer x",
        "bearer x",
        "Bearer é",
        token,
        "Bearer a, Bearer b",
        &long,
        &format!("Bearer {token}x"),
        &format!("Bearer {token} x"),
    ] {
        let answer = app.get(VERIFY).header("authorization", header).await.expect(401);
        no_identity(&answer);
    }
    for cookie in ["stile_access=x", "=;;=", "\"", &format!("stile_access={token}")] {
        no_identity(&app.get(VERIFY).header("cookie", cookie).await.expect(401));
    }
    let two = [
        ("authorization", format!("Bearer {token}"), "authorization"),
        ("authorization", format!("Bearer {token}"), "x-api-key"),
        ("x-api-key", token.to_owned(), "x-api-key"),
    ];
    for (first, value, second) in two {
        let answer = app.get(VERIFY).header(first, &value).header(second, &value).await;
        no_identity(&answer.expect_problem(400, "invalid_request"));
    }
    for query in ["access_token", "token", "api_key"] {
        let path = format!("{VERIFY}?{query}={token}");
        no_identity(&app.get(&path).await.expect_problem(400, "invalid_request"));
        let both = app.get(&path).bearer(&made["token"]).await;
        no_identity(&both.expect_problem(400, "invalid_request"));
    }
    // RFC 6750, 2.2 is not spoken. Any other body is the product's.
    let form = |body: &str| {
        let request = app.request(Method::POST, VERIFY);
        let form = "application/x-www-form-urlencoded; charset=utf-8";
        request.header("content-type", form).raw(body.as_bytes().to_vec())
    };
    let in_form = format!("a=1&access_token={token}");
    no_identity(&form(&in_form).await.expect_problem(400, "invalid_request"));
    let both = form(&in_form).bearer(&made["token"]).await;
    no_identity(&both.expect_problem(400, "invalid_request"));
    no_identity(&form(&format!("token={token}")).await.expect(401));
    for body in ["access_token=of-another-service", "token=x", &"x".repeat(100_000)] {
        form(body).bearer(&made["token"]).await.expect(204);
    }
    for (name, value) in [
        ("authorization", format!("Bearer {token}")),
        ("authorization", format!("bEaReR  {token}")),
        ("x-api-key", token.to_owned()),
    ] {
        app.get(VERIFY).header(name, &value).await.expect(204);
    }
}

/// GW-09: also where a CORS stage would answer by itself, and for methods that nobody knows.
#[tokio::test]
async fn any_method_is_decided_alike() {
    let app = limited(Engine::Sqlite)
        .set("CORS_ORIGINS", "https://app.example.com")
        .start()
        .await;
    let owner = Owner::sign_up(&app, "ada@example.com").await;
    let made = owner.create(json!({"name": "x"})).await.expect(201).body;
    let methods = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE",
    ];
    for method in methods.map(|name| Method::from_bytes(name.as_bytes()).unwrap()) {
        let ask = || {
            let request = app
                .request(method.clone(), VERIFY)
                .header("origin", "https://app.example.com");
            request.header("access-control-request-method", "POST")
        };
        let passed = ask().bearer(&made["token"]).await.expect(204);
        assert!(passed.header("x-auth-user-id").is_some(), "{method}");
        ask().await.expect(401);
        ask().header("authorization", "Bearer x").await.expect(401);
    }
    let used = owner.get(id(&made)).await.body;
    assert_eq!(used["usage"]["day"]["used"], methods.len());
    // Envoy puts the client's path behind.
    for path in ["/", "/things/1", "/x%2Fy?q=1"] {
        let path = format!("{VERIFY}{path}");
        app.get(&path).bearer(&made["token"]).await.expect(204);
        app.get(&path).await.expect(401);
    }
}

on_both_engines! {
    /// TOK-06, TOK-07, GW-08: each window moves by one, and a refused request uses up none; who waits as long as he is told
    /// passes.
    async fn all_three_windows_are_decided_together(engine: Engine) {
        let app = limited(engine).start().await;
        let owner = Owner::sign_up(&app, "ada@example.com").await;
        let body = json!({"name": "x", "rate_limit_per_minute": 2, "rate_limit_per_hour": 3, "rate_limit_per_day": 4});
        let made = owner.create(body).await.expect(201).body;
        let used = || async {
            // The day outlives an access token.
            let session = app.logged_in("ada@example.com", crate::app::PASSWORD).await;
            let path = format!("/api-tokens/{}", id(&made));
            let usage = app.get(&path).bearer(&session["access_token"]).await.body["usage"].clone();
            ["minute", "hour", "day"].map(|window| usage[window]["used"].as_u64().unwrap())
        };
        verify(&app, &made["token"]).await.expect(204);
        assert_eq!(used().await, [1, 1, 1]);
        app.get(&format!("{VERIFY}?scope=a")).bearer(&made["token"]).await.expect(403);
        verify(&app, &made["token"]).await.expect(204);
        for _ in 0..5 {
            let refused = verify(&app, &made["token"]).await.expect_problem(429, "rate_limited");
            assert_eq!(refused.body["limit"], "token_minute");
            assert_eq!(refused.header("retry-after"), Some("60"));
            assert_eq!(refused.header("x-ratelimit-remaining"), Some("0"));
            assert_eq!(refused.header("x-ratelimit-limit"), Some("2"));
            let reset: i64 = refused.header("x-ratelimit-reset").unwrap().parse().unwrap();
            assert_eq!(reset - app.clock.now().as_seconds(), 60, "Retry-After ends at the reset");
            assert_eq!(refused.body["retry_after"], 60);
            assert_eq!(refused.header("cache-control"), Some("no-store"));
            no_identity(&refused);
        }
        assert_eq!(used().await, [2, 2, 2]);
        app.advance(Duration::from_secs(60));
        verify(&app, &made["token"]).await.expect(204);
        let refused = verify(&app, &made["token"]).await.expect(429);
        assert_eq!((&refused.body["limit"], refused.header("retry-after")), (&json!("token_hour"), Some("3540")));
        assert_eq!(used().await, [1, 3, 3]);
        app.advance(Duration::from_secs(3540));
        let last = verify(&app, &made["token"]).await.expect(204);
        assert_eq!(last.header("x-ratelimit-remaining"), Some("0"));
        let refused = verify(&app, &made["token"]).await.expect(429);
        assert_eq!(refused.body["limit"], "token_day");
        assert_eq!(used().await, [1, 1, 4]);
    }
}

/// TOK-04: 0 means 0.
#[tokio::test]
async fn a_quota_of_zero_refuses_all_and_tells_the_period() {
    let app = limited(Engine::Sqlite).start().await;
    let owner = Owner::sign_up(&app, "ada@example.com").await;
    let made = owner
        .create(json!({"name": "x", "rate_limit_per_minute": 0}))
        .await
        .expect(201)
        .body;
    for _ in 0..3 {
        let refused = verify(&app, &made["token"])
            .await
            .expect_problem(429, "rate_limited");
        assert_eq!(refused.body["limit"], "token_minute");
        assert_eq!(
            (refused.header("x-ratelimit-limit"), refused.header("retry-after")),
            (Some("0"), Some("60"))
        );
    }
    let zero = json!({"rate_limit_per_hour": 0, "rate_limit_per_day": 0});
    owner.patch(id(&made), zero).await.expect(200);
    let refused = verify(&app, &made["token"]).await.expect(429);
    assert_eq!(
        (&refused.body["limit"], refused.header("retry-after")),
        (&json!("token_day"), Some("86400"))
    );
    let back =
        json!({"rate_limit_per_minute": null, "rate_limit_per_hour": null, "rate_limit_per_day": null});
    owner.patch(id(&made), back).await.expect(200);
    verify(&app, &made["token"]).await.expect(204);
}

on_both_engines! {
    /// TOK-08: in the process that was asked, at once; also before its quota and after it.
    async fn what_ends_a_token_ends_it_at_once(engine: Engine) {
        let app = limited(engine).start().await;
        let owner = Owner::sign_up(&app, "ada@example.com").await;
        let made = owner.create(json!({"name": "x", "rate_limit_per_minute": 2})).await.expect(201).body;
        verify(&app, &made["token"]).await.expect(204);
        let rotated = owner.ask(Method::POST, &format!("/api-tokens/{}/rotate", id(&made))).await.expect(201).body;
        verify(&app, &made["token"]).await.expect_problem(401, "token_invalid");
        verify(&app, &rotated["token"]).await.expect(204);
        // The counters stayed.
        verify(&app, &rotated["token"]).await.expect(429);
        owner.patch(id(&made), json!({"rate_limit_per_minute": 3})).await.expect(200);
        verify(&app, &rotated["token"]).await.expect(204);
        verify(&app, &rotated["token"]).await.expect(429);
        owner.revoke(id(&made)).await.expect(204);
        verify(&app, &rotated["token"]).await.expect_problem(401, "token_invalid");
    }
}

on_both_engines! {
    /// What is remembered of a token lets it pass; it refuses nobody for longer than a second, and where it was changed at all.
    async fn what_a_token_gains_it_has_at_once(engine: Engine) {
        let app = limited(engine).start().await;
        let owner = Owner::sign_up(&app, "ada@example.com").await;
        let soon = app.clock.now().plus(Duration::from_secs(3)).to_string();
        let made = owner.create(json!({"name": "x", "scopes": ["read:a"], "expires_at": soon})).await.expect(201).body;
        let asked = async |scope: &str| app.get(&format!("{VERIFY}?scope={scope}")).bearer(&made["token"]).await;
        asked("read:a").await.expect(204);
        asked("write:b").await.expect_problem(403, "insufficient_scope");
        owner.patch(id(&made), json!({"scopes": ["read:a", "write:b"]})).await.expect(200);
        asked("write:b").await.expect(204);
        app.advance(Duration::from_secs(3));
        asked("read:a").await.expect_problem(401, "token_expired");
        owner.patch(id(&made), json!({"expires_at": null})).await.expect(200);
        asked("read:a").await.expect(204);

        // Changed by another process, of which this one hears nothing.
        asked("write:c").await.expect_problem(403, "insufficient_scope");
        app.sql("UPDATE api_tokens SET scopes = 'read:a write:c', version = version + 1").await;
        app.advance(Duration::from_secs(1));
        asked("write:c").await.expect(204);
    }
}

on_both_engines! {
    async fn an_account_that_is_deleted_takes_its_tokens_with_it(engine: Engine) {
        let app = limited(engine).start().await;
        let owner = Owner::sign_up(&app, "ada@example.com").await;
        let made = owner.create(json!({"name": "x"})).await.expect(201).body;
        verify(&app, &made["token"]).await.expect(204);
        let delete = app.delete("/auth/me").bearer(&owner.access).json(&json!({"password": crate::app::PASSWORD}));
        delete.await.expect(204);
        verify(&app, &made["token"]).await.expect_problem(401, "token_invalid");
    }
}

/// A change that nobody announces is seen when the proof is five seconds old.
#[tokio::test]
async fn a_token_of_an_inactive_owner_stops_and_admin_scopes_go_with_the_role() {
    let app = limited(Engine::Sqlite).start().await;
    let owner = Owner::sign_up(&app, "ada@example.com").await;
    app.sql("UPDATE users SET role = 'admin'").await;
    let made = owner
        .create(json!({"name": "x", "scopes": ["admin:users", "read:a"]}))
        .await
        .expect(201)
        .body;
    let passed = verify(&app, &made["token"]).await.expect(204);
    assert_eq!(passed.header("x-auth-scopes"), Some("admin:users read:a"));
    app.sql("UPDATE users SET role = 'user'").await;
    app.advance(Duration::from_secs(5));
    let passed = verify(&app, &made["token"]).await.expect(204);
    assert_eq!(passed.header("x-auth-scopes"), Some("read:a"));
    app.sql("UPDATE users SET is_active = FALSE").await;
    app.advance(Duration::from_secs(5));
    verify(&app, &made["token"])
        .await
        .expect_problem(401, "token_invalid");
}

/// Contract 3.1: who proves an address first need not be who made tokens under it.
#[tokio::test]
async fn the_reset_that_first_proves_an_address_ends_its_tokens_and_a_later_one_does_not() {
    let app = limited(Engine::Sqlite).start().await;
    let owner = Owner::sign_up(&app, "ada@example.com").await;
    let made = owner.create(json!({"name": "x"})).await.expect(201).body;
    verify(&app, &made["token"]).await.expect(204);
    reset(&app, "ada@example.com", "another-horse-battery-1", 0).await;
    verify(&app, &made["token"])
        .await
        .expect_problem(401, "token_invalid");

    let access = app.logged_in("ada@example.com", "another-horse-battery-1").await["access_token"].clone();
    let owner = Owner { access, ..owner };
    let made = owner.create(json!({"name": "x"})).await.expect(201).body;
    reset(&app, "ada@example.com", "a-third-horse-battery-2", 1).await;
    verify(&app, &made["token"]).await.expect(204);
}

async fn reset(app: &TestApp, email: &str, password: &str, before: usize) {
    app.post("/auth/password-reset/request", json!({"email": email}))
        .await
        .expect(200);
    for _ in 0..400 {
        let mails = app.mails_now(email);
        let resets: Vec<_> = mails
            .iter()
            .filter(|mail| mail.text.contains("/reset-password#"))
            .collect();
        if resets.len() > before {
            let token = resets.last().unwrap().token();
            let body = json!({"token": token, "new_password": password});
            app.post("/auth/password-reset/confirm", body).await.expect(200);
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("no reset mail");
}

/// GATEWAY_FAILURES: only refused credentials are charged, and a proven token passes all the same.
#[tokio::test]
async fn a_client_over_its_failures_passes_with_a_proven_token_alone() {
    let app = limited(Engine::Sqlite)
        .set("RATE_LIMIT_GATEWAY_FAILURES", "3/minute")
        .start()
        .await;
    let owner = Owner::sign_up(&app, "ada@example.com").await;
    let known = owner
        .create(json!({"name": "x", "scopes": ["a"]}))
        .await
        .expect(201)
        .body;
    let unknown = owner.create(json!({"name": "y"})).await.expect(201).body;
    for _ in 0..5 {
        verify(&app, &known["token"]).await.expect(204);
        app.get(VERIFY).await.expect(401);
        app.get(&format!("{VERIFY}?scope=b"))
            .bearer(&known["token"])
            .await
            .expect(403);
        app.get(&format!("{VERIFY}?token=b")).await.expect(400);
    }
    for _ in 0..3 {
        verify(&app, &json!("stile_x")).await.expect(401);
    }
    for token in [&json!("stile_x"), &unknown["token"]] {
        let refused = verify(&app, token).await.expect_problem(429, "rate_limited");
        assert_eq!(refused.body["limit"], "gateway_failures");
        assert_eq!(refused.header("retry-after"), Some("60"));
        assert_eq!(refused.header("x-ratelimit-limit"), Some("3"));
        no_identity(&refused);
    }
    app.get(VERIFY).await.expect(429);
    verify(&app, &known["token"]).await.expect(204);
    // Another client is not held back, and a minute later this one is not either.
    app.get(VERIFY)
        .bearer(&unknown["token"])
        .from("203.0.113.9")
        .await
        .expect(204);
    app.advance(Duration::from_secs(59));
    verify(&app, &known["token"]).await.expect(204);
    app.get(VERIFY).await.expect(429);
    app.advance(Duration::from_secs(1));
    verify(&app, &json!("stile_x")).await.expect(401);
}

/// Of many guesses at once no more than the limit are looked at.
#[tokio::test(flavor = "multi_thread")]
async fn guesses_at_once_are_counted_exactly() {
    let app = limited(Engine::Sqlite)
        .set("RATE_LIMIT_GATEWAY_FAILURES", "10/minute")
        .start()
        .await;
    let guess = |_| {
        app.get(VERIFY)
            .header("authorization", "Bearer stile_guess")
            .send()
    };
    let answers = futures_util::future::join_all((0..100).map(guess)).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 401).count(), 10);
    assert_eq!(answers.iter().filter(|answer| answer.status == 429).count(), 90);
}

/// The gateway is not behind GLOBAL, and not behind the local stage.
#[tokio::test(flavor = "multi_thread")]
async fn many_clients_come_through_one_proxy() {
    let app = TestApp::on(Engine::Sqlite)
        .limited()
        .set("RATE_LIMIT_GLOBAL", "2/hour")
        .set("RATE_LIMIT_BURST", "2")
        .set("API_TOKEN_RATE_LIMIT", "100/minute")
        .start()
        .await;
    let tokens = TestApp::signed_up(&app, "ada@example.com").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let owner = app
        .post("/api-tokens", json!({"name": "x"}))
        .bearer(&tokens["access_token"])
        .from("203.0.113.1");
    let made = owner.await.expect(201).body;
    let pass = |_| app.get(VERIFY).bearer(&made["token"]).send();
    let answers = futures_util::future::join_all((0..120).map(pass)).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 204).count(), 100);
    for refused in answers.iter().filter(|answer| answer.status != 204) {
        assert_eq!(
            (refused.status, &refused.body["limit"]),
            (429, &json!("token_minute"))
        );
    }
}

/// TOK-12: written in batches, not per request; and nothing is lost by a normal stop.
#[tokio::test]
async fn notice_of_use_survives_a_stop_and_so_does_the_day() {
    let mut app = limited(Engine::Sqlite).set("JWT_ISSUER", "stile").start().await;
    let owner = Owner::sign_up(&app, "ada@example.com").await;
    let body = json!({"name": "x", "rate_limit_per_minute": 20, "rate_limit_per_hour": 20, "rate_limit_per_day": 20});
    let made = owner.create(body).await.expect(201).body;
    let access = owner.access.clone();
    let owner_id = owner.id.clone();
    for _ in 0..15 {
        app.get(VERIFY)
            .bearer(&made["token"])
            .from("203.0.113.9")
            .await
            .expect(204);
    }
    let seen = app
        .get(&format!("/api-tokens/{}", id(&made)))
        .bearer(&access)
        .await
        .body;
    assert_eq!(seen["request_count"], 15);
    app.restart().await;
    let owner = Owner {
        app: &app,
        access,
        id: owner_id,
    };
    let seen = owner.get(id(&made)).await.expect(200).body;
    assert_eq!(seen["request_count"], 15);
    assert_eq!(seen["last_used_ip"], "203.0.113.9");
    assert_eq!(seen["last_used_at"], app.clock.now().to_string());
    // Memory was lost with the process; the day goes on from its checkpoint.
    assert_eq!(seen["usage"]["day"]["used"], 15);
    for _ in 0..5 {
        verify(&app, &made["token"]).await.expect(204);
    }
    let refused = verify(&app, &made["token"]).await.expect(429);
    assert_eq!(refused.body["limit"], "token_day");
}

/// GW-06: without the database a token of the last 5 s passes, and nothing else.
#[tokio::test]
async fn without_the_database_only_what_was_just_proven_passes() {
    let app = limited(Engine::Sqlite).start().await;
    let owner = Owner::sign_up(&app, "ada@example.com").await;
    let body = json!({"name": "x", "rate_limit_per_minute": 3});
    let known = owner.create(body).await.expect(201).body;
    let unknown = owner.create(json!({"name": "y"})).await.expect(201).body;
    verify(&app, &known["token"]).await.expect(204);
    app.app.database.close().await;
    verify(&app, &known["token"]).await.expect(204);
    // What it may not do it may not do, and being asked for it changes nothing about the rest.
    app.advance(Duration::from_secs(2));
    let beyond = app
        .get("/api-gateway/verify?scope=write:things")
        .bearer(&known["token"]);
    beyond.await.expect_problem(403, "insufficient_scope");
    no_identity(
        &verify(&app, &unknown["token"])
            .await
            .expect_problem(503, "unavailable"),
    );
    verify(&app, &json!("stile_x")).await.expect(401);
    verify(&app, &known["token"]).await.expect(204);
    verify(&app, &known["token"]).await.expect(429);
    app.advance(Duration::from_secs(5));
    no_identity(
        &verify(&app, &known["token"])
            .await
            .expect_problem(503, "unavailable"),
    );
}

#[tokio::test]
async fn with_limits_off_a_token_is_proven_and_not_counted() {
    let app = TestApp::on(Engine::Sqlite).start().await;
    let owner = Owner::sign_up(&app, "ada@example.com").await;
    let made = owner
        .create(json!({"name": "x", "rate_limit_per_minute": 1}))
        .await
        .expect(201)
        .body;
    for _ in 0..5 {
        let passed = verify(&app, &made["token"]).await.expect(204);
        assert_eq!(passed.header("x-ratelimit-limit"), None);
        verify(&app, &json!("stile_x")).await.expect(401);
    }
    owner.revoke(id(&made)).await.expect(204);
    verify(&app, &made["token"]).await.expect(401);
}

/// `/api-gateway/session`: by header or cookie, any method.
#[tokio::test]
async fn a_session_passes_by_header_or_cookie_until_it_ends() {
    const SESSION: &str = "/api-gateway/session";
    let app = limited(Engine::Sqlite).set("AUTH_COOKIES", "true").start().await;
    let tokens = app.signed_up("ada@example.com").await;
    let access = tokens["access_token"].as_str().unwrap();
    let cookie = format!("stile_access={access}");
    for method in ["GET", "POST", "OPTIONS", "DELETE"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        for (name, value) in [
            ("authorization", format!("Bearer {access}")),
            ("cookie", cookie.clone()),
        ] {
            let passed = app
                .request(method.clone(), SESSION)
                .header(name, &value)
                .await
                .expect(204);
            assert_eq!(passed.header("x-auth-user-id"), tokens["user"]["id"].as_str());
            assert_eq!(passed.header("x-auth-session-id"), tokens["session_id"].as_str());
            assert_eq!(passed.header("x-auth-role"), Some("user"));
        }
        let nothing = app.request(method.clone(), SESSION).await.expect(401);
        assert_eq!(nothing.header("www-authenticate"), Some("Bearer"));
        no_identity(&nothing);
    }
    let owner = app
        .post("/api-tokens", json!({"name": "x"}))
        .bearer(&tokens["access_token"]);
    let made = owner.await.expect(201).body;
    no_identity(&app.get(SESSION).bearer(&made["token"]).await.expect(401));
    no_identity(&app.get(VERIFY).bearer(&tokens["access_token"]).await.expect(401));
    app.post("/auth/logout", json!({}))
        .bearer(&tokens["access_token"])
        .await
        .expect(200);
    no_identity(&app.get(SESSION).header("cookie", &cookie).await.expect(401));
}

/// Contract: `GET /rate-limits` tells of tokens too.
#[tokio::test]
async fn the_public_list_of_limits_holds_the_tokens() {
    let app = limited(Engine::Sqlite)
        .set("API_TOKEN_RATE_LIMIT", "5/minute;6/hour;7/day")
        .start()
        .await;
    let rules = app.get("/rate-limits").await.expect(200).body["rules"].clone();
    let tokens: Vec<_> = rules
        .as_array()
        .unwrap()
        .iter()
        .filter(|rule| rule["per"] == "token")
        .collect();
    let shown: Vec<_> = tokens
        .iter()
        .map(|rule| (&rule["name"], &rule["limit"]))
        .collect();
    assert_eq!(
        shown,
        [
            (&json!("token_minute"), &json!("5/minute")),
            (&json!("token_hour"), &json!("6/hour")),
            (&json!("token_day"), &json!("7/day")),
        ]
    );
}
