//! Only with `ENABLE_TEST_ENDPOINTS`, never in production: tells whether a request is of an E2E suite, and gives each of
//! its workers a client of his own (contract, section 6).
//!
//! A suite is whoever shows the key, or is on this machine. What a page in a browser on this machine could send on behalf
//! of somebody else is not of a suite: a request with a foreign `Origin`, and one for a `Host` that is not ours (a name that
//! an attacker points at 127.0.0.1 once its page is loaded: DNS rebinding).

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Uri};
use axum::response::{IntoResponse, Response};

use super::envelope::{self, Context, Whence};
use super::{Rest, Stage};
use crate::credentials::SharedKey;
use crate::http::error::ApiError;
use crate::http::{Http, Settings, cookies, origin_of};
use crate::rate_limit::Client;

/// `X-Test-Client`: the worker.
pub const WORKER: HeaderName = HeaderName::from_static("x-test-client");
/// `X-Test-Key`.
pub const KEY: HeaderName = HeaderName::from_static("x-test-key");

/// Under which the test endpoints are.
const ENDPOINTS: &str = "/api/v1/test/";

/// Longest name of a worker, in bytes.
const MOST_NAME: usize = 256;

/// Whether `uri` is one of the test endpoints', there or not.
#[must_use]
pub fn is_endpoint(uri: &Uri) -> bool {
    uri.path().starts_with(ENDPOINTS)
}

/// The stage. `key`: `TEST_ENDPOINTS_KEY`.
#[derive(Clone)]
pub struct Suite {
    /// What a reset needs.
    pub http: Arc<Http>,
    /// What opens the door from elsewhere.
    pub key: Option<SharedKey>,
}

impl Stage for Suite {
    async fn answer(&self, request: &mut Request, rest: impl Rest) -> Response {
        let admitted = self.admits(request);
        if admitted && let Some(context) = request.extensions().get::<Context>() {
            let mut context = context.clone();
            match worker(request.headers()) {
                Ok(Some(worker)) => context.client = worker,
                Ok(None) => {}
                Err(refused) => return refused.into_response(),
            }
            context.whence = Whence::Suite;
            request.extensions_mut().insert(context);
        }
        if is_endpoint(request.uri()) {
            return rest.answer(request).await;
        }
        // A reset waits for what is under way, and holds back what comes meanwhile.
        let _under_way = self.http.under_way.read().await;
        rest.answer(request).await
    }
}

impl Suite {
    fn admits(&self, request: &Request) -> bool {
        let headers = request.headers();
        let mut shown = headers.get_all(KEY).iter();
        if let (Some(key), Some(shown), None) = (&self.key, shown.next(), shown.next())
            && key.is(shown.as_bytes())
        {
            return true;
        }
        let is_local = request
            .extensions()
            .get::<Context>()
            .is_some_and(|context| context.whence == Whence::Here);
        let settings = &self.http.settings;
        is_local && is_for_us(request.uri(), headers, settings) && is_from_us(headers, settings)
    }
}

/// The host that was asked is this machine by its own name, or one of ours. No browser leaves `Host` out.
fn is_for_us(uri: &Uri, headers: &HeaderMap, settings: &Settings) -> bool {
    let mut lines = headers.get_all(HOST).iter();
    let authority = match (uri.authority(), lines.next(), lines.next()) {
        // HTTP/2 has it in the target.
        (Some(authority), _, None) => authority.clone(),
        (None, None, _) => return true,
        (None, Some(host), None) => match Authority::try_from(host.as_bytes()) {
            Ok(authority) => authority,
            Err(_) => return false,
        },
        (_, _, Some(_)) => return false,
    };
    let host = authority.host().to_ascii_lowercase();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return ip.to_canonical().is_loopback();
    }
    // RFC 6761, section 6.3: these names are never looked up elsewhere.
    host == "localhost"
        || host.ends_with(".localhost")
        || settings.cookie_origins().any(|origin| host_of(origin) == host)
}

/// No page made the request, or one of ours did.
fn is_from_us(headers: &HeaderMap, settings: &Settings) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    origins.all(|origin| {
        origin
            .to_str()
            .is_ok_and(|origin| cookies::is_of_our_pages(settings, origin))
    })
}

