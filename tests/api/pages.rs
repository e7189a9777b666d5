//! The pages of people: what a browser without script can do with them, and what they look like from outside.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::json;

use crate::app::{Answer, Builder, Engine, PASSWORD, TestApp};

/// A browser without script: keeps cookies, and sends the forms that it was shown.
pub struct Browser<'a> {
    pub app: &'a TestApp,
    pub cookies: BTreeMap<String, String>,
    /// The `Origin` of its forms.
    pub origin: String,
    /// The proof in the last form that it was shown.
    pub token: String,
    client: Option<&'static str>,
    worker: Option<&'static str>,
}

impl<'a> Browser<'a> {
    pub fn of(app: &'a TestApp) -> Self {
        Self {
            app,
            cookies: BTreeMap::new(),
            origin: format!("http://localhost:{}", app.address.port()),
            token: String::new(),
            client: None,
            worker: None,
        }
    }

    /// As if a trusted proxy had forwarded all of it for `client`.
    pub fn from(mut self, client: &'static str) -> Self {
        self.client = Some(client);
        self
    }

    /// As this worker of an E2E suite.
    pub fn working_as(mut self, worker: &'static str) -> Self {
        self.worker = Some(worker);
        self
    }

    async fn send(&mut self, mut request: crate::app::Request<'a>) -> Answer {
        let pairs: Vec<String> = self.cookies.iter().map(|(n, v)| format!("{n}={v}")).collect();
        if !pairs.is_empty() {
            request = request.header("cookie", &pairs.join("; "));
        }
        if let Some(client) = self.client {
            request = request.from(client);
        }
        if let Some(worker) = self.worker {
            request = request.header("x-test-client", worker);
        }
        let answer = request.await;
        for line in answer.headers.get_all("set-cookie") {
            let line = line.to_str().unwrap();
            let (name, rest) = line.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            if line.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        if let Some((_, rest)) = answer.text.split_once("name=\"form_token\" value=\"") {
            self.token = rest.split('"').next().unwrap().to_owned();
        }
        answer
    }

    pub async fn open(&mut self, path: &str) -> Answer {
        let request = self.app.request(Method::GET, &format!("/{path}"));
        self.send(request).await
    }

    /// Sends a form as it stands on the page that was opened last.
    pub async fn submit(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let token = self.token.clone();
        let mut form = url_form(&[("form_token", &token)]);
        form.push('&');
        form.push_str(&url_form(fields));
        let request = self.app.request(Method::POST, &format!("/{path}"));
        let request = request
            .header("content-type", "application/x-www-form-urlencoded")
            .header("origin", &self.origin)
            .raw(form);
        self.send(request).await
    }

    /// Opens the page and sends its form.
    pub async fn fill(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.open(path).await.expect(200);
        self.submit(path, fields).await
    }

    pub async fn sign_up(&mut self, email: &str) -> Answer {
        self.fill("/sign-up", &[("email", email), ("password", PASSWORD)])
            .await
    }

    pub async fn sign_in(&mut self, email: &str, password: &str) -> Answer {
        self.fill("/sign-in", &[("email", email), ("password", password)])
            .await
    }

    pub fn is_signed_in(&self) -> bool {
        self.cookies.contains_key("stile_refresh")
    }
}

fn url_form(fields: &[(&str, &str)]) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(fields);
    form.finish()
}

/// Fails unless it leads on to `place`.
#[track_caller]
pub fn expect_to(answer: &Answer, place: &str) {
    assert_eq!(
        (answer.status, answer.header("location")),
        (303, Some(place)),
        "{}",
        answer.text
    );
}

fn app() -> Builder {
    TestApp::on(Engine::Sqlite)
}

on_both_engines! {
    async fn a_person_signs_up_out_and_in_again(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let mut browser = Browser::of(&app);
        expect_to(&browser.open("/").await, "/account");
        expect_to(&browser.open("/account").await, "/sign-in");
        expect_to(&browser.sign_up("ada@example.com").await, "/account?done=registered");
        let account = browser.open("/account").await.expect(200);
        assert!(account.text.contains("ada@example.com"), "{}", account.text);
        expect_to(&browser.open("/sign-in").await, "/account");
        browser.open("/account").await.expect(200);
        expect_to(&browser.submit("/sign-out", &[]).await, "/sign-in?done=signed-out");
        assert!(!browser.is_signed_in());
        expect_to(&browser.open("/account").await, "/sign-in");
        expect_to(&browser.sign_in("ada@example.com", PASSWORD).await, "/account");
        browser.open("/account").await.expect(200);
    }
}

