//! Traces, as a collector gets them from the real binary.

use std::path::Path;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::{Value, json};

use crate::authority::Localhost;
use crate::collector::{Collector, attribute};
use crate::process::{PATIENCE, Process, Stile};

const PASSWORD: &str = "correct-horse-battery-9";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn traced(folder: &Path, endpoint: &str) -> Stile {
    Stile::in_directory(folder)
        .set("ENVIRONMENT", "test")
        .set("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
}

async fn post(stile: &Process, path: &str, body: &Value, headers: &[(&str, &str)]) -> reqwest::Response {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = client.post(stile.url(path)).json(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn of(span: &Span, key: &str) -> Option<String> {
    attribute(&span.attributes, key)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_is_a_trace_that_goes_on_where_its_caller_began_it_and_tells_no_secret() {
    let (folder, collector) = (tempfile::tempdir().unwrap(), Collector::start(None).await);
    // From the file alone: the exporter reads the process's variables by itself, behind the configuration's back.
    std::fs::write(
        folder.path().join(".env.test"),
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS='X-Team-Key=s3cr3t%20key&more, x-other=1'\n",
    )
    .unwrap();
    let stile = traced(folder.path(), &format!("http://{}/base/", collector.address))
        .set("OTEL_EXPORTER_OTLP_HEADERS", "x-of-all=1, x-team-key=that of all")
        .set("OTEL_SERVICE_NAME", "auth")
        .set(
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=e2e,team=a%2Cb",
        )
        .start();
    let ada = json!({"email": "ada@example.com", "password": PASSWORD});
    assert_eq!(
        post(&stile, "/api/v1/auth/register", &ada, &[]).await.status(),
        201
    );
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let headers = [("traceparent", traceparent.as_str()), ("x-request-id", "edge-7")];
    let answer = post(&stile, "/api/v1/auth/login?next=hunter2", &ada, &headers).await;
    let tokens: Value = answer.json().await.unwrap();
    let lost = format!("/lost/{}", tokens["refresh_token"].as_str().unwrap());
    assert_eq!(post(&stile, &lost, &ada, &[]).await.status(), 404);

    let login = collector.span("POST /api/v1/auth/login").await;
    assert_eq!(
        (hex(&login.trace_id), hex(&login.parent_span_id)),
        (TRACE.into(), PARENT.into())
    );
    assert_eq!(login.kind, SpanKind::Server as i32);
    for (key, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/api/v1/auth/login"),
        ("url.path", "/api/v1/auth/login"),
        ("url.scheme", "http"),
        ("http.response.status_code", "200"),
        ("client.address", "127.0.0.1"),
        ("stile.request_id", "edge-7"),
    ] {
        assert_eq!(of(&login, key).as_deref(), Some(value), "{key}");
    }

    // What it waited for: all in its trace, in its time.
    for name in [
        "rate_limit.check",
        "password.verify",
        "database.connection",
        "database.query",
    ] {
        let until = Instant::now() + PATIENCE;
        let child = loop {
            let spans = collector.spans();
            let found = spans
                .into_iter()
                .find(|span| span.name == name && span.trace_id == login.trace_id);
            if let Some(found) = found {
                break found;
            }
            assert!(Instant::now() < until, "no {name} in the trace of the login");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert_eq!(child.parent_span_id, login.span_id, "{name}");
        let (began, ended) = (child.start_time_unix_nano, child.end_time_unix_nano);
        assert!(login.start_time_unix_nano <= began && began <= ended && ended <= login.end_time_unix_nano);
    }
    let query = collector.span("database.query").await;
    assert_eq!(of(&query, "db.system.name").as_deref(), Some("sqlite"));
    assert!(of(&query, "db.query.text").is_some_and(|sql| !sql.is_empty()));

    let register = collector.span("POST /api/v1/auth/register").await;
    assert!(register.parent_span_id.is_empty() && register.trace_id != login.trace_id);
    let lost = collector.span("POST").await;
    assert_eq!((of(&lost, "http.route"), of(&lost, "url.path")), (None, None));
    let mail = collector.span("mail.send").await;
    assert_eq!(of(&mail, "stile.mail.kind").as_deref(), Some("registration"));

    let batches = collector.batches.lock().unwrap();
    for batch in batches.iter() {
        assert!(
            batch.head.starts_with("post /base/v1/traces http/1.1\r\n"),
            "{}",
            batch.head
        );
        assert!(
            batch.head.contains("content-type: application/x-protobuf"),
            "{}",
            batch.head
        );
        assert!(batch.head.contains("user-agent: stile/"), "{}", batch.head);
        assert!(
            batch.head.contains("x-team-key: s3cr3t key&more\r\n") && !batch.head.contains("of-all"),
            "{}",
            batch.head
        );
        let resource = batch.traces.resource_spans[0].resource.as_ref().unwrap();
        for (key, value) in [
            ("service.name", "auth"),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("deployment.environment.name", "e2e"),
            ("team", "a,b"),
        ] {
            assert_eq!(
                attribute(&resource.attributes, key).as_deref(),
                Some(value),
                "{key}"
            );
        }
        let said = String::from_utf8_lossy(&batch.body);
        let tokens = [&tokens["access_token"], &tokens["refresh_token"]];
        let tokens = tokens.map(|token| token.as_str().unwrap());
        for secret in [PASSWORD, "ada@", "hunter2", "$argon2", tokens[0], tokens[1]] {
            assert!(!said.contains(secret), "{secret} left the house");
        }
    }
    drop(batches);
    // The mail queue is looked at every second; none of that is a trace.
    let roots = collector
        .spans()
        .into_iter()
        .filter(|span| span.parent_span_id.is_empty());
    for root in roots {
        assert!(
            root.name.starts_with("POST") || root.name.starts_with("GET") || root.name == "mail.send",
            "{root:?}"
        );
    }
    assert!(!stile.out.text().contains("s3cr3t"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_the_servers_fault_is_marked() {
    let (folder, collector) = (tempfile::tempdir().unwrap(), Collector::start(None).await);
    // The endpoint of traces alone is taken as it is.
    let endpoint = format!("http://{}/custom/path", collector.address);
    let stile = Stile::in_directory(folder.path())
        .set("ENVIRONMENT", "test")
        .set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint)
        .set("SHUTDOWN_DELAY_SECONDS", "600")
        .start();
    stile.signal("TERM");
    stile
        .out
        .wait_for(|line| line.contains("shutting down"), || false);
    assert_eq!(reqwest::get(stile.url("/readyz")).await.unwrap().status(), 503);
    let until = Instant::now() + PATIENCE;
    loop {
        let spans = collector.spans();
        let marked = spans
            .iter()
            .find(|span| of(span, "error.type").as_deref() == Some("503"));
        if let Some(span) = marked {
            assert_eq!(span.name, "GET /readyz");
            assert_eq!(span.status.as_ref().unwrap().code, StatusCode::Error as i32);
            break;
        }
        assert!(Instant::now() < until, "{spans:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let batches = collector.batches.lock().unwrap();
    assert!(
        batches[0].head.starts_with("post /custom/path http/1.1\r\n"),
        "{}",
        batches[0].head
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_spans_leave_before_the_process_does() {
    let (folder, collector) = (tempfile::tempdir().unwrap(), Collector::start(None).await);
    let stile = traced(folder.path(), &format!("http://{}", collector.address)).start();
    for _ in 0..50 {
        assert_eq!(reqwest::get(stile.url("/livez")).await.unwrap().status(), 200);
    }
    stile.signal("TERM");
    let ended = tokio::task::spawn_blocking(move || stile.wait_for_end(PATIENCE))
        .await
        .unwrap();
    assert!(ended.success());
    let spans = collector.spans();
    assert_eq!(spans.iter().filter(|span| span.name == "GET /livez").count(), 50);
}

/// Requests wait for no collector, the log says it once, and the end is not held up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_not_there_costs_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let stile = traced(folder.path(), "http://127.0.0.1:1").start();
    let until = Instant::now() + PATIENCE;
    while stile.out.count("takes no traces") == 0 {
        assert_eq!(reqwest::get(stile.url("/livez")).await.unwrap().status(), 200);
        assert!(Instant::now() < until, "{}", stile.out.text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for _ in 0..30 {
        assert_eq!(reqwest::get(stile.url("/livez")).await.unwrap().status(), 200);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stile.signal("TERM");
    let (ended, stile) = tokio::task::spawn_blocking(move || (stile.wait_for_end(PATIENCE), stile))
        .await
        .unwrap();
    assert!(ended.success());
    assert_eq!(stile.out.count("takes no traces"), 1, "{}", stile.out.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_is_no_trusted_proxy_begins_nothing_here() {
    let (folder, collector) = (tempfile::tempdir().unwrap(), Collector::start(None).await);
    let stile = traced(folder.path(), &format!("http://{}", collector.address))
        .set("TRUSTED_PROXIES", "")
        .start();
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    post(
        &stile,
        "/api/v1/auth/logout",
        &json!({}),
        &[("traceparent", &traceparent)],
    )
    .await;
    let span = collector.span("POST /api/v1/auth/logout").await;
    assert_ne!(hex(&span.trace_id), TRACE);
    assert!(span.parent_span_id.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sampler_decides_who_is_traced() {
    let (folder, collector) = (tempfile::tempdir().unwrap(), Collector::start(None).await);
    let stile = traced(folder.path(), &format!("http://{}", collector.address))
        .set("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
        .set("OTEL_TRACES_SAMPLER_ARG", "0")
        .start();
    for _ in 0..20 {
        assert_eq!(reqwest::get(stile.url("/livez")).await.unwrap().status(), 200);
    }
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    post(
        &stile,
        "/api/v1/auth/logout",
        &json!({}),
        &[("traceparent", &traceparent)],
    )
    .await;
    collector.span("POST /api/v1/auth/logout").await;
    assert!(collector.spans().iter().all(|span| hex(&span.trace_id) == TRACE));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_over_tls_is_verified() {
    let localhost = Localhost::certified();
    let collector = Collector::start(Some(localhost.acceptor())).await;
    let folder = tempfile::tempdir().unwrap();
    let endpoint = format!("https://localhost:{}", collector.address.port());
    let stranger = traced(folder.path(), &endpoint).start();
    stranger
        .out
        .wait_for(|line| line.contains("takes no traces"), || stranger.has_ended());
    assert!(collector.spans().is_empty());

    let file = folder.path().join("authority.pem");
    std::fs::write(&file, localhost.authority).unwrap();
    // The collector's own authorities come before those of everything else.
    let others = folder.path().join("others.pem");
    std::fs::write(&others, Localhost::certified().authority).unwrap();
    for (name, of_all) in [
        ("TLS_CA_FILE", None),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", Some("TLS_CA_FILE")),
        (
            "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
            Some("OTEL_EXPORTER_OTLP_CERTIFICATE"),
        ),
    ] {
        collector.batches.lock().unwrap().clear();
        let mut stile = traced(folder.path(), &endpoint).set(name, file.to_str().unwrap());
        if let Some(of_all) = of_all {
            stile = stile.set(of_all, others.to_str().unwrap());
        }
        let _stile = stile.start();
        collector.span("GET /readyz").await;
    }
}

/// A collector that takes a batch and never answers holds it no longer than it may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_has_the_time_that_is_set() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let stile = traced(folder.path(), &endpoint)
        .set("OTEL_EXPORTER_OTLP_TIMEOUT", "60000")
        .set("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "200")
        .start();
    stile
        .out
        .wait_for(|line| line.contains("takes no traces"), || stile.has_ended());
}
