//! The account's pages: what the API does for its owner, they do too.

use serde_json::json;

use crate::app::{Answer, Engine, PASSWORD, TestApp};
use crate::pages::{Browser, expect_to};

/// The id in the first form of a page whose address is `/account/KIND/ID/VERB`.
fn id_in(page: &Answer, kind: &str) -> String {
    let (_, rest) = page
        .text
        .split_once(&format!("action=\"/account/{kind}/0"))
        .unwrap_or_else(|| panic!("{}", page.text));
    format!("0{}", rest.split('/').next().unwrap())
}

#[tokio::test]
async fn a_name_is_given_and_taken_away() {
    let app = TestApp::on(Engine::Sqlite).start().await;
    let mut browser = Browser::of(&app);
    browser.sign_up("ada@example.com").await;
    let named = browser.fill("/account", &[]).await;
    named.expect(405);
    let named = browser
        .submit("/account/name", &[("full_name", "Ada & Co")])
        .await;
    expect_to(&named, "/account?done=name");
    let page = browser.open("/account").await.expect(200);
    assert!(page.text.contains("value=\"Ada &#38; Co\""), "{}", page.text);
    // Where a form went that came back, opened anew.
    let bare = browser.open("/account/name").await.expect(405);
    assert!(bare.text.contains("it is no page of its own"), "{}", bare.text);
    let long = "x".repeat(300);
    let refused = browser
        .submit("/account/name", &[("full_name", &long)])
        .await
        .expect(422);
    assert!(refused.text.contains("id=\"full_name-fault\""));
    expect_to(
        &browser.submit("/account/name", &[("full_name", " ")]).await,
        "/account?done=name",
    );
    let page = browser.open("/account").await.expect(200);
    assert!(page.text.contains("name=\"full_name\" type=\"text\" value=\"\""));
}

#[tokio::test]
async fn an_address_is_changed_by_the_link_in_the_new_mailbox() {
    let app = TestApp::on(Engine::Sqlite).start().await;
    let mut browser = Browser::of(&app);
    browser.sign_up("ada@example.com").await;
    let fields = |password| [("new_email", "new@example.com"), ("current_password", password)];
    browser.open("/account").await;
    let wrong = browser
        .submit("/account/email", &fields("wrong"))
        .await
        .expect(422);
    assert!(
        wrong.text.contains("id=\"current_password-fault\""),
        "{}",
        wrong.text
    );
    assert!(wrong.text.contains("value=\"new@example.com\""));
    expect_to(
        &browser.submit("/account/email", &fields(PASSWORD)).await,
        "/account?done=email",
    );
    let token = app.mails("new@example.com", 1).await[0].token();
    let confirmed = browser.fill("/verify-email", &[("token", &token)]).await;
    expect_to(&confirmed, "/account?done=verified");
    let page = browser.open("/account").await.expect(200);
    assert!(
        page.text.contains("<strong>new@example.com</strong>"),
        "{}",
        page.text
    );
}

#[tokio::test]
async fn changing_the_password_ends_all_other_sessions() {
    let app = TestApp::on(Engine::Sqlite).start().await;
    let (mut one, mut other) = (Browser::of(&app), Browser::of(&app));
    one.sign_up("ada@example.com").await;
    other.sign_in("ada@example.com", PASSWORD).await;
    let new = "another-battery-staple-7";
    let fields = |current, new| [("current_password", current), ("new_password", new)];
    let path = "/account/password";
    one.fill(path, &fields(PASSWORD, "password")).await.expect(422);
    let wrong = one.fill(path, &fields("wrong", new)).await.expect(422);
    assert!(
        wrong.text.contains("id=\"current_password-fault\""),
        "{}",
        wrong.text
    );
    expect_to(
        &one.fill(path, &fields(PASSWORD, new)).await,
        "/account/password?done=changed",
    );
    one.open("/account").await.expect(200);
    expect_to(&other.open("/account").await, "/sign-in");
    expect_to(&other.sign_in("ada@example.com", new).await, "/account");
}