/// RST-01, RST-04, without script: the code is copied from the mail by hand.
#[tokio::test]
async fn a_forgotten_password_is_reset_by_the_code_in_the_mail() {
    let app = app().start().await;
    app.signed_up("ada@example.com").await;
    let mut browser = Browser::of(&app);
    let asked = browser
        .fill("/forgot-password", &[("email", "ada@example.com")])
        .await;
    expect_to(&asked, "/check-mail?for=reset");
    let mail = app.mails("ada@example.com", 2).await.pop().unwrap();
    let link = mail.link().to_owned();
    assert!(
        link.starts_with(&format!(
            "http://localhost:{}/reset-password#token=",
            app.address.port()
        )),
        "{link}"
    );
    let token = mail.token();
    let own_line = mail.text.lines().filter(|line| line.trim() == token).count();
    assert_eq!(own_line, 1, "the code stands by itself in:\n{}", mail.text);
    let fields = |password| [("token", token.as_str()), ("new_password", password)];
    // A refused password uses nothing up, and the code need not be copied again.
    let weak = browser
        .fill("/reset-password", &fields("password"))
        .await
        .expect(422);
    assert!(weak.text.contains(&format!("value=\"{token}\"")), "{}", weak.text);
    assert!(
        weak.text.contains("<div data-token-field hidden>"),
        "{}",
        weak.text
    );
    let good = fields("another-battery-staple-7");
    expect_to(
        &browser.submit("/reset-password", &good).await,
        "/sign-in?done=reset",
    );
    assert!(!browser.is_signed_in(), "nobody is signed in by a reset");
    let again = browser.fill("/reset-password", &good).await.expect(400);
    assert!(!again.text.contains(&token));
    assert!(again.text.contains("<div data-token-field>"), "{}", again.text);
    let mut other = Browser::of(&app);
    other.sign_in("ada@example.com", PASSWORD).await.expect(401);
    expect_to(
        &other.sign_in("ada@example.com", "another-battery-staple-7").await,
        "/account",
    );
}

#[tokio::test]
async fn an_address_is_confirmed_by_a_click_and_never_by_opening_the_page() {
    let app = app().set("REQUIRE_EMAIL_VERIFICATION", "true").start().await;
    let mut browser = Browser::of(&app);
    expect_to(
        &browser.sign_up("ada@example.com").await,
        "/check-mail?for=registration",
    );
    assert!(!browser.is_signed_in());
    let token = app.mails("ada@example.com", 1).await[0].token();
    let waiting = browser.sign_in("ada@example.com", PASSWORD).await.expect(403);
    assert!(waiting.text.contains("href=\"/verify-email/resend\""));
    browser
        .open(&format!("/verify-email?token={token}"))
        .await
        .expect(200);
    browser.sign_in("ada@example.com", PASSWORD).await.expect(403);
    let confirmed = browser.fill("/verify-email", &[("token", &token)]).await;
    expect_to(&confirmed, "/sign-in?done=verified");
    browser
        .fill("/verify-email", &[("token", &token)])
        .await
        .expect(400);
    expect_to(&browser.sign_in("ada@example.com", PASSWORD).await, "/account");
    let more = browser
        .fill("/verify-email/resend", &[("email", "ada@example.com")])
        .await;
    expect_to(&more, "/check-mail?for=verification");
}

