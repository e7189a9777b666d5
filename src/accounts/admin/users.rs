//! Finding users, and changing what they may do.

use uuid::Uuid;

use super::{Accounts, AdminError, Administrator};
use crate::accounts::page::{Page, PageRequest};
use crate::accounts::{Email, OwnerChange, Role, User};
use crate::audit::{EventKind, Outcome};
use crate::field::{FieldError, is_no_writing};
use crate::storage::{self, Account, EndReason, StorageError, Transaction, UserRole};

/// Most characters that can be looked for: more than a name or an address has.
const LONGEST_QUERY: usize = 254;

/// What an administrator sets. What is `None` stays as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct UserChange {
    /// May log in.
    pub is_active: Option<bool>,
    /// What he may do.
    pub role: Option<Role>,
}

impl Accounts {
    /// Users with `query` somewhere in address or name, the newest first.
    pub async fn users(
        &self,
        by: &Administrator,
        query: Option<&str>,
        page: PageRequest,
    ) -> Result<Page<User>, AdminError> {
        let query = query.map(str::trim).filter(|query| !query.is_empty());
        if let Some(error) = query.and_then(refused_query) {
            return Err(AdminError::Invalid(vec![error]));
        }
        let mut on = self.0.database.read().await?;
        let rows = storage::search_users(&mut on, query, page.after(), page.rows()).await?;
        self.0
            .audit
            .record(&by.event(EventKind::AdminUsersListed, Outcome::Success));
        Ok(Page::of(
            rows,
            &page,
            |row: &Account| (row.created_at, row.id),
            User::from,
        ))
    }

    /// One user.
    pub async fn user(&self, by: &Administrator, id: Uuid) -> Result<User, AdminError> {
        let found = self.find(id).await;
        self.record_done(by, EventKind::AdminUserViewed, id, &found);
        found
    }

    /// The id of the user with this address; nothing else of him, so this alone is no use to audit.
    pub async fn user_id_of(&self, _: &Administrator, email: &Email) -> Result<Uuid, AdminError> {
        let mut on = self.0.database.read().await?;
        let found = storage::find_user_by_email(&mut on, email.as_str()).await?;
        found.map(|account| account.id).ok_or(AdminError::NotFound)
    }

    /// Changes what a user may do. Deactivated, his sessions end; deactivated or demoted, his API tokens are asked about
    /// anew in every process. With nothing to change it only looks.
    pub async fn change_user(
        &self,
        by: &Administrator,
        id: Uuid,
        change: UserChange,
    ) -> Result<User, AdminError> {
        if change.is_active.is_none() && change.role.is_none() {
            return self.user(by, id).await;
        }
        let changed = self.change_and_commit(by, id, change).await;
        if let Some(is_active) = change.is_active {
            let kind = if is_active {
                EventKind::AdminUserActivated
            } else {
                EventKind::AdminUserDeactivated
            };
            self.record_done(by, kind, id, &changed);
        }
        if let Some(role) = change.role {
            if changed.is_ok() {
                let event = by.event(EventKind::AdminRoleChanged, Outcome::Success);
                self.0.audit.record(&event.because(role.as_str()).to_user(id));
            } else {
                self.record_done(by, EventKind::AdminRoleChanged, id, &changed);
            }
        }
        changed
    }

    /// Deletes a user and all that hangs on him. The audit log keeps its events until they are swept.
    pub async fn delete_user(&self, by: &Administrator, id: Uuid) -> Result<(), AdminError> {
        let deleted = self.delete_and_commit(by, id).await;
        self.record_done(by, EventKind::AdminUserDeleted, id, &deleted);
        deleted
    }

    pub(super) async fn find(&self, id: Uuid) -> Result<User, AdminError> {
        let mut on = self.0.database.read().await?;
        let account = storage::find_user(&mut on, id).await?;
        account.map(User::from).ok_or(AdminError::NotFound)
    }

    async fn change_and_commit(
        &self,
        by: &Administrator,
        id: Uuid,
        change: UserChange,
    ) -> Result<User, AdminError> {
        let mut transaction = self.begin_change(by).await?;
        match self.change(by, &mut transaction, id, change).await {
            Ok((user, false)) => {
                transaction.commit().await?;
                Ok(user)
            }
            Ok((user, true)) => {
                let restricted = OwnerChange::Restricted(id);
                self.commit_and_end_api_tokens(transaction, restricted).await?;
                Ok(user)
            }
            Err(error) => {
                transaction.rollback().await?;
                Err(error)
            }
        }
    }

    /// The user after the change, and whether he may do less than before.
    async fn change(
        &self,
        by: &Administrator,
        on: &mut Transaction,
        id: Uuid,
        change: UserChange,
    ) -> Result<(User, bool), AdminError> {
        let before = storage::find_user(on, id).await?.ok_or(AdminError::NotFound)?;
        let role = change.role.map(UserRole::from);
        let is_demoted = before.role == UserRole::Admin && role == Some(UserRole::User);
        let is_deactivated = before.is_active && change.is_active == Some(false);
        if (is_demoted || is_deactivated) && is_admin(&before) && !self.may_lose(by, on, id).await? {
            return Err(AdminError::LastAdmin);
        }
        let after = storage::set_standing(on, id, change.is_active, role).await?;
        let after = after.ok_or(AdminError::NotFound)?;
        if is_deactivated {
            let now = self.0.clock.now();
            storage::end_sessions_of_user(on, id, EndReason::Deactivated, now).await?;
        }
        Ok((after.into(), is_demoted || is_deactivated))
    }

    async fn delete_and_commit(&self, by: &Administrator, id: Uuid) -> Result<(), AdminError> {
        let mut transaction = self.begin_change(by).await?;
        match self.delete(by, &mut transaction, id).await {
            Ok(tokens) => {
                let deleted = OwnerChange::Deleted(tokens);
                Ok(self.commit_and_end_api_tokens(transaction, deleted).await?)
            }
            Err(error) => {
                transaction.rollback().await?;
                Err(error)
            }
        }
    }

    async fn delete(
        &self,
        by: &Administrator,
        on: &mut Transaction,
        id: Uuid,
    ) -> Result<Vec<Uuid>, AdminError> {
        let before = storage::find_user(on, id).await?.ok_or(AdminError::NotFound)?;
        if is_admin(&before) && !self.may_lose(by, on, id).await? {
            return Err(AdminError::LastAdmin);
        }
        let deleted: Result<_, StorageError> = storage::delete_user(on, id, None).await;
        deleted?.ok_or(AdminError::NotFound)
    }
}

fn is_admin(account: &Account) -> bool {
    account.role == UserRole::Admin && account.is_active
}

fn refused_query(query: &str) -> Option<FieldError> {
    if query.chars().any(is_no_writing) {
        let message = "The query has characters that are in no address and no name.";
        return Some(FieldError::new("/query", "invalid_characters", message));
    }
    let is_too_long = query.chars().nth(LONGEST_QUERY).is_some();
    let message = "The query is longer than 254 characters.";
    is_too_long.then(|| FieldError::new("/query", "too_long", message))
}
