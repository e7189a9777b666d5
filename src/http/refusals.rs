//! How each use case's error reads as an [`ApiError`], and beside it what the OpenAPI document says of that.
//! What is logged and what is sent are two texts.

use crate::accounts::{
    AdminError, AuthenticateError, ConfirmResetError, DeleteAccountError, EndSessionError, LoginError,
    LogoutError, MailRequestError, NotAdmin, ReauthenticateError, RefreshError, RegisterError,
    UpdateProfileError, VerifyEmailError,
};
use crate::api_tokens::IssueError;
use crate::http::error::ApiError;
use crate::http::openapi::{Refuses, and_storage, refused_field};
use crate::rate_limit::{Decision, Rule};
use crate::storage::StorageError;

impl From<StorageError> for ApiError {
    fn from(error: StorageError) -> Self {
        if error.is_unavailable() {
            tracing::warn!(%error, "the database is unavailable");
            Self::unavailable()
        } else {
            tracing::error!(%error, "a database query failed");
            Self::internal()
        }
    }
}

/// The account's limit: its rule is named, its counts show in no header.
fn limited(decision: &Decision) -> ApiError {
    let rule = decision
        .refusal()
        .map_or("login_account", |refusal| refusal.rule.name());
    ApiError::rate_limited(rule, decision.retry_after_seconds())
}

/// The account's limit, as the document shows it.
fn account_limited() -> ApiError {
    ApiError::rate_limited(Rule::LoginAccount.name(), 1800)
}

/// Somebody has to be left to administer.
fn last_admin() -> ApiError {
    ApiError::forbidden(
        "This is the last active administrator. Make another one first, or use `stile user` on the server.",
    )
}

/// The refusal that people meet most.
fn weak_password(pointer: &str) -> ApiError {
    let message = "The password is too easy to guess: it is one of the most common passwords. \
                   Use a longer one, or several unrelated words.";
    refused_field(pointer, "too_weak", message)
}

impl Refuses for StorageError {
    fn refusals() -> Vec<ApiError> {
        and_storage([])
    }
}

impl From<RegisterError> for ApiError {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::Invalid(fields) => Self::validation_failed(fields),
            RegisterError::EmailTaken => Self::email_taken(),
            RegisterError::Overloaded => Self::overloaded(),
            RegisterError::Storage(error) => error.into(),
        }
    }
}

impl Refuses for RegisterError {
    fn refusals() -> Vec<ApiError> {
        and_storage([
            weak_password("/password"),
            ApiError::email_taken(),
            ApiError::overloaded(),
        ])
    }
}

impl From<LoginError> for ApiError {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Invalid(fields) => Self::validation_failed(fields),
            LoginError::Limited(decision) => limited(&decision),
            LoginError::InvalidCredentials => Self::invalid_credentials(),
            LoginError::AccountInactive => Self::account_inactive(),
            LoginError::EmailNotVerified => Self::email_not_verified(),
            LoginError::Overloaded => Self::overloaded(),
            LoginError::Storage(error) => error.into(),
        }
    }
}

impl Refuses for LoginError {
    fn refusals() -> Vec<ApiError> {
        and_storage([
            refused_field(
                "/password",
                "too_long",
                "The password has more than 128 characters.",
            ),
            account_limited(),
            ApiError::invalid_credentials(),
            ApiError::account_inactive(),
            ApiError::email_not_verified(),
            ApiError::overloaded(),
        ])
    }
}

impl From<RefreshError> for ApiError {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::Invalid => Self::invalid_refresh_token(),
            RefreshError::Reused => Self::refresh_token_reused(),
            RefreshError::Storage(error) => error.into(),
        }
    }
}

impl Refuses for RefreshError {
    fn refusals() -> Vec<ApiError> {
        and_storage([
            ApiError::invalid_refresh_token(),
            ApiError::refresh_token_reused(),
        ])
    }
}

impl From<LogoutError> for ApiError {
    fn from(error: LogoutError) -> Self {
        match error {
            LogoutError::Invalid => Self::token_invalid(),
            LogoutError::Storage(error) => error.into(),
        }
    }
}

impl Refuses for LogoutError {
    fn refusals() -> Vec<ApiError> {
        and_storage([ApiError::token_invalid()])
    }
}

impl From<AuthenticateError> for ApiError {
    fn from(error: AuthenticateError) -> Self {
        match error {
            AuthenticateError::Expired => Self::token_expired(),
            AuthenticateError::Invalid => Self::token_invalid(),
            AuthenticateError::Storage(error) => error.into(),
        }
    }
}

impl Refuses for AuthenticateError {
    fn refusals() -> Vec<ApiError> {
        and_storage([ApiError::token_expired(), ApiError::token_invalid()])
    }
}

impl From<UpdateProfileError> for ApiError {
    fn from(error: UpdateProfileError) -> Self {
        match error {
            UpdateProfileError::Invalid(fields) => Self::validation_failed(fields),
            UpdateProfileError::SessionOver => Self::token_invalid(),
            UpdateProfileError::Storage(error) => error.into(),
        }
    }
}

