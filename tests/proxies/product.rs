//! A product service: it answers 200 and remembers the headers of each request.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::http::HeaderMap;
use tokio::net::TcpListener;

/// Requests that got through.
#[derive(Clone, Default)]
pub struct Product(Arc<Mutex<Vec<HeaderMap>>>);

impl Product {
    /// Serves on a free port until the test ends.
    pub async fn start() -> (Self, SocketAddr) {
        let product = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = product.0.clone();
        let answer = move |headers: HeaderMap, body: Bytes| async move {
            seen.lock().unwrap().push(headers);
            format!("product read {}", body.len())
        };
        let router = axum::Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, router).await });
        (product, address)
    }

    /// Takes what was seen since the last time.
    pub fn take(&self) -> Vec<HeaderMap> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}
