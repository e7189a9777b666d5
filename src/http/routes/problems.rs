//! What the `type` of each error leads to: a page that says what its code means and what to do (RFC 9457, section 3.1.1).

use askama::Template;
use axum::response::Html;
use utoipa_axum::routes;

use crate::http::error::{ApiError, Code};
use crate::http::extract::Known;
use crate::http::openapi::Refused;
use crate::http::routes::Routes;

/// The routes of this file.
#[must_use]
pub fn routes() -> Routes {
    Routes::default().open(routes!(show))
}

/// Plain, because it is read beside code: it needs no style, and the strictest policy holds for it.
#[derive(Template)]
#[template(path = "problem.html")]
struct Page {
    name: &'static str,
    status: u16,
    title: &'static str,
    /// Every second part is code.
    advice: Vec<&'static str>,
}

/// What an error means.
///
/// The `type` of each error is the address of its page, for people: what happened, and what to do.
#[utoipa::path(
    get, path = "/problems/{code}", operation_id = "show_problem", tag = "Service",
    params(("code" = inline(Code), Path, description = "The `code` of an error.")),
    responses(
        (status = OK, description = "The page.", body = String, content_type = "text/html", example = "<!DOCTYPE html>…"),
        Refused<Known>,
    ),
)]
async fn show(Known(code): Known) -> Result<Html<String>, ApiError> {
    let page = Page {
        name: code.name,
        status: code.status.as_u16(),
        title: code.status.canonical_reason().unwrap_or_default(),
        advice: code.advice.split('`').collect(),
    };
    let page = page.render().map_err(|_| ApiError::internal())?;
    Ok(Html(page))
}
