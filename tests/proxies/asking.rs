//! What tests of proxies ask, and how they read the answers.

use std::net::{Ipv4Addr, SocketAddr};

use reqwest::Response;
use serde_json::Value;

use crate::app::TestApp;
use crate::port::free_port;

/// Where nobody listens.
pub fn free_address() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()))
}

/// An API token with these terms.
pub async fn token(app: &TestApp, access: &Value, body: Value) -> Value {
    app.post("/api-tokens", body)
        .bearer(access)
        .await
        .expect(201)
        .body
}

/// A header of an answer, which must not be there twice.
pub fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    assert!(
        response.headers().get_all(name).iter().count() <= 1,
        "{name} once"
    );
    response.headers().get(name).map(|value| value.to_str().unwrap())
}
