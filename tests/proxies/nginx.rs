//! nginx, `auth_request`: `ops/nginx`, line by line as it ships but for addresses and paths.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::app::{Engine, TestApp};
use crate::asking::{free_address, header, token};
use crate::product::Product;

/// A running nginx. It is killed when this is dropped.
pub(crate) struct Nginx {
    child: Child,
    pub(crate) address: SocketAddr,
    folder: TempDir,
}

impl Nginx {
    /// In front of `product`, asking the stile at `stile` through a door that logs each question.
    async fn start(stile: SocketAddr, product: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (address, door) = (free_address(), free_address());
        let ops = Path::new(env!("CARGO_MANIFEST_DIR")).join("ops/nginx");
        let path = |name: &str| folder.path().join(name).display().to_string();
        let shipped = std::fs::read_to_string(ops.join("gateway.conf")).unwrap();
        let mut gateway = shipped;
        for (shipped, here) in [
            ("server 127.0.0.1:8000;", format!("server {door};")),
            ("server 127.0.0.1:9000;", format!("server {product};")),
            ("listen 8080;", format!("listen {address};")),
            (
                "/etc/nginx/stile-location.conf",
                ops.join("stile-location.conf").display().to_string(),
            ),
        ] {
            assert!(gateway.contains(shipped), "{shipped} stands in gateway.conf");
            gateway = gateway.replace(shipped, &here);
        }
        let door = format!(
            "log_format question '$request_method';\n\
             server {{ listen {door}; access_log {} question; \
             location / {{ proxy_pass http://{stile}; proxy_set_header X-Forwarded-For $http_x_forwarded_for; }} }}\n",
            path("questions"),
        );
        Self::launch(folder, address, &format!("{gateway}\n{door}")).await
    }