/// LOG-02, RST-03, and a registration that never tells (contract 3.1).
#[tokio::test]
async fn pages_do_not_tell_who_has_an_account() {
    let app = app().set("REQUIRE_EMAIL_VERIFICATION", "true").start().await;
    let mut owner = Browser::of(&app);
    owner.sign_up("ada@example.com").await;
    let token = app.mails("ada@example.com", 1).await[0].token();
    owner.fill("/verify-email", &[("token", &token)]).await;
    let mut seen = Vec::new();
    for email in ["ada@example.com", "bob@example.com"] {
        let mut browser = Browser::of(&app);
        browser.open("/sign-in").await;
        let mut fingerprints = Vec::new();
        for (path, fields) in [
            ("/sign-in", vec![("email", email), ("password", "wrong")]),
            ("/forgot-password", vec![("email", email)]),
            ("/verify-email/resend", vec![("email", email)]),
            ("/sign-up", vec![("email", email), ("password", PASSWORD)]),
        ] {
            let answer = browser.submit(path, &fields).await;
            let text = answer.fingerprint().replace(email, "EMAIL");
            fingerprints.push(text.replace(&browser.token, "TOKEN"));
        }
        seen.push(fingerprints);
    }
    assert_eq!(seen[0], seen[1]);
    assert!(seen[0][0].starts_with("401"), "{}", seen[0][0]);
}

/// LGR-01's kind: what people type comes back escaped or not at all.
#[tokio::test]
async fn nothing_that_was_typed_becomes_markup() {
    let app = app().start().await;
    let mut browser = Browser::of(&app);
    let evil = "\"><script>alert(1)</script><img src=x onerror=alert(1)>'";
    let shown = [
        (
            "/sign-in",
            vec![("email", evil), ("password", evil), ("return_to", evil)],
        ),
        (
            "/sign-up",
            vec![("email", evil), ("full_name", evil), ("password", evil)],
        ),
        ("/forgot-password", vec![("email", evil)]),
        ("/reset-password", vec![("token", evil), ("new_password", evil)]),
        ("/verify-email", vec![("token", evil)]),
        ("/verify-email/resend", vec![("email", evil)]),
    ];
    for (path, fields) in shown {
        let answer = browser.fill(path, &fields).await;
        assert!((400..500).contains(&answer.status), "{path}: {}", answer.status);
        assert!(
            !answer.text.contains("<script>") && !answer.text.contains("<img src=x"),
            "{path}"
        );
    }
    for path in [
        "/sign-in?email=%22%3E%3Cscript%3E&done=%3Cscript%3E&return_to=%22%3E%3Cscript%3E",
        "/sign-up?full_name=%22%3E%3Cscript%3E",
        "/forgot-password?email=%22%3E%3Cscript%3E",
        "/check-mail?for=%3Cscript%3E",
        "/account/%3Cscript%3E",
    ] {
        let answer = browser.open(path).await;
        assert!(!answer.text.contains("<script>"), "{path}");
    }
    let name = "<b onclick=alert(1)>Ada</b>";
    let fields = [
        ("full_name", name),
        ("email", "ada@example.com"),
        ("password", PASSWORD),
    ];
    expect_to(
        &browser.fill("/sign-up", &fields).await,
        "/account?done=registered",
    );
    let account = browser.open("/account").await.expect(200);
    assert!(
        !account.text.contains("<b ") && account.text.contains("Ada"),
        "{}",
        account.text
    );
}

/// No password is ever sent back, whatever became of the form.
#[tokio::test]
async fn a_password_is_never_filled_in_again() {
    let app = app().start().await;
    let mut browser = Browser::of(&app);
    for (path, field) in [
        ("/sign-in", "password"),
        ("/sign-up", "password"),
        ("/reset-password", "new_password"),
    ] {
        let fields = [("email", "x"), ("token", "t"), (field, "marker-secret")];
        let answer = browser.fill(path, &fields).await;
        assert!(!answer.text.contains("marker-secret"), "{path}");
    }
}

