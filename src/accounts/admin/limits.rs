//! Who is limited, and setting somebody free.

use uuid::Uuid;

use super::{Accounts, AdminError, Administrator};
use crate::accounts::{Email, counted_as};
use crate::audit::{EventKind, Outcome};
use crate::rate_limit::Subject;
use crate::rate_limit::operator::OperatorError;
use crate::rate_limit::store::Reading;
use crate::storage::{self, StorageError};

impl Accounts {
    /// Every counter that counts anything, of anybody.
    pub async fn counters(&self, by: &Administrator) -> Result<Vec<Reading>, OperatorError> {
        let counters = self.0.limiter.all_counters().await;
        let event = by.event(EventKind::AdminLimitsRead, outcome(&counters));
        self.0.audit.record(&event);
        counters
    }

    /// Empties all counters of `subject`, in every process; how many counted anything.
    pub async fn clear_counters(&self, by: &Administrator, subject: Subject) -> Result<usize, AdminError> {
        let whose = subject.tag();
        let cleared = self.0.limiter.reset_everywhere(&[subject]).await;
        let event = by.event(EventKind::AdminLimitsCleared, outcome(&cleared));
        self.0.audit.record(&event.because(&whose));
        Ok(cleared?)
    }

    /// Empties everything that is counted of a user's account: failed logins, from wherever, and mails to it.
    pub async fn clear_counters_of(&self, by: &Administrator, id: Uuid) -> Result<usize, AdminError> {
        let cleared = self.clear_account(id).await;
        self.record_done(by, EventKind::AdminLimitsCleared, id, &cleared);
        cleared
    }

    /// Records that the counters of `subject` were emptied by other means than this limiter.
    pub fn record_cleared(&self, by: &Administrator, subject: &Subject) {
        let event = by.event(EventKind::AdminLimitsCleared, Outcome::Success);
        self.0.audit.record(&event.because(&subject.tag()));
    }

    /// The same of everything that is counted of an address, whether it has an account or not.
    pub async fn record_cleared_account(
        &self,
        by: &Administrator,
        email: &Email,
    ) -> Result<(), StorageError> {
        let mut on = self.0.database.read().await?;
        let found = storage::find_user_by_email(&mut on, email.as_str()).await?;
        let account = self.pseudonym(email);
        let mut event = by
            .event(EventKind::AdminLimitsCleared, Outcome::Success)
            .of_account(&account);
        event.target_id = found.map(|found| found.id);
        self.0.audit.record(&event);
        Ok(())
    }

    async fn clear_account(&self, id: Uuid) -> Result<usize, AdminError> {
        let user = self.find(id).await?;
        let email = Email::parse(&user.email).map_err(|_| AdminError::NotFound)?;
        let subjects = counted_as(Some(&self.0.database), &self.0.secret_keys, &email).await?;
        Ok(self.0.limiter.reset_everywhere(&subjects).await?)
    }
}

fn outcome<T>(done: &Result<T, OperatorError>) -> Outcome {
    if done.is_ok() {
        Outcome::Success
    } else {
        Outcome::Failure
    }
}