impl Refuses for UpdateProfileError {
    fn refusals() -> Vec<ApiError> {
        and_storage([
            refused_field(
                "/full_name",
                "too_long",
                "The name is longer than 200 characters.",
            ),
            ApiError::token_invalid(),
        ])
    }
}

impl From<ReauthenticateError> for ApiError {
    fn from(error: ReauthenticateError) -> Self {
        match error {
            ReauthenticateError::Invalid(fields) => Self::validation_failed(fields),
            ReauthenticateError::Limited(decision) => limited(&decision),
            ReauthenticateError::SessionOver => Self::token_invalid(),
            ReauthenticateError::Overloaded => Self::overloaded(),
            ReauthenticateError::Storage(error) => error.into(),
        }
    }
}

impl Refuses for ReauthenticateError {
    fn refusals() -> Vec<ApiError> {
        and_storage([
            refused_field(
                "/current_password",
                "wrong_password",
                "The password is not right.",
            ),
            account_limited(),
            ApiError::token_invalid(),
            ApiError::overloaded(),
        ])
    }
}

impl From<DeleteAccountError> for ApiError {
    fn from(error: DeleteAccountError) -> Self {
        match error {
            DeleteAccountError::LastAdmin => last_admin(),
            DeleteAccountError::Refused(error) => error.into(),
        }
    }
}

impl Refuses for DeleteAccountError {
    fn refusals() -> Vec<ApiError> {
        // Here the field has another name, and the first of two gives the example.
        let wrong = refused_field("/password", "wrong_password", "The password is not right.");
        let mut refusals = vec![wrong, last_admin()];
        refusals.extend(ReauthenticateError::refusals());
        refusals
    }
}

impl From<MailRequestError> for ApiError {
    fn from(error: MailRequestError) -> Self {
        match error {
            MailRequestError::Invalid(fields) => Self::validation_failed(fields),
            MailRequestError::Overloaded => Self::overloaded(),
            MailRequestError::Storage(error) => error.into(),
        }
    }
}

impl Refuses for MailRequestError {
    fn refusals() -> Vec<ApiError> {
        and_storage([
            refused_field("/email", "invalid_email", "This is not a valid e-mail address."),
            ApiError::overloaded(),
        ])
    }
}

impl From<VerifyEmailError> for ApiError {
    fn from(error: VerifyEmailError) -> Self {
        match error {
            VerifyEmailError::InvalidToken => Self::invalid_verification_token(),
            VerifyEmailError::Storage(error) => error.into(),
        }
    }
}

impl Refuses for VerifyEmailError {
    fn refusals() -> Vec<ApiError> {
        and_storage([ApiError::invalid_verification_token()])
    }
}

impl From<ConfirmResetError> for ApiError {
    fn from(error: ConfirmResetError) -> Self {
        match error {
            ConfirmResetError::InvalidToken => Self::invalid_reset_token(),
            ConfirmResetError::Invalid(fields) => Self::validation_failed(fields),
            ConfirmResetError::Overloaded => Self::overloaded(),
            ConfirmResetError::Storage(error) => error.into(),
        }
    }
}

impl Refuses for ConfirmResetError {
    fn refusals() -> Vec<ApiError> {
        and_storage([
            ApiError::invalid_reset_token(),
            weak_password("/new_password"),
            ApiError::overloaded(),
        ])
    }
}

impl From<NotAdmin> for ApiError {
    fn from(_: NotAdmin) -> Self {
        Self::forbidden("This is for administrators.")
    }
}

impl From<AdminError> for ApiError {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::NotAdmin => NotAdmin.into(),
            AdminError::LastAdmin => last_admin(),
            AdminError::Inactive => Self::account_inactive(),
            AdminError::NotFound => Self::not_found(),
            AdminError::Invalid(fields) => Self::validation_failed(fields),
            AdminError::EmailTaken => Self::email_taken(),
            AdminError::Counters(error) => {
                tracing::warn!(%error, "counters were not cleared");
                Self::unavailable()
            }
            AdminError::Storage(error) => error.into(),
        }
    }
}

impl From<IssueError> for ApiError {
    fn from(error: IssueError) -> Self {
        match error {
            IssueError::Invalid(fields) => Self::validation_failed(fields),
            IssueError::NotFound => Self::not_found(),
            IssueError::Revoked => Self::token_revoked(),
            IssueError::LimitReached => Self::token_limit_reached(),
            IssueError::SessionOver => Self::token_invalid(),
            IssueError::Storage(error) => error.into(),
        }
    }
}

impl From<EndSessionError> for ApiError {
    fn from(error: EndSessionError) -> Self {
        match error {
            EndSessionError::NotFound => Self::not_found(),
            EndSessionError::Storage(error) => error.into(),
        }
    }
}

impl Refuses for EndSessionError {
    fn refusals() -> Vec<ApiError> {
        and_storage([ApiError::not_found()])
    }
}
