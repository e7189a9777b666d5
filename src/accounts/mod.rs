//! Use cases of accounts: what a person can do, one file each, its error beside it.
//!
//! This room decides; it composes [`crate::storage`], [`crate::credentials`], [`crate::rate_limit`],
//! [`crate::mail`] and [`crate::audit`] and knows neither HTTP nor SQL. A new use case is a new file with
//! an `impl Accounts` block and its own error enum.

mod account_limit;
mod activity;
mod admin;
mod deletion;
mod delivery;
mod email;
mod email_change;
mod email_verification;
mod full_name;
mod housekeeping;
mod letter;
mod login;
mod mail_queue;
mod page;
mod password_change;
mod password_reset;
mod profile;
mod reauthenticate;
mod refresh;
mod register;
mod rehearsal;
mod session_token;
mod sessions;
mod tokens_of_owner;
mod user;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, RwLock};

use crate::audit::{Audit, Event, EventKind, Outcome};
use crate::clock::Clock;
use crate::credentials::{AccessTokens, Passwords, PoolState, SecretKeys};
use crate::field::FieldError;
use crate::mail::Outbox;
use crate::rate_limit::{Client, Limiter};
use crate::storage::Database;

pub use account_limit::counted_as;
pub use activity::Activity;
pub use admin::{
    AdminError, Administrator, AuditEntry, AuditQuery, ImportRow, Imported, NewAccount, NotAdmin,
    PasswordLink, RowError, UserChange, Whose,
};
pub use deletion::DeleteAccountError;
pub use email::{Email, EmailError};
pub use email_verification::VerifyEmailError;
pub use full_name::{FullName, FullNameError};
pub use login::LoginError;
pub use mail_queue::{MailRequestError, MailTally};
pub use page::{Cursor, NoCursor, Page, PageRequest};
pub use password_reset::{ConfirmResetError, ResetPreview};
pub use profile::UpdateProfileError;
pub use reauthenticate::ReauthenticateError;
pub use refresh::RefreshError;
pub use register::{RegisterError, Registered, Registration};
pub use sessions::{
    AuthenticateError, EndSessionError, Identity, Logout, LogoutError, SessionTokens, SessionView,
};
pub use tokens_of_owner::OwnerChange;
pub use user::{Role, User};

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
    /// `AUDIT_RETENTION_DAYS`: older rows of `audit_log` are swept.
    pub audit_retention: Duration,
    /// Log each mailed link (development, mail into a folder).
    pub log_links: bool,
    /// Keeps what was sent for E2E suites; `None` unless `ENABLE_TEST_ENDPOINTS`.
    pub outbox: Option<Outbox>,
}

/// All use cases of accounts. Cheap to clone; clones are one.
#[derive(Clone)]
pub struct Accounts(Arc<Inner>);

struct Inner {
    database: Database,
    passwords: Passwords,
    access_tokens: AccessTokens,
    secret_keys: SecretKeys,
    limiter: Limiter,
    audit: Audit,
    clock: Clock,
    settings: Settings,
    /// Wakes this process's delivery when it has queued a mail; other processes poll.
    mail_queued: Notify,
    mail_tally: MailTally,
    /// Held for reading by a worker with a mail in hand ([`Accounts::pass_time`] waits for all).
    mail_in_hand: RwLock<()>,
}

/// Who asks, as `http` found out. Not authenticated by any of this.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The client as limits count it: an address, or an IPv6 network.
    pub client: Client,
    /// The client's own address.
    pub ip: IpAddr,
    /// `User-Agent`, if any.
    pub user_agent: Option<String>,
    /// `X-Request-Id` of the answer.
    pub request_id: String,
    /// On `RATE_LIMIT_ALLOWLIST`: no limit is charged.
    pub exempt: bool,
}

impl Accounts {
    /// Puts the use cases together. Starts nothing; [`Accounts::run_delivery`] and
    /// [`Accounts::run_housekeeping`] are the two background tasks to spawn.
    #[must_use]
    #[expect(
        clippy::too_many_arguments,
        reason = "each is one room this one is built on; called in one place"
    )]
    pub fn new(
        database: Database,
        passwords: Passwords,
        access_tokens: AccessTokens,
        secret_keys: SecretKeys,
        limiter: Limiter,
        audit: Audit,
        clock: Clock,
        settings: Settings,
    ) -> Self {
        Self(Arc::new(Inner {
            database,
            passwords,
            access_tokens,
            secret_keys,
            limiter,
            audit,
            clock,
            settings,
            mail_queued: Notify::new(),
            mail_tally: MailTally::default(),
            mail_in_hand: RwLock::new(()),
        }))
    }
}

impl Accounts {
    /// How busy the pool of hashing threads is.
    #[must_use]
    pub fn hash_pool(&self) -> PoolState {
        self.0.passwords.pool()
    }
}

impl Caller {
    /// An event of this caller's request.
    fn event(&self, kind: EventKind, outcome: Outcome) -> Event<'_> {
        Event::new(kind, outcome).in_request(self.ip, &self.request_id)
    }

    /// `User-Agent` as it may be stored: PostgreSQL takes no NUL, and nobody needs a megabyte.
    fn printable_user_agent(&self) -> Option<String> {
        const LONGEST: usize = 512;
        let text = self.user_agent.as_deref()?;
        Some(
            text.chars()
                .filter(|character| !character.is_control())
                .take(LONGEST)
                .collect(),
        )
    }
}
