//! What an E2E suite asks of the use cases: read the mails, start from nothing, see time pass. `http` decides who may.

use std::time::Duration;

use tokio::sync::RwLockWriteGuard;
use tokio::time::Instant;

use super::{Accounts, Email};
use crate::mail::SentMail;
use crate::storage::{self, StorageError};

/// The longest that mail on its way, or in hand, is waited for. A server that takes longer to take a mail may see it go
/// out twice when time moves.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often is looked whether mail is still on its way.
const LOOK: Duration = Duration::from_millis(20);

impl Accounts {
    /// The mails sent to an address since the start or the last reset, newest first. Mail on its way is waited for, so
    /// that whoever asks right after the request that causes it finds it.
    pub async fn mails_to(&self, address: &Email) -> Result<Vec<SentMail>, StorageError> {
        self.wait_for_mail(Some(address.as_str())).await?;
        let outbox = self.0.settings.outbox.as_ref();
        Ok(outbox.map_or_else(Vec::new, |outbox| outbox.to(address.as_str())))
    }

    /// Deletes every account, all that hangs on it, and every mail.
    pub async fn delete_everybody(&self) -> Result<(), StorageError> {
        // A mail in hand would find its way into the emptied outbox, and its charge into the emptied counters.
        let _still = self.hold_mail().await;
        let mut transaction = self.0.database.begin().await?;
        storage::delete_everybody(&mut transaction).await?;
        transaction.commit().await?;
        if let Some(outbox) = &self.0.settings.outbox {
            outbox.empty();
        }
        Ok(())
    }

    /// Moves the clock, and does what is done as time passes: sends what is due, sweeps what has expired.
    pub async fn pass_time(&self, span: Duration) -> Result<(), StorageError> {
        // The life of a link counts from its mail. That of a mail asked for before begins before.
        self.wait_for_mail(None).await?;
        {
            // The lease of a mail in hand would end, and another worker send it again.
            let _still = self.hold_mail().await;
            self.0.clock.advance(span);
        }
        self.0.mail_queued.notify_one();
        self.sweep().await
    }

    async fn wait_for_mail(&self, to: Option<&str>) -> Result<(), StorageError> {
        let deadline = Instant::now() + PATIENCE;
        while self.is_mail_on_its_way(to).await? && Instant::now() < deadline {
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    async fn is_mail_on_its_way(&self, to: Option<&str>) -> Result<bool, StorageError> {
        let mut on = self.0.database.read().await?;
        storage::is_mail_on_its_way(&mut on, to, self.0.clock.now()).await
    }

    /// Keeps workers from taking up mail. `None`: one has had a mail in hand for too long to wait for it.
    async fn hold_mail(&self) -> Option<RwLockWriteGuard<'_, ()>> {
        tokio::time::timeout(PATIENCE, self.0.mail_in_hand.write())
            .await
            .ok()
    }
}
