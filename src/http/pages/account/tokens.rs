//! API tokens: what they may do, and what is used of it.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;

use super::identity;
use crate::accounts::Caller;
use crate::api_tokens::{ApiToken, Edit, Status, TermsChange, UsageWindow};
use crate::field::FieldError;
use crate::http::Http;
use crate::http::error::ApiError;
use crate::http::extract::{Fields, From, Id, owner};
use crate::http::pages::form::Form;
use crate::http::pages::reply::{self, Faults, Frame};
use crate::http::pages::routing::Routes;
use crate::http::pages::visit::Visitor;

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::default()
        .page("/account/tokens", show)
        .form("/account/tokens", create)
        .form("/account/tokens/{id}/rotate", rotate)
        .form("/account/tokens/{id}/revoke", revoke)
}

#[derive(Template)]
#[template(path = "tokens.html")]
struct TokensPage<'a> {
    frame: Frame<'a>,
    faults: &'a Faults,
    tokens: &'a [ApiToken],
    /// The one that was just made or rotated: its secret is shown this once.
    made: Option<&'a ApiToken>,
    token_name: &'a str,
    scopes: &'a str,
    expires_at: &'a str,
    most: [u32; 3],
    typed: [&'a str; 3],
    done: &'static str,
}

/// The three windows of a token with their names.
fn windows(token: &ApiToken) -> Vec<(&'static str, UsageWindow)> {
    let usage = token.usage.as_ref();
    usage.map_or_else(Vec::new, |usage| {
        vec![("minute", usage.minute), ("hour", usage.hour), ("day", usage.day)]
    })
}

/// Whether a window is nearly used up: the bar says so in its colour, and the figures beside it anyway.
fn is_high(window: &UsageWindow) -> bool {
    u64::from(window.used) * 10 >= u64::from(window.limit) * 9
}

struct Shown<'a> {
    visitor: &'a Visitor,
    caller: &'a Caller,
    fields: &'a Fields,
    made: Option<&'a ApiToken>,
    done: &'static str,
}

async fn page(http: &Http, shown: Shown<'_>, faults: &Faults) -> Result<Response, ApiError> {
    let owner = owner(identity(shown.visitor)?, shown.caller);
    let tokens = http.api_tokens.list_with_usage(&owner).await;
    let tokens = match tokens.map_err(ApiError::from) {
        Ok(tokens) => tokens,
        // There is no other answer that holds the secret: it is shown, whatever fails behind it.
        Err(_) if shown.made.is_some() => Vec::new(),
        Err(error) => return Err(error),
    };
    let fields = shown.fields;
    let page = TokensPage {
        frame: Frame::of(http, shown.visitor, "API tokens")?,
        faults,
        tokens: &tokens,
        made: shown.made,
        token_name: fields.get("name"),
        scopes: fields.get("scopes"),
        expires_at: fields.get("expires_at"),
        most: http.api_tokens.default_quota(),
        typed: QUOTA_FIELDS.map(|field| fields.get(field)),
        done: shown.done,
    };
    reply::answer(http, &page, faults)
}

async fn show(
    State(http): State<Arc<Http>>,
    visitor: Visitor,
    From(caller): From,
    uri: Uri,
) -> Result<Response, ApiError> {
    let shown = Shown {
        visitor: &visitor,
        caller: &caller,
        fields: &Fields::default(),
        made: None,
        done: match Fields::of_query(&uri).get("done") {
            "revoked" => "The token is revoked. Nothing passes with it any more.",
            _ => "",
        },
    };
    page(&http, shown, &Faults::default()).await
}

const QUOTA_FIELDS: [&str; 3] = [
    "rate_limit_per_minute",
    "rate_limit_per_hour",
    "rate_limit_per_day",
];

/// What the form asks a token to be: an empty field is the default.
fn terms(fields: &Fields) -> Result<TermsChange, ApiError> {
    let whole = |name: &str| match fields.filled(name).map(str::trim) {
        None => Ok(Edit::Default),
        Some(text) => text.parse().map(Edit::Set).map_err(|_| {
            let wrong = FieldError::new(&format!("/{name}"), "wrong_type", "This is no whole number.");
            ApiError::validation_failed(vec![wrong])
        }),
    };
    let [minute, hour, day] = QUOTA_FIELDS;
    let scopes = fields.get("scopes").split([' ', ',', '\n', '\r', '\t']);
    let scopes = scopes.filter(|scope| !scope.is_empty()).map(str::to_owned);
    // A browser sends a day; the token is good until its end.
    let expires_at = fields.filled("expires_at").map_or(Edit::Default, |day| {
        Edit::Set(format!("{}T23:59:59Z", day.trim()))
    });
    Ok(TermsChange {
        name: Edit::Set(fields.get("name").to_owned()),
        scopes: Edit::Set(scopes.collect()),
        expires_at,
        quota: [whole(minute)?, whole(hour)?, whole(day)?],
    })
}

async fn create(
    State(http): State<Arc<Http>>,
    From(caller): From,
    Form { visitor, fields }: Form,
) -> Result<Response, ApiError> {
    let owner = owner(identity(&visitor)?, &caller);
    let made = async {
        let terms = terms(&fields)?;
        http.api_tokens
            .create(&owner, &terms)
            .await
            .map_err(ApiError::from)
    };
    let (made, faults) = match made.await {
        Ok(made) => (Some(made), Faults::default()),
        Err(refused) => (None, Faults::of(refused)),
    };
    let nothing = Fields::default();
    let shown = Shown {
        visitor: &visitor,
        caller: &caller,
        fields: if made.is_some() { &nothing } else { &fields },
        made: made.as_ref(),
        done: "",
    };
    page(&http, shown, &faults).await
}

async fn rotate(
    State(http): State<Arc<Http>>,
    From(caller): From,
    Id(id): Id,
    Form { visitor, fields: _ }: Form,
) -> Result<Response, ApiError> {
    let made = http
        .api_tokens
        .rotate(&owner(identity(&visitor)?, &caller), id)
        .await?;
    let shown = Shown {
        visitor: &visitor,
        caller: &caller,
        fields: &Fields::default(),
        made: Some(&made),
        done: "",
    };
    page(&http, shown, &Faults::default()).await
}

async fn revoke(
    State(http): State<Arc<Http>>,
    From(caller): From,
    Id(id): Id,
    Form { visitor, .. }: Form,
) -> Result<Response, ApiError> {
    let owner = owner(identity(&visitor)?, &caller);
    http.api_tokens.revoke(&owner, id).await?;
    Ok(reply::see_other(&http, "/account/tokens?done=revoked"))
}
