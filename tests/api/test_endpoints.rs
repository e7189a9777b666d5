//! What is there for E2E suites (contract, section 6): the outbox, the reset, the clock; and for nobody else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use stile::app::App;
use stile::clock::Clock;
use stile::config::{Config, Source};
use stile::http::Answers as _;

use crate::api_tokens::Owner;
use crate::app::{Answer, Builder, Engine, PASSWORD, TestApp};
use crate::pages::Browser;
use crate::smtp::{At, Behaviour, Security, SmtpSink};

const ADA: &str = "ada@example.com";
const ENDPOINTS: [(Method, &str); 3] = [
    (Method::GET, "/test/outbox?to=ada@example.com"),
    (Method::POST, "/test/reset"),
    (Method::POST, "/test/clock"),
];

fn on(engine: Engine) -> Builder {
    TestApp::on(engine).set("ENABLE_TEST_ENDPOINTS", "true")
}

impl TestApp {
    async fn outbox_of(&self, address: &str) -> Vec<Value> {
        let mails = self.get(&format!("/test/outbox?to={address}")).await.expect(200);
        mails.body.as_array().unwrap().clone()
    }

    async fn reset(&self) {
        let answer = self.request(Method::POST, "/test/reset").await.expect(204);
        assert_eq!(answer.text, "");
    }

    async fn pass(&self, seconds: u64) {
        let answer = self
            .post("/test/clock", json!({"advance_seconds": seconds}))
            .await;
        assert_eq!(answer.expect(204).text, "");
    }

    async fn register(&self, email: &str) -> Answer {
        self.post("/auth/register", json!({"email": email, "password": PASSWORD}))
            .await
    }

    async fn log_in_wrongly(&self, worker: &str) -> Answer {
        self.post("/auth/login", json!({"email": ADA, "password": "wrong"}))
            .header("x-test-client", worker)
            .await
    }
}

on_both_engines! {
    async fn the_outbox_has_the_newest_mail_first_right_after_the_request_that_causes_it(engine: Engine) {
        let app = on(engine).set("FRONTEND_URL", "http://localhost:3000").start().await;
        assert_eq!(app.outbox_of(ADA).await, Vec::<Value>::new());
        app.register(ADA).await.expect(201);
        app.register("grace@example.com").await.expect(201);
        app.pass(60).await;
        app.post("/auth/password-reset/request", json!({"email": ADA})).await.expect(200);
        let mails = app.outbox_of("ADA@Example.com").await;
        let [reset, verify] = mails.as_slice() else { panic!("{mails:?}") };
        for (mail, page) in [(reset, "reset-password"), (verify, "verify-email")] {
            assert_eq!(mail["to"], ADA);
            assert!(!mail["subject"].as_str().unwrap().is_empty());
            let token = mail["token"].as_str().unwrap();
            let link = mail["link"].as_str().unwrap();
            assert_eq!(link, format!("http://localhost:3000/{page}#token={token}"));
            assert!(mail["text"].as_str().unwrap().contains(link));
            assert_eq!(mail.as_object().unwrap().len(), 6);
        }
        assert!(reset["sent_at"].as_str().unwrap() > verify["sent_at"].as_str().unwrap());
        let proven = app.post("/auth/verify-email", json!({"token": verify["token"]}));
        proven.await.expect(200);
        let change = json!({"token": reset["token"], "new_password": "another-horse-battery-9"});
        app.post("/auth/password-reset/confirm", change).await.expect(200);
        let notice = app.outbox_of(ADA).await.remove(0);
        assert_eq!((&notice["link"], &notice["token"]), (&Value::Null, &Value::Null));
    }
}

#[tokio::test]
async fn the_outbox_has_what_an_smtp_server_took_and_is_not_kept_waiting_by_one_that_refuses() {
    let sink = SmtpSink::start(Security::Plain).await;
    let app = on(Engine::Sqlite).set("SMTP_URL", sink.url()).start().await;
    app.register(ADA).await.expect(201);
    assert_eq!(app.outbox_of(ADA).await.len(), 1);
    assert_eq!(sink.received().len(), 1);
    sink.behave(Behaviour::Answers(At::Rcpt, "451 later"));
    app.post("/auth/password-reset/request", json!({"email": ADA}))
        .await
        .expect(200);
    assert_eq!(app.outbox_of(ADA).await.len(), 1, "only what was handed over");
    sink.behave(Behaviour::Normal);
    app.pass(6).await;
    let mails = app.outbox_of(ADA).await;
    assert_eq!(mails.len(), 2, "tried again once its time has come");
    let verified = app.post("/auth/password-reset/verify", json!({"token": mails[0]["token"]}));
    assert_eq!(verified.await.expect(200).body["valid"], true);
}

