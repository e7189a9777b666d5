//! What every answer has in common: shape of errors, headers, methods, media types, bounds.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::app::{Engine, TestApp};

/// HTTP-01, HTTP-09.
#[tokio::test]
async fn every_error_is_a_problem_and_every_answer_carries_the_security_headers() {
    let app = TestApp::on(Engine::Sqlite).start().await;
    let login = "/auth/login";
    let answers = [
        (app.get("/nowhere").await, 404, "not_found"),
        (app.get("//nowhere").await, 404, "not_found"),
        (app.get(login).await, 405, "method_not_allowed"),
        (
            app.request(Method::POST, login).raw("x").await,
            415,
            "unsupported_media_type",
        ),
        (app.request(Method::POST, login).await, 400, "invalid_request"),
        (app.post(login, json!({})).await, 422, "validation_failed"),
        (
            app.post(login, json!({"email": "x".repeat(20_000)})).await,
            413,
            "payload_too_large",
        ),
        (app.get("/auth/me").await, 401, "not_authenticated"),
    ];
    for (answer, status, code) in answers {
        let answer = answer.expect_problem(status, code);
        let problem = &answer.body;
        assert_eq!(problem["status"], status);
        let kind = problem["type"].as_str().unwrap();
        assert!(kind.ends_with(&format!("/problems/{code}")), "{kind}");
        assert!(problem["title"].is_string() && problem["detail"].is_string());
        assert_eq!(problem["request_id"].as_str(), answer.header("x-request-id"));
        assert_security_headers(&answer);
    }
    assert_security_headers(&app.get("//health").await.expect(200));
    let keys = app.get("//.well-known/jwks.json").await.expect(200);
    assert_eq!(keys.header("cache-control"), Some("public, max-age=300"));
}

fn assert_security_headers(answer: &crate::app::Answer) {
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    let policy = "default-src 'none'; frame-ancestors 'none'";
    assert_eq!(answer.header("content-security-policy"), Some(policy));
    assert!(answer.header("x-request-id").is_some());
    assert_eq!(answer.header("server"), None);
    assert_eq!(answer.header("strict-transport-security"), None);
}

/// HTTP-03.
#[tokio::test]
async fn a_wrong_method_is_405_with_the_right_ones() {
    let app = TestApp::on(Engine::Sqlite).start().await;
    for method in ["GET", "TRACE", "PROPFIND", "DELETE"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = app
            .request(method, "/auth/login")
            .await
            .expect_problem(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some("POST"));
    }
    let propfind = Method::from_bytes(b"PROPFIND").unwrap();
    app.request(propfind, "/nowhere")
        .await
        .expect_problem(405, "method_not_allowed");
}

/// HTTP-03: what a form on another site could send without asking is refused.
#[tokio::test]
async fn only_json_is_read() {
    let app = TestApp::on(Engine::Sqlite).start().await;
    let body = json!({"email": "a@example.com", "password": "x"}).to_string();
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/jsonx",
    ] {
        let request = app
            .request(Method::POST, "/auth/login")
            .header("content-type", kind)
            .raw(body.clone());
        request.await.expect_problem(415, "unsupported_media_type");
    }
    app.request(Method::POST, "/auth/login")
        .raw(body.clone())
        .await
        .expect(415);
    let gzipped = app
        .request(Method::POST, "/auth/login")
        .header("content-encoding", "gzip");
    gzipped
        .header("content-type", "application/json")
        .raw(body.clone())
        .await
        .expect(415);
    let with_charset = app.request(Method::POST, "/auth/login");
    let with_charset = with_charset
        .header("content-type", "Application/JSON; charset=utf-8")
        .raw(body);
    with_charset.await.expect_problem(401, "invalid_credentials");
}

