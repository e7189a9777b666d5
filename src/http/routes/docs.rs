//! `/docs`, a page to read and try the API, and `/openapi.json`, which it shows (`ENABLE_DOCS`).
//!
//! Swagger UI's files are in the binary; the page loads nothing from elsewhere and runs no inline script.

use std::sync::{Arc, OnceLock};

use axum::body::Bytes;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

use crate::http::error::ApiError;
use crate::http::openapi;
use crate::http::routes::Routes;

/// Swagger UI draws icons from `data:` URLs; "Try it out" asks this server.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// The files of Swagger UI that the page needs.
const FILES: [(&str, &str, &str); 3] = [
    (
        "/docs/swagger-ui.css",
        "swagger-ui.css",
        "text/css; charset=utf-8",
    ),
    (
        "/docs/swagger-ui-bundle.js",
        "swagger-ui-bundle.js",
        "text/javascript; charset=utf-8",
    ),
    ("/docs/favicon-32x32.png", "favicon-32x32.png", "image/png"),
];

/// The routes of this file.
#[must_use]
pub fn routes() -> Routes {
    // Written at the first look; most processes are never asked.
    let document: Arc<OnceLock<Bytes>> = Arc::default();
    let show = || async { page() };
    let start = || async { file("text/javascript; charset=utf-8", include_str!("docs/start.js")) };
    let routes = Routes::default()
        .undocumented("/docs", get(show))
        // The page's links are relative to `/docs`.
        .undocumented("/docs/", get(|| async { Redirect::permanent("../docs") }))
        .undocumented("/docs/start.js", get(start))
        .undocumented(
            "/openapi.json",
            get(move || async move { show_document(&document) }),
        );
    FILES.into_iter().fold(routes, |routes, (path, name, kind)| {
        routes.undocumented(path, get(move || async move { swagger_ui(name, kind) }))
    })
}

fn show_document(document: &OnceLock<Bytes>) -> Response {
    let text = document.get_or_init(|| Bytes::from(openapi().to_string()));
    ([(CONTENT_TYPE, "application/json")], text.clone()).into_response()
}

fn page() -> Response {
    let mut response = file("text/html; charset=utf-8", include_str!("docs/index.html"));
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, POLICY);
    response
}

fn file(kind: &'static str, body: &'static str) -> Response {
    (StatusCode::OK, [(CONTENT_TYPE, kind)], body).into_response()
}

fn swagger_ui(name: &str, kind: &'static str) -> Response {
    let config = Arc::new(utoipa_swagger_ui::Config::default());
    match utoipa_swagger_ui::serve(name, config) {
        Ok(Some(found)) => ([(CONTENT_TYPE, kind)], found.bytes).into_response(),
        _ => ApiError::not_found().into_response(),
    }
}
