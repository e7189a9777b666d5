//! The codes of errors: what `PUBLIC_URL/problems/CODE` says of each, and the status of its answers. A new code is an entry here.

use axum::http::StatusCode;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{Object, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// What all errors of one code have in common.
#[derive(Clone, Copy, Debug)]
pub struct Code {
    /// Stable, for programs.
    pub name: &'static str,
    /// The status of its answers.
    pub status: StatusCode,
    /// What it means and what to do, for whoever builds a client.
    pub advice: &'static str,
}

macro_rules! codes {
    ($($constant:ident = $status:ident, $name:literal, $advice:literal;)*) => {
        impl Code {
            $(pub(super) const $constant: Self =
                Self { name: $name, status: StatusCode::$status, advice: $advice };)*

            /// All of them, by status.
            pub const ALL: &[Self] = &[$(Self::$constant),*];
        }
    };
}

codes! {
    INVALID_REQUEST = BAD_REQUEST, "invalid_request",
        "The request cannot be understood: its JSON is malformed, its body came too late (408), or it shows \
         two credentials at once. `detail` says which. Mend the request; the same one will fail again.";
    INVALID_RESET_TOKEN = BAD_REQUEST, "invalid_reset_token",
        "The link to reset a password is wrong, used, replaced by a newer one, or too old. Ask for a new \
         link, and open the newest mail.";
    INVALID_VERIFICATION_TOKEN = BAD_REQUEST, "invalid_verification_token",
        "The link to confirm an address is wrong, used, replaced by a newer one, or too old. Ask for a new \
         link, and open the newest mail.";
    INVALID_CREDENTIALS = UNAUTHORIZED, "invalid_credentials",
        "There is no account with this address and password; which of the two is wrong is never told. Ask for \
         both again, or offer to reset the password.";
    NOT_AUTHENTICATED = UNAUTHORIZED, "not_authenticated",
        "The request shows no credential. Log in, and send the access token as `Authorization: Bearer …`; at \
         the gateway, an API token.";
    TOKEN_EXPIRED = UNAUTHORIZED, "token_expired",
        "The access token or API token was good, and its time is over. Refresh the session and try once more; \
         an API token is replaced by a new one.";
    TOKEN_INVALID = UNAUTHORIZED, "token_invalid",
        "The token is not ours, was revoked, or its session is over. Refreshing may help if only the access \
         token is spoilt; otherwise log in again, or make a new API token.";
    INVALID_REFRESH_TOKEN = UNAUTHORIZED, "invalid_refresh_token",
        "The refresh token is unknown, or its session has ended or expired. Forget it, and log in again.";
    REFRESH_TOKEN_REUSED = UNAUTHORIZED, "refresh_token_reused",
        "A refresh token that had been replaced came again, so somebody may have copied it, and the session \
         was ended. Log in again. Keep only the newest refresh token, and refresh from one place at a time.";
    ACCOUNT_INACTIVE = FORBIDDEN, "account_inactive",
        "The password was right, but the account has been deactivated. Only an administrator can activate it \
         again.";
    EMAIL_NOT_VERIFIED = FORBIDDEN, "email_not_verified",
        "The password was right, but the address has not been confirmed yet. Open the link that was mailed, \
         or ask for a new one.";
    INSUFFICIENT_SCOPE = FORBIDDEN, "insufficient_scope",
        "The API token is good, but lacks a scope that this request needs. Use a token that has it, or add \
         the scope to this one.";
    FORBIDDEN = FORBIDDEN, "forbidden",
        "This caller may not do that: the role is missing, the last administrator would go, or the request \
         came with cookies from an origin that may not send them. `detail` says which.";
    NOT_FOUND = NOT_FOUND, "not_found",
        "There is nothing at this address, or nothing that this caller may see. Check the path and the id.";
    METHOD_NOT_ALLOWED = METHOD_NOT_ALLOWED, "method_not_allowed",
        "The address is right and the method is not. The header `Allow` names those that are.";
    EMAIL_TAKEN = CONFLICT, "email_taken",
        "This address cannot be used for a new account. Whoever owns it can log in or reset the password.";
    TOKEN_REVOKED = CONFLICT, "token_revoked",
        "The API token has been revoked, which is final. Make a new one.";
    TOKEN_LIMIT_REACHED = CONFLICT, "token_limit_reached",
        "The account has as many API tokens as it may. Revoke one that is not needed; it counts until its day \
         is over.";
    PAYLOAD_TOO_LARGE = PAYLOAD_TOO_LARGE, "payload_too_large",
        "The body is larger than any request needs (16 KiB). Send less.";
    UNSUPPORTED_MEDIA_TYPE = UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type",
        "Bodies are JSON, uncompressed: send `Content-Type: application/json`.";
    VALIDATION_FAILED = UNPROCESSABLE_ENTITY, "validation_failed",
        "The request was understood, but fields break rules. `errors` has an entry for each: a `pointer` to \
         the field, a `code` for programs and a `message` for people.";
    RATE_LIMITED = TOO_MANY_REQUESTS, "rate_limited",
        "Too many requests. `limit` names the limit, and `Retry-After` and `retry_after` the seconds to wait; \
         asking earlier is of no use. `GET /api/v1/rate-limits` lists all limits.";
    INTERNAL_ERROR = INTERNAL_SERVER_ERROR, "internal_error",
        "Something went wrong on the server, and its log knows what. Trying again may help; if not, tell \
         whoever runs the service the `request_id`.";
    OVERLOADED = SERVICE_UNAVAILABLE, "overloaded",
        "More passwords are being checked than the server has hands for. Try again after `Retry-After` \
         seconds.";
    UNAVAILABLE = SERVICE_UNAVAILABLE, "unavailable",
        "The server cannot reach its database at the moment. Try again after `Retry-After` seconds.";
}

impl PartialSchema for Code {
    fn schema() -> RefOr<Schema> {
        let names = Self::ALL.iter().map(|code| code.name);
        Object::builder()
            .schema_type(Type::String)
            .enum_values(Some(names))
            .into()
    }
}

impl ToSchema for Code {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_code_stands_twice_and_each_is_of_an_error() {
        let names: BTreeSet<_> = Code::ALL.iter().map(|code| code.name).collect();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!(
                code.status.is_client_error() || code.status.is_server_error(),
                "{}",
                code.name
            );
        }
    }
}
