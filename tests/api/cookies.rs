//! Sessions kept in cookies (contract 3.7): HTTP-11, OUT-04, and requests that other sites make a browser send.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{Answer, Builder, Engine, PASSWORD, Request, TestApp};

const PUBLIC: &str = "https://auth.example.com";
const FRONTEND: &str = "https://app.example.com";
const CORS: &str = "https://admin.example.com";

const ACCESS: &str = "__Host-stile_access";
const REFRESH: &str = "__Host-stile_refresh";

fn with_cookies() -> Builder {
    TestApp::on(Engine::Sqlite)
        .set("AUTH_COOKIES", "true")
        .set("PUBLIC_URL", PUBLIC)
        .set("FRONTEND_URL", format!("{FRONTEND}/login"))
        .set("CORS_ORIGINS", CORS)
}

/// One `Set-Cookie`: the value, and its attributes in lower case.
#[derive(Debug, Default)]
struct SetCookie {
    value: String,
    attributes: BTreeMap<String, String>,
    bytes: usize,
}

/// Attributes but for the age.
fn kept(cookie: &SetCookie) -> BTreeMap<&str, &str> {
    let mut attributes: BTreeMap<&str, &str> = cookie
        .attributes
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    attributes.remove("max-age");
    attributes.remove("expires");
    attributes
}

fn set_cookies(answer: &Answer) -> BTreeMap<String, SetCookie> {
    let mut cookies = BTreeMap::new();
    for line in answer.headers.get_all("set-cookie") {
        let line = line.to_str().unwrap();
        let mut parts = line.split(';').map(str::trim);
        let (name, value) = parts.next().unwrap().split_once('=').unwrap();
        let attributes = parts
            .map(|part| part.split_once('=').unwrap_or((part, "")))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        let cookie = SetCookie {
            value: value.to_owned(),
            attributes: attributes.collect(),
            bytes: line.len(),
        };
        assert!(
            cookies.insert(name.to_owned(), cookie).is_none(),
            "{name} is set twice"
        );
    }
    cookies
}

async fn register(app: &TestApp) {
    app.post(
        "/auth/register",
        json!({"email": "ada@example.com", "password": PASSWORD}),
    )
    .await
    .expect(201);
}

fn login(app: &TestApp) -> Request<'_> {
    app.post(
        "/auth/login",
        json!({"email": "ada@example.com", "password": PASSWORD, "use_cookies": true}),
    )
}

/// Logs in from the frontend; the value of a `Cookie` header with both cookies, and each alone.
async fn session(app: &TestApp) -> (String, String, String) {
    let cookies = set_cookies(&login(app).header("origin", FRONTEND).await.expect(200));
    let pair = |name: &str| format!("{name}={}", cookies[name].value);
    (
        format!("{}; {}", pair(ACCESS), pair(REFRESH)),
        pair(ACCESS),
        pair(REFRESH),
    )
}

/// HTTP-11.
#[tokio::test]
async fn a_login_that_asks_for_cookies_gets_two_and_no_token_in_the_body() {
    let app = with_cookies().start().await;
    register(&app).await;
    let answer = login(&app).header("origin", FRONTEND).await.expect(200);
    let cookies = set_cookies(&answer);
    assert_eq!(cookies.keys().collect::<Vec<_>>(), [ACCESS, REFRESH]);
    let expected: BTreeMap<&str, &str> = [
        ("path", "/"),
        ("httponly", ""),
        ("secure", ""),
        ("samesite", "Lax"),
    ]
    .into();
    for (name, cookie) in &cookies {
        assert_eq!(kept(cookie), expected, "{name}: and no Domain");
        assert!(cookie.bytes <= 4096, "{name}: {} bytes", cookie.bytes);
        assert!(!cookie.value.is_empty() && !answer.text.contains(&cookie.value));
    }
    assert_eq!(
        cookies[ACCESS].attributes["max-age"],
        answer.body["expires_in"].to_string()
    );
    assert_eq!(
        cookies[REFRESH].attributes["max-age"],
        answer.body["refresh_expires_in"].to_string()
    );
    let members: Vec<&String> = answer.body.as_object().unwrap().keys().collect();
    assert_eq!(
        members,
        [
            "expires_in",
            "refresh_expires_in",
            "session_id",
            "token_type",
            "user"
        ]
    );

    let cookie = format!("{ACCESS}={}", cookies[ACCESS].value);
    let me = app.get("/auth/me").header("cookie", &cookie).await.expect(200);
    assert_eq!(me.body["email"], "ada@example.com");
    // Whoever does not ask for cookies gets none, also where they are on.
    let plain = app.post(
        "/auth/login",
        json!({"email": "ada@example.com", "password": PASSWORD}),
    );
    let plain = plain.await.expect(200);
    assert!(set_cookies(&plain).is_empty() && plain.body["access_token"].is_string());
}