/// HTTP-09 for pages: the same headers, and a policy of their own without a single inline exception.
#[tokio::test]
async fn every_page_has_strict_headers() {
    let app = app()
        .set("BRAND_LOGO_URL", "https://cdn.example/logo.svg")
        .start()
        .await;
    let mut browser = Browser::of(&app);
    browser.sign_up("ada@example.com").await;
    let mut answers = Vec::new();
    for path in [
        "/",
        "/sign-in",
        "/sign-up",
        "/forgot-password",
        "/reset-password",
        "/verify-email",
        "/verify-email/resend",
        "/check-mail",
        "/account",
        "/account/nowhere",
        "/sign-in/nowhere",
    ] {
        answers.push((path, browser.open(path).await));
        answers.push((path, Browser::of(&app).open(path).await));
        answers.push((path, app.request(Method::PUT, &format!("/{path}")).await));
    }
    let wrong = Browser::of(&app).sign_in("ada@example.com", "wrong").await;
    answers.push(("wrong", wrong));
    answers.push(("bare", app.request(Method::POST, "//sign-in").await));
    for (path, answer) in answers {
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{path}");
        assert!(answer.header("x-request-id").is_some());
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none';"), "{path}: {policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        assert!(
            !policy.contains("unsafe") && !policy.contains('*'),
            "{path}: {policy}"
        );
        if answer.status != 303 {
            assert_eq!(
                answer.header("content-type"),
                Some("text/html; charset=utf-8"),
                "{path}"
            );
            for needed in [
                "script-src 'self'",
                "base-uri 'none'",
                "img-src 'self' https://cdn.example;",
            ] {
                assert!(policy.contains(needed), "{path}: {policy}");
            }
            let inline = ["<style", " style=", " onclick", " onload", "<script>"];
            assert!(
                inline.iter().all(|inline| !answer.text.contains(inline)),
                "{path}"
            );
        }
    }
    // The API's policy is as it was.
    let problem = app.get("/nowhere").await.expect_problem(404, "not_found");
    let policy = "default-src 'none'; frame-ancestors 'none'";
    assert_eq!(problem.header("content-security-policy"), Some(policy));
}

#[tokio::test]
async fn what_pages_are_made_of_is_kept_for_ever_under_a_name_of_its_own() {
    let app = app().start().await;
    let page = app.get("//sign-in").await.expect(200);
    let mut bytes = page.text.len();
    let names: Vec<&str> = page
        .text
        .split('"')
        .filter(|text| text.starts_with("/static/"))
        .collect();
    let mut kinds = Vec::new();
    for name in names.iter().collect::<std::collections::BTreeSet<_>>() {
        let file = app.get(&format!("/{name}")).await.expect(200);
        assert_eq!(
            file.header("cache-control"),
            Some("public, max-age=31536000, immutable")
        );
        assert_eq!(file.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(file.header("set-cookie"), None);
        kinds.push(file.header("content-type").unwrap().to_owned());
        bytes += file.text.len();
    }
    kinds.sort();
    assert_eq!(
        kinds,
        [
            "image/svg+xml",
            "text/css; charset=utf-8",
            "text/javascript; charset=utf-8"
        ]
    );
    assert!(
        bytes <= 28_000,
        "with its headers the page must stay under 30 KB: {bytes}"
    );
    // Another version's name, while both run side by side: today's file, to be kept by nobody.
    let other = app.get("//static/stile-0000000000000000.css").await.expect(200);
    assert_eq!(other.header("cache-control"), Some("no-store"));
    app.get("//static/nowhere.css")
        .await
        .expect_problem(404, "not_found");
    app.get("//static/..%2fCargo.toml").await.expect(404);
}

#[tokio::test]
async fn the_brand_is_worn_and_cannot_break_out() {
    let app = app()
        .set("BRAND_NAME", "Ada & <Sons>")
        .set("BRAND_COLOR", "#c40")
        .set("BRAND_LOGO_URL", "https://cdn.example/a%22b.svg")
        .start()
        .await;
    let page = app.get("//sign-in").await.expect(200);
    assert!(page.text.contains("Ada &#38; &#60;Sons&#62;"), "{}", page.text);
    assert!(
        page.text.contains("src=\"https://cdn.example/a%22b.svg\""),
        "{}",
        page.text
    );
    let style = page.text.split('"').find(|text| text.ends_with(".css")).unwrap();
    let style = app.get(&format!("/{style}")).await.expect(200);
    assert!(
        style.text.starts_with(":root{--fill:#cc4400;"),
        "{}",
        &style.text[..80]
    );
}

#[tokio::test]
async fn without_pages_there_are_none() {
    let app = app().set("ENABLE_PAGES", "false").start().await;
    for path in [
        "",
        "sign-in",
        "account",
        "static/stile-0000000000000000.css",
        "verify-email",
    ] {
        app.get(&format!("//{path}"))
            .await
            .expect_problem(404, "not_found");
    }
    app.post("/auth/login", json!({"email": "a@example.com", "password": "x"}))
        .await
        .expect_problem(401, "invalid_credentials");
}
