//! Who may send a form, what a browser is given to be known by, and where it may be led.

use std::time::Duration;

use reqwest::Method;

use crate::app::{Engine, PASSWORD, TestApp};
use crate::pages::{Browser, expect_to};

/// Every form of a page, signed in or not.
const FORMS: &[&str] = &[
    "/sign-in",
    "/sign-up",
    "/sign-out",
    "/forgot-password",
    "/reset-password",
    "/verify-email",
    "/verify-email/resend",
    "/account/name",
    "/account/email",
    "/account/password",
    "/account/sessions/end-others",
    "/account/sessions/01a20198-d819-77d0-bbba-1eb672b949e3/end",
    "/account/tokens",
    "/account/tokens/01a20198-d819-77d0-bbba-1eb672b949e3/rotate",
    "/account/tokens/01a20198-d819-77d0-bbba-1eb672b949e3/revoke",
    "/account/delete",
];

/// Login forms too: who is signed in as somebody else tells him what is his (OWASP, login CSRF).
#[tokio::test]
async fn a_form_of_another_site_or_without_its_proof_is_refused() {
    let app = TestApp::on(Engine::Sqlite).start().await;
    let mut browser = Browser::of(&app);
    browser.sign_up("ada@example.com").await;
    let fields = [
        ("email", "ada@example.com"),
        ("password", PASSWORD),
        ("token", "x"),
    ];
    for path in FORMS {
        let is_inside = *path == "/sign-out" || path.starts_with("/account");
        let page = if is_inside { "/account" } else { path };
        browser.open(page).await;
        let good = (browser.origin.clone(), browser.token.clone());
        for origin in [
            "https://evil.example",
            "null",
            "",
            "http://localhost",
            "http://localhost.evil.example",
            "http://localhost:1",
        ] {
            browser.origin = origin.to_owned();
            browser.submit(path, &fields).await.expect(403);
            let mut elsewhere = Browser::of(&app);
            elsewhere.origin.clone_from(&browser.origin);
            let refused = elsewhere.submit(path, &fields).await;
            assert_eq!(
                refused.header("set-cookie"),
                None,
                "{origin} has no say in what forms are bound to"
            );
        }
        browser.origin.clone_from(&good.0);
        for token in ["", "x", &good.1.replace(['a', 'b', 'c'], "d")] {
            browser.token = token.to_owned();
            browser.submit(path, &fields).await.expect(403);
        }
        // No Origin at all; two of them; no cookie to hold the proof against; the proof of another browser.
        let post = |origins: &[&str], cookie: Option<&str>, token: &str| {
            let mut request = app
                .request(Method::POST, &format!("/{path}"))
                .header("content-type", "application/x-www-form-urlencoded")
                .raw(format!("form_token={token}"));
            for origin in origins {
                request = request.header("origin", origin);
            }
            let session =
                ["stile_access", "stile_refresh"].map(|name| format!("{name}={}", browser.cookies[name]));
            let form = format!("stile_form={}", browser.cookies["stile_form"]);
            request.header(
                "cookie",
                &format!("{}; {}", session.join("; "), cookie.unwrap_or(&form)),
            )
        };
        let (origin, token) = (good.0.as_str(), good.1.as_str());
        post(&[], None, token).await.expect(403);
        post(&[origin, origin], None, token).await.expect(403);
        post(&[origin], Some("a=b"), token).await.expect(403);
        post(&[origin], Some("stile_form="), token).await.expect(403);
        let mut other = Browser::of(&app);
        other.open("/sign-in").await;
        post(&[origin], None, &other.token).await.expect(403);
        browser.token = good.1;
    }
    browser.open("/account").await.expect(200);
}

/// The proof of an account's form is that of its session: it serves in no other.
#[tokio::test]
async fn a_form_of_one_session_is_refused_in_another() {
    let app = TestApp::on(Engine::Sqlite).start().await;
    let mut browser = Browser::of(&app);
    browser.sign_up("ada@example.com").await;
    browser.open("/account").await.expect(200);
    let old = browser.token.clone();
    browser.submit("/sign-out", &[]).await.expect(303);
    browser.sign_in("ada@example.com", PASSWORD).await.expect(303);
    browser.open("/account").await.expect(200);
    browser.token = old;
    browser.submit("/sign-out", &[]).await.expect(403);
    assert!(browser.is_signed_in());
}

