//! The gateway check through each proxy: what passes, what the product sees, and what the client is told.

use std::net::SocketAddr;

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::app::{Engine, TestApp};
use crate::asking::{header, token};
use crate::door::Door;
use crate::product::Product;
use crate::proxy::Proxy;
use crate::{caddy, nginx};

/// What a client may have written about himself.
const CLAIMS: &[(&str, &str)] = &[
    ("X-Auth-User-Id", "root"),
    ("X-Auth-Token-Id", "root"),
    ("X-Auth-Scopes", "admin"),
    ("X-Auth-Session-Id", "root"),
    ("X-Auth-Role", "admin"),
    ("X-User-Id", "root"),
    ("X_Auth_User_Id", "root"),
    ("x_auth_role", "admin"),
    ("X-Auth_Role", "admin"),
    ("X-Forwarded-For", "6.6.6.6"),
    ("X-Forwarded-Host", "evil.example"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-User", "root"),
    ("X_Forwarded_For", "6.6.6.6"),
    ("X-Real-IP", "6.6.6.6"),
    ("Forwarded", "for=6.6.6.6"),
    ("Cookie", "__Host-stile_access=x"),
];

#[tokio::test(flavor = "multi_thread")]
async fn nginx_lets_through_what_stile_lets_through() {
    lets_through_what_stile_lets_through(nginx::gateway, StatusCode::SERVICE_UNAVAILABLE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn caddy_lets_through_what_stile_lets_through() {
    lets_through_what_stile_lets_through(caddy::gateway, StatusCode::BAD_GATEWAY).await;
}

/// Point 3 of the issue; GW-03: one question for each request, and `without_stile` where there is no answer.
async fn lets_through_what_stile_lets_through(
    start: impl AsyncFn(SocketAddr, SocketAddr) -> Proxy,
    without_stile: StatusCode,
) {
    let app = TestApp::on(Engine::Sqlite)
        .set("RATE_LIMIT_GATEWAY_FAILURES", "4/minute")
        .limited()
        .start()
        .await;
    let (product, product_address) = Product::start().await;
    let door = Door::start(app.address).await;
    let proxy = start(door.address, product_address).await;
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
        question.uri.to_string().trim_end_matches('?').to_owned()
    };

    let claiming = CLAIMS
        .iter()
        .fold(proxy.get(&good["token"]), |request, (name, value)| {
            request.header(*name, *value)
        });
    let passed = claiming.send().await.unwrap();
    assert_eq!(passed.status(), 200);
    assert_eq!(header(&passed, "x-ratelimit-limit"), Some("4"));
    assert_eq!(header(&passed, "x-ratelimit-remaining"), Some("3"));
    assert!(header(&passed, "ratelimit").unwrap().contains("token_minute"));
    assert_eq!(passed.text().await.unwrap(), "product read 0");
    assert_eq!(asked_once(), "/api/v1/api-gateway/verify");
    let seen = product.take().remove(0);
    let saw = |name: &str| -> Vec<&str> {
        let values = seen.get_all(name).iter();
        values.map(|value| value.to_str().unwrap()).collect()
    };
    assert_eq!(saw("x-auth-user-id"), [session["user"]["id"].as_str().unwrap()]);
    assert_eq!(saw("x-auth-token-id"), [good["id"].as_str().unwrap()]);
    assert_eq!(saw("x-auth-scopes"), ["read:*"]);
    assert_eq!(saw("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(saw("x-forwarded-proto"), ["http"]);
    for (name, value) in &seen {
        let value = value.to_str().unwrap();
        let claimed = ["root", "admin", "6.6.6.6", "evil.example"];
        assert!(!claimed.iter().any(|bad| value.contains(bad)), "{name}: {value}");
        assert!(!value.contains("stile_") || name == "cookie", "{name}: {value}");
        assert!(!name.as_str().contains('_'), "{name}");
    }
    let shown = app.get(&format!("/api-tokens/{}", good["id"].as_str().unwrap()));
    let shown = shown.bearer(access).await.expect(200).body;
    assert_eq!(shown["last_used_ip"], "127.0.0.1");

    // A token without scopes: nothing stands there, whatever the client wrote.
    let empty = proxy.get(&bare["token"]).header("X-Auth-Scopes", "admin");
    assert_eq!(empty.send().await.unwrap().status(), 200);
    asked_once();
    let seen = product.take().remove(0);
    let mut scopes = seen.get_all("x-auth-scopes").iter();
    assert!(scopes.all(|scopes| scopes.is_empty()), "{seen:?}");

    // Any method, and a body: it reaches the product, the question has none.
    let posted = proxy
        .ask(Method::POST, "/things/1?scope=admin&token=x")
        .bearer_auth(good["token"].as_str().unwrap());
    let posted = posted.body("x".repeat(100_000)).send().await.unwrap();
    assert_eq!(posted.text().await.unwrap(), "product read 100000");
    assert_eq!(asked_once(), "/api/v1/api-gateway/verify?scope=read:things");
    product.take();

    let nothing = proxy.ask(Method::GET, "/").send().await.unwrap();
    is_refused(&nothing, 401, Some("Bearer"));
    asked_once();
    let wrong = proxy.get(&json!("stile_x")).send().await.unwrap();
    is_refused(&wrong, 401, Some(r#"Bearer error="invalid_token""#));
    asked_once();
    let lacking = proxy
        .ask(Method::GET, "/things/1")
        .bearer_auth(bare["token"].as_str().unwrap());
    let lacking = lacking.send().await.unwrap();
    is_refused(&lacking, 403, Some(r#"Bearer error="insufficient_scope""#));
    asked_once();
    let two = proxy
        .get(&good["token"])
        .header("X-API-Key", good["token"].as_str().unwrap());
    let two = two.send().await.unwrap();
    is_refused(&two, 400, None);
    let body: Value = serde_json::from_str(&two.text().await.unwrap()).unwrap();
    assert_eq!(body["code"], "invalid_request");
    asked_once();

    for left in ["1", "0"] {
        let passed = proxy.get(&good["token"]).send().await.unwrap();
        assert_eq!(passed.status(), 200);
        assert_eq!(header(&passed, "x-ratelimit-remaining"), Some(left));
        asked_once();
    }
    product.take();
    let over = proxy.get(&good["token"]).send().await.unwrap();
    is_refused(&over, 429, None);
    assert_eq!(header(&over, "retry-after"), Some("60"));
    assert_eq!(header(&over, "x-ratelimit-limit"), Some("4"));
    assert!(header(&over, "ratelimit").unwrap().contains("token_minute"));
    let body: Value = serde_json::from_str(&over.text().await.unwrap()).unwrap();
    assert_eq!(
        (&body["code"], &body["retry_after"]),
        (&json!("rate_limited"), &json!(60))
    );
    asked_once();

    // Refused at once after it is revoked.
    let path = format!("/api-tokens/{}", good["id"].as_str().unwrap());
    app.delete(&path).bearer(access).await.expect(204);
    assert_eq!(proxy.get(&good["token"]).send().await.unwrap().status(), 401);
    asked_once();
    assert!(product.take().is_empty(), "nothing refused reached the product");

    // Without the database nothing unknown passes, and without stile nothing at all, not even what passed just now.
    let late = token(&app, access, json!({"name": "z"})).await;
    assert_eq!(proxy.get(&bare["token"]).send().await.unwrap().status(), 200);
    asked_once();
    product.take();
    app.app.database.close().await;
    let unavailable = proxy.get(&late["token"]).send().await.unwrap();
    is_refused(&unavailable, 503, None);
    assert_eq!(header(&unavailable, "retry-after"), Some("1"));
    asked_once();
    door.close().await;
    let gone = proxy.get(&bare["token"]).send().await.unwrap();
    assert_eq!(gone.status(), without_stile);
    assert!(product.take().is_empty());
}

#[track_caller]
fn is_refused(answer: &Response, status: u16, challenge: Option<&str>) {
    assert_eq!(
        (answer.status().as_u16(), header(answer, "www-authenticate")),
        (status, challenge)
    );
    assert_eq!(header(answer, "content-type"), Some("application/problem+json"));
    assert_eq!(header(answer, "cache-control"), Some("no-store"));
}