/// Contract 3.7: over plain http browsers refuse the prefix and `Secure`.
#[tokio::test]
async fn without_https_the_cookies_have_no_prefix_and_are_not_secure() {
    let app = TestApp::on(Engine::Sqlite)
        .set("AUTH_COOKIES", "true")
        .set("PUBLIC_URL", "http://localhost:8000")
        .start()
        .await;
    register(&app).await;
    let answer = login(&app)
        .header("origin", "http://localhost:8000")
        .await
        .expect(200);
    let cookies = set_cookies(&answer);
    assert_eq!(
        cookies.keys().collect::<Vec<_>>(),
        ["stile_access", "stile_refresh"]
    );
    let expected: BTreeMap<&str, &str> = [("path", "/"), ("httponly", ""), ("samesite", "Lax")].into();
    for cookie in cookies.values() {
        assert_eq!(kept(cookie), expected);
    }
    let cookie = format!("stile_access={}", cookies["stile_access"].value);
    app.get("/auth/me").header("cookie", &cookie).await.expect(200);
}

#[tokio::test]
async fn a_refresh_by_cookie_answers_with_cookies() {
    let app = with_cookies().start().await;
    register(&app).await;
    let (_, _, refresh) = session(&app).await;
    let request = || {
        app.request(Method::POST, "/auth/refresh")
            .header("cookie", &refresh)
            .header("origin", FRONTEND)
    };
    let answer = request().await.expect(200);
    let cookies = set_cookies(&answer);
    assert_eq!(cookies.keys().collect::<Vec<_>>(), [ACCESS, REFRESH]);
    assert!(answer.body.get("access_token").is_none() && answer.body.get("refresh_token").is_none());
    let next = format!("{ACCESS}={}", cookies[ACCESS].value);
    app.get("/auth/me").header("cookie", &next).await.expect(200);
    // A token in the body is answered in the body, whatever cookies lie around.
    let tokens = app.logged_in("ada@example.com", PASSWORD).await;
    let answer = request()
        .json(&json!({"refresh_token": tokens["refresh_token"]}))
        .await
        .expect(200);
    assert!(set_cookies(&answer).is_empty() && answer.body["refresh_token"].is_string());
    let none = app
        .request(Method::POST, "/auth/refresh")
        .header("origin", FRONTEND);
    none.await.expect(422);
}

/// OUT-04.
#[tokio::test]
async fn a_logout_takes_both_cookies_away_with_the_attributes_they_were_set_with() {
    let app = with_cookies().start().await;
    register(&app).await;
    let set = set_cookies(&login(&app).header("origin", FRONTEND).await.expect(200));
    let value = |name: &str| format!("{name}={}", set[name].value);
    let both = format!("{}; {}", value(ACCESS), value(REFRESH));
    for (cookie, stranger) in [(value(ACCESS), false), (value(REFRESH), false), (both, true)] {
        let set = set_cookies(&login(&app).header("origin", FRONTEND).await.expect(200));
        let answer = app
            .request(Method::POST, "/auth/logout")
            .header("cookie", &cookie)
            .header("origin", FRONTEND)
            .await
            .expect(200);
        let cleared = set_cookies(&answer);
        assert_eq!(
            cleared.keys().collect::<Vec<_>>(),
            [ACCESS, REFRESH],
            "{stranger}"
        );
        for (name, cookie) in &cleared {
            assert_eq!(cookie.value, "");
            assert_eq!(cookie.attributes["max-age"], "0");
            assert_eq!(kept(cookie), kept(&set[name]), "{name}");
        }
        let refreshed = app
            .request(Method::POST, "/auth/refresh")
            .header("cookie", &value(REFRESH))
            .header("origin", FRONTEND);
        refreshed.await.expect_problem(401, "invalid_refresh_token");
        app.get("/auth/me")
            .header("cookie", &value(ACCESS))
            .await
            .expect_problem(401, "token_invalid");
    }
}

