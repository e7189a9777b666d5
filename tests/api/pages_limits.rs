//! A page is no way around a limit: it counts on the counters of the API.

use serde_json::json;

use crate::app::{Engine, PASSWORD, TestApp};
use crate::pages::{Browser, expect_to};

/// RL-01 over both ways in: three by the page and two by the API are five.
#[tokio::test]
async fn sign_ins_by_page_and_by_api_share_one_limit() {
    let app = TestApp::on(Engine::Sqlite)
        .limited()
        .set("RATE_LIMIT_LOGIN", "5/minute")
        .start()
        .await;
    let mut browser = Browser::of(&app).from("203.0.113.9");
    for _ in 0..3 {
        browser.sign_in("ada@example.com", "wrong").await.expect(401);
    }
    let login = || {
        app.post("/auth/login", json!({"email": "a@example.com", "password": "x"}))
            .from("203.0.113.9")
    };
    login().await.expect(401);
    let last = login().await.expect(401);
    assert_eq!(last.header("x-ratelimit-remaining"), Some("0"));
    let refused = browser
        .sign_in("ada@example.com", "secret-marker")
        .await
        .expect(429);
    login().await.expect_problem(429, "rate_limited");

    // Its own form, with the time to wait and all but the password still in it.
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait));
    assert_eq!(refused.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(
        refused.text.contains(&format!("data-wait=\"{wait}\"")),
        "{}",
        refused.text
    );
    assert!(
        refused
            .text
            .contains(&format!("in <strong>{wait} seconds</strong>"))
    );
    assert!(refused.text.contains("value=\"ada@example.com\""));
    assert!(!refused.text.contains("secret-marker"));
    assert_eq!(refused.header("x-ratelimit-limit"), Some("5"));
    // The form on it is good as soon as the time is over.
    app.advance(std::time::Duration::from_secs(wait));
    let fields = [("email", "ada@example.com"), ("password", "wrong")];
    browser.submit("/sign-in", &fields).await.expect(401);
    // What another site filled in is neither shown nor given a proof.
    for _ in 0..4 {
        browser.submit("/sign-in", &fields).await.expect(401);
    }
    let mut foreign = Browser::of(&app).from("203.0.113.9");
    foreign.origin = "https://evil.example".into();
    let refused = foreign.submit("/sign-in", &fields).await.expect(429);
    assert!(refused.text.contains("data-wait="), "{}", refused.text);
    assert!(!refused.text.contains("ada@example.com") && !refused.text.contains("form_token"));
    assert_eq!(refused.header("set-cookie"), None);
    // Another client was never in question.
    let mut other = Browser::of(&app).from("203.0.113.10");
    other.sign_in("ada@example.com", "wrong").await.expect(401);
}

/// LOG-06: the account's limit counts failures by page, too, and shows in no header.
#[tokio::test]
async fn failures_by_page_count_for_the_account() {
    let app = TestApp::on(Engine::Sqlite)
        .limited()
        .set("RATE_LIMIT_LOGIN_ACCOUNT", "3/hour")
        .start()
        .await;
    app.post(
        "/auth/register",
        json!({"email": "ada@example.com", "password": PASSWORD}),
    )
    .await
    .expect(201);
    let clients = ["203.0.113.1", "203.0.113.2", "203.0.113.3"];
    for client in clients {
        let mut browser = Browser::of(&app).from(client);
        browser.sign_in("ada@example.com", "wrong").await.expect(401);
    }
    for (email, status) in [("ada@example.com", 429), ("bob@example.com", 401)] {
        let mut browser = Browser::of(&app).from("203.0.113.4");
        let answer = browser.sign_in(email, PASSWORD).await.expect(status);
        assert_eq!(answer.header("x-ratelimit-limit"), None);
        assert_eq!(answer.text.contains("this account"), status == 429);
    }
}

/// A page with two forms: the countdown stands at the one that was refused, or the other's button would wait with it.
#[tokio::test]
async fn a_refused_change_of_address_says_so_beside_its_own_form() {
    let app = TestApp::on(Engine::Sqlite)
        .limited()
        .set("RATE_LIMIT_LOGIN_ACCOUNT", "1/hour")
        .start()
        .await;
    let mut browser = Browser::of(&app);
    browser.sign_up("ada@example.com").await;
    browser.open("/account").await.expect(200);
    let fields = [("new_email", "new@example.com"), ("current_password", "wrong")];
    browser.submit("/account/email", &fields).await.expect(422);
    let refused = browser.submit("/account/email", &fields).await.expect(429);
    let (of_name, of_address) = refused.text.split_once("<details open>").unwrap();
    assert!(!of_name.contains("data-wait="), "{of_name}");
    assert!(of_address.contains("data-wait=") && of_address.contains("value=\"new@example.com\""));
}

