//! A door in front of stile: it hands each question on as it is, and remembers it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use tokio::net::TcpListener;

/// A question as it came.
pub struct Question {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: usize,
}

/// What stile was asked.
#[derive(Clone, Default)]
pub struct Door(Arc<Mutex<Vec<Question>>>);

impl Door {
    /// Serves on a free port until the test ends.
    pub async fn start(stile: SocketAddr) -> (Self, SocketAddr) {
        let door = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = door.0.clone();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let ask = move |method: Method, uri: Uri, headers: HeaderMap, body: axum::body::Bytes| async move {
            let question = client.request(method.clone(), format!("http://{stile}{uri}"));
            let question = question.headers(headers.clone()).body(body.clone());
            seen.lock().unwrap().push(Question {
                method,
                uri,
                headers,
                body: body.len(),
            });
            let Ok(answer) = question.send().await else {
                // As if nobody were there.
                return Response::builder().status(502).body(Body::empty()).unwrap();
            };
            let mut response = Response::builder().status(answer.status());
            *response.headers_mut().unwrap() = answer.headers().clone();
            response.body(Body::from(answer.bytes().await.unwrap())).unwrap()
        };
        let router = axum::Router::new().fallback(ask);
        tokio::spawn(async move { axum::serve(listener, router).await });
        (door, address)
    }

    /// Takes what was asked since the last time.
    pub fn take(&self) -> Vec<Question> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}
