//! The other end of OTLP: takes batches as a collector does, over HTTP or HTTPS, and keeps them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::process::PATIENCE;

/// A batch as it came.
pub struct Batch {
    /// The request's line and headers, in lower case.
    pub head: String,
    pub body: Vec<u8>,
    pub traces: ExportTraceServiceRequest,
}

#[derive(Clone)]
pub struct Collector {
    pub address: SocketAddr,
    pub batches: Arc<Mutex<Vec<Batch>>>,
}

impl Collector {
    pub async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let collector = Self {
            address: listener.local_addr().unwrap(),
            batches: Arc::default(),
        };
        let keeper = collector.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (keeper, tls) = (keeper.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => keeper.take(stream).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => keeper.take(stream).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        collector
    }

    async fn take(self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Option<()> {
        let mut bytes = Vec::new();
        loop {
            let end_of_head = loop {
                if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                    break at;
                }
                if stream.read_buf(&mut bytes).await.ok()? == 0 {
                    return None;
                }
            };
            let mut body = bytes.split_off(end_of_head + 4);
            let head = String::from_utf8(bytes).unwrap().to_lowercase();
            let length = head.split("content-length: ").nth(1)?.lines().next()?.trim();
            let length: usize = length.parse().unwrap();
            while body.len() < length {
                stream.read_buf(&mut body).await.ok()?;
            }
            bytes = body.split_off(length);
            let traces = ExportTraceServiceRequest::decode(&*body).unwrap();
            self.batches.lock().unwrap().push(Batch { head, body, traces });
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .await
                .ok()?;
        }
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Span> {
        let batches = self.batches.lock().unwrap();
        let of_resources = batches.iter().flat_map(|batch| &batch.traces.resource_spans);
        let of_scopes = of_resources.flat_map(|resource| &resource.scope_spans);
        of_scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    /// The first span of this name, come or yet to come.
    pub async fn span(&self, name: &str) -> Span {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(span) = self.spans().into_iter().find(|span| span.name == name) {
                return span;
            }
            let names: Vec<String> = self.spans().into_iter().map(|span| span.name).collect();
            assert!(Instant::now() < until, "no span {name} among {names:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// An attribute as text.
pub fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    Some(match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(truth) => truth.to_string(),
        other => format!("{other:?}"),
    })
}
