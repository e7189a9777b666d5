//! Where one is signed in.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;

use super::identity;
use crate::accounts::{EndSessionError, SessionView};
use crate::http::Http;
use crate::http::error::ApiError;
use crate::http::extract::{Fields, From, Id};
use crate::http::pages::form::Form;
use crate::http::pages::reply::{self, Faults, Frame};
use crate::http::pages::routing::Routes;
use crate::http::pages::visit::Visitor;

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::default()
        .page("/account/sessions", show)
        .form("/account/sessions/{id}/end", end)
        .form("/account/sessions/end-others", end_others)
}

#[derive(Template)]
#[template(path = "sessions.html")]
struct SessionsPage<'a> {
    frame: Frame<'a>,
    sessions: &'a [SessionView],
    done: &'static str,
}

/// `Firefox on Linux`, as far as it is known.
fn device(session: &SessionView) -> String {
    let unknown = |text: &str| text == "unknown";
    match (session.browser.as_str(), session.os.as_str()) {
        (browser, os) if unknown(browser) && unknown(os) => "An unknown device".to_owned(),
        (browser, os) if unknown(os) => browser.to_owned(),
        (browser, os) if unknown(browser) => format!("A device with {os}"),
        (browser, os) => format!("{browser} on {os}"),
    }
}

async fn show(State(http): State<Arc<Http>>, visitor: Visitor, uri: Uri) -> Result<Response, ApiError> {
    let sessions = http.accounts.sessions(identity(&visitor)?).await?;
    let page = SessionsPage {
        frame: Frame::of(&http, &visitor, "Sessions")?,
        sessions: &sessions,
        done: match Fields::of_query(&uri).get("done") {
            "one" => "That session has ended.",
            "others" => "You are signed out everywhere else.",
            _ => "",
        },
    };
    reply::answer(&http, &page, &Faults::default())
}

async fn end(
    State(http): State<Arc<Http>>,
    From(caller): From,
    Id(id): Id,
    Form { visitor, .. }: Form,
) -> Result<Response, ApiError> {
    match http.accounts.end_session(identity(&visitor)?, id, &caller).await {
        // Ended already, by another tab: that is what was wanted.
        Ok(()) | Err(EndSessionError::NotFound) => Ok(reply::see_other(&http, "/account/sessions?done=one")),
        Err(error) => Err(error.into()),
    }
}

async fn end_others(
    State(http): State<Arc<Http>>,
    From(caller): From,
    Form { visitor, .. }: Form,
) -> Result<Response, ApiError> {
    let ended = http.accounts.end_other_sessions(identity(&visitor)?, &caller);
    ended.await?;
    Ok(reply::see_other(&http, "/account/sessions?done=others"))
}
