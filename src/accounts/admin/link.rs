//! Letting somebody choose a password: an administrator hands over a link, and never knows a password himself.

use std::time::Duration;

use uuid::Uuid;

use super::{Accounts, AdminError, Administrator};
use crate::accounts::{Email, FullName, Role, User};
use crate::audit::{EventKind, Outcome};
use crate::credentials::SecretToken;
use crate::storage::{self, NewUser};

/// No hash of any password: nobody logs in with it (`credentials/stored_hash.rs` refuses it).
const NO_PASSWORD: &str = "!";

/// An account to make.
pub struct NewAccount<'a> {
    /// Address, not yet parsed.
    pub email: &'a str,
    /// Name, if given, not yet parsed.
    pub full_name: Option<&'a str>,
    /// What it may do.
    pub role: Role,
}

/// A link that sets a password, once. No `Debug`: it is a secret.
pub struct PasswordLink {
    /// `FRONTEND_URL/reset-password#token=…`
    pub link: String,
    /// `RESET_TOKEN_EXPIRE_MINUTES`, from now.
    pub expires_in: Duration,
}

impl Accounts {
    /// Makes an account without a password: its owner chooses one by [`Accounts::password_link`]. One that somebody has only
    /// registered under the address makes way, as in an import.
    pub async fn create_user(
        &self,
        by: &Administrator,
        account: &NewAccount<'_>,
    ) -> Result<User, AdminError> {
        let (email, full_name) = match (Email::parse(account.email), FullName::of_field(account.full_name)) {
            (Ok(email), Ok(full_name)) => (email, full_name),
            (email, full_name) => {
                let email = email.err().map(|error| error.at("/email"));
                return Err(AdminError::Invalid(
                    email.into_iter().chain(full_name.err()).collect(),
                ));
            }
        };
        let now = self.0.clock.now();
        let user = NewUser {
            id: storage::new_id(now),
            email: email.as_str(),
            full_name: full_name.as_ref().map(FullName::as_str),
            password_hash: NO_PASSWORD,
            role: account.role.into(),
            is_verified: false,
            is_pending: false,
            created_at: now,
        };
        let mut transaction = self.0.database.begin().await?;
        storage::delete_pending_user(&mut transaction, user.email).await?;
        if !storage::add_user(&mut transaction, &user).await? {
            transaction.rollback().await?;
            return Err(AdminError::EmailTaken);
        }
        transaction.commit().await?;
        let event = by.event(EventKind::AdminUserCreated, Outcome::Success);
        self.0
            .audit
            .record(&event.because(account.role.as_str()).to_user(user.id));
        Ok(User {
            id: user.id,
            email: user.email.to_owned(),
            full_name: user.full_name.map(str::to_owned),
            role: account.role,
            is_active: true,
            is_verified: false,
            created_at: now,
            last_login_at: None,
        })
    }

    /// A link with which the user chooses a password, once. Older links die, mailed ones too.
    pub async fn password_link(&self, by: &Administrator, id: Uuid) -> Result<PasswordLink, AdminError> {
        let made = self.make_link(id).await;
        self.record_done(by, EventKind::AdminResetLinkCreated, id, &made);
        made
    }

    async fn make_link(&self, id: Uuid) -> Result<PasswordLink, AdminError> {
        let token = SecretToken::generate();
        let hash = token.hash();
        let expires_in = self.0.settings.reset_token_lifetime;
        let now = self.0.clock.now();
        let expires_at = now.plus(expires_in);
        // On its own: within one transaction it would lock the user before the mailed tokens.
        let mut on = self.0.database.write().await?;
        let added = storage::add_token_by_hand(&mut on, hash.as_str(), id, now, expires_at).await?;
        drop(on);
        if !added {
            self.find(id).await?;
            return Err(AdminError::Inactive);
        }
        let mut transaction = self.0.database.begin().await?;
        storage::hand_over_token(&mut transaction, hash.as_str(), now, expires_at, true).await?;
        transaction.commit().await?;
        Ok(PasswordLink {
            link: self.link("reset-password", &token),
            expires_in,
        })
    }
}