    /// With these servers, of which one listens at `address`.
    pub(crate) async fn launch(folder: TempDir, address: SocketAddr, servers: &str) -> Self {
        let path = |name: &str| folder.path().join(name).display().to_string();
        let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {};\n", path(kind)))
            .concat();
        let configuration = format!(
            "daemon off;\nmaster_process off;\npid {};\nerror_log {} warn;\nevents {{}}\nhttp {{\naccess_log off;\n{temp}{servers}}}\n",
            path("pid"),
            path("error.log"),
        );
        std::fs::write(folder.path().join("nginx.conf"), configuration).unwrap();
        let child = Command::new("nginx")
            .args([
                "-p",
                &path(""),
                "-c",
                &path("nginx.conf"),
                "-e",
                &path("error.log"),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start nginx ({error}): apt-get install -y nginx-light"));
        let nginx = Self {
            child,
            address,
            folder,
        };
        for _ in 0..1000 {
            if TcpStream::connect(address).is_ok() {
                return nginx;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let log = std::fs::read_to_string(nginx.folder.path().join("error.log"));
        panic!("nginx does not listen: {log:?}");
    }

    fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        client.request(method, format!("http://{}{path}", self.address))
    }

    fn get(&self, token: &Value) -> RequestBuilder {
        self.ask(Method::GET, "/").bearer_auth(token.as_str().unwrap())
    }

    /// How often stile was asked.
    fn questions(&self) -> usize {
        std::fs::read_to_string(self.folder.path().join("questions"))
            .unwrap_or_default()
            .lines()
            .count()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Point 3 of the issue; GW-03: what passes, what the product sees, and what the client is told, at one question each.
#[tokio::test(flavor = "multi_thread")]
async fn nginx_lets_through_what_stile_lets_through() {
    let app = TestApp::on(Engine::Sqlite)
        .set("RATE_LIMIT_GATEWAY_FAILURES", "4/minute")
        .limited()
        .start()
        .await;
    let (product, product_address) = Product::start().await;
    let nginx = Nginx::start(app.address, product_address).await;
    let session = app.signed_up("ada@example.com").await;
    let access = &session["access_token"];
    let good = token(
        &app,
        access,
        json!({"name": "x", "scopes": ["read:*"], "rate_limit_per_minute": 4}),
    )
    .await;
    let bare = token(&app, access, json!({"name": "y"})).await;
    let (mut asked, spoofed) = (0, "root");
    let mut once_more = || {
        asked += 1;
        assert_eq!(nginx.questions(), asked, "one question for each request");
    };

    let passed = nginx
        .get(&good["token"])
        .header("X-Auth-User-Id", spoofed)
        .header("X-Auth-Token-Id", spoofed)
        .header("X-Auth-Scopes", "admin")
        .header("X-Auth-Session-Id", spoofed)
        .header("X-Auth-Role", "admin")
        .header("X-User-Id", spoofed)
        .header("X_Auth_User_Id", spoofed)
        .header("X_Auth_Role", "admin")
        .header("X-Forwarded-For", "6.6.6.6")
        .header("X-Forwarded-Host", "evil.example")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-User", spoofed)
        .header("X-Real-IP", "6.6.6.6")
        .header("Forwarded", "for=6.6.6.6")
        .send()
        .await
        .unwrap();
    assert_eq!(passed.status(), 200);
    assert_eq!(header(&passed, "x-ratelimit-remaining"), Some("3"));
    assert_eq!(passed.text().await.unwrap(), "product read 0");
    once_more();
    let seen = product.take().remove(0);
    let saw = |name: &str| -> Vec<&str> {
        seen.get_all(name)
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect()
    };
    assert_eq!(saw("x-auth-user-id"), [session["user"]["id"].as_str().unwrap()]);
    assert_eq!(saw("x-auth-token-id"), [good["id"].as_str().unwrap()]);
    assert_eq!(saw("x-auth-scopes"), ["read:*"]);
    assert_eq!(saw("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(saw("x-real-ip"), ["127.0.0.1"]);
    assert_eq!(saw("x-forwarded-proto"), ["http"]);
    for (name, value) in &seen {
        let value = value.to_str().unwrap();
        assert!(
            !["root", "admin", "6.6.6.6", "evil.example"]
                .iter()
                .any(|bad| value.contains(bad)),
            "{name}: {value}"
        );
        assert!(
            !value.contains("stile_") && !name.as_str().contains('_'),
            "{name}"
        );
    }

    // Any method, and a body: it reaches the product, the question costs one.
    let posted = nginx
        .ask(Method::POST, "/things/1")
        .bearer_auth(good["token"].as_str().unwrap());
    let posted = posted.body("x".repeat(100_000)).send().await.unwrap();
    assert_eq!(posted.text().await.unwrap(), "product read 100000");
    once_more();
    product.take();

    let nothing = nginx.ask(Method::GET, "/").send().await.unwrap();
    assert_eq!(
        (nothing.status().as_u16(), header(&nothing, "www-authenticate")),
        (401, Some("Bearer"))
    );
    assert_eq!(header(&nothing, "content-type"), Some("application/problem+json"));
    once_more();
    let wrong = nginx.get(&json!("stile_x")).send().await.unwrap();
    let challenge = header(&wrong, "www-authenticate");
    assert_eq!(
        (wrong.status().as_u16(), challenge),
        (401, Some(r#"Bearer error="invalid_token""#))
    );
    once_more();
    let lacking = nginx
        .ask(Method::GET, "/things/1")
        .bearer_auth(bare["token"].as_str().unwrap());
    let lacking = lacking.send().await.unwrap();
    assert_eq!(lacking.status(), 403);
    assert_eq!(
        header(&lacking, "www-authenticate"),
        Some(r#"Bearer error="insufficient_scope""#)
    );
    once_more();
    let two = nginx
        .get(&good["token"])
        .header("X-API-Key", good["token"].as_str().unwrap());
    assert_eq!(two.send().await.unwrap().status(), 400);
    once_more();

    for left in ["1", "0"] {
        let passed = nginx.get(&good["token"]).send().await.unwrap();
        assert_eq!(
            (passed.status().as_u16(), header(&passed, "x-ratelimit-remaining")),
            (200, Some(left))
        );
        once_more();
    }
    product.take();
    let over = nginx.get(&good["token"]).send().await.unwrap();
    assert_eq!(over.status(), 429);
    assert_eq!(header(&over, "retry-after"), Some("60"));
    assert_eq!(header(&over, "x-ratelimit-limit"), Some("4"));
    assert_eq!(header(&over, "cache-control"), Some("no-store"));
    assert!(header(&over, "ratelimit").unwrap().contains("token_minute"));
    let body: Value = serde_json::from_str(&over.text().await.unwrap()).unwrap();
    assert_eq!(
        (&body["code"], &body["retry_after"]),
        (&json!("rate_limited"), &json!(60))
    );
    once_more();

    // Refused at once after it is revoked.
    let path = format!("/api-tokens/{}", good["id"].as_str().unwrap());
    app.delete(&path).bearer(access).await.expect(204);
    assert_eq!(nginx.get(&good["token"]).send().await.unwrap().status(), 401);
    once_more();
    assert!(product.take().is_empty(), "nothing refused reached the product");

    // Without the database nothing unknown passes, and without stile nothing at all.
    let late = token(&app, access, json!({"name": "z"})).await;
    app.app.database.close().await;
    let unavailable = nginx.get(&late["token"]).send().await.unwrap();
    assert_eq!(
        (unavailable.status().as_u16(), header(&unavailable, "retry-after")),
        (503, Some("1"))
    );
    once_more();
    drop(app);
    for _ in 0..200 {
        if TcpStream::connect_timeout(&nginx.address, Duration::from_secs(1)).is_err() {
            break;
        }
        if nginx.get(&late["token"]).send().await.unwrap().status() == 503 {
            assert!(product.take().is_empty());
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("without stile the answer is 503");
}
