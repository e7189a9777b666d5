//! One exchange with an OTLP collector: HTTP/1.1, in the clear or over TLS, a connection for each batch.
//!
//! A batch leaves every few seconds from a thread of its own, so nothing is gained by keeping a connection.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio_rustls::TlsConnector;

/// A collector says little.
const MOST_ANSWER_BYTES: usize = 64 * 1024;

/// Why a batch was not handed over.
#[derive(Debug, thiserror::Error)]
enum ExchangeError {
    #[error("the endpoint names no host")]
    NoHost,
    #[error("no answer in time")]
    Timeout,
}

/// Sends to a collector, on the runtime that it was made on.
#[derive(Clone)]
pub(super) struct Collector {
    headers: HeaderMap,
    /// The longest that one exchange may take.
    timeout: Duration,
    tls: TlsConnector,
    runtime: Handle,
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Collector")
    }
}

impl Collector {
    /// Sends `headers` with each batch. Trusts the built-in roots and those of the file; never without verification.
    pub(super) fn new(
        certificates: Option<&Path>,
        mut headers: HeaderMap,
        timeout: Duration,
    ) -> Result<Self, String> {
        let name = concat!("stile/", env!("CARGO_PKG_VERSION"));
        headers
            .entry(USER_AGENT)
            .or_insert(HeaderValue::from_static(name));
        let mut roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
        if let Some(path) = certificates {
            let certificates = CertificateDer::pem_file_iter(path)
                .map_err(|_| "the file of certificates cannot be read".to_owned())?;
            roots.add_parsable_certificates(certificates.flatten());
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            headers,
            timeout,
            tls: TlsConnector::from(Arc::new(config)),
            runtime: Handle::current(),
        })
    }

    async fn exchange(self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let uri = request.uri();
        let host = uri.host().ok_or(ExchangeError::NoHost)?.to_owned();
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let stream = TcpStream::connect((bare.as_str(), port)).await?;
        if is_tls {
            let name = ServerName::try_from(bare)?;
            post(self.tls.connect(name, stream).await?, request).await
        } else {
            post(stream, request).await
        }
    }
}

/// One request on a connection of its own.
async fn post(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let (mut parts, body) = request.into_parts();
    if let Some(authority) = parts.uri.authority() {
        let host = authority.as_str().rsplit('@').next().unwrap_or_default();
        parts.headers.insert(HOST, HeaderValue::from_str(host)?);
    }
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = path.parse()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let conversation = async move {
        let answer = sender
            .send_request(Request::from_parts(parts, Full::new(body)))
            .await?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, MOST_ANSWER_BYTES).collect().await?.to_bytes();
        Ok(Response::from_parts(parts, body))
    };
    let (answer, _) = tokio::join!(conversation, connection);
    answer
}

#[async_trait]
impl HttpClient for Collector {
    /// Called on the exporter's own thread, which has no reactor: the exchange runs on the program's.
    async fn send_bytes(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        // The exporter reads OTEL_EXPORTER_OTLP_HEADERS of the process by itself: none of that leaves but what `config` found.
        let content_type = request.headers_mut().remove(CONTENT_TYPE);
        let mut headers = self.headers.clone();
        headers.extend(content_type.map(|content_type| (CONTENT_TYPE, content_type)));
        *request.headers_mut() = headers;
        let (timeout, exchange) = (self.timeout, self.clone().exchange(request));
        let exchange = async move {
            // Made in here: outside there is no clock to wait by.
            let in_time = tokio::time::timeout(timeout, exchange);
            in_time
                .await
                .unwrap_or_else(|_| Err(ExchangeError::Timeout.into()))
        };
        self.runtime.spawn(exchange).await?
    }
}