/// OUT-01: cookies that open nothing are dead, and a dead session's logout is 200.
#[tokio::test]
async fn dead_and_foreign_cookies_are_cleared_too() {
    let app = with_cookies().start().await;
    for cookie in [
        format!("{ACCESS}=rubbish"),
        format!("{REFRESH}=rubbish"),
        format!("{ACCESS}=; {REFRESH}="),
    ] {
        let answer = app
            .request(Method::POST, "/auth/logout")
            .header("cookie", &cookie)
            .header("origin", FRONTEND);
        assert_eq!(set_cookies(&answer.await.expect(200)).len(), 2, "{cookie}");
    }
    app.request(Method::POST, "/auth/logout")
        .header("cookie", "theme=dark")
        .await
        .expect_problem(401, "not_authenticated");
}

/// Origins that are none of ours, however much they look like it.
const FOREIGN: [&str; 14] = [
    "https://evil.example",
    "null",
    "",
    "http://app.example.com",
    "https://app.example.com.evil.example",
    "https://evil-app.example.com",
    "https://evilapp.example.com",
    "https://app.example.com:443",
    "https://app.example.com:8443",
    "https://app.example.com/",
    "https://app.example.com/login",
    "https://APP.example.com",
    "https://app.example.com@evil.example",
    "https://app.example.com, https://evil.example",
];

/// HTTP-11: what another site makes a browser send is refused, at every endpoint, and changes nothing.
#[tokio::test]
async fn an_unsafe_request_with_a_cookie_comes_from_a_known_origin_or_is_refused() {
    let app = with_cookies().start().await;
    register(&app).await;
    let (both, access, refresh) = session(&app).await;
    let endpoints = [
        (Method::POST, "/auth/logout"),
        (Method::POST, "/auth/refresh"),
        (Method::POST, "/auth/login"),
        (Method::POST, "/auth/register"),
        (Method::PATCH, "/auth/me"),
        (Method::DELETE, "/auth/me"),
        (Method::POST, "/auth/change-email"),
        (Method::POST, "/auth/change-password"),
        (Method::POST, "/auth/verify-email"),
        (Method::POST, "/auth/resend-verification"),
        (Method::POST, "/auth/password-reset/request"),
        (Method::POST, "/auth/password-reset/verify"),
        (Method::POST, "/auth/password-reset/confirm"),
        (Method::DELETE, "/auth/sessions"),
        (
            Method::DELETE,
            "/auth/sessions/018f0000-0000-7000-8000-000000000000",
        ),
    ];
    let bearer = app.logged_in("ada@example.com", PASSWORD).await["access_token"].clone();
    for (method, path) in &endpoints {
        let request = |cookie: &str| {
            app.request(method.clone(), path)
                .header("cookie", cookie)
                .json(&json!({"full_name": "Mallory"}))
        };
        for cookie in [&both, &access, &refresh] {
            let refused = request(cookie).await.expect_problem(403, "forbidden");
            assert_eq!(refused.headers.get_all("set-cookie").iter().count(), 0);
        }
        for origin in FOREIGN {
            request(&both)
                .header("origin", origin)
                .await
                .expect_problem(403, "forbidden");
        }
        // Two lines are no origin, whichever comes first.
        let twice = request(&both)
            .header("origin", FRONTEND)
            .header("origin", "https://evil.example");
        twice.await.expect_problem(403, "forbidden");
        // What a browser tells beside it is no proof, and an access token does not make the cookie harmless.
        let beside = request(&both)
            .header("referer", FRONTEND)
            .header("sec-fetch-site", "same-origin");
        beside.await.expect_problem(403, "forbidden");
        request(&both)
            .bearer(&bearer)
            .await
            .expect_problem(403, "forbidden");
    }
    app.get("/auth/me").header("cookie", &both).await.expect(200);
    for origin in [FRONTEND, PUBLIC, CORS] {
        app.request(Method::PATCH, "/auth/me")
            .header("cookie", &access)
            .header("origin", origin)
            .json(&json!({"full_name": origin}))
            .await
            .expect(200);
    }
    // Safe methods change nothing, so they are free.
    app.get("/auth/me")
        .header("cookie", &both)
        .header("origin", "https://evil.example")
        .await
        .expect(200);
    // And cookies of others are none of ours.
    app.request(Method::POST, "/auth/password-reset/request")
        .header("cookie", "theme=dark; stile_access=x; __Host-other=y")
        .json(&json!({"email": "x@example.com"}))
        .await
        .expect(200);
}

