//! Sessions: who is signed in, and how that ends.

use std::net::IpAddr;

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::session_token::RefreshToken;
use super::{Accounts, Caller, User};
use crate::audit::{EventKind, Outcome};
use crate::clock::Timestamp;
use crate::credentials::{AccessClaims, AccessTokenError};
use crate::storage::{self, Account, EndReason, NewSession, Session, StorageError};

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
    /// That of a genuine access token, also of one whose time is over.
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
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Session)]
pub struct SessionView {
    /// The session.
    pub id: Uuid,
    /// `desktop`, `mobile`, `bot` or `unknown`.
    #[schema(example = "desktop")]
    pub device: String,
    /// Browser, or `unknown`.
    #[schema(example = "Firefox")]
    pub browser: String,
    /// Operating system, or `unknown`.
    #[schema(example = "Linux")]
    pub os: String,
    /// Where it was last used from.
    #[schema(example = "203.0.113.7")]
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
        let now = self.0.clock.now();
        let claims = self
            .0
            .access_tokens
            .verify(access_token, now)
            .map_err(|error| match error {
                AccessTokenError::Expired(_) => AuthenticateError::Expired,
                AccessTokenError::Invalid => AuthenticateError::Invalid,
            })?;
        let mut on = self.0.database.read().await?;
        let account = storage::find_live_session(&mut on, claims.session_id, claims.user_id, now).await?;
        let user = account.ok_or(AuthenticateError::Invalid)?.into();
        Ok(Identity {
            user,
            session_id: claims.session_id,
        })
    }

    /// Ends a session. Idempotent.
    pub async fn logout(&self, which: Logout, caller: &Caller) -> Result<(), LogoutError> {
        let now = self.0.clock.now();
        let session_id = match which {
            Logout::RefreshToken(token) => {
                let Some(token) = RefreshToken::parse(&token) else {
                    return Ok(());
                };
                let mut on = self.0.database.write().await?;
                let family_hash = token.family_hash();
                let ended =
                    storage::end_session_of_family(&mut on, family_hash.as_str(), EndReason::Logout, now)
                        .await?;
                if let Some((_, user_id)) = ended {
                    self.record_logout(user_id, caller);
                }
                return Ok(());
            }
            Logout::Session(id) => id,
            Logout::AccessToken(token) => match self.0.access_tokens.verify(&token, now) {
                Ok(claims) | Err(AccessTokenError::Expired(claims)) => claims.session_id,
                Err(AccessTokenError::Invalid) => return Err(LogoutError::Invalid),
            },
        };
        let mut on = self.0.database.write().await?;
        if let Some(user_id) = storage::end_session_by_id(&mut on, session_id, EndReason::Logout, now).await?
        {
            self.record_logout(user_id, caller);
        }
        Ok(())
    }

    /// The user's live sessions, the most recently active first.
    pub async fn sessions(&self, identity: &Identity) -> Result<Vec<SessionView>, StorageError> {
        let mut on = self.0.database.read().await?;
        let sessions = storage::live_sessions(&mut on, identity.user.id, self.0.clock.now()).await?;
        Ok(sessions
            .into_iter()
            .map(|session| view(session, identity.session_id))
            .collect())
    }

    /// Ends one session of the user, the current one too.
    pub async fn end_session(
        &self,
        identity: &Identity,
        id: Uuid,
        caller: &Caller,
    ) -> Result<(), EndSessionError> {
        let mut on = self.0.database.write().await?;
        let (user_id, now) = (identity.user.id, self.0.clock.now());
        if !storage::end_session(&mut on, user_id, id, EndReason::Revoked, now).await? {
            return Err(EndSessionError::NotFound);
        }
        let event = caller
            .event(EventKind::SessionRevoked, Outcome::Success)
            .because("one");
        self.0.audit.record(&event.of_user(user_id));
        Ok(())
    }

    /// Ends all sessions of the user but the current; how many they were.
    pub async fn end_other_sessions(
        &self,
        identity: &Identity,
        caller: &Caller,
    ) -> Result<u64, StorageError> {
        let mut on = self.0.database.write().await?;
        let (user_id, keep, now) = (identity.user.id, identity.session_id, self.0.clock.now());
        let ended = storage::end_other_sessions(&mut on, user_id, keep, EndReason::Revoked, now).await?;
        let event = caller
            .event(EventKind::SessionRevoked, Outcome::Success)
            .because("all_others");
        self.0.audit.record(&event.of_user(user_id));
        Ok(ended)
    }

    fn record_logout(&self, user_id: Uuid, caller: &Caller) {
        self.0
            .audit
            .record(&caller.event(EventKind::Logout, Outcome::Success).of_user(user_id));
    }

    /// A session that begins now, and its first refresh token.
    pub(super) fn new_session(&self, user_id: Uuid, now: Timestamp) -> (RefreshToken, OpeningSession) {
        let token = RefreshToken::generate();
        let expires_at = now.plus(self.0.settings.session_max_lifetime);
        let session = OpeningSession {
            id: storage::new_id(now),
            user_id,
            family_hash: token.family_hash().as_str().to_owned(),
            token_hash: token.own_hash().as_str().to_owned(),
            created_at: now,
            live_until: now.plus(self.0.settings.session_idle_lifetime).min(expires_at),
            expires_at,
        };
        (token, session)
    }

    /// What a login or a refresh answers with.
    pub(super) fn session_tokens(
        &self,
        account: Account,
        session_id: Uuid,
        token: &RefreshToken,
        live_until: Timestamp,
        now: Timestamp,
    ) -> SessionTokens {
        let claims = AccessClaims {
            user_id: account.id,
            session_id,
            role: account.role.as_str().to_owned(),
            email_verified: account.is_verified,
        };
        SessionTokens {
            access_token: self.0.access_tokens.issue(&claims, now),
            refresh_token: token.expose(),
            expires_in: self.0.access_tokens.lifetime().as_secs(),
            refresh_expires_in: live_until.since(now).as_secs(),
            session_id,
            user: account.into(),
        }
    }
}