/// OUT-03.
#[tokio::test]
async fn sessions_are_shown_and_ended_one_or_all_and_only_ones_own() {
    let app = TestApp::on(Engine::Sqlite).start().await;
    let mut browsers = [Browser::of(&app), Browser::of(&app), Browser::of(&app)];
    browsers[0].sign_up("ada@example.com").await;
    for browser in &mut browsers[1..] {
        browser.sign_in("ada@example.com", PASSWORD).await;
    }
    let page = browsers[0].open("/account/sessions").await.expect(200);
    assert_eq!(page.text.matches("<li>\n<div>").count(), 3, "{}", page.text);
    assert_eq!(page.text.matches("this one").count(), 1);
    let path = format!("/account/sessions/{}/end", id_in(&page, "sessions"));

    let mut stranger = Browser::of(&app);
    stranger.sign_up("eve@example.com").await;
    stranger.open("/account/sessions").await;
    stranger.submit(&path, &[]).await;
    let page = browsers[0].open("/account/sessions").await.expect(200);
    assert_eq!(
        page.text.matches("<li>\n<div>").count(),
        3,
        "hers are not for him to end"
    );

    expect_to(
        &browsers[0].submit(&path, &[]).await,
        "/account/sessions?done=one",
    );
    let mut alive = 0;
    for browser in &mut browsers[1..] {
        alive += i32::from(browser.open("/account").await.status == 200);
    }
    assert_eq!(alive, 1);
    browsers[0].open("/account/sessions").await;
    let ended = browsers[0].submit("/account/sessions/end-others", &[]).await;
    expect_to(&ended, "/account/sessions?done=others");
    browsers[0].open("/account").await.expect(200);
    for browser in &mut browsers[1..] {
        assert_eq!(browser.open("/account").await.status, 303);
    }
}

/// TOK-01, TOK-03: shown once, and only its owner's.
#[tokio::test]
async fn api_tokens_are_made_shown_once_used_rotated_and_revoked() {
    let app = TestApp::on(Engine::Sqlite).limited().start().await;
    let mut browser = Browser::of(&app);
    browser.sign_up("ada@example.com").await;
    let fields = [
        ("name", "<i>export</i>"),
        ("scopes", "read:things, write:reports"),
        ("rate_limit_per_minute", "5"),
        ("expires_at", "2099-12-31"),
    ];
    let path = "/account/tokens";
    let made = browser.fill(path, &fields).await.expect(200);
    let secret_of = |page: &Answer| {
        let (_, rest) = page.text.split_once("data-copy>").unwrap();
        rest.split('<').next().unwrap().to_owned()
    };
    let secret = secret_of(&made);
    assert!(secret.starts_with("stile_"), "{}", made.text);
    assert!(!made.text.contains("<i>"));
    let verify = |secret: String| {
        let request = app.get("/api-gateway/verify?scope=read:things");
        async move { request.header("x-api-key", &secret).await.status }
    };
    for _ in 0..3 {
        assert_eq!(verify(secret.clone()).await, 204);
    }
    let page = browser.open(path).await.expect(200);
    assert!(!page.text.contains(&secret));
    for used in [
        "3 of 5",
        "3 of 1000",
        "3 of 10000",
        "<progress max=\"5\" value=\"3\"",
    ] {
        assert!(page.text.contains(used), "{used}: {}", page.text);
    }
    let id = id_in(&page, "tokens");

    let mut stranger = Browser::of(&app);
    stranger.sign_up("eve@example.com").await;
    for verb in ["rotate", "revoke"] {
        stranger.open(path).await;
        stranger
            .submit(&format!("{path}/{id}/{verb}"), &[])
            .await
            .expect(404);
    }
    let rotated = browser
        .submit(&format!("{path}/{id}/rotate"), &[])
        .await
        .expect(200);
    let next = secret_of(&rotated);
    assert_eq!((verify(secret).await, verify(next.clone()).await), (401, 204));
    let revoked = browser.submit(&format!("{path}/{id}/revoke"), &[]).await;
    expect_to(&revoked, "/account/tokens?done=revoked");
    assert_eq!(verify(next).await, 401);
    let page = browser.open(path).await.expect(200);
    assert!(!page.text.contains("export"), "a revoked token is not listed");
}

