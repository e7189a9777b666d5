//! Registering, logging in, refreshing, logging out.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;
use validator::Validate;

use crate::accounts::{
    LoginError, Logout, LogoutError, RefreshError, RegisterError, Registered, Registration, SessionTokens,
    User,
};
use crate::field::FieldError;
use crate::http::cookies::{self, Cookie};
use crate::http::error::ApiError;
use crate::http::extract::{Answer, Body, Credential, From, OptionalBody, text};
use crate::http::openapi::Refused;
use crate::http::routes::{Message, Routes, message};
use crate::http::{Http, Settings};
use crate::rate_limit::Rule;

/// The routes of this file.
#[must_use]
pub fn routes() -> Routes {
    Routes::default()
        .limited(Rule::Registration, routes!(register))
        .limited(Rule::Login, routes!(login))
        .limited(Rule::Refresh, routes!(refresh))
        .open(routes!(logout))
}

#[derive(Deserialize, ToSchema, Validate)]
#[schema(as = Registration)]
struct RegisterBody {
    #[validate(length(max = 1024))]
    #[schema(format = Email, max_length = 254, example = "ada@example.com")]
    email: String,
    #[validate(custom(function = text))]
    /// Not common, not easy to guess; `PASSWORD_MIN_LENGTH` and `PASSWORD_MIN_SCORE` say how much.
    #[schema(format = Password, min_length = 8, max_length = 128, example = "correct-horse-battery-9")]
    password: String,
    #[serde(default)]
    #[schema(max_length = 200, example = "Ada Lovelace")]
    full_name: Option<String>,
}

/// Register.
///
/// Mails a link that proves the address.
#[utoipa::path(
    post, path = "/api/v1/auth/register", operation_id = "register", tag = "Accounts",
    request_body = RegisterBody,
    responses(
        (status = CREATED, description = "The new account.", body = User),
        (status = ACCEPTED, description = "With `REQUIRE_EMAIL_VERIFICATION=true`, whether the address is new or taken.", body = Message),
        Refused<(RegisterError, Body<RegisterBody>)>,
    ),
)]
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

#[derive(Deserialize, ToSchema, Validate)]
#[schema(as = Credentials)]
struct LoginBody {
    #[validate(length(max = 1024))]
    #[schema(format = Email, max_length = 254, example = "ada@example.com")]
    email: String,
    #[validate(custom(function = text))]
    #[schema(format = Password, max_length = 128, example = "correct-horse-battery-9")]
    password: String,
    /// Hands the two tokens over as cookies. 422 while `AUTH_COOKIES` is off.
    #[serde(default)]
    #[schema(example = false)]
    use_cookies: bool,
}

/// Log in.
///
/// An unknown address and a wrong password are one answer. Failures count against the account as well as the client.
#[utoipa::path(
    post, path = "/api/v1/auth/login", operation_id = "login", tag = "Sessions",
    request_body = LoginBody,
    responses(
        (status = OK, description = "A new session.", body = SessionTokensBody<'_>),
        Refused<(LoginError, Body<LoginBody>)>,
    ),
)]
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

#[derive(Default, Deserialize, ToSchema, Validate)]
#[schema(as = Refresh)]
struct RefreshBody {
    /// Absent: the refresh token's cookie is used.
    #[serde(default)]
    #[schema(example = "8xJmC1hQb3fT5vN7pR9sW2.kY4uZ6aD8gH0jL3qE5rT7yU9iO1pS3dF")]
    refresh_token: Option<String>,
    #[serde(default)]
    #[schema(example = false)]
    use_cookies: bool,
}

/// Refresh a session.
///
/// The refresh token ends and its successor is in the answer. A token that ended before ends the session, but for a
/// repetition within `REFRESH_REUSE_GRACE_SECONDS`, which gets the same successor again.
#[utoipa::path(
    post, path = "/api/v1/auth/refresh", operation_id = "refresh", tag = "Sessions",
    request_body = Option<RefreshBody>,
    security((), ("refresh_cookie" = [])),
    responses(
        (status = OK, description = "The session goes on.", body = SessionTokensBody<'_>),
        Refused<(RefreshError, OptionalBody<RefreshBody>)>,
    ),
)]
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

#[derive(Default, Deserialize, ToSchema, Validate)]
#[schema(as = Logout)]
struct LogoutBody {
    /// Any refresh token that the session ever had.
    #[serde(default)]
    #[schema(example = "8xJmC1hQb3fT5vN7pR9sW2.kY4uZ6aD8gH0jL3qE5rT7yU9iO1pS3dF")]
    refresh_token: Option<String>,
}

/// Log out.
///
/// Ends every session that the request shows a token of: an access token, a refresh token, a cookie. What is already dead
/// is fine.
#[utoipa::path(
    post, path = "/api/v1/auth/logout", operation_id = "logout", tag = "Sessions",
    request_body = Option<LogoutBody>,
    security((), ("access_token" = []), ("access_cookie" = []), ("refresh_cookie" = [])),
    responses(
        (status = OK, description = "The session is over; cookies are cleared.", body = Message),
        Refused<(LogoutError, Credential, OptionalBody<LogoutBody>)>,
    ),
)]
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

/// A session's tokens. With cookies the two tokens stand in no body.
#[derive(Serialize, ToSchema)]
#[schema(as = SessionTokens)]
struct SessionTokensBody<'a> {
    /// A JWT, for `Authorization: Bearer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        nullable = false,
        example = "eyJhbGciOiJFZERTQSIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiIwMWEyIn0.c2ln"
    )]
    access_token: Option<&'a str>,
    /// Good for one refresh.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        nullable = false,
        example = "8xJmC1hQb3fT5vN7pR9sW2.kY4uZ6aD8gH0jL3qE5rT7yU9iO1pS3dF"
    )]
    refresh_token: Option<&'a str>,
    /// `bearer`.
    #[schema(pattern = "^bearer$", example = "bearer")]
    token_type: &'static str,
    /// Seconds until the access token expires.
    #[schema(example = 900)]
    expires_in: u64,
    /// Seconds until the refresh token expires.
    #[schema(example = 2_592_000)]
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
        cookies::set_session(response.headers_mut(), &http.settings, tokens);
    }
    response
}
