//! Use cases of accounts: what a person can do, one file each.

use std::time::Duration;

/// What `config` hands this room.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `FRONTEND_URL`, without a trailing slash: links in mail start with it.
    pub frontend_url: String,
    /// `REQUIRE_EMAIL_VERIFICATION`.
    pub require_email_verification: bool,
    /// `REFRESH_TOKEN_EXPIRE_DAYS`: idle life of a session.
    pub session_idle_lifetime: Duration,
    /// `SESSION_MAX_DAYS`: absolute life of a session.
    pub session_max_lifetime: Duration,
    /// `REFRESH_REUSE_GRACE_SECONDS`; zero = strict.
    pub refresh_reuse_grace: Duration,
    /// `RESET_TOKEN_EXPIRE_MINUTES`, from the moment the mail is handed over.
    pub reset_token_lifetime: Duration,
    /// `VERIFY_TOKEN_EXPIRE_HOURS`, from the moment the mail is handed over.
    pub verify_token_lifetime: Duration,
    /// Log each mailed link (development, mail into a folder).
    pub log_links: bool,
}
