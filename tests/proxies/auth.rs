//! nginx in front of stile's own API: `ops/nginx/auth.conf`, line by line as it ships but for addresses and paths.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::app::{Engine, TestApp};
use crate::asking::free_address;
use crate::nginx;
use crate::proxy::{Proxy, shipped};

const NAME: &str = "auth.example.com";

/// nginx with a certificate for its name.
struct Front {
    nginx: Proxy,
    in_the_clear: SocketAddr,
    certificate: CertificateDer<'static>,
}

/// What came back: status, headers as sent, body.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Front {
    async fn start(stile: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("crt"), made.cert.pem()).unwrap();
        std::fs::write(path("key"), made.signing_key.serialize_pem()).unwrap();
        let (address, in_the_clear) = (free_address(), free_address());
        let servers = shipped(
            "nginx/auth.conf",
            &[
                ("server 127.0.0.1:8000 ", format!("server {stile} ")),
                ("listen 80;", format!("listen {in_the_clear};")),
                ("listen 443 ssl;", format!("listen {address} ssl;")),
                ("/etc/nginx/tls/auth.example.com.crt", path("crt")),
                ("/etc/nginx/tls/auth.example.com.key", path("key")),
            ],
        );
        Self {
            nginx: nginx::launch(folder, address, &servers).await,
            in_the_clear,
            certificate: made.cert.der().clone(),
        }
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        // Not nginx's own address, which is trusted.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 2], 0))).unwrap();
        let stream = socket.connect(self.nginx.address).await.unwrap();
        let name = ServerName::try_from(NAME).unwrap();
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .unwrap();
        exchange(stream, method, path, headers, body).await
    }
}

async fn exchange(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // nginx may cut off what it does not want to read.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("{answer:?}"));
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

impl Answer {
    fn json(&self) -> Value {
        let body = &self.body[self.body.find('{').unwrap()..=self.body.rfind('}').unwrap()];
        serde_json::from_str(body).unwrap()
    }
}

/// RL-03: behind nginx a client is counted under the address that nginx sees, whatever he claims.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_behind_nginx_cannot_choose_his_address() {
    let app = TestApp::on(Engine::Sqlite)
        // As in production: the proxy and nobody else.
        .set("TRUSTED_PROXIES", "127.0.0.1/32")
        .set("RATE_LIMIT_LOGIN", "3/minute")
        .set("RATE_LIMIT_ALLOWLIST", "10.9.9.9")
        // To whoever is on this machine and asks for this name, X-Test-Client would make a client of its own.
        .set("ENABLE_TEST_ENDPOINTS", "true")
        .set("PUBLIC_URL", format!("https://{NAME}"))
        .limited()
        .start()
        .await;
    let front = Front::start(app.address).await;
    let login = |claimed: String| {
        let front = &front;
        async move {
            let headers = [
                ("X-Forwarded-For", claimed.as_str()),
                ("X-Real-IP", claimed.as_str()),
                ("Forwarded", "for=10.9.9.9"),
                ("X-Test-Client", claimed.as_str()),
            ];
            let body = r#"{"email":"a@example.com","password":"wrong-password"}"#;
            front.ask("POST", "/api/v1/auth/login", &headers, body).await
        }
    };
    let mut refused = 0;
    for round in 0..6 {
        // An address of the allow list among them, a trusted proxy, and plain invention.
        let claimed = ["10.9.9.9", "127.0.0.1", "198.51.100.7, 127.0.0.1"][round % 3];
        refused += usize::from(login(claimed.to_owned()).await.status == 429);
    }
    assert_eq!(refused, 3, "one client, three logins");
}

/// Section 6: what opens the test endpoints opens them to those beside stile, not to those in front of nginx.
#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_the_test_endpoints_opens_nothing_through_nginx() {
    const KEY: (&str, &str) = ("X-Test-Key", "sixteen bytes or more");
    let app = TestApp::on(Engine::Sqlite)
        .set("TRUSTED_PROXIES", "127.0.0.1/32")
        .set("ENABLE_TEST_ENDPOINTS", "true")
        .set("TEST_ENDPOINTS_KEY", KEY.1)
        .start()
        .await;
    let path = "/api/v1/test/outbox?to=a@example.com";
    let beside = TcpStream::connect(app.address).await.unwrap();
    assert_eq!(exchange(beside, "GET", path, &[KEY], "").await.status, 200);
    let front = Front::start(app.address).await;
    assert_eq!(front.ask("GET", path, &[KEY], "").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_ends_tls_bounds_bodies_and_keeps_the_form_of_errors() {
    let mut app = TestApp::on(Engine::Sqlite).start().await;
    let front = Front::start(app.address).await;
    let clear = TcpStream::connect(front.in_the_clear).await.unwrap();
    let moved = exchange(clear, "GET", "/api/v1/health?x=1", &[], "").await;
    assert_eq!(moved.status, 308);
    assert!(
        moved
            .head
            .contains("\r\nlocation: https://auth.example.com/api/v1/health?x=1"),
        "{}",
        moved.head
    );

    let health = front
        .ask("GET", "/api/v1/health", &[("X-Request-Id", "mine")], "")
        .await;
    assert_eq!(
        (health.status, health.json()["status"].as_str()),
        (200, Some("healthy"))
    );
    assert!(!health.head.contains("nginx/"), "no version: {}", health.head);
    let ids: Vec<&str> = health
        .head
        .lines()
        .filter(|line| line.starts_with("x-request-id:"))
        .collect();
    assert!(
        matches!(ids.as_slice(), [id] if !id.contains("mine")),
        "nginx names the request: {ids:?}"
    );

    let body = format!(
        r#"{{"email":"a@example.com","password":"{}"}}"#,
        "x".repeat(20_000)
    );
    let large = front.ask("POST", "/api/v1/auth/login", &[], &body).await;
    assert_eq!(
        (large.status, large.json()["code"].as_str()),
        (413, Some("payload_too_large"))
    );
    assert!(
        large.head.contains("content-type: application/problem+json"),
        "{}",
        large.head
    );

    app.stop().await;
    let gone = front.ask("GET", "/api/v1/health", &[], "").await;
    assert_eq!(
        (gone.status, gone.json()["code"].as_str()),
        (503, Some("unavailable"))
    );
    assert!(gone.head.contains("\r\nretry-after: 1"), "{}", gone.head);
}