/// TOK-04: faults stand beside their field, with what was typed.
#[tokio::test]
async fn a_token_that_may_not_be_is_refused_beside_its_field() {
    let app = TestApp::on(Engine::Sqlite).start().await;
    let mut browser = Browser::of(&app);
    browser.sign_up("ada@example.com").await;
    for (field, value) in [
        ("name", ""),
        ("scopes", "UPPER"),
        ("scopes", "admin"),
        ("rate_limit_per_minute", "-1"),
        ("rate_limit_per_minute", "1.5"),
        ("rate_limit_per_minute", "61"),
        ("rate_limit_per_hour", "99999999999999999999"),
        ("rate_limit_per_day", "0"),
        ("expires_at", "yesterday"),
        ("expires_at", "2001-01-01"),
    ] {
        let mut fields = vec![("name", "mine"), (field, value)];
        if field == "name" {
            fields.remove(0);
        }
        let refused = browser.fill("/account/tokens", &fields).await;
        assert_eq!(refused.status, 422, "{field}={value}");
        assert!(
            refused.text.contains("class=\"fault\""),
            "{field}={value}: {}",
            refused.text
        );
        let kept = format!("value=\"{value}\"");
        assert!(refused.text.contains(&kept), "{field}={value}: {}", refused.text);
    }
}

#[tokio::test]
async fn what_happened_is_told_in_words() {
    let app = TestApp::on(Engine::Sqlite).start().await;
    let mut browser = Browser::of(&app);
    browser.sign_up("ada@example.com").await;
    Browser::of(&app).sign_in("ada@example.com", "wrong").await;
    for _ in 0..100 {
        let page = browser.open("/account/activity").await.expect(200);
        if page.text.contains("Failed to sign in") && page.text.contains("Account created") {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("events are written within two seconds");
}

on_both_engines! {
    async fn an_account_is_deleted_with_its_password_alone(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let mut browser = Browser::of(&app);
        browser.sign_up("ada@example.com").await;
        let wrong = browser.fill("/account/delete", &[("password", "wrong")]).await.expect(422);
        assert!(wrong.text.contains("id=\"password-fault\""), "{}", wrong.text);
        let gone = browser.fill("/account/delete", &[("password", PASSWORD)]).await;
        expect_to(&gone, "/sign-in?done=deleted");
        assert!(!browser.is_signed_in());
        browser.sign_in("ada@example.com", PASSWORD).await.expect(401);
    }
}

/// Contract 3.2: every page that checks a password is limited like the endpoint that does.
#[tokio::test]
async fn pages_that_check_a_password_are_behind_its_limit() {
    let app = TestApp::on(Engine::Sqlite)
        .limited()
        .set("RATE_LIMIT_CHANGE_PASSWORD", "3/hour")
        .start()
        .await;
    let mut browser = Browser::of(&app);
    browser.sign_up("ada@example.com").await;
    let fields = [
        ("password", "wrong"),
        ("current_password", "wrong"),
        ("new_email", "a@b.example"),
        ("new_password", PASSWORD),
    ];
    for path in ["/account/delete", "/account/email", "/account/password"] {
        browser.open("/account").await.expect(200);
        browser.submit(path, &fields).await.expect(422);
    }
    for path in ["/account/delete", "/account/email", "/account/password"] {
        let refused = browser.submit(path, &fields).await.expect(429);
        assert!(refused.text.contains("data-wait="), "{path}");
    }
    let tokens = app.logged_in("ada@example.com", PASSWORD).await;
    app.post(
        "/auth/change-password",
        json!({"current_password": "x", "new_password": "y"}),
    )
    .bearer(&tokens["access_token"])
    .await
    .expect_problem(429, "rate_limited");
}
