//! A door in front of stile: it hands each question on as it is, and remembers it. Closed, it is as if stile had gone.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A question as it came.
pub struct Question {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: usize,
}

/// What stile was asked.
pub struct Door {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Question>>>,
    closing: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Door {
    /// Serves on a free port until it is closed or the test ends.
    pub async fn start(stile: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let remembered = Arc::clone(&seen);
        let ask = move |method: Method, uri: Uri, headers: HeaderMap, body: axum::body::Bytes| async move {
            let question = client.request(method.clone(), format!("http://{stile}{uri}"));
            let question = question.headers(headers.clone()).body(body.clone());
            remembered.lock().unwrap().push(Question {
                method,
                uri,
                headers,
                body: body.len(),
            });
            let answer = question.send().await.unwrap();
            let mut response = Response::builder().status(answer.status());
            *response.headers_mut().unwrap() = answer.headers().clone();
            response.body(Body::from(answer.bytes().await.unwrap())).unwrap()
        };
        let (closing, closed) = oneshot::channel();
        let server = axum::serve(listener, axum::Router::new().fallback(ask))
            .with_graceful_shutdown(async { closed.await.unwrap_or_default() });
        let serving = tokio::spawn(async move { server.await.unwrap() });
        Self {
            address,
            seen,
            closing,
            serving,
        }
    }

    /// Takes what was asked since the last time.
    pub fn take(&self) -> Vec<Question> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }

    /// Nobody listens here any more, and no connection is left.
    pub async fn close(self) {
        self.closing.send(()).unwrap();
        self.serving.await.unwrap();
    }
}
