//! Limits on one account: failed logins, and mails to one recipient.
//!
//! Accounts are named by an HMAC of their address, so no address stands in Redis, and unknown accounts are
//! counted exactly as known ones.

use std::time::Duration;

use super::{Accounts, Caller, Email};
use crate::audit::{self, EventKind};
use crate::credentials::{Purpose, SecretKeys};
use crate::rate_limit::{Charge, Decision, Outcome, Receipt, Rule, Subject};
use crate::storage::{self, Database, StorageError};

/// How long a client from which an account was used well keeps a failed-login limit to itself.
pub(super) const CLIENT_KNOWN_FOR: Duration = Duration::from_hours(30 * 24);

/// How many such clients an account has at most.
pub(super) const CLIENTS_KNOWN: i64 = 20;

/// A client is noted anew only when this long has passed since the last note: it would cost a second row
/// each time. A login notes it sooner if another client was noted since, so that the newest are the newest.
pub(super) const CLIENT_NOTED_FOR: Duration = Duration::from_hours(1);

/// Which mails a recipient's limit counts together.
#[derive(Clone, Copy)]
pub(super) enum MailLimit {
    Reset,
    Verification,
}

impl Accounts {
    /// Charges a failed login to the account before its password is checked, so that many at once cannot pass
    /// the limit; a good login gives the charge back. A known client has a count to itself: strangers who
    /// guess do not lock the owner out. Callers on the allow list are not charged.
    pub(super) async fn charge_failed_login(
        &self,
        email: &str,
        client_is_known: bool,
        caller: &Caller,
    ) -> Result<Option<Receipt>, Decision> {
        if caller.exempt {
            return Ok(None);
        }
        let charge = if client_is_known {
            self.failed_logins_from(email, &caller.client.to_string())
        } else {
            self.failed_logins_of_strangers(email)
        };
        let decision = self.0.limiter.take(&[charge]).await;
        match decision.outcome {
            Outcome::Admitted(receipt) => Ok(Some(receipt)),
            Outcome::Refused { .. } => {
                // As at every other limit. Whose account it is stands in the failure that the caller records.
                let refused = caller.event(EventKind::RateLimited, audit::Outcome::Failure);
                self.0.audit.record(&refused.because(Rule::LoginAccount.name()));
                Err(decision)
            }
        }
    }

    /// Gives the charge of a login back that was no failure.
    pub(super) async fn give_back(&self, receipt: Option<Receipt>) {
        if let Some(receipt) = receipt {
            self.0.limiter.refund(receipt).await;
        }
    }

    /// Empties the account's counters of failed logins, from strangers and from each known client.
    pub(super) async fn clear_failed_logins(&self, email: &str, known_clients: &[String]) {
        let mut charges = vec![self.failed_logins_of_strangers(email)];
        charges.extend(
            known_clients
                .iter()
                .map(|client| self.failed_logins_from(email, client)),
        );
        self.0.limiter.clear(&charges).await;
    }

    /// Charges a mail to its recipient; `false` if he gets no more for now.
    pub(super) async fn charge_mail(&self, recipient: &str, limit: MailLimit) -> bool {
        let mac = mail_key(&self.0.secret_keys, recipient, limit);
        self.0
            .limiter
            .take(&[Charge::account(Rule::MailAccount, mac)])
            .await
            .is_admitted()
    }

    /// All clients that have, or had, a count of their own.
    pub(super) async fn known_clients(&self, user_id: uuid::Uuid) -> Result<Vec<String>, StorageError> {
        storage::known_clients(&mut self.0.database.read().await?, user_id).await
    }

    /// A name for the account in the log, known or not: tells events of one account together, not its address.
    pub(super) fn pseudonym(&self, email: &Email) -> String {
        shortened(self.0.secret_keys.mac(Purpose::AccountKey, email.as_str()))
    }

    /// The same in rows of before a rotation of the secret key, if it was rotated.
    pub(super) fn former_pseudonym(&self, email: &Email) -> Option<String> {
        let mac = self
            .0
            .secret_keys
            .previous_mac(Purpose::AccountKey, email.as_str());
        mac.map(shortened)
    }

    fn failed_logins_of_strangers(&self, email: &str) -> Charge {
        Charge::account(Rule::LoginAccount, strangers_key(&self.0.secret_keys, email))
    }

    fn failed_logins_from(&self, email: &str, client: &str) -> Charge {
        Charge::account(
            Rule::LoginAccount,
            known_client_key(&self.0.secret_keys, email, client),
        )
    }
}

/// Everything under which an account is counted: failed logins from strangers and from each client it is known from, and
/// mails to it. `database`: where the clients are noted, if there is one yet.
pub async fn counted_as(
    database: Option<&Database>,
    keys: &SecretKeys,
    email: &Email,
) -> Result<Vec<Subject>, StorageError> {
    let email = email.as_str();
    let mut macs = vec![
        strangers_key(keys, email),
        mail_key(keys, email, MailLimit::Reset),
        mail_key(keys, email, MailLimit::Verification),
    ];
    if let Some(database) = database {
        let mut on = database.read().await?;
        if let Some(account) = storage::find_user_by_email(&mut on, email).await? {
            let clients = storage::known_clients(&mut on, account.id).await?;
            macs.extend(clients.iter().map(|client| known_client_key(keys, email, client)));
        }
    }
    Ok(macs.into_iter().map(Subject::Account).collect())
}

fn shortened(mut mac: String) -> String {
    mac.truncate(16);
    mac
}

fn strangers_key(keys: &SecretKeys, email: &str) -> String {
    keys.mac(Purpose::AccountKey, email)
}

/// No address has a space, so this is nobody else's name.
fn known_client_key(keys: &SecretKeys, email: &str, client: &str) -> String {
    keys.mac(Purpose::AccountKey, &format!("{email} {client}"))
}

fn mail_key(keys: &SecretKeys, recipient: &str, limit: MailLimit) -> String {
    let label = match limit {
        MailLimit::Reset => "reset",
        MailLimit::Verification => "verification",
    };
    keys.mac(Purpose::AccountKey, &format!("{label} {recipient}"))
}
