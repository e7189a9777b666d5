//! Caddy, `forward_auth`: `ops/caddy/Caddyfile`, line by line as it ships but for addresses.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::app::{Engine, TestApp};
use crate::asking::{free_address, header, token};
use crate::door::Door;
use crate::product::Product;

/// A running Caddy. It is killed when this is dropped.
struct Caddy {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Caddy {
    /// In front of `product`, asking the stile behind `door`.
    async fn start(door: SocketAddr, product: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = free_address();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("ops/caddy/Caddyfile");
        let mut configuration = std::fs::read_to_string(shipped).unwrap();
        for (shipped, here) in [
            ("forward_auth 127.0.0.1:8000 {", format!("forward_auth {door} {{")),
            ("reverse_proxy 127.0.0.1:9000", format!("reverse_proxy {product}")),
            (":8080 {", format!("http://{address} {{")),
        ] {
            assert!(
                configuration.contains(shipped),
                "{shipped} stands in the Caddyfile"
            );
            configuration = configuration.replace(shipped, &here);
        }
        let file = folder.path().join("Caddyfile");
        std::fs::write(&file, format!("{{\n\tadmin off\n}}\n{configuration}")).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new("caddy")
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(&file)
            // What it keeps, it keeps here.
            .env("HOME", folder.path())
            .env("XDG_DATA_HOME", folder.path())
            .env("XDG_CONFIG_HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start Caddy ({error}): apt-get install -y caddy"));
        let caddy = Self {
            child,
            address,
            folder,
        };
        for _ in 0..2000 {
            if TcpStream::connect(address).is_ok() {
                return caddy;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let log = std::fs::read_to_string(caddy.folder.path().join("log"));
        panic!("Caddy does not listen: {log:?}");
    }

    fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        client.request(method, format!("http://{}{path}", self.address))
    }