fn host_of(url: &str) -> String {
    let authority = origin_of(url).split_once("://").map(|(_, rest)| rest);
    let authority = authority.and_then(|rest| rest.parse::<Authority>().ok());
    authority.map_or_else(String::new, |authority| authority.host().to_ascii_lowercase())
}

/// The worker that `X-Test-Client` names.
fn worker(headers: &HeaderMap) -> Result<Option<Client>, ApiError> {
    let mut names = headers.get_all(WORKER).iter();
    let Some(name) = names.next() else {
        return Ok(None);
    };
    if names.next().is_some() || !(1..=MOST_NAME).contains(&name.len()) {
        // Ignored, it would count the worker together with others, and nobody would know why.
        return Err(ApiError::invalid_request(
            "X-Test-Client must name one worker, in 1 to 256 bytes.",
        ));
    }
    Ok(Some(Client::worker(name.as_bytes())))
}

/// In front of the test endpoints: for all others they are not there.
#[derive(Debug)]
pub struct Door;

impl Stage for Door {
    async fn answer(&self, request: &mut Request, rest: impl Rest) -> Response {
        let context = request.extensions().get::<Context>();
        if context.is_some_and(|context| context.whence == Whence::Suite) {
            rest.answer(request).await
        } else {
            envelope::fallback(request.method().clone()).await
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::http::Life;

    fn settings() -> Settings {
        Settings {
            public_url: "http://auth.local:8000".into(),
            frontend_url: "http://localhost:3000".into(),
            cors_origins: vec!["http://127.0.0.1:5173".into()],
            auth_cookies: false,
            trusted_proxies: Vec::new(),
            burst: None,
            docs: false,
            pages: None,
            life: Life::Rehearsal(None),
        }
    }

    fn headers(name: &HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn only_this_machines_names_and_our_own_are_for_us() {
        let asked = |values: &[&str]| {
            let path = Uri::from_static("/api/v1/test/reset");
            is_for_us(&path, &headers(&HOST, values), &settings())
        };
        for host in [
            "localhost",
            "localhost:8000",
            "LOCALHOST",
            "app.localhost:1",
            "127.0.0.1:8000",
            "127.8.8.8",
            "[::1]:8000",
            "[::ffff:127.0.0.1]",
            "auth.local:8000",
            "auth.local",
        ] {
            assert!(asked(&[host]), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8000",
            "localhost.evil.example",
            "10.0.0.1",
            "0.0.0.0:8000",
            "notlocalhost",
            "[2001:db8::1]",
            "",
            "a b",
            "localhost@evil.example",
            "evil.example/localhost",
        ] {
            assert!(!asked(&[host]), "{host}");
        }
        assert!(asked(&[]));
        assert!(!asked(&["localhost", "localhost"]));
        let absolute = Uri::from_static("http://evil.example/api/v1/test/reset");
        assert!(!is_for_us(
            &absolute,
            &headers(&HOST, &["localhost"]),
            &settings()
        ));
    }

    #[test]
    fn only_our_own_pages_and_no_page_at_all_are_from_us() {
        let from = |values: &[&str]| is_from_us(&headers(&ORIGIN, values), &settings());
        assert!(from(&[]));
        for origin in [
            "http://auth.local:8000",
            "http://localhost:3000",
            "http://127.0.0.1:5173",
        ] {
            assert!(from(&[origin]), "{origin}");
        }
        for origin in [
            "null",
            "http://evil.example",
            "http://localhost:3001",
            "https://localhost:3000",
            "",
        ] {
            assert!(!from(&[origin]), "{origin}");
        }
        assert!(!from(&["http://localhost:3000", "http://evil.example"]));
    }

    #[test]
    fn our_own_pages_are_from_us_under_each_loopback_name_of_the_machine() {
        let settings = Settings {
            public_url: "http://localhost:8000".into(),
            ..settings()
        };
        let from = |origin: &str| is_from_us(&headers(&ORIGIN, &[origin]), &settings);
        for origin in [
            "http://localhost:8000",
            "http://127.0.0.1:8000",
            "http://[::1]:8000",
        ] {
            assert!(from(origin), "{origin}");
        }
        for origin in [
            "http://127.0.0.1:8001",
            "http://127.0.0.1",
            "https://127.0.0.1:8000",
            "http://127.0.0.1.evil.example:8000",
        ] {
            assert!(!from(origin), "{origin}");
        }
    }
}
