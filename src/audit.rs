//! Security events: one log line and one row of `audit_log` each (contract, section 5).
//!
//! The line is written at once. The row follows in the background, many in one statement, so that the
//! record never slows down or fails what it records; what is queued and not yet written is lost only with
//! the process. Takes no text of a user but the request id, and no secret at all. A new event is a variant
//! of [`EventKind`].

mod writer;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::clock::Clock;
use crate::rate_limit::{Client, Limiter, Phase};
use crate::storage::{self, AuditRow, Database};

/// Rows that may wait. More than this within one [`FLUSH`], or while the database is away, are dropped and
/// counted; their log lines are there.
const QUEUE: usize = 8192;

/// Most different refusals (rule and client) that are told apart within one [`FLUSH`].
const REFUSALS: usize = 1000;

/// How often rows are written.
const FLUSH: Duration = Duration::from_millis(250);

/// Each event once: its variant and its name in the log.
macro_rules! event_kinds {
    ($($kind:ident => $name:literal,)+) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "each variant is its name in the log")]
        pub enum EventKind {
            $($kind,)+
        }

        impl EventKind {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$kind,)+];

            /// As it stands in the log and in `audit_log.event`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }
        }
    };
}

event_kinds! {
    Register => "register",
    LoginSuccess => "login_success",
    LoginFailure => "login_failure",
    TokenRefresh => "token_refresh",
    RefreshReuse => "refresh_reuse",
    Logout => "logout",
    PasswordChange => "password_change",
    PasswordResetRequest => "password_reset_request",
    PasswordResetSuccess => "password_reset_success",
    EmailVerificationRequest => "email_verification_request",
    EmailVerified => "email_verified",
    EmailChangeRequest => "email_change_request",
    EmailChange => "email_change",
    AccountDeleted => "account_deleted",
    SessionRevoked => "session_revoked",
    ApiTokenCreated => "api_token_created",
    ApiTokenChanged => "api_token_changed",
    ApiTokenRotated => "api_token_rotated",
    ApiTokenRevoked => "api_token_revoked",
    AdminDenied => "admin_denied",
    AdminUsersListed => "admin_users_listed",
    AdminUserViewed => "admin_user_viewed",
    AdminUserCreated => "admin_user_created",
    AdminUserImported => "admin_user_imported",
    AdminUserActivated => "admin_user_activated",
    AdminUserDeactivated => "admin_user_deactivated",
    AdminRoleChanged => "admin_role_changed",
    AdminUserDeleted => "admin_user_deleted",
    AdminResetLinkCreated => "admin_reset_link_created",
    AdminAuditRead => "admin_audit_read",
    AdminLimitsRead => "admin_limits_read",
    AdminLimitsCleared => "admin_limits_cleared",
    RateLimited => "rate_limited",
    RateLimiterDegraded => "rate_limiter_degraded",
    RateLimiterRecovered => "rate_limiter_recovered",
}

/// The name of no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such event")]
pub struct UnknownEvent;

impl FromStr for EventKind {
    type Err = UnknownEvent;

    fn from_str(name: &str) -> Result<Self, UnknownEvent> {
        let mut all = Self::ALL.iter().copied();
        all.find(|kind| kind.as_str() == name).ok_or(UnknownEvent)
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was done.
    Success,
    /// It was not.
    Failure,
}

impl Outcome {
    /// As it stands in the log and in `audit_log.outcome`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
        }
    }
}

/// A security event.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// What happened.
    pub kind: EventKind,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, in one word of ours; or whose limits were cleared (`ip:203.0.113.7`).
    pub reason: Option<&'a str>,
    /// Whose account, if one is known: who did it.
    pub user_id: Option<Uuid>,
    /// Whom an administrator did it to.
    pub target_id: Option<Uuid>,
    /// The account that was named, known or not: a pseudonym, never an address.
    pub account: Option<&'a str>,
    /// Where from.
    pub client_ip: Option<IpAddr>,
    /// In which request.
    pub request_id: Option<&'a str>,
}

impl<'a> Event<'a> {
    /// An event with nothing known but what and how.
    #[must_use]
    pub fn new(kind: EventKind, outcome: Outcome) -> Self {
        Self {
            kind,
            outcome,
            reason: None,
            user_id: None,
            target_id: None,
            account: None,
            client_ip: None,
            request_id: None,
        }
    }