#[tokio::test]
async fn the_outbox_wants_an_address_in_any_spelling() {
    let app = on(Engine::Sqlite).start().await;
    for address in ["ada+1@example.com", "ada+2@example.com"] {
        app.register(address).await.expect(201);
    }
    for to in [
        "ada+1@example.com",
        "ada%2B1@example.com",
        "%20Ada%2b1%40EXAMPLE.com",
    ] {
        assert_eq!(app.outbox_of(to).await[0]["to"], "ada+1@example.com", "{to}");
    }
    for (query, code) in [
        ("", "required"),
        ("?", "required"),
        ("?TO=a@b.example", "required"),
        ("?to=", "invalid_email"),
        ("?to=ada", "invalid_email"),
    ] {
        let answer = app.get(&format!("/test/outbox{query}")).await;
        let answer = answer.expect_problem(422, "validation_failed");
        let error = &answer.body["errors"][0];
        assert_eq!(
            (&error["pointer"], &error["code"]),
            (&json!("/to"), &json!(code)),
            "{query}"
        );
    }
}

on_both_engines! {
    async fn after_a_reset_nobody_was_ever_here(engine: Engine) {
        let app = on(engine).limited().set("RATE_LIMIT_LOGIN", "3/hour").set("RATE_LIMIT_BURST", "20");
        let app = app.start().await;
        app.register(ADA).await.expect(201);
        let session = app.logged_in(ADA, PASSWORD).await;
        let owner = Owner { app: &app, access: session["access_token"].clone(), id: String::new() };
        let token = owner.create(json!({"name": "CI"})).await.expect(201).body["token"].clone();
        app.get("/api-gateway/verify").bearer(&token).await.expect(204);
        app.post("/auth/password-reset/request", json!({"email": ADA})).await.expect(200);
        let reset_token = app.outbox_of(ADA).await[0]["token"].clone();
        for _ in 0..2 {
            app.log_in_wrongly("-").await.expect(401);
        }
        app.post("/auth/login", json!({"email": ADA, "password": PASSWORD})).await.expect(200);
        app.post("/auth/login", json!({"email": ADA, "password": PASSWORD})).await.expect(200);
        app.post("/auth/login", json!({"email": ADA, "password": PASSWORD})).await.expect_problem(429, "rate_limited");
        app.pass(600).await;

        app.reset().await;

        assert!(app.outbox_of(ADA).await.is_empty());
        for table in ["users", "sessions", "one_time_tokens", "mail_jobs", "known_clients", "api_tokens"] {
            let rows = app.sql_texts(&format!("SELECT '{table}' FROM {table}")).await;
            assert!(rows.is_empty(), "{rows:?}");
        }
        app.get("/auth/me").bearer(&session["access_token"]).await.expect_problem(401, "token_invalid");
        let refresh = json!({"refresh_token": session["refresh_token"]});
        app.post("/auth/refresh", refresh).await.expect_problem(401, "invalid_refresh_token");
        app.get("/api-gateway/verify").bearer(&token).await.expect_problem(401, "token_invalid");
        let verified = app.post("/auth/password-reset/verify", json!({"token": reset_token}));
        assert_eq!(verified.await.expect(200).body["valid"], false);
        let first = app.post("/auth/login", json!({"email": ADA, "password": PASSWORD}));
        let first = first.await.expect_problem(401, "invalid_credentials");
        assert_eq!(first.header("x-ratelimit-remaining"), Some("2"));
        let now = app.clock.now().as_seconds();
        assert_eq!(first.header("x-ratelimit-reset"), Some((now + 3600).to_string().as_str()), "a window of its own");
        app.register(ADA).await.expect(201);
        app.logged_in(ADA, PASSWORD).await;
    }
}

/// What is under way is done before everything goes; what comes meanwhile begins after it.
mod a_reset_among_requests {
    use super::*;

