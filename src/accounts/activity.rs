//! What happened to an account, as its owner sees it: his part of the audit log.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::page::{Page, PageRequest};
use super::{Accounts, Identity};
use crate::audit::EventKind;
use crate::clock::Timestamp;
use crate::storage::{self, AuditRow, StorageError};

/// An event of the user's own. Names nobody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Activity {
    /// A `UUIDv7`.
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// What: `login_success`.
    #[schema(example = "login_success")]
    pub event: String,
    /// `success` or `failure`.
    #[schema(pattern = "^(success|failure)$", example = "success")]
    pub outcome: String,
    /// Why, in one word.
    #[schema(example = "wrong_password")]
    pub reason: Option<String>,
    /// Where from; `null` where an administrator did it.
    #[schema(example = "203.0.113.7")]
    pub client_ip: Option<String>,
    /// In which request; `null` where an administrator did it.
    #[schema(example = "01a20198-d819-77d0-bbba-1eb672b949e3")]
    pub request_id: Option<String>,
    /// An administrator did it, not the user.
    #[schema(example = false)]
    pub by_admin: bool,
}

impl Accounts {
    /// What the user did, or somebody with his password or session, and what administrators changed about him; the
    /// newest first. That one looked at him is no change. As far back as `AUDIT_RETENTION_DAYS`.
    pub async fn activity(
        &self,
        identity: &Identity,
        page: PageRequest,
    ) -> Result<Page<Activity>, StorageError> {
        let user_id = identity.user.id;
        let hidden = EventKind::AdminUserViewed.as_str();
        let mut on = self.0.database.read().await?;
        let rows = storage::audit_rows_of_user(&mut on, user_id, hidden, page.after(), page.rows()).await?;
        let own = user_id.to_string();
        Ok(Page::of(
            rows,
            &page,
            |row: &AuditRow| (row.at, row.id),
            |row| view(row, &own),
        ))
    }
}

fn view(row: AuditRow, own_id: &str) -> Activity {
    let is_own = row.user_id.as_deref() == Some(own_id);
    Activity {
        id: row.id,
        at: row.at,
        event: row.event,
        outcome: row.outcome,
        reason: row.reason,
        client_ip: row.client_ip.filter(|_| is_own),
        request_id: row.request_id.filter(|_| is_own),
        by_admin: !is_own,
    }
}