#[tokio::test]
async fn each_form_is_behind_the_rule_of_its_endpoint() {
    let rules = [
        ("/sign-in", "RATE_LIMIT_LOGIN"),
        ("/sign-up", "RATE_LIMIT_REGISTRATION"),
        ("/forgot-password", "RATE_LIMIT_PASSWORD_RESET"),
        ("/reset-password", "RATE_LIMIT_RESET_CONFIRM"),
        ("/verify-email", "RATE_LIMIT_VERIFY_EMAIL"),
        ("/verify-email/resend", "RATE_LIMIT_RESEND_VERIFICATION"),
    ];
    for (path, variable) in rules {
        let app = TestApp::on(Engine::Sqlite)
            .limited()
            .set(variable, "1/hour")
            .start()
            .await;
        let mut browser = Browser::of(&app);
        browser.fill(path, &[("email", "x")]).await;
        // Before anything of it is looked at: not even the proof of the form.
        let refused = browser.submit(path, &[("email", "x")]).await.expect(429);
        assert!(refused.text.contains("data-wait="), "{path}");
        assert!(refused.text.contains(&format!("action=\"{path}\"")), "{path}");
        browser.token = "wrong".into();
        browser.submit(path, &[("email", "x")]).await.expect(429);
        for (other, _) in rules.iter().filter(|(other, _)| *other != path) {
            let answer = browser.fill(other, &[("email", "x")]).await;
            assert_ne!(answer.status, 429, "{other} under {variable}");
        }
    }
}

/// Contract, section 4: GLOBAL counts what clients ask of the service. Pages ask the same of it.
#[tokio::test]
async fn pages_count_for_the_global_limit_and_their_files_do_not() {
    let app = TestApp::on(Engine::Sqlite)
        .limited()
        .set("RATE_LIMIT_GLOBAL", "3/minute")
        .start()
        .await;
    let mut browser = Browser::of(&app);
    let page = browser.open("/sign-in").await.expect(200);
    app.get("/health").await.expect(200);
    browser.open("/account/nowhere").await.expect(404);
    let refused = browser.open("/sign-up").await.expect(429);
    assert!(refused.text.contains("data-wait="), "{}", refused.text);
    app.get("/health").await.expect_problem(429, "rate_limited");
    let style = page.text.split('"').find(|text| text.ends_with(".css")).unwrap();
    for _ in 0..5 {
        app.get(&format!("/{style}")).await.expect(200);
    }
}

/// A page refreshes a session for its visitor, but not more often than he could himself.
#[tokio::test]
async fn refreshing_by_page_is_behind_the_limit_of_refreshing() {
    let app = TestApp::on(Engine::Sqlite)
        .limited()
        .set("RATE_LIMIT_REFRESH", "2/hour")
        .start()
        .await;
    let mut browser = Browser::of(&app);
    browser.sign_up("ada@example.com").await;
    for _ in 0..2 {
        app.advance(std::time::Duration::from_mins(16));
        browser.open("/account").await.expect(200);
    }
    app.advance(std::time::Duration::from_mins(16));
    browser.open("/account").await.expect(429);
    assert!(browser.is_signed_in(), "the session is as good as before");
    app.advance(std::time::Duration::from_hours(1));
    browser.open("/account").await.expect(200);
}

/// Signing up signs in, under the limit of signing in; where that is used up, the sign-in page takes over.
#[tokio::test]
async fn signing_up_is_no_way_around_the_limit_of_signing_in() {
    let app = TestApp::on(Engine::Sqlite)
        .limited()
        .set("RATE_LIMIT_LOGIN", "1/hour")
        .start()
        .await;
    let mut browser = Browser::of(&app);
    expect_to(
        &browser.sign_up("ada@example.com").await,
        "/account?done=registered",
    );
    let mut browser = Browser::of(&app);
    expect_to(
        &browser.sign_up("bob@example.com").await,
        "/sign-in?done=registered",
    );
    assert!(!browser.is_signed_in());
}