    /// With a reason.
    #[must_use]
    pub fn because(mut self, reason: &'a str) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Of a user.
    #[must_use]
    pub fn of_user(mut self, user_id: Uuid) -> Self {
        self.user_id = Some(user_id);
        self
    }

    /// Done to a user, by an administrator.
    #[must_use]
    pub fn to_user(mut self, target_id: Uuid) -> Self {
        self.target_id = Some(target_id);
        self
    }

    /// Of an account that was named.
    #[must_use]
    pub fn of_account(mut self, account: &'a str) -> Self {
        self.account = Some(account);
        self
    }

    /// In a request.
    #[must_use]
    pub fn in_request(mut self, client_ip: IpAddr, request_id: &'a str) -> Self {
        self.client_ip = Some(client_ip);
        self.request_id = Some(request_id);
        self
    }
}

/// Where security events go. Cheap to clone; clones are one.
#[derive(Clone)]
pub struct Audit(Arc<Inner>);

/// Refusals by a limit, of which a flood must not become a flood of rows: one row for each client and rule in a [`FLUSH`],
/// with their number.
#[derive(Default)]
struct Refusals {
    /// By address; those of one differ in their reason.
    rows: HashMap<Option<IpAddr>, Vec<AuditRow>>,
    kinds: usize,
}

impl Refusals {
    /// False where there is no room for another kind.
    fn count(&mut self, event: &Event<'_>, first: impl FnOnce() -> AuditRow) -> bool {
        let of_client = self.rows.get_mut(&event.client_ip).into_iter().flatten();
        let mut same = of_client.filter(|row| row.reason.as_deref() == event.reason);
        if let Some(known) = same.next() {
            known.occurrences += 1;
            return true;
        }
        if self.kinds == REFUSALS {
            return false;
        }
        self.kinds += 1;
        self.rows.entry(event.client_ip).or_default().push(first());
        true
    }
}

struct Inner {
    clock: Clock,
    rows: mpsc::Sender<AuditRow>,
    refusals: Mutex<Refusals>,
    dropped: AtomicU64,
    stop: CancellationToken,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Audit {
    /// Starts the task that writes rows, on the current runtime.
    #[must_use]
    pub fn start(database: Database, clock: Clock) -> Self {
        let (rows, queue) = mpsc::channel(QUEUE);
        let audit = Self(Arc::new(Inner {
            clock,
            rows,
            refusals: Mutex::default(),
            dropped: AtomicU64::new(0),
            stop: CancellationToken::new(),
            writer: Mutex::new(None),
        }));
        let writer = tokio::spawn(writer::run(Arc::clone(&audit.0), database, queue));
        *audit.0.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
        audit
    }

    /// Logs the event and queues its row. Cheap, never waits, never fails.
    pub fn record(&self, event: &Event<'_>) {
        log(event);
        self.queue(event);
    }

    /// Writes a row each time that Redis is lost and found again, until `shutdown`. The limiter, which knows nothing of
    /// rows, writes the lines.
    pub async fn watch(&self, limiter: &Limiter, shutdown: CancellationToken) {
        let Some(mut phases) = limiter.phases() else {
            return;
        };
        let mut was_lost = false;
        loop {
            let is_lost = match *phases.borrow_and_update() {
                Phase::Lost => true,
                Phase::Connected => false,
                Phase::Starting => was_lost,
            };
            if is_lost && !was_lost {
                self.queue(&Event::new(EventKind::RateLimiterDegraded, Outcome::Failure));
            } else if was_lost && !is_lost {
                self.queue(&Event::new(EventKind::RateLimiterRecovered, Outcome::Success));
            }
            was_lost = is_lost;
            tokio::select! {
                changed = phases.changed() => if changed.is_err() { return },
                () = shutdown.cancelled() => return,
            }
        }
    }

    fn queue(&self, event: &Event<'_>) {
        let has_room = if event.kind == EventKind::RateLimited {
            let mut refusals = self.0.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            refusals.count(event, || self.row(event))
        } else {
            self.0.rows.try_send(self.row(event)).is_ok()
        };
        if !has_room {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The row of an event, for whoever writes it together with what it tells of.
    #[must_use]
    pub fn row(&self, event: &Event<'_>) -> AuditRow {
        let now = self.0.clock.now();
        AuditRow {
            id: storage::new_id(now),
            at: now,
            event: event.kind.as_str().to_owned(),
            outcome: event.outcome.as_str().to_owned(),
            reason: event.reason.map(str::to_owned),
            user_id: event.user_id.map(|id| id.to_string()),
            target_id: event.target_id.map(|id| id.to_string()),
            account: event.account.map(str::to_owned),
            client_ip: event.client_ip.map(text_of),
            request_id: event.request_id.map(str::to_owned),
            occurrences: 1,
        }
    }

    /// Writes what is queued and stops. Later events are logged only.
    pub async fn shutdown(&self) {
        self.0.stop.cancel();
        let writer = self
            .0
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(writer) = writer {
            writer.await.ok();
        }
    }
}

impl Inner {
    fn take_refusals(&self) -> impl Iterator<Item = AuditRow> + use<> {
        let taken = std::mem::take(&mut *self.refusals.lock().unwrap_or_else(PoisonError::into_inner));
        taken.rows.into_values().flatten()
    }
}

/// As it prints. An IPv4 address by way of [`Client`], which does it in a fifth of the time: each refusal has its line.
fn text_of(ip: IpAddr) -> String {
    let mut text = String::with_capacity("255.255.255.255".len());
    // A String takes all.
    let _ = match ip {
        IpAddr::V4(_) => write!(text, "{}", Client::of(ip, 128)),
        IpAddr::V6(_) => write!(text, "{ip}"),
    };
    text
}

/// All fields are given as strings: the text format then escapes them, and JSON does anyway.
fn log(event: &Event<'_>) {
    let user_id = event.user_id.map(|id| id.to_string());
    let target_id = event.target_id.map(|id| id.to_string());
    let client_ip = event.client_ip.map(text_of);
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                target: "stile::audit",
                event = event.kind.as_str(),
                outcome = event.outcome.as_str(),
                reason = event.reason,
                user_id = user_id.as_deref(),
                target_id = target_id.as_deref(),
                account = event.account,
                client_ip = client_ip.as_deref(),
                request_id = event.request_id,
                "security event"
            )
        };
    }
    // Somebody holds a token that he should not: worth waking up for.
    if event.kind == EventKind::RefreshReuse {
        line!(warn);
    } else {
        line!(info);
    }
}
