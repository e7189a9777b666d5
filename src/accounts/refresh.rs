//! Refreshing a session: rotation, reuse, grace (contract, 3.3; RFC 9700, 4.14.2).

use super::account_limit::{CLIENT_NOTED_FOR, CLIENTS_KNOWN};
use super::session_token::RefreshToken;
use super::{Accounts, Caller, SessionTokens};
use crate::audit::{EventKind, Outcome};
use crate::clock::Timestamp;
use crate::credentials::{Purpose, SecretToken};
use crate::storage::{self, ClientNote, EndReason, Rotation, Session, SessionOfUser, StorageError};

/// Why a session was not refreshed.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// 401 `invalid_refresh_token`.
    #[error("the refresh token is invalid")]
    Invalid,
    /// 401 `refresh_token_reused`: the session is over.
    #[error("the refresh token was used before")]
    Reused,
    /// 503 or 500. The token still works.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What a presented token is to its session.
enum Standing {
    /// The live one: it is exchanged for a successor.
    Live,
    /// The live one's immediate predecessor, within the grace: it gets the very same successor.
    InGrace(SecretToken),
    /// Ended: somebody used it before.
    Ended,
    /// Of a session that is over, or of an inactive user.
    Dead,
}

impl Accounts {
    /// Ends a refresh token and gives its successor.
    pub async fn refresh(&self, refresh_token: &str, caller: &Caller) -> Result<SessionTokens, RefreshError> {
        let failure = caller.event(EventKind::TokenRefresh, Outcome::Failure);
        let Some(presented) = RefreshToken::parse(refresh_token) else {
            self.0.audit.record(&failure.because("malformed"));
            return Err(RefreshError::Invalid);
        };
        // Twice is enough: who loses the exchange to another request finds the token no longer live.
        for _ in 0..2 {
            let now = self.0.clock.now();
            let Some(row) = self.find_session(&presented).await? else {
                self.0.audit.record(&failure.because("unknown"));
                return Err(RefreshError::Invalid);
            };
            let failure = failure.clone().of_user(row.account.id);
            match self.standing(&row, &presented, now) {
                Standing::Live => {
                    if let Some(tokens) = self.rotate(row, &presented, caller, now).await? {
                        return Ok(tokens);
                    }
                }
                Standing::InGrace(own) => {
                    let replay = caller
                        .event(EventKind::TokenRefresh, Outcome::Success)
                        .because("grace");
                    self.0.audit.record(&replay.of_user(row.account.id));
                    let token = presented.with_own(own);
                    let SessionOfUser { session, account } = row;
                    return Ok(self.session_tokens(account, session.id, &token, session.live_until, now));
                }
                Standing::Ended => {
                    self.end_reused(&row, &presented, caller, now).await?;
                    return Err(RefreshError::Reused);
                }
                Standing::Dead => {
                    self.0.audit.record(&failure.because("session_over"));
                    return Err(RefreshError::Invalid);
                }
            }
        }
        self.0.audit.record(&failure.because("session_over"));
        Err(RefreshError::Invalid)
    }

    async fn find_session(&self, presented: &RefreshToken) -> Result<Option<SessionOfUser>, StorageError> {
        let family_hash = presented.family_hash();
        storage::find_session_of_family(&mut self.0.database.read().await?, family_hash.as_str()).await
    }

    fn standing(&self, row: &SessionOfUser, presented: &RefreshToken, now: Timestamp) -> Standing {
        let session = &row.session;
        let hash = presented.own_hash();
        let is_live = session.token_hash == hash.as_str();
        if session.ended_at.is_some() || session.live_until <= now || !row.account.is_active {
            // All who lose a race for one token used an ended one, also those who come after the first loser
            // has ended the session.
            let was_reused = session.end_reason.as_deref() == Some(EndReason::Reuse.as_str());
            return if was_reused && !is_live {
                Standing::Ended
            } else {
                Standing::Dead
            };
        }
        if is_live {
            return Standing::Live;
        }
        let is_predecessor = session.previous_hash.as_deref() == Some(hash.as_str());
        if is_predecessor && session.grace_ends_at.is_some_and(|end| now < end) {
            return match self.unseal_successor(session, presented) {
                Some(own) => Standing::InGrace(own),
                // The secret key was replaced within the grace: no reuse, but nothing to give either.
                None => Standing::Dead,
            };
        }
        Standing::Ended
    }

    fn unseal_successor(&self, session: &Session, presented: &RefreshToken) -> Option<SecretToken> {
        let sealed = session.successor_sealed.as_deref()?;
        let opened = self
            .0
            .secret_keys
            .open(Purpose::RefreshSeal, presented.own().expose(), sealed)?;
        SecretToken::parse(std::str::from_utf8(&opened).ok()?)
    }

    /// Exchanges the live token; `None` if another request was faster. One commit: whatever fails has used
    /// nothing up.
    async fn rotate(
        &self,
        row: SessionOfUser,
        presented: &RefreshToken,
        caller: &Caller,
        now: Timestamp,
    ) -> Result<Option<SessionTokens>, StorageError> {
        let SessionOfUser { session, account } = row;
        let settings = &self.0.settings;
        let successor = presented.successor();
        let sealed = (!settings.refresh_reuse_grace.is_zero()).then(|| {
            let own = successor.own().expose().as_bytes();
            self.0
                .secret_keys
                .seal(Purpose::RefreshSeal, presented.own().expose(), own)
        });
        let live_until = now.plus(settings.session_idle_lifetime).min(session.expires_at);
        let noted_at = session
            .client_noted_at
            .filter(|_| session.client_ip == caller.ip.to_string());
        let is_noted = noted_at.is_some_and(|noted_at| noted_at > now.minus(CLIENT_NOTED_FOR));
        let rotation = Rotation {
            session_id: session.id,
            user_id: account.id,
            client: (!is_noted).then(|| ClientNote {
                client: caller.client.to_string(),
                most: CLIENTS_KNOWN,
            }),
            presented_hash: presented.own_hash().as_str().to_owned(),
            successor_hash: successor.own_hash().as_str().to_owned(),
            successor_sealed: sealed,
            grace_ends_at: now.plus(settings.refresh_reuse_grace),
            client_ip: caller.ip,
            user_agent: caller.printable_user_agent(),
            now,
            live_until,
        };
        if !storage::rotate_session(&self.0.database, rotation).await? {
            return Ok(None);
        }
        let success = caller.event(EventKind::TokenRefresh, Outcome::Success);
        self.0.audit.record(&success.of_user(account.id));
        Ok(Some(self.session_tokens(
            account, session.id, &successor, live_until, now,
        )))
    }

    /// A token that was used before is used again: one of two who hold it stole it, and nobody can say who.
    async fn end_reused(
        &self,
        row: &SessionOfUser,
        presented: &RefreshToken,
        caller: &Caller,
        now: Timestamp,
    ) -> Result<(), StorageError> {
        let mut on = self.0.database.write().await?;
        let family_hash = presented.family_hash();
        let ended =
            storage::end_session_of_family(&mut on, family_hash.as_str(), EndReason::Reuse, now).await?;
        let reason = if ended.is_some() {
            "session_ended"
        } else {
            "session_over"
        };
        let event = caller
            .event(EventKind::RefreshReuse, Outcome::Failure)
            .because(reason);
        self.0.audit.record(&event.of_user(row.account.id));
        Ok(())
    }
}