fn talk(app: &TestApp, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(app.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // The server may answer and close before all of it is written.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// HTTP-02: refused by the declared length, before a byte of the body is sent; and by what arrives, when
/// no length is declared. The connection ends, for what follows on it cannot be told from the body.
#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_body_is_413_early_and_ends_the_connection() {
    let app = TestApp::on(Engine::Sqlite).start().await;
    let head = "POST /api/v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let declared = format!("{head}content-length: 16385\r\n\r\n");
    let answer = tokio::task::block_in_place(|| talk(&app, declared.as_bytes()));
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    let endless = format!("{head}transfer-encoding: chunked\r\n\r\n{}", chunk.repeat(64));
    let answer = tokio::task::block_in_place(|| talk(&app, endless.as_bytes()));
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

/// HTTP-07.
#[tokio::test(flavor = "multi_thread")]
async fn oversized_heads_are_refused_without_a_5xx() {
    let app = TestApp::on(Engine::Sqlite).start().await;
    let many: String = (0..100)
        .map(|n| format!("x-{n}: {}\r\n", "y".repeat(1024)))
        .collect();
    let heads = [
        format!("GET /health HTTP/1.1\r\nhost: x\r\n{many}\r\n"),
        format!(
            "GET /health HTTP/1.1\r\nhost: x\r\nx-large: {}\r\n\r\n",
            "y".repeat(65_536)
        ),
        format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "y".repeat(65_536)),
    ];
    for head in heads {
        let answer = tokio::task::block_in_place(|| talk(&app, head.as_bytes()));
        let refused = ["HTTP/1.1 431", "HTTP/1.1 414", "HTTP/1.1 400"]
            .iter()
            .any(|s| answer.starts_with(s));
        assert!(refused, "{}", answer.get(..80).unwrap_or(&answer));
    }
    app.get("//livez").await.expect(200);
}

/// HTTP-10.
#[tokio::test]
async fn cors_echoes_only_exact_origins() {
    let allowed = "https://app.example.com";
    let app = TestApp::on(Engine::Sqlite)
        .set("CORS_ORIGINS", allowed)
        .start()
        .await;
    let answer = app.get("/health").header("origin", allowed).await.expect(200);
    assert_eq!(answer.header("access-control-allow-origin"), Some(allowed));
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
    let exposed = answer.header("access-control-expose-headers").unwrap();
    for name in [
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
        "ratelimit",
        "retry-after",
    ] {
        assert!(exposed.split(',').any(|exposed| exposed == name), "{name}");
    }
    assert!(answer.header("vary").unwrap().to_lowercase().contains("origin"));
    let others = [
        "https://evil.example",
        "null",
        "https://app.example.com.evil.example",
        "http://app.example.com",
        "https://app.example.com:444",
        "https://APP.example.com",
        "*",
    ];
    for origin in others {
        for method in [Method::GET, Method::OPTIONS] {
            let request = app.request(method, "/health").header("origin", origin);
            let answer = request.header("access-control-request-method", "POST").await;
            let cors = answer
                .headers
                .keys()
                .filter(|name| name.as_str().starts_with("access-control-"));
            assert_eq!(cors.count(), 0, "{origin}");
            assert!(answer.header("vary").unwrap().to_lowercase().contains("origin"));
        }
    }
}

/// HTTP-14.
#[tokio::test]
async fn nothing_of_the_inside_is_served() {
    let app = TestApp::on(Engine::Sqlite)
        .set("ENABLE_DOCS", "false")
        .start()
        .await;
    for path in [
        "metrics",
        "debug",
        "swagger",
        "docs",
        "openapi.json",
        ".git/config",
        ".env",
        "data/stile.db",
    ] {
        app.get(&format!("//{path}"))
            .await
            .expect_problem(404, "not_found");
    }
}

#[tokio::test]
async fn a_well_service_says_so() {
    let app = TestApp::on(Engine::Sqlite).start().await;
    for path in ["//health", "/health"] {
        let health = app.get(path).await.expect(200).body;
        assert_eq!(health["status"], "healthy");
        assert_eq!(health["service"], "stile");
        assert_eq!(health["database"], "connected");
        assert_eq!(health["rate_limiter"], "off");
        assert!(health["timestamp"].as_str().unwrap().ends_with('Z'));
    }
    app.get("//livez").await.expect(200);
    app.get("//readyz").await.expect(200);
    app.request(Method::HEAD, "//readyz").await.expect(200);
}
