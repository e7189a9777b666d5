//! What the outside sees of a production: the headers of every answer, and nothing of the inside.

use serde_json::json;

use crate::PRODUCTION;
use crate::process::{PATIENCE, Process, Stile};
use crate::traffic::{Answer, get, post, request, wait_until};

const ALLOWED: &str = "https://app.example.org";

fn production(directory: &std::path::Path) -> Process {
    Stile::in_directory(directory)
        .set_all(PRODUCTION)
        .set("DATABASE_URL", "sqlite://stile.db")
        .set("ALLOW_SQLITE", "true")
        .set("REDIS_URL", "")
        .set("RATE_LIMIT_REFRESH", "1/minute")
        .set("CORS_ORIGINS", ALLOWED)
        .set("SHUTDOWN_DELAY_SECONDS", "2")
        .start()
}

/// HTTP-09: whatever the answer is.
fn assert_guarded(answer: &Answer) {
    let is = |name: &str, value: &str| assert_eq!(answer.header(name), Some(value), "{name}: {answer:?}");
    is("x-content-type-options", "nosniff");
    is("cache-control", "no-store");
    is("referrer-policy", "no-referrer");
    is(
        "content-security-policy",
        "default-src 'none'; frame-ancestors 'none'",
    );
    let hsts = answer.header("strict-transport-security").unwrap();
    let seconds: u64 = hsts
        .strip_prefix("max-age=")
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(seconds >= 31_536_000, "{hsts}");
    assert!(answer.header("x-request-id").is_some(), "{answer:?}");
    assert_eq!(answer.header("server"), None);
    // HTTP-01: and every error has one form, with nothing of the inside in it.
    if answer.header("content-type") == Some("application/problem+json") {
        let problem = answer.json();
        assert_eq!(problem["status"], answer.status, "{answer:?}");
        for word in ["sqlite", "SELECT", "users", "sqlx", "src/", "panick"] {
            assert!(!answer.body.contains(word), "{word}: {answer:?}");
        }
    }
}

/// HTTP-09, HTTP-14, in the production profile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_of_a_production_is_guarded_also_a_500() {
    let directory = tempfile::tempdir().unwrap();
    let stile = production(directory.path());
    let to = stile.address();
    let login = "/api/v1/auth/login";
    let refresh = post("/api/v1/auth/refresh", json!({ "refresh_token": "x" }));
    let large = json!({ "email": "x".repeat(20_000), "password": "y" });
    let plain = request("POST", login)
        .header("Content-Type", "text/plain")
        .header("Content-Length", "0");
    let answers = [
        (get("/api/v1/health"), 200),
        (get("/livez"), 200),
        (get("/nowhere"), 404),
        (get(login), 405),
        (post(login, large), 413),
        (plain, 415),
        (post(login, json!({})), 422),
        (get("/api/v1/auth/me"), 401),
        (get("/api/v1/api-gateway/verify"), 401),
        (refresh.clone(), 401),
        (refresh, 429),
    ];
    for (asked, status) in answers {
        let answer = asked.send(to).await;
        assert_eq!(answer.status, status, "{asked:?} {answer:?}");
        assert_guarded(&answer);
    }
    // A table that is gone is a fault of ours.
    let broken = std::process::Command::new("sqlite3")
        .args(["stile.db", "ALTER TABLE users RENAME TO elsewhere"])
        .current_dir(directory.path())
        .status()
        .unwrap_or_else(|error| panic!("cannot run sqlite3 ({error}): apt-get install -y sqlite3"));
    assert!(broken.success());
    let account = json!({ "email": "ada@example.org", "password": "correct-horse-battery-9" });
    let fault = post(login, account).send(to).await.expect(500);
    assert_eq!(fault.text("/code"), "internal_error");
    assert_guarded(&fault);
    stile.signal("TERM");
    wait_until("not ready", async || get("/readyz").send(to).await.status == 503).await;
    assert_guarded(&get("/readyz").send(to).await.expect(503));
    assert_eq!(stile.wait_for_end(PATIENCE).code(), Some(0));
}

/// HTTP-14: nothing is served that was not asked for, and health tells no version and no address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_the_inside_of_a_production_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let stile = production(directory.path());
    let paths = [
        "/metrics",
        "/debug",
        "/swagger",
        "/swagger-ui",
        "/docs",
        "/openapi.json",
        "/api/v1/test/outbox",
        "/.git/config",
        "/.git/HEAD",
        "/.env",
        "/.env.production",
        "/stile.db",
        "/stile.db-wal",
        "/data/signing_key.pem",
        "/..%2f.env",
    ];
    for path in paths {
        let answer = get(path).send(stile.address()).await;
        assert_eq!((path, answer.status), (path, 404));
        assert_guarded(&answer);
    }
    for path in ["/health", "/api/v1/health"] {
        let answer = get(path).send(stile.address()).await.expect(200);
        let health = answer.json();
        let mut names: Vec<&String> = health.as_object().unwrap().keys().collect();
        names.sort();
        assert_eq!(
            names,
            ["database", "rate_limiter", "service", "status", "timestamp"]
        );
        assert!(
            !answer.body.contains(env!("CARGO_PKG_VERSION")) && !answer.body.contains("://"),
            "{}",
            answer.body
        );
    }
}

/// HTTP-10: the preflight of an allowed origin is granted for just that origin; any other gets nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preflight_is_granted_to_an_exact_origin_alone() {
    let directory = tempfile::tempdir().unwrap();
    let stile = production(directory.path());
    let preflight = |origin: &str| {
        request("OPTIONS", "/api/v1/auth/login")
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", "content-type")
    };
    let granted = preflight(ALLOWED).send(stile.address()).await;
    assert!((200..300).contains(&granted.status), "{granted:?}");
    let cors = |answer: &Answer, name: &str| {
        answer
            .header(&format!("access-control-{name}"))
            .map(str::to_owned)
    };
    assert_eq!(cors(&granted, "allow-origin").as_deref(), Some(ALLOWED));
    assert_eq!(cors(&granted, "allow-credentials").as_deref(), Some("true"));
    assert!(
        cors(&granted, "allow-methods").unwrap().contains("POST"),
        "{granted:?}"
    );
    assert!(
        cors(&granted, "allow-headers").unwrap().contains("content-type"),
        "{granted:?}"
    );
    assert!(granted.header("vary").unwrap().to_lowercase().contains("origin"));
    for origin in [
        "https://evil",
        "null",
        "https://app.example.org.evil",
        "https://xapp.example.org",
        "https://allowed.evil",
        "http://app.example.org",
    ] {
        let answer = preflight(origin).send(stile.address()).await;
        let told: Vec<_> = answer
            .headers
            .iter()
            .filter(|(name, _)| name.starts_with("access-control-"))
            .collect();
        assert!(told.is_empty(), "{origin}: {told:?}");
        assert!(
            answer.header("vary").unwrap().to_lowercase().contains("origin"),
            "{answer:?}"
        );
    }
}
