//! Sessions.

use serde::Serialize;
use uuid::Uuid;

use super::{Accounts, Caller, User};
use crate::clock::Timestamp;
use crate::storage::StorageError;

/// What a login or a refresh gives (contract, section 3: Session tokens, without `token_type`).
#[derive(Serialize)]
pub struct SessionTokens {
    /// JWT.
    pub access_token: String,
    /// Opaque; good for one refresh.
    pub refresh_token: String,
    /// Seconds until the access token expires.
    pub expires_in: u64,
    /// Seconds until the refresh token expires: the lesser of idle and absolute life.
    pub refresh_expires_in: u64,
    /// The session.
    pub session_id: Uuid,
    /// Its user.
    pub user: User,
}

/// Who a valid access token speaks for, as the database has him now.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The user.
    pub user: User,
    /// The session.
    pub session_id: Uuid,
}

/// Why an access token speaks for nobody.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticateError {
    /// 401 `token_expired`.
    #[error("the access token has expired")]
    Expired,
    /// 401 `token_invalid`: forged, or of a session that is over, or of an inactive user.
    #[error("the access token is invalid")]
    Invalid,
    /// 503 or 500.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Which session to log out.
pub enum Logout {
    /// That of an authenticated request.
    Session(Uuid),
    /// That of any refresh token ever issued in it. A token that is dead or was never one is fine too.
    RefreshToken(String),
    /// That of a genuine access token, its time over or not.
    AccessToken(String),
}

/// Why nobody was logged out.
#[derive(Debug, thiserror::Error)]
pub enum LogoutError {
    /// 401 `token_invalid`: an access token that is not ours.
    #[error("the access token is invalid")]
    Invalid,
    /// 503 or 500.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A session in its owner's list.
#[derive(Clone, Debug, Serialize)]
pub struct SessionView {
    /// The session.
    pub id: Uuid,
    /// `desktop`, `mobile`, `bot` or `unknown`.
    pub device: String,
    /// Browser, or `unknown`.
    pub browser: String,
    /// Operating system, or `unknown`.
    pub os: String,
    /// Where it was last used from.
    pub ip_address: String,
    /// Login.
    pub created_at: Timestamp,
    /// Last login or refresh.
    pub last_active: Timestamp,
    /// Is the session that asks.
    pub is_current: bool,
}

/// Why a session was not ended.
#[derive(Debug, thiserror::Error)]
pub enum EndSessionError {
    /// 404: no live session of this user has that id.
    #[error("no such session")]
    NotFound,
    /// 503 or 500.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Accounts {
    /// Who an access token speaks for: the signature is checked, then session and user in one query.
    pub async fn authenticate(&self, access_token: &str) -> Result<Identity, AuthenticateError> {
        todo!()
    }

    /// Ends a session. Idempotent.
    pub async fn logout(&self, which: Logout, caller: &Caller) -> Result<(), LogoutError> {
        todo!()
    }

    /// The user's live sessions, the most recently active first.
    pub async fn sessions(&self, identity: &Identity) -> Result<Vec<SessionView>, StorageError> {
        todo!()
    }

    /// Ends one session of the user, the current one too.
    pub async fn end_session(
        &self,
        identity: &Identity,
        id: Uuid,
        caller: &Caller,
    ) -> Result<(), EndSessionError> {
        todo!()
    }

    /// Ends all sessions of the user but the current; how many they were.
    pub async fn end_other_sessions(
        &self,
        identity: &Identity,
        caller: &Caller,
    ) -> Result<u64, StorageError> {
        todo!()
    }
}
