//! Refusals as people see them: a page, or their own form again.

use std::sync::Arc;

use askama::Template;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};

use super::mailed_link::{self, PASSWORD, VERIFICATION};
use super::reply::{self, Faults, Frame};
use super::visit::Visitor;
use super::{Pages, password_reset, sign_in, sign_up, verify_email};
use crate::http::Http;
use crate::http::cookies;
use crate::http::error::{ApiError, Problem};
use crate::http::extract::Fields;

#[derive(Template)]
#[template(path = "failure.html")]
struct FailurePage<'a> {
    frame: Frame<'a>,
    faults: &'a Faults,
    text: &'a str,
    request_id: &'a str,
}

/// An error on a page's way, as a page. What is one already stays as it is.
pub fn page_of(mut response: Response, pages: &Pages, request_id: &str) -> Response {
    let is_html = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if is_html {
        return response;
    }
    let status = response.status();
    let problem = response.extensions_mut().remove::<Problem>();
    let problem = problem.unwrap_or_else(|| ApiError::for_status(status).problem().clone());
    let faults = match &problem.limit {
        Some((rule, seconds)) => Faults::of(ApiError::rate_limited(rule.clone(), *seconds)),
        None => Faults::default(),
    };
    let words = reply::in_words(&problem);
    let text = faults.alert.as_ref().unwrap_or(&words);
    let page = FailurePage {
        frame: Frame::bare(pages, title(status)),
        faults: &faults,
        text,
        request_id,
    };
    reply::with_page(response, &page, pages)
}

fn title(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "This page does not exist",
        StatusCode::FORBIDDEN => "This was not accepted",
        StatusCode::TOO_MANY_REQUESTS => "One moment, please",
        StatusCode::SERVICE_UNAVAILABLE => "Back in a moment",
        status if status.is_server_error() => "Something went wrong",
        _ => "This did not work",
    }
}

/// A limit's refusal. Who filled in a form sees it again with all but the passwords in it, and with the time to wait:
/// it is read although it was refused, for nothing but that.
pub async fn refused(http: &Arc<Http>, request: Request, error: ApiError) -> Response {
    let path = request.uri().path().to_owned();
    // What another site filled in is not shown.
    if request.method() != Method::POST || cookies::demand_page_origin(http, request.headers()).is_err() {
        return error.into_response();
    }
    let visitor = Visitor::anybody(http, request.headers());
    let (parts, body) = request.into_parts();
    let fields = Fields::read(&parts.headers, body).await.unwrap_or_default();
    let shown = Faults::of(error.clone());
    let page = match path.as_str() {
        "/sign-in" => sign_in::page(http, &visitor, &fields, &shown),
        "/sign-up" => sign_up::page(http, &visitor, &fields, &shown),
        path if path == PASSWORD.path => mailed_link::page(http, &visitor, &PASSWORD, &fields, &shown),
        path if path == VERIFICATION.path => {
            mailed_link::page(http, &visitor, &VERIFICATION, &fields, &shown)
        }
        "/reset-password" => password_reset::reset_page(http, &visitor, &fields, &shown),
        "/verify-email" => verify_email::page(http, &visitor, &fields, &shown),
        _ => return error.into_response(),
    };
    match page {
        Ok(mut page) => {
            visitor.keep_form_key(http, page.headers_mut());
            page
        }
        Err(error) => error.into_response(),
    }
}
