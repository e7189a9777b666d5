//! The audit log.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;

use super::Operator;
use crate::accounts::{AuditEntry, AuditQuery, Email, Whose};
use crate::audit::EventKind;
use crate::clock::Timestamp;
use crate::http::Http;
use crate::http::error::ApiError;
use crate::http::extract::{Fields, Paging};
use crate::http::pages::reply::{self, Faults, Frame};
use crate::http::pages::routing::Routes;

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::default().page("/admin/audit", show)
}

#[derive(Template)]
#[template(path = "audit_log.html")]
struct AuditPage<'a> {
    frame: Frame<'a>,
    entries: &'a [AuditEntry],
    event: &'a str,
    whose: &'a str,
    kinds: Vec<&'static str>,
    /// What was looked for is neither an address nor an id.
    is_nobody: bool,
    next: Option<String>,
}

/// The end of an id: all of one day begin alike.
fn short(id: &str) -> String {
    format!("…{}", id.rsplit('-').next().unwrap_or(id))
}

async fn show(
    State(http): State<Arc<Http>>,
    operator: Operator,
    paging: Paging,
    uri: Uri,
) -> Result<Response, ApiError> {
    let fields = Fields::of_query(&uri);
    let whose = fields.filled("whose").map(str::trim);
    let subject = whose.and_then(|text| {
        let id = text.parse().map(Whose::User).ok();
        id.or_else(|| Email::parse(text).map(Whose::Address).ok())
    });
    let is_nobody = whose.is_some() && subject.is_none();
    let query = AuditQuery {
        since: Timestamp::from_millis(0),
        until: Timestamp::from_millis(i64::MAX),
        event: fields.get("event").parse::<EventKind>().ok(),
        whose: subject,
    };
    let mut found = http.accounts.audit_log(&operator.by, &query, paging.page).await?;
    if is_nobody {
        found.items.clear();
        found.next = None;
    }
    let page = AuditPage {
        frame: Frame::of(&http, &operator.visitor, "Audit log")?,
        entries: &found.items,
        event: query.event.map_or("", EventKind::as_str),
        whose: whose.unwrap_or_default(),
        kinds: EventKind::ALL.iter().map(|kind| kind.as_str()).collect(),
        is_nobody,
        next: found.next.map(|next| next.to_string()),
    };
    reply::answer(&http, &page, &Faults::default())
}