    async fn body(engine: Engine) {
        let app = Arc::new(on(engine).start().await);
        let visitor = |n: usize| {
            let app = Arc::clone(&app);
            async move {
                for round in 0..6 {
                    let email = format!("user-{n}-{round}@example.com");
                    let registered = app.register(&email).await.expect(201).body;
                    let answer = app
                        .post("/auth/login", json!({"email": email, "password": PASSWORD}))
                        .await;
                    if answer.status == 401 {
                        continue; // everything went in between
                    }
                    let tokens = answer.expect(200).body;
                    assert_eq!(tokens["user"]["id"], registered["id"]);
                    let me = app.get("/auth/me").bearer(&tokens["access_token"]).await;
                    assert!([200, 401].contains(&me.status), "{}", me.text);
                    let asked = app.post("/auth/password-reset/request", json!({"email": email}));
                    asked.await.expect(200);
                }
            }
        };
        let visitors: Vec<_> = (0..4).map(|n| tokio::spawn(visitor(n))).collect();
        for _ in 0..8 {
            app.reset().await;
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        for visitor in visitors {
            visitor.await.unwrap();
        }
        app.reset().await;
        app.until_no_mail_waits().await;
        for n in 0..4 {
            for round in 0..6 {
                let address = format!("user-{n}-{round}@example.com");
                assert!(app.outbox_of(&address).await.is_empty(), "{address}");
            }
        }
        app.signed_up(ADA).await;
        assert_eq!(app.outbox_of(ADA).await.len(), 1);
        assert_eq!(app.sql_texts("SELECT email FROM users").await, [ADA]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn sqlite() {
        body(Engine::Sqlite).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn postgres() {
        body(Engine::Postgres).await;
    }
}

on_both_engines! {
    async fn the_clock_ends_tokens_sessions_links_and_windows(engine: Engine) {
        let app = on(engine).limited().set("RATE_LIMIT_LOGIN", "3/hour").start().await;
        app.register(ADA).await.expect(201);
        let session = app.logged_in(ADA, PASSWORD).await;
        app.post("/auth/password-reset/request", json!({"email": ADA})).await.expect(200);
        let link = app.outbox_of(ADA).await[0]["token"].clone();
        let is_good = async || {
            let answer = app.post("/auth/password-reset/verify", json!({"token": link})).await;
            answer.expect(200).body["valid"].as_bool().unwrap()
        };
        let me = || app.get("/auth/me").bearer(&session["access_token"]);
        for _ in 0..2 {
            app.log_in_wrongly("-").await.expect(401);
        }

        app.pass(14 * 60).await;
        me().await.expect(200);
        assert!(is_good().await);
        app.pass(66).await;
        me().await.expect_problem(401, "token_expired");
        assert!(!is_good().await);

        app.logged_in(ADA, PASSWORD).await;
        app.post("/auth/login", json!({"email": ADA, "password": PASSWORD})).await.expect(200);
        app.post("/auth/login", json!({"email": ADA, "password": PASSWORD})).await.expect_problem(429, "rate_limited");
        app.pass(45 * 60).await;
        app.post("/auth/login", json!({"email": ADA, "password": PASSWORD})).await.expect(200);

        app.pass(29 * 24 * 3600).await;
        let refresh = json!({"refresh_token": session["refresh_token"]});
        let again = app.post("/auth/refresh", refresh).await.expect(200).body;
        app.pass(30 * 24 * 3600).await;
        let refresh = json!({"refresh_token": again["refresh_token"]});
        app.post("/auth/refresh", refresh).await.expect_problem(401, "invalid_refresh_token");
        let swept = app.sql_texts("SELECT token_hash FROM one_time_tokens").await;
        assert!(swept.is_empty(), "what has expired is swept at once");
    }
}

#[tokio::test]
async fn the_clock_only_moves_forward_by_whole_seconds() {
    let app = on(Engine::Sqlite).start().await;
    let began = app.clock.now();
    let refused = [
        (json!({"advance_seconds": -1}), "out_of_range"),
        (json!({"advance_seconds": i64::MAX}), "out_of_range"),
        (json!({"advance_seconds": 4_000_000_000_u64}), "out_of_range"),
        (json!({"advance_seconds": 1.5}), "wrong_type"),
        (json!({"advance_seconds": 1e300}), "wrong_type"),
        (json!({"advance_seconds": "60"}), "wrong_type"),
        (json!({"advance_seconds": null}), "wrong_type"),
        (json!({"advance_seconds": u64::MAX}), "wrong_type"),
        (json!({}), "required"),
        (json!({"seconds": 60}), "required"),
    ];
    for (body, code) in refused {
        let answer = app.post("/test/clock", body.clone()).await;
        let answer = answer.expect_problem(422, "validation_failed");
        let error = &answer.body["errors"][0];
        assert_eq!(error["pointer"], "/advance_seconds", "{body}");
        assert_eq!(error["code"], code, "{body}");
    }
    let form = app.request(Method::POST, "/test/clock").raw("advance_seconds=60");
    form.header("content-type", "text/plain")
        .await
        .expect_problem(415, "unsupported_media_type");
    app.request(Method::POST, "/test/clock")
        .await
        .expect_problem(400, "invalid_request");
    assert_eq!(app.clock.now(), began);
    app.pass(0).await;
    app.pass(3_000_000_000).await;
    let more = app.post("/test/clock", json!({"advance_seconds": 3_000_000_000_u64}));
    more.await.expect_problem(422, "validation_failed");
    assert_eq!(app.clock.now().since(began), Duration::from_secs(3_000_000_000));
    app.signed_up(ADA).await;
}

/// As an unknown path is answered: the same status, headers and body.
async fn assert_not_there(
    app: &TestApp,
    change: impl Fn(crate::app::Request<'_>) -> crate::app::Request<'_>,
) {
    let mut endpoints = ENDPOINTS.to_vec();
    endpoints.extend([
        (Method::POST, "/test/outbox"),
        (Method::GET, "/test/reset"),
        (Method::HEAD, "/test/outbox"),
        (Method::OPTIONS, "/test/clock"),
        (Method::from_bytes(b"PROPFIND").unwrap(), "/test/clock"),
    ]);
    for (method, path) in endpoints {
        let there = change(app.request(method.clone(), path)).await;
        let unknown = change(app.request(method.clone(), "/nowhere/at-all")).await;
        assert!([404, 405].contains(&there.status), "{path}: {}", there.text);
        assert_eq!(
            without_counts(&there),
            without_counts(&unknown),
            "{method} {path}"
        );
    }
}

fn without_counts(answer: &Answer) -> String {
    let kept = |line: &&str| !line.contains("ratelimit");
    answer
        .fingerprint()
        .lines()
        .filter(kept)
        .collect::<Vec<_>>()
        .join("\n")
}

#[tokio::test]
async fn switched_off_they_are_not_there() {
    let app = TestApp::on(Engine::Sqlite)
        .set("TEST_ENDPOINTS_KEY", "sixteen-bytes-ok")
        .start()
        .await;
    assert_not_there(&app, |request| request).await;
    assert_not_there(&app, |request| request.header("x-test-key", "sixteen-bytes-ok")).await;
}

#[tokio::test]
async fn to_a_client_elsewhere_they_are_not_there_without_the_key() {
    let app = on(Engine::Sqlite)
        .set("TEST_ENDPOINTS_KEY", "sixteen-bytes-ok")
        .start()
        .await;
    app.register(ADA).await.expect(201);
    for forwarded in [
        "203.0.113.9",
        "127.0.0.1, 203.0.113.9",
        "10.0.0.9",
        "127.0.0.1, 10.0.0.9",
        "::1, 2001:db8::1",
        "garbage",
        "127.0.0.1, garbage",
    ] {
        assert_not_there(&app, |request| request.from(forwarded)).await;
        for key in ["", "sixteen-bytes-oK", "sixteen-bytes-ok-and-more", "sixteen"] {
            let request = app.request(Method::POST, "/test/reset").from(forwarded);
            request
                .header("x-test-key", key)
                .await
                .expect_problem(404, "not_found");
        }
        let twice = app.request(Method::POST, "/test/reset").from(forwarded);
        let twice = twice.header("x-test-key", "sixteen-bytes-ok");
        twice.header("x-test-key", "sixteen-bytes-ok").await.expect(404);
    }
    let shown = app.get("/test/outbox?to=ada@example.com").from("203.0.113.9");
    let shown = shown.header("x-test-key", "sixteen-bytes-ok").await.expect(200);
    assert_eq!(shown.body.as_array().unwrap().len(), 1, "and nothing was reset");
    // A proxy on the same machine speaks for a client on the same machine.
    app.get("/test/outbox?to=ada@example.com")
        .from("127.0.0.1")
        .await
        .expect(200);
    app.get("/test/outbox?to=ada@example.com")
        .from("::1, 127.0.0.1")
        .await
        .expect(200);
}

/// A peer that is not loopback, trusted as a proxy or not, whatever it writes. A connection from another machine is not to
/// be had here, so the front is asked with the peer's address as the listener would have put it.
#[tokio::test]
async fn a_peer_elsewhere_cannot_write_himself_in() {
    for trusted in ["", "0.0.0.0/0,::/0", "127.0.0.0/8"] {
        let folder = tempfile::tempdir().unwrap();
        let variables = [
            ("ENVIRONMENT", "test"),
            ("ENABLE_TEST_ENDPOINTS", "true"),
            ("TRUSTED_PROXIES", trusted),
        ];
        let source = Source::new(variables, folder.path(), None).unwrap();
        let config = Config::from_source(&source).unwrap_or_else(|errors| panic!("{errors}"));
        let app = App::build(config, Clock::system()).await.unwrap();
        let ask = async |peer: &str, forwarded: Option<&str>| {
            let request = http::Request::post("/api/v1/test/reset").header("host", "localhost");
            let request = forwarded.into_iter().fold(request, |request, forwarded| {
                request.header("x-forwarded-for", forwarded)
            });
            let peer = SocketAddr::new(peer.parse().unwrap(), 40_000);
            let request = request.body(axum::body::Body::empty()).unwrap();
            let Ok(answer) = app.front.answer(request, peer).await;
            answer.status().as_u16()
        };
        for peer in ["10.0.0.9", "203.0.113.9", "2001:db8::9", "::ffff:10.0.0.9"] {
            for forwarded in [None, Some("127.0.0.1"), Some("::1"), Some("127.0.0.1, 127.0.0.1")] {
                assert_eq!(ask(peer, forwarded).await, 404, "{trusted} {peer} {forwarded:?}");
            }
        }
        for peer in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(ask(peer, None).await, 204, "{trusted} {peer}");
        }
    }
}

/// A page of somebody else, open in a browser on the developer's machine.
#[tokio::test]
async fn a_strangers_page_in_a_browser_on_this_machine_finds_nothing() {
    let app = on(Engine::Sqlite)
        .set("FRONTEND_URL", "http://localhost:3000")
        .set("TEST_ENDPOINTS_KEY", "sixteen-bytes-ok")
        .start()
        .await;
    app.register(ADA).await.expect(201);
    for origin in ["http://evil.example", "null", "http://localhost:3001"] {
        for (method, path) in ENDPOINTS {
            let request = app.request(method, path).header("origin", origin);
            let answer = request.await.expect_problem(404, "not_found");
            assert_eq!(answer.header("access-control-allow-origin"), None);
        }
        let preflight = app
            .request(Method::OPTIONS, "/test/reset")
            .header("origin", origin);
        let preflight = preflight.header("access-control-request-method", "POST");
        let preflight = preflight
            .header("access-control-request-headers", "x-test-key")
            .await;
        assert_eq!(preflight.header("access-control-allow-origin"), None);
        assert_eq!(preflight.header("access-control-allow-headers"), None);
    }
    // DNS rebinding: the page's own name leads to 127.0.0.1 by now, and the browser takes us for its origin.
    for host in ["evil.example", "localhost.evil.example", "0.0.0.0"] {
        for (method, path) in ENDPOINTS {
            let request = app
                .request(method, path)
                .header("host", &format!("{host}:{}", app.address.port()));
            request.await.expect_problem(404, "not_found");
        }
    }
    assert_eq!(app.outbox_of(ADA).await.len(), 1, "nothing was reset");
    let own = app
        .request(Method::POST, "/test/reset")
        .header("origin", "http://localhost:3000");
    own.await.expect(204);
    let preflight = app
        .request(Method::OPTIONS, "/test/reset")
        .header("origin", "http://localhost:3000");
    let preflight = preflight.header("access-control-request-method", "POST").await;
    assert_eq!(
        preflight.header("access-control-allow-origin"),
        None,
        "not one of CORS_ORIGINS"
    );
    let by_name = app
        .get("/test/outbox?to=ada@example.com")
        .header("host", "evil.example");
    by_name.header("x-test-key", "sixteen-bytes-ok").await.expect(200);
}

#[tokio::test]
async fn a_page_of_the_product_may_name_its_worker() {
    let app = on(Engine::Sqlite)
        .set("CORS_ORIGINS", "http://localhost:3000")
        .start()
        .await;
    let preflight = app
        .request(Method::OPTIONS, "/auth/login")
        .header("origin", "http://localhost:3000");
    let answer = preflight
        .header("access-control-request-method", "POST")
        .await
        .expect(200);
    let allowed = answer.header("access-control-allow-headers").unwrap();
    assert!(
        allowed.contains("x-test-client") && allowed.contains("x-test-key"),
        "{allowed}"
    );
    let app = TestApp::on(Engine::Sqlite)
        .set("CORS_ORIGINS", "http://localhost:3000")
        .start()
        .await;
    let preflight = app
        .request(Method::OPTIONS, "/auth/login")
        .header("origin", "http://localhost:3000");
    let answer = preflight
        .header("access-control-request-method", "POST")
        .await
        .expect(200);
    assert!(
        !answer
            .header("access-control-allow-headers")
            .unwrap()
            .contains("x-test")
    );
}

/// Whoever opens the pages as `http://127.0.0.1:8000` sends that with each form.
#[tokio::test]
async fn the_forms_of_our_pages_name_their_worker_under_each_loopback_name() {
    let app = on(Engine::Sqlite)
        .limited()
        .set("RATE_LIMIT_LOGIN", "1/hour")
        .start()
        .await;
    let port = app.address.port();
    for worker in ["one", "two"] {
        for (name, status) in [("localhost", 401), ("127.0.0.1", 429)] {
            let mut browser = Browser::of(&app).working_as(worker);
            browser.origin = format!("http://{name}:{port}");
            browser.sign_in(ADA, "wrong").await.expect(status);
        }
    }
}

/// Contract, section 2: refused in production, whatever else is set; no value of `Life::Production` could hold them.
#[test]
fn production_does_not_start_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut variables = vec![
        ("ENVIRONMENT", "production"),
        ("DATABASE_URL", "postgres://stile@db.example/stile"),
        ("JWT_SECRET", "kX7vq2Lr9sTz4wYb8nDf1gHj5mPc3aQe"),
        ("PUBLIC_URL", "https://auth.example.com"),
        ("SMTP_URL", "smtp://smtp.example.com"),
    ];
    let config = |variables: &[(&str, &str)]| {
        let source = Source::new(variables.iter().copied(), folder.path(), None).unwrap();
        Config::from_source(&source.look_only())
    };
    let closed = config(&variables).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(closed.http.life.test_endpoints().is_none() && closed.accounts.outbox.is_none());
    variables.push(("ENABLE_TEST_ENDPOINTS", "true"));
    variables.push(("TEST_ENDPOINTS_KEY", "sixteen-bytes-ok"));
    let errors = config(&variables).err().unwrap().to_string();
    assert!(
        errors.starts_with("ENABLE_TEST_ENDPOINTS") && errors.lines().count() == 1,
        "{errors}"
    );
}

#[tokio::test]
async fn staging_opens_them_to_the_key() {
    let app = on(Engine::Sqlite)
        .set("ENVIRONMENT", "staging")
        .set("JWT_SECRET", "kX7vq2Lr9sTz4wYb8nDf1gHj5mPc3aQe")
        .set("TEST_ENDPOINTS_KEY", "sixteen-bytes-ok")
        .start()
        .await;
    assert_not_there(&app, |request| request.from("203.0.113.9")).await;
    let request = app.request(Method::POST, "/test/reset").from("203.0.113.9");
    request.header("x-test-key", "sixteen-bytes-ok").await.expect(204);
}

#[tokio::test]
async fn the_global_limit_covers_them_for_others_alone() {
    let app = on(Engine::Sqlite)
        .limited()
        .set("RATE_LIMIT_GLOBAL", "3/minute")
        .set("RATE_LIMIT_BURST", "4")
        .start()
        .await;
    for _ in 0..20 {
        let answer = app.get("/test/outbox?to=ada@example.com").await.expect(200);
        assert_eq!(answer.header("x-ratelimit-limit"), None);
    }
    app.get("/nowhere").await.expect(404);
    let elsewhere = || app.get("/test/outbox?to=ada@example.com").from("203.0.113.9");
    for remaining in ["2", "1", "0"] {
        let answer = elsewhere().await.expect(404);
        assert_eq!(answer.header("x-ratelimit-remaining"), Some(remaining));
    }
    elsewhere().await.expect_problem(429, "rate_limited");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_several_workers_at_once_has_exactly_the_limit() {
    // 48 hashes at once: more than the pool's queue holds (48 a core) would be refused, and not by a limit.
    let app = on(Engine::Sqlite)
        .limited()
        .set("RATE_LIMIT_LOGIN", "12/hour")
        .set("RATE_LIMIT_LOGIN_ACCOUNT", "off")
        .start()
        .await;
    let long = "a suite > a file > a test with a name that is longer than any key should be";
    let workers = ["worker-7", "worker-8", long, "127.0.0.1"];
    let tries = workers.iter().flat_map(|worker| std::iter::repeat_n(*worker, 30));
    let answers = join_all(tries.map(|worker| app.log_in_wrongly(worker))).await;
    for (worker, answers) in workers.iter().zip(answers.chunks(30)) {
        let passed = answers.iter().filter(|answer| answer.status == 401).count();
        let refused = answers.iter().filter(|answer| answer.status == 429).count();
        assert_eq!((passed, refused), (12, 18), "{worker}");
    }
    let plain = app.post("/auth/login", json!({"email": ADA, "password": "wrong"}));
    let plain = plain.await.expect(401);
    assert_eq!(
        plain.header("x-ratelimit-remaining"),
        Some("11"),
        "who names no worker is his address"
    );
    app.reset().await;
    let again = app.log_in_wrongly("worker-7").await.expect(401);
    assert_eq!(again.header("x-ratelimit-remaining"), Some("11"));
}

#[tokio::test]
async fn a_worker_has_a_local_stage_of_his_own_and_a_reset_or_the_clock_fills_it_up() {
    let app = on(Engine::Sqlite)
        .limited()
        .set("RATE_LIMIT_BURST", "2")
        .start()
        .await;
    let burst = async |worker: &str| {
        let sent = (0..8).map(|_| app.get("/rate-limits").header("x-test-client", worker).send());
        let answers = join_all(sent).await;
        answers.iter().filter(|answer| answer.status == 200).count()
    };
    let first = burst("a").await;
    assert!((2..8).contains(&first), "{first}");
    assert!(burst("b").await >= 2);
    app.reset().await;
    assert!(burst("a").await >= 2);
    app.pass(2).await;
    assert!(burst("a").await >= 2);
}

#[tokio::test]
async fn the_header_of_others_is_ignored_and_limits_of_accounts_stay() {
    let app = on(Engine::Sqlite)
        .limited()
        .set("RATE_LIMIT_LOGIN", "10/hour")
        .set("RATE_LIMIT_LOGIN_ACCOUNT", "4/hour")
        .set("RATE_LIMIT_GATEWAY_FAILURES", "2/hour")
        .start()
        .await;
    for n in 0..4 {
        let answer = app.log_in_wrongly(&format!("worker-{n}")).await.expect(401);
        assert_eq!(answer.header("x-ratelimit-remaining"), Some("9"));
    }
    let refused = app
        .log_in_wrongly("worker-5")
        .await
        .expect_problem(429, "rate_limited");
    assert_eq!(refused.body["limit"], "login_account");
    for n in 0..4 {
        let request = app.post(
            "/auth/login",
            json!({"email": "x@example.com", "password": "wrong"}),
        );
        let request = request
            .from("203.0.113.9")
            .header("x-test-client", &format!("worker-{n}"));
        let left = (9 - n).to_string();
        assert_eq!(
            request.await.expect(401).header("x-ratelimit-remaining"),
            Some(left.as_str())
        );
    }
    let knock = |worker| {
        let request = app.get("/api-gateway/verify").header("x-test-client", worker);
        request.header("x-api-key", "stile_no").send()
    };
    for _ in 0..2 {
        knock("a").await.expect(401);
    }
    knock("a").await.expect(429);
    knock("b").await.expect(401);
}

#[tokio::test]
async fn a_worker_without_a_name_is_told_so() {
    let app = on(Engine::Sqlite).start().await;
    let log_in = || app.post("/auth/login", json!({"email": ADA, "password": "wrong"}));
    let bad = ["".to_owned(), "x".repeat(257)];
    for name in bad {
        let request = log_in().header("x-test-client", &name);
        let answer = request.await.expect_problem(400, "invalid_request");
        assert!(
            answer.body["detail"]
                .as_str()
                .unwrap()
                .starts_with("X-Test-Client")
        );
        let elsewhere = log_in().header("x-test-client", &name);
        elsewhere.from("203.0.113.9").await.expect(401);
    }
    let two = log_in().header("x-test-client", "a").header("x-test-client", "b");
    two.await.expect_problem(400, "invalid_request");
}