#[tokio::test]
async fn a_form_is_read_as_a_form_and_within_its_bounds() {
    let app = TestApp::on(Engine::Sqlite).start().await;
    let mut browser = Browser::of(&app);
    browser.open("/sign-in").await;
    let huge = "x".repeat(20_000);
    let answer = browser.submit("/sign-in", &[("email", &huge)]).await.expect(413);
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    for kind in ["text/plain", "application/json", "multipart/form-data"] {
        app.request(Method::POST, "//sign-in")
            .header("origin", &browser.origin)
            .header("cookie", &format!("stile_form={}", browser.cookies["stile_form"]))
            .header("content-type", kind)
            .raw(format!("form_token={}", browser.token))
            .await
            .expect(415);
    }
    // REG-11: no text for a database.
    let nul = [
        ("email", "a@example.com"),
        ("password", "correct\0horse-battery-9"),
    ];
    browser.submit("/sign-in", &nul).await.expect(422);
}

/// Contract 3.7, HTTP-11: the same names and attributes as those of the API.
#[tokio::test]
async fn the_cookies_are_those_of_the_contract_on_https_and_on_a_bare_machine() {
    for (public, prefix, secure) in [
        ("https://auth.example.com", "__Host-", " Secure;"),
        ("http://localhost:8000", "", ""),
    ] {
        let app = TestApp::on(Engine::Sqlite)
            .set("PUBLIC_URL", public)
            .start()
            .await;
        let mut browser = Browser::of(&app);
        browser.origin = public.to_owned();
        let shown = browser.open("/sign-up").await.expect(200);
        let form = shown.header("set-cookie").unwrap();
        assert!(form.starts_with(&format!("{prefix}stile_form=")), "{form}");
        let signed_up = browser
            .submit(
                "/sign-up",
                &[("email", "ada@example.com"), ("password", PASSWORD)],
            )
            .await;
        expect_to(&signed_up, "/account?done=registered");
        let cookies: Vec<&str> = signed_up
            .headers
            .get_all("set-cookie")
            .iter()
            .map(|line| line.to_str().unwrap())
            .collect();
        assert_eq!(cookies.len(), 2);
        for (cookie, name) in cookies.iter().zip(["stile_access", "stile_refresh"]) {
            assert!(cookie.starts_with(&format!("{prefix}{name}=")), "{cookie}");
            assert!(cookie.len() <= 4096 && cookie.contains("; Max-Age="), "{cookie}");
        }
        for cookie in cookies.iter().chain([&form]) {
            assert!(cookie.contains("HttpOnly; SameSite=Lax;"), "{cookie}");
            assert_eq!(cookie.contains("Secure"), !secure.is_empty(), "{cookie}");
            assert!(
                cookie.contains("; Path=/") && !cookie.contains("Domain"),
                "{cookie}"
            );
        }
    }
}

/// With `AUTH_COOKIES=false` the pages' cookies are for pages alone.
#[tokio::test]
async fn the_api_takes_the_pages_cookies_only_where_cookies_are_on() {
    for (on, status) in [("false", 401), ("true", 200)] {
        let app = TestApp::on(Engine::Sqlite).set("AUTH_COOKIES", on).start().await;
        let mut browser = Browser::of(&app);
        browser.sign_up("ada@example.com").await;
        let cookie = format!("stile_access={}", browser.cookies["stile_access"]);
        app.get("/auth/me").header("cookie", &cookie).await.expect(status);
    }
}