/// HTTP-11: a login for cookies is itself such a request; otherwise a site could log its visitor in as somebody else.
#[tokio::test]
async fn a_login_for_cookies_comes_from_a_known_origin_or_is_refused() {
    let app = with_cookies().start().await;
    register(&app).await;
    login(&app).await.expect_problem(403, "forbidden");
    for origin in FOREIGN {
        let refused = login(&app)
            .header("origin", origin)
            .await
            .expect_problem(403, "forbidden");
        assert_eq!(refused.headers.get_all("set-cookie").iter().count(), 0);
    }
    for origin in [FRONTEND, PUBLIC, CORS] {
        login(&app).header("origin", origin).await.expect(200);
    }
}

/// Contract 3.7.
#[tokio::test]
async fn an_authorization_header_wins_over_the_cookie() {
    let app = with_cookies().start().await;
    register(&app).await;
    let (both, ..) = session(&app).await;
    let bob = app.signed_up("bob@example.com").await;
    let me = app
        .get("/auth/me")
        .header("cookie", &both)
        .bearer(&bob["access_token"]);
    assert_eq!(me.await.expect(200).body["email"], "bob@example.com");
    let broken = app
        .get("/auth/me")
        .header("cookie", &both)
        .header("authorization", "Bearer rubbish");
    broken.await.expect_problem(401, "token_invalid");
    let other_scheme = app
        .get("/auth/me")
        .header("cookie", &both)
        .header("authorization", "Basic YTpi");
    other_scheme.await.expect_problem(401, "not_authenticated");
}

#[tokio::test]
async fn while_cookies_are_off_none_is_given_read_or_asked_about() {
    let app = TestApp::on(Engine::Sqlite)
        .set("PUBLIC_URL", PUBLIC)
        .start()
        .await;
    register(&app).await;
    let refused = login(&app)
        .header("origin", PUBLIC)
        .await
        .expect_problem(422, "validation_failed");
    assert_eq!(refused.body["errors"][0]["pointer"], "/use_cookies");
    let tokens = app.logged_in("ada@example.com", PASSWORD).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let cookie = format!(
        "{ACCESS}={}; {REFRESH}={}",
        text(&tokens["access_token"]),
        text(&tokens["refresh_token"])
    );
    app.get("/auth/me")
        .header("cookie", &cookie)
        .await
        .expect_problem(401, "not_authenticated");
    app.request(Method::POST, "/auth/refresh")
        .header("cookie", &cookie)
        .await
        .expect(422);
    let logout = app
        .request(Method::POST, "/auth/logout")
        .header("cookie", &cookie);
    logout.await.expect_problem(401, "not_authenticated");
    app.post(
        "/auth/refresh",
        json!({"refresh_token": tokens["refresh_token"], "use_cookies": true}),
    )
    .await
    .expect(422);
    let renamed = app
        .request(Method::PATCH, "/auth/me")
        .header("cookie", &cookie)
        .bearer(&tokens["access_token"]);
    renamed.json(&json!({"full_name": "Ada"})).await.expect(200);
}

/// RFC 6265: cookies may come in several lines, among others, quoted or broken.
#[tokio::test]
async fn hostile_cookie_headers_are_no_5xx_and_no_key() {
    let app = with_cookies().start().await;
    register(&app).await;
    let (_, access, _) = session(&app).await;
    let among = app
        .get("/auth/me")
        .header("cookie", "a=b; =; ;;")
        .header("cookie", &access);
    among.await.expect(200);
    let value = access.split_once('=').unwrap().1;
    let hostile = [
        format!("stile_access={value}"),
        format!("__host-stile_access={value}"),
        ACCESS.to_owned(),
        format!("{ACCESS}="),
        format!("{ACCESS}==="),
        format!("{ACCESS}=%00%ff"),
        format!("{ACCESS}=\u{e9}"),
        format!("{ACCESS}={}", "x".repeat(8000)),
        "=".repeat(4000),
        ";".repeat(8000),
        "a=b;".repeat(2000),
    ];
    for cookie in hostile {
        let answer = app.get("/auth/me").header("cookie", &cookie).await;
        assert_eq!(answer.status, 401, "{cookie}: {}", answer.text);
    }
}
