//! The mail queue's worker.

use tokio_util::sync::CancellationToken;

use super::{Accounts, FieldError};
use crate::mail::Mailer;
use crate::storage::StorageError;

/// Why a mail was not queued: `request_password_reset`, `resend_verification`.
#[derive(Debug, thiserror::Error)]
pub enum MailRequestError {
    /// 422: not an address.
    #[error("a field is invalid")]
    Invalid(Vec<FieldError>),
    /// 503 `overloaded`: the mail queue is full.
    #[error("the mail queue is full")]
    Overloaded,
    /// 503 or 500.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Accounts {
    /// Sends what is queued until `shutdown`, then finishes the mails in hand and returns.
    pub async fn run_delivery(&self, mailer: Mailer, shutdown: CancellationToken) {
        todo!()
    }

    /// Mails waiting in the queue (for metrics).
    pub async fn queued_mails(&self) -> Result<u64, StorageError> {
        todo!()
    }
}