/// The access token lives 15 minutes, the session 30 days: nobody notices the difference.
#[tokio::test]
async fn a_page_goes_on_when_its_access_token_has_run_out() {
    let app = TestApp::on(Engine::Sqlite).start().await;
    let mut browser = Browser::of(&app);
    browser.sign_up("ada@example.com").await;
    browser.open("/account").await.expect(200);
    let before = browser.cookies.clone();
    app.advance(Duration::from_mins(20));
    // A form that was open all the while still counts, and is sent once.
    let account = browser.open("/account").await.expect(200);
    assert_eq!(account.headers.get_all("set-cookie").iter().count(), 2);
    assert_ne!(browser.cookies["stile_refresh"], before["stile_refresh"]);
    app.advance(Duration::from_mins(20));
    expect_to(
        &browser.submit("/sign-out", &[]).await,
        "/sign-in?done=signed-out",
    );
    // A browser drops an access cookie whose time is over and keeps the other.
    browser.cookies = before;
    browser.cookies.remove("stile_access");
    let over = browser.open("/account").await;
    expect_to(&over, "/sign-in");
    assert!(!browser.is_signed_in(), "dead cookies are taken away");
}

#[tokio::test]
async fn after_signing_in_one_is_back_where_one_wanted_to_be_and_never_elsewhere() {
    let app = TestApp::on(Engine::Sqlite)
        .set("FRONTEND_URL", "https://app.example.com/start")
        .set("CORS_ORIGINS", "https://admin.example.com")
        .start()
        .await;
    app.signed_up("ada@example.com").await;
    let mut browser = Browser::of(&app);
    let asked = browser.open("/account?x=1").await;
    expect_to(&asked, "/sign-in?return_to=%2Faccount%3Fx%3D1");
    for (return_to, place) in [
        ("/account?x=1", "/account?x=1"),
        ("https://app.example.com/a#b", "https://app.example.com/a#b"),
        ("https://admin.example.com/", "https://admin.example.com/"),
        ("", "/account"),
        ("https://evil.example/", "/account"),
        ("//evil.example/", "/account"),
        ("/\\evil.example/", "/account"),
        ("https://app.example.com.evil.example/", "/account"),
        ("https://app.example.com@evil.example/", "/account"),
        ("javascript:alert(1)", "/account"),
        ("/\r\nset-cookie: a=b", "/set-cookie:%20a=b"),
    ] {
        let mut browser = Browser::of(&app);
        let query: String = url::form_urlencoded::byte_serialize(return_to.as_bytes()).collect();
        let page = browser
            .open(&format!("/sign-in?return_to={query}"))
            .await
            .expect(200);
        assert!(!page.text.contains("evil.example"), "{return_to:?}");
        let fields = [
            ("email", "ada@example.com"),
            ("password", PASSWORD),
            ("return_to", return_to),
        ];
        expect_to(&browser.submit("/sign-in", &fields).await, place);
        // Who is signed in already goes straight on, by the same rule.
        expect_to(&browser.open(&format!("/sign-in?return_to={query}")).await, place);
    }
    // Browsers hold the policy of forms against what a form leads to.
    let policy = browser
        .open("/sign-in")
        .await
        .header("content-security-policy")
        .unwrap()
        .to_owned();
    let own = &browser.origin;
    let targets = format!("form-action 'self' {own} https://app.example.com https://admin.example.com;");
    assert!(policy.contains(&targets), "{policy}");
}

#[tokio::test]
async fn behind_a_path_of_its_own_every_address_begins_with_it() {
    let app = TestApp::on(Engine::Sqlite)
        .set("PUBLIC_URL", "https://example.com/auth/")
        .start()
        .await;
    let mut browser = Browser::of(&app);
    browser.origin = "https://example.com".to_owned();
    expect_to(&browser.open("/").await, "/auth/account");
    expect_to(
        &browser.open("/account?x").await,
        "/auth/sign-in?return_to=%2Fauth%2Faccount%3Fx",
    );
    let page = browser.open("/sign-in").await.expect(200);
    let addresses = page
        .text
        .split(['"'])
        .filter(|text| text.starts_with('/') && !text.starts_with("/>"));
    assert!(addresses.clone().count() > 5);
    for address in addresses {
        assert!(address.starts_with("/auth/"), "{address}");
    }
}
