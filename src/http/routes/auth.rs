//! Registering, logging in, refreshing, logging out.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use validator::Validate;

use crate::accounts::{Logout, LogoutError, Registered, Registration, SessionTokens, User};
use crate::field::FieldError;
use crate::http::cookies::{self, Cookie};
use crate::http::error::ApiError;
use crate::http::extract::{Answer, Body, Credential, From, OptionalBody, text};
use crate::http::routes::{Routes, Verb, message};
use crate::http::{Http, Settings};
use crate::rate_limit::Rule;

/// The routes of this file.
#[must_use]
pub fn routes() -> Routes {
    Routes::default()
        .limited(Rule::Registration, Verb::Post, "/api/v1/auth/register", register)
        .limited(Rule::Login, Verb::Post, "/api/v1/auth/login", login)
        .limited(Rule::Refresh, Verb::Post, "/api/v1/auth/refresh", refresh)
        .open(Verb::Post, "/api/v1/auth/logout", logout)
}

#[derive(Deserialize, Validate)]
struct RegisterBody {
    #[validate(length(max = 1024))]
    email: String,
    #[validate(custom(function = text))]
    password: String,
    #[serde(default)]
    full_name: Option<String>,
}

async fn register(
    State(http): State<Arc<Http>>,
    From(caller): From,
    Body(body): Body<RegisterBody>,
) -> Result<Response, ApiError> {
    let registration = Registration {
        email: body.email,
        password: body.password,
        full_name: body.full_name,
    };
    Ok(match http.accounts.register(registration, &caller).await? {
        Registered::Created(user) => Answer(StatusCode::CREATED, user).into_response(),
        Registered::Pending => {
            let Answer(_, pending) = message(
                "Please check your mailbox.",
                "We have sent a message to this address that says how to go on.",
            );
            Answer(StatusCode::ACCEPTED, pending).into_response()
        }
    })
}

#[derive(Deserialize, Validate)]
struct LoginBody {
    #[validate(length(max = 1024))]
    email: String,
    #[validate(custom(function = text))]
    password: String,
    #[serde(default)]
    use_cookies: bool,
}

async fn login(
    State(http): State<Arc<Http>>,
    From(caller): From,
    headers: HeaderMap,
    Body(body): Body<LoginBody>,
) -> Result<Response, ApiError> {
    if body.use_cookies {
        demand_cookies(&http.settings)?;
        cookies::demand_origin(&http, &headers)?;
    }
    let tokens = http.accounts.login(&body.email, &body.password, &caller).await?;
    Ok(hand_over(&http, &tokens, body.use_cookies))
}

#[derive(Default, Deserialize, Validate)]
struct RefreshBody {
    #[serde(default)]
    #[validate(length(max = 1024))]
    refresh_token: Option<String>,
    #[serde(default)]
    use_cookies: bool,
}

async fn refresh(
    State(http): State<Arc<Http>>,
    From(caller): From,
    headers: HeaderMap,
    OptionalBody(body): OptionalBody<RefreshBody>,
) -> Result<Response, ApiError> {
    if body.use_cookies {
        demand_cookies(&http.settings)?;
    }
    let by_cookie = body.refresh_token.is_none();
    let token = body
        .refresh_token
        .or_else(|| cookies::read(&http, &headers, Cookie::Refresh));
    let Some(token) = token else {
        let missing = FieldError::new("/refresh_token", "required", "This field is required.");
        return Err(ApiError::validation_failed(vec![missing]));
    };
    let tokens = http.accounts.refresh(&token, &caller).await?;
    Ok(hand_over(&http, &tokens, by_cookie))
}

#[derive(Default, Deserialize, Validate)]
struct LogoutBody {
    #[serde(default)]
    #[validate(length(max = 1024))]
    refresh_token: Option<String>,
}

/// Ends every session that the request can show something of. What is already dead is fine.
async fn logout(
    State(http): State<Arc<Http>>,
    From(caller): From,
    Credential(access_token): Credential,
    headers: HeaderMap,
    OptionalBody(body): OptionalBody<LogoutBody>,
) -> Result<Response, ApiError> {
    let refresh_token = body
        .refresh_token
        .or_else(|| cookies::read(&http, &headers, Cookie::Refresh));
    if access_token.is_none() && refresh_token.is_none() {
        return Err(ApiError::not_authenticated());
    }
    let shown = [
        refresh_token.map(Logout::RefreshToken),
        access_token.map(Logout::AccessToken),
    ];
    let by_header = headers.contains_key(AUTHORIZATION);
    for which in shown.into_iter().flatten() {
        match http.accounts.logout(which, &caller).await {
            // A browser's cookie that opens nothing is dead; if it were refused, it could never be cleared.
            Err(LogoutError::Invalid) if !by_header => {}
            ended => ended?,
        }
    }
    let mut response: Response = message(
        "You are logged out.",
        "The session has ended and its tokens no longer work.",
    )
    .into_response();
    if http.settings.auth_cookies {
        cookies::clear(response.headers_mut(), &http.settings);
    }
    Ok(response)
}

fn demand_cookies(settings: &Settings) -> Result<(), ApiError> {
    if settings.auth_cookies {
        return Ok(());
    }
    let refused = FieldError::new("/use_cookies", "not_available", "Cookies are switched off here.");
    Err(ApiError::validation_failed(vec![refused]))
}

/// The contract's Session tokens. In cookie mode the two tokens stand in no body.
#[derive(Serialize)]
struct SessionTokensBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    token_type: &'static str,
    expires_in: u64,
    refresh_expires_in: u64,
    session_id: Uuid,
    user: &'a User,
}

fn hand_over(http: &Http, tokens: &SessionTokens, by_cookie: bool) -> Response {
    let body = SessionTokensBody {
        access_token: (!by_cookie).then_some(&tokens.access_token),
        refresh_token: (!by_cookie).then_some(&tokens.refresh_token),
        token_type: "bearer",
        expires_in: tokens.expires_in,
        refresh_expires_in: tokens.refresh_expires_in,
        session_id: tokens.session_id,
        user: &tokens.user,
    };
    let mut response = Answer(StatusCode::OK, body).into_response();
    if by_cookie {
        let (headers, settings) = (response.headers_mut(), &http.settings);
        cookies::set(
            headers,
            settings,
            Cookie::Access,
            &tokens.access_token,
            tokens.expires_in,
        );
        cookies::set(
            headers,
            settings,
            Cookie::Refresh,
            &tokens.refresh_token,
            tokens.refresh_expires_in,
        );
    }
    response
}
