//! The audit log, as an administrator reads it.

use serde::Serialize;
use uuid::Uuid;

use super::{Accounts, AdminError, Administrator};
use crate::accounts::Email;
use crate::accounts::page::{Page, PageRequest};
use crate::audit::{EventKind, Outcome};
use crate::clock::Timestamp;
use crate::storage::{self, AuditFilter, AuditRow, AuditSubject};

/// Which events are looked for.
#[derive(Clone, Debug)]
pub struct AuditQuery {
    /// From this moment on.
    pub since: Timestamp,
    /// Up to this one.
    pub until: Timestamp,
    /// Of this kind.
    pub event: Option<EventKind>,
    /// Done by or to this user.
    pub whose: Option<Whose>,
}

/// Whose events are looked for.
#[derive(Clone, Debug)]
pub enum Whose {
    /// Of a user, who may be deleted by now.
    User(Uuid),
    /// Of an address, with or without an account.
    Address(Email),
}

/// A security event (contract, section 5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditEntry {
    /// A `UUIDv7`.
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// What: `login_failure`.
    pub event: String,
    /// `success` or `failure`.
    pub outcome: String,
    /// Why, in one word.
    pub reason: Option<String>,
    /// Who did it, if known; `null` in an administrative event: the operator, at the command line.
    pub user_id: Option<String>,
    /// Whom an administrator did it to.
    pub target_id: Option<String>,
    /// The account that was named, known or not: a pseudonym of its address.
    pub account: Option<String>,
    /// Where from.
    pub client_ip: Option<String>,
    /// In which request.
    pub request_id: Option<String>,
    /// How many such events this one stands for (refusals by a limit).
    pub occurrences: i64,
}

impl From<AuditRow> for AuditEntry {
    fn from(row: AuditRow) -> Self {
        Self {
            id: row.id,
            at: row.at,
            event: row.event,
            outcome: row.outcome,
            reason: row.reason,
            user_id: row.user_id,
            target_id: row.target_id,
            account: row.account,
            client_ip: row.client_ip,
            request_id: row.request_id,
            occurrences: row.occurrences,
        }
    }
}

impl Accounts {
    /// Security events, the newest first. As far back as `AUDIT_RETENTION_DAYS`.
    pub async fn audit_log(
        &self,
        by: &Administrator,
        query: &AuditQuery,
        page: PageRequest,
    ) -> Result<Page<AuditEntry>, AdminError> {
        let mut on = self.0.database.read().await?;
        let (account, former_account) = match &query.whose {
            Some(Whose::Address(email)) => (Some(self.pseudonym(email)), self.former_pseudonym(email)),
            _ => (None, None),
        };
        let user_id = match &query.whose {
            Some(Whose::User(id)) => Some(*id),
            Some(Whose::Address(email)) => {
                let found = storage::find_user_by_email(&mut on, email.as_str()).await?;
                found.map(|account| account.id)
            }
            None => None,
        };
        let filter = AuditFilter {
            since: query.since,
            until: query.until,
            event: query.event.map(EventKind::as_str),
            whose: query.whose.is_some().then_some(AuditSubject {
                user_id,
                account: account.as_deref(),
                former_account: former_account.as_deref(),
            }),
        };
        let rows = storage::search_audit_rows(&mut on, &filter, page.after(), page.rows()).await?;
        if page.after.is_none() {
            let event = by.event(EventKind::AdminAuditRead, Outcome::Success);
            self.0.audit.record(&event);
        }
        Ok(Page::of(
            rows,
            &page,
            |row: &AuditRow| (row.at, row.id),
            Into::into,
        ))
    }
}
