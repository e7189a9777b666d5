//! What administrators do to the accounts of others. Each use is audited: who did what to whom.
//!
//! Nothing here can be called without an [`Administrator`], who is made of a signed-in user with the role `admin`, or
//! at the command line, whose user holds the database anyway.

mod audit_log;
mod import;
mod limits;
mod link;
mod users;

use uuid::Uuid;

use super::{Accounts, Caller, Identity, Role};
use crate::audit::{Event, EventKind, Outcome};
use crate::field::FieldError;
use crate::rate_limit::operator::OperatorError;
use crate::storage::{self, StorageError, Transaction};

pub use audit_log::{AuditEntry, AuditQuery, Whose};
pub use import::{ImportRow, Imported, RowError};
pub use link::{NewAccount, PasswordLink};
pub use users::UserChange;

/// Who administers.
#[derive(Clone, Debug)]
pub struct Administrator(Who);

#[derive(Clone, Debug)]
enum Who {
    Admin { id: Uuid, caller: Caller },
    Operator,
}

/// The signed-in user is no administrator. Audited where it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an administrator")]
pub struct NotAdmin;

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// 403: no administrator any more.
    #[error("not an administrator")]
    NotAdmin,
    /// 403: nobody would be administrator any more.
    #[error("the last active administrator stays one")]
    LastAdmin,
    /// 403 `account_inactive`: a link would open nothing.
    #[error("the account is inactive")]
    Inactive,
    /// 404: no such user.
    #[error("no such user")]
    NotFound,
    /// 422.
    #[error("a field is invalid")]
    Invalid(Vec<FieldError>),
    /// The address of an account to make is taken.
    #[error("the address is taken")]
    EmailTaken,
    /// 503: Redis does not answer.
    #[error(transparent)]
    Counters(#[from] OperatorError),
    /// 503 or 500.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Administrator {
    /// Whoever runs commands on the machine.
    #[must_use]
    pub fn operator() -> Self {
        Self(Who::Operator)
    }

    /// An event of this administrator's. The operator has no account and no address.
    fn event(&self, kind: EventKind, outcome: Outcome) -> Event<'_> {
        match &self.0 {
            Who::Admin { id, caller } => caller.event(kind, outcome).of_user(*id),
            Who::Operator => Event::new(kind, outcome),
        }
    }
}

impl Accounts {
    /// The signed-in user as an administrator. His role is what the database said in this request, not what his access
    /// token says: who loses it has lost it.
    pub fn administrator(&self, identity: &Identity, caller: Caller) -> Result<Administrator, NotAdmin> {
        let id = identity.user.id;
        if identity.user.role == Role::Admin {
            return Ok(Administrator(Who::Admin { id, caller }));
        }
        let event = caller.event(EventKind::AdminDenied, Outcome::Failure).of_user(id);
        self.0.audit.record(&event.because("not_admin"));
        Err(NotAdmin)
    }

    /// Whether there is any active administrator at all.
    pub async fn has_active_admin(&self, _: &Administrator) -> Result<bool, StorageError> {
        let mut on = self.0.database.read().await?;
        // The nil id is nobody's.
        storage::has_other_active_admin(&mut on, Uuid::nil()).await
    }

    /// Begins a change of who may do what. Such changes wait for each other, and an administrator who has been demoted
    /// or deactivated since his request began does nothing any more.
    async fn begin_change(&self, by: &Administrator) -> Result<Transaction, AdminError> {
        let mut transaction = self.0.database.begin().await?;
        storage::guard_administrators(&mut transaction).await?;
        if let Who::Admin { id, .. } = by.0
            && !storage::is_active_admin(&mut transaction, id).await?
        {
            transaction.rollback().await?;
            return Err(AdminError::NotAdmin);
        }
        Ok(transaction)
    }

    /// Whether `id` may stop being an active administrator. The operator may do it to the last one: he can make another.
    async fn may_lose(
        &self,
        by: &Administrator,
        on: &mut Transaction,
        id: Uuid,
    ) -> Result<bool, StorageError> {
        match by.0 {
            Who::Operator => Ok(true),
            Who::Admin { .. } => storage::has_other_active_admin(on, id).await,
        }
    }

    /// Records what was done to a user, or why not.
    fn record_done<T>(
        &self,
        by: &Administrator,
        kind: EventKind,
        target: Uuid,
        done: &Result<T, AdminError>,
    ) {
        let event = |outcome| by.event(kind, outcome).to_user(target);
        let failed = |reason| event(Outcome::Failure).because(reason);
        self.0.audit.record(&match done {
            Ok(_) => event(Outcome::Success),
            Err(AdminError::NotAdmin) => failed("not_admin"),
            Err(AdminError::LastAdmin) => failed("last_admin"),
            Err(AdminError::Inactive) => failed("account_inactive"),
            Err(AdminError::NotFound) => failed("no_such_user"),
            Err(AdminError::Invalid(_)) => failed("invalid"),
            Err(AdminError::EmailTaken) => failed("email_taken"),
            Err(AdminError::Counters(_)) => failed("redis"),
            Err(AdminError::Storage(_)) => failed("database"),
        });
    }
}