/// A session that is about to be stored.
pub(super) struct OpeningSession {
    pub(super) id: Uuid,
    user_id: Uuid,
    family_hash: String,
    token_hash: String,
    created_at: Timestamp,
    pub(super) live_until: Timestamp,
    expires_at: Timestamp,
}

impl OpeningSession {
    /// As it is stored.
    pub(super) fn row<'a>(&'a self, client_ip: IpAddr, user_agent: Option<&'a str>) -> NewSession<'a> {
        NewSession {
            id: self.id,
            user_id: self.user_id,
            family_hash: &self.family_hash,
            token_hash: &self.token_hash,
            client_ip,
            user_agent,
            created_at: self.created_at,
            live_until: self.live_until,
            expires_at: self.expires_at,
        }
    }
}

fn view(session: Session, current: Uuid) -> SessionView {
    let agent = session
        .user_agent
        .as_deref()
        .and_then(|text| woothee::parser::Parser::new().parse(text));
    let known = |name: &str| match name {
        "" | "UNKNOWN" => "unknown".to_owned(),
        name => name.to_owned(),
    };
    let device = match agent.as_ref().map(|agent| agent.category) {
        Some("pc") => "desktop",
        Some("smartphone" | "mobilephone") => "mobile",
        Some("crawler") => "bot",
        _ => "unknown",
    };
    SessionView {
        id: session.id,
        device: device.to_owned(),
        browser: known(agent.as_ref().map_or("", |agent| agent.name)),
        os: known(agent.as_ref().map_or("", |agent| agent.os)),
        ip_address: session.client_ip,
        created_at: session.created_at,
        last_active: session.last_active_at,
        is_current: session.id == current,
    }
}
