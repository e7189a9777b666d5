//! Logging in.

use super::account_limit::{CLIENT_KNOWN_FOR, CLIENT_NOTED_FOR, CLIENTS_KNOWN};
use super::{Accounts, Caller, Email, FieldError, SessionTokens};
use crate::audit::{EventKind, Outcome};
use crate::credentials::{Overloaded, Password, PasswordTooLong, Verdict};
use crate::rate_limit::Decision;
use crate::storage::{self, ClientNote, Login, LoginRow, StorageError};

/// Why nobody was logged in.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// 422: not an address, or longer than any password can be. No hash was computed.
    #[error("a field of the login is invalid")]
    Invalid(Vec<FieldError>),
    /// 429 of `LOGIN_ACCOUNT`. Its limit shows in no header.
    #[error("the account has too many failed logins")]
    Limited(Decision),
    /// 401: unknown address or wrong password, which are one answer.
    #[error("incorrect email or password")]
    InvalidCredentials,
    /// 403, after the correct password.
    #[error("the account is inactive")]
    AccountInactive,
    /// 403, after the correct password.
    #[error("the address is not verified")]
    EmailNotVerified,
    /// 503: the hash pool is full.
    #[error("overloaded")]
    Overloaded,
    /// 503 or 500.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<Overloaded> for LoginError {
    fn from(_: Overloaded) -> Self {
        Self::Overloaded
    }
}

impl Accounts {
    /// Logs a person in: a new session.
    ///
    /// An unknown address and a wrong password take the same steps: one query, one charge, one hash.
    pub async fn login(
        &self,
        email: &str,
        password: &str,
        caller: &Caller,
    ) -> Result<SessionTokens, LoginError> {
        let (email, password) = parse(email, password).map_err(LoginError::Invalid)?;
        let row = self.find_for_login(email.as_str(), caller).await?;
        let client_is_known = row.as_ref().is_some_and(|row| row.client_seen_at.is_some());
        let account = self.pseudonym(&email);
        let failure = caller
            .event(EventKind::LoginFailure, Outcome::Failure)
            .of_account(&account);
        let receipt = match self
            .charge_failed_login(email.as_str(), client_is_known, caller)
            .await
        {
            Ok(receipt) => receipt,
            Err(decision) => {
                self.0.audit.record(&failure.because("account_limited"));
                return Err(LoginError::Limited(decision));
            }
        };
        let stored = row.as_ref().map(|row| row.account.password_hash.as_str());
        let verdict = match self.0.passwords.verify(&password, stored).await {
            Ok(verdict) => verdict,
            Err(overloaded) => {
                self.give_back(receipt).await;
                return Err(overloaded.into());
            }
        };
        let row = match (verdict, row) {
            (Verdict::Right | Verdict::RightButWeak, Some(row)) => row,
            (_, row) => {
                let reason = if row.is_some() {
                    "wrong_password"
                } else {
                    "unknown_account"
                };
                let user_id = row.map(|row| row.account.id);
                self.0.audit.record(&crate::audit::Event {
                    user_id,
                    ..failure.because(reason)
                });
                return Err(LoginError::InvalidCredentials);
            }
        };
        self.give_back(receipt).await;

        let failure = failure.of_user(row.account.id);
        if !row.account.is_active {
            self.0.audit.record(&failure.because("account_inactive"));
            return Err(LoginError::AccountInactive);
        }
        if self.0.settings.require_email_verification && !row.account.is_verified {
            self.0.audit.record(&failure.because("email_not_verified"));
            return Err(LoginError::EmailNotVerified);
        }
        if verdict == Verdict::RightButWeak {
            self.strengthen(&row, &password).await;
        }
        let user_id = row.account.id;
        let Some(tokens) = self.open_session(row, caller).await? else {
            self.0.audit.record(&failure.because("password_changed"));
            return Err(LoginError::InvalidCredentials);
        };
        let success = caller
            .event(EventKind::LoginSuccess, Outcome::Success)
            .of_account(&account);
        self.0.audit.record(&success.of_user(user_id));
        Ok(tokens)
    }

    /// The account of an address, and whether the caller's client is one it is used from.
    pub(super) async fn find_for_login(
        &self,
        email: &str,
        caller: &Caller,
    ) -> Result<Option<LoginRow>, StorageError> {
        let known_since = self.0.clock.now().minus(CLIENT_KNOWN_FOR);
        let client = caller.client.to_string();
        storage::find_for_login(
            &mut self.0.database.read().await?,
            email,
            &client,
            known_since,
            CLIENTS_KNOWN,
        )
        .await
    }

    /// Stores the password under today's parameters. Not worth failing a login for; the next one tries again.
    async fn strengthen(&self, row: &LoginRow, password: &Password) {
        let Ok(hash) = self.0.passwords.hash(password).await else {
            return;
        };
        let rehash = async {
            let mut on = self.0.database.write().await?;
            storage::rehash_password(&mut on, row.account.id, &row.account.password_hash, &hash).await
        };
        if let Err(error) = rehash.await {
            tracing::warn!(%error, "a weak password hash was not replaced");
        }
    }

    /// Opens the session of a good login; `None` if the password was changed, or the account deactivated,
    /// while it was being checked.
    async fn open_session(
        &self,
        row: LoginRow,
        caller: &Caller,
    ) -> Result<Option<SessionTokens>, StorageError> {
        let now = self.0.clock.now();
        // Noted anew, the newest client would still be the newest.
        let is_noted = row.client_seen_at.is_some_and(|seen_at| {
            row.newest_seen_at == Some(seen_at) && seen_at > now.minus(CLIENT_NOTED_FOR)
        });
        let mut account = row.account;
        let (token, session) = self.new_session(account.id, now);
        let user_agent = caller.printable_user_agent();
        let login = Login {
            seen_version: account.password_version,
            client: (!is_noted).then(|| ClientNote {
                client: caller.client.to_string(),
                most: CLIENTS_KNOWN,
            }),
            session: session.row(caller.ip, user_agent.as_deref()),
        };
        if !storage::log_in(&self.0.database, &login).await? {
            return Ok(None);
        }
        account.last_login_at = Some(now);
        Ok(Some(self.session_tokens(
            account,
            session.id,
            &token,
            session.live_until,
            now,
        )))
    }
}

/// Both fields, or all that is wrong with them.
fn parse(email: &str, password: &str) -> Result<(Email, Password), Vec<FieldError>> {
    match (Email::parse(email), Password::parse(password)) {
        (Ok(email), Ok(password)) => Ok((email, password)),
        (email, password) => {
            let email = email.err().map(|error| error.at("/email"));
            let password = password.err().map(|error| too_long(error, "/password"));
            Err(email.into_iter().chain(password).collect())
        }
    }
}

/// A password that is longer than any can be, as an error of the field at `pointer`.
pub(super) fn too_long(error: PasswordTooLong, pointer: &str) -> FieldError {
    FieldError::new(pointer, "too_long", format!("{error}."))
}