    fn get(&self, token: &Value) -> RequestBuilder {
        self.ask(Method::GET, "/").bearer_auth(token.as_str().unwrap())
    }
}

impl Drop for Caddy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Point 3 of the issue; GW-03: what passes, what the product sees, and what the client is told, at one question each.
#[tokio::test(flavor = "multi_thread")]
async fn caddy_lets_through_what_stile_lets_through() {
    let app = TestApp::on(Engine::Sqlite)
        .set("RATE_LIMIT_GATEWAY_FAILURES", "4/minute")
        .limited()
        .start()
        .await;
    let (product, product_address) = Product::start().await;
    let (door, door_address) = Door::start(app.address).await;
    let caddy = Caddy::start(door_address, product_address).await;
    let session = app.signed_up("ada@example.com").await;
    let access = &session["access_token"];
    let terms = json!({"name": "x", "scopes": ["read:*"], "rate_limit_per_minute": 4});
    let good = token(&app, access, terms).await;
    let bare = token(&app, access, json!({"name": "y"})).await;
    let asked_once = || {
        let mut questions = door.take();
        assert_eq!(questions.len(), 1, "one question for each request");
        let question = questions.remove(0);
        assert_eq!((question.method, question.body), (Method::GET, 0));
        assert!(!question.headers.contains_key("cookie"));
        assert_eq!(question.headers["x-forwarded-for"], "127.0.0.1");
        question.uri.to_string()
    };

    let spoofed = "root";
    let passed = caddy
        .get(&good["token"])
        .header("X-Auth-User-Id", spoofed)
        .header("X-Auth-Token-Id", spoofed)
        .header("X-Auth-Scopes", "admin")
        .header("X-Auth-Session-Id", spoofed)
        .header("X-Auth-Role", "admin")
        .header("x-auth-anything", spoofed)
        .header("X-User-Id", spoofed)
        .header("X_Auth_User_Id", spoofed)
        .header("x_auth_role", "admin")
        .header("X-Auth_Role", "admin")
        .header("X-Forwarded-For", "6.6.6.6")
        .header("X-Forwarded-Host", "evil.example")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-User", spoofed)
        .header("X_Forwarded_For", "6.6.6.6")
        .header("X-Real-IP", "6.6.6.6")
        .header("Forwarded", "for=6.6.6.6")
        .header("Cookie", "__Host-stile_access=x")
        .send()
        .await
        .unwrap();
    assert_eq!(passed.status(), 200);
    assert_eq!(header(&passed, "x-ratelimit-limit"), Some("4"));
    assert_eq!(header(&passed, "x-ratelimit-remaining"), Some("3"));
    assert!(header(&passed, "ratelimit").unwrap().contains("token_minute"));
    assert_eq!(passed.text().await.unwrap(), "product read 0");
    assert_eq!(asked_once(), "/api/v1/api-gateway/verify");
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
    assert_eq!(saw("x-forwarded-proto"), ["http"]);
    for (name, value) in &seen {
        let value = value.to_str().unwrap();
        assert!(
            !["root", "admin", "6.6.6.6", "evil.example"]
                .iter()
                .any(|bad| value.contains(bad)),
            "{name}: {value}"
        );
        assert!(!value.contains("stile_") || name == "cookie", "{name}: {value}");
        assert!(!name.as_str().contains('_'), "{name}");
    }
    let shown = app.get(&format!("/api-tokens/{}", good["id"].as_str().unwrap()));
    assert_eq!(
        shown.bearer(access).await.expect(200).body["last_used_ip"],
        "127.0.0.1"
    );

    // A token without scopes: its header is there and empty, whatever the client wrote.
    let empty = caddy.get(&bare["token"]).header("X-Auth-Scopes", "admin");
    assert_eq!(empty.send().await.unwrap().status(), 200);
    asked_once();
    assert!(
        product.take()[0]
            .get_all("x-auth-scopes")
            .iter()
            .all(|scopes| scopes.is_empty())
    );

    // Any method, and a body: it reaches the product, the question has none.
    let posted = caddy
        .ask(Method::POST, "/things/1?scope=admin&token=x")
        .bearer_auth(good["token"].as_str().unwrap());
    let posted = posted.body("x".repeat(100_000)).send().await.unwrap();
    assert_eq!(posted.text().await.unwrap(), "product read 100000");
    assert_eq!(asked_once(), "/api/v1/api-gateway/verify?scope=read:things");
    product.take();

    let nothing = caddy.ask(Method::GET, "/").send().await.unwrap();
    assert_eq!(
        (nothing.status().as_u16(), header(&nothing, "www-authenticate")),
        (401, Some("Bearer"))
    );
    assert_eq!(header(&nothing, "content-type"), Some("application/problem+json"));
    asked_once();
    let wrong = caddy.get(&json!("stile_x")).send().await.unwrap();
    let challenge = header(&wrong, "www-authenticate");
    assert_eq!(
        (wrong.status().as_u16(), challenge),
        (401, Some(r#"Bearer error="invalid_token""#))
    );
    asked_once();
    let lacking = caddy
        .ask(Method::GET, "/things/1")
        .bearer_auth(bare["token"].as_str().unwrap());
    let lacking = lacking.send().await.unwrap();
    assert_eq!(lacking.status(), 403);
    assert_eq!(
        header(&lacking, "www-authenticate"),
        Some(r#"Bearer error="insufficient_scope""#)
    );
    asked_once();
    let two = caddy
        .get(&good["token"])
        .header("X-API-Key", good["token"].as_str().unwrap());
    let two = two.send().await.unwrap();
    assert_eq!(two.status(), 400);
    let body: Value = serde_json::from_str(&two.text().await.unwrap()).unwrap();
    assert_eq!(body["code"], "invalid_request");
    asked_once();

    for left in ["1", "0"] {
        let passed = caddy.get(&good["token"]).send().await.unwrap();
        assert_eq!(
            (passed.status().as_u16(), header(&passed, "x-ratelimit-remaining")),
            (200, Some(left))
        );
        asked_once();
    }
    product.take();
    let over = caddy.get(&good["token"]).send().await.unwrap();
    assert_eq!(over.status(), 429);
    assert_eq!(header(&over, "retry-after"), Some("60"));
    assert_eq!(header(&over, "x-ratelimit-limit"), Some("4"));
    assert_eq!(header(&over, "cache-control"), Some("no-store"));
    let body: Value = serde_json::from_str(&over.text().await.unwrap()).unwrap();
    assert_eq!(
        (&body["code"], &body["retry_after"], &body["limit"]),
        (&json!("rate_limited"), &json!(60), &json!("token_minute"))
    );
    asked_once();

    // Refused at once after it is revoked.
    let path = format!("/api-tokens/{}", good["id"].as_str().unwrap());
    app.delete(&path).bearer(access).await.expect(204);
    assert_eq!(caddy.get(&good["token"]).send().await.unwrap().status(), 401);
    asked_once();
    assert!(product.take().is_empty(), "nothing refused reached the product");

    // Without the database nothing unknown passes, and without stile nothing at all.
    let late = token(&app, access, json!({"name": "z"})).await;
    app.app.database.close().await;
    let unavailable = caddy.get(&late["token"]).send().await.unwrap();
    assert_eq!(
        (unavailable.status().as_u16(), header(&unavailable, "retry-after")),
        (503, Some("1"))
    );
    asked_once();
    drop(app);
    for _ in 0..200 {
        let answer = caddy.get(&late["token"]).send().await.unwrap().status();
        if answer == 502 {
            assert!(product.take().is_empty());
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("without stile the answer is 502");
}
