//! What a reverse proxy asks before it lets a request through: is this secret good, for this, and is any quota left?
//!
//! In this order: the client's refused credentials (from memory), the proof of the secret, its scopes, its quota. Only
//! a proven secret is charged to its token, only a refused one to its client.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use super::proofs::{Proof, REFUSES_FOR};
use super::scope::{read_list, write_list};
use super::{ApiTokens, Visitor};
use crate::credentials::ApiTokenSecret;
use crate::rate_limit::{Charge, Decision, Rule, Spending};
use crate::storage::{self, StorageError, UserRole};

/// What a request shows.
#[derive(Clone, Copy)]
pub enum Presented<'a> {
    /// Nothing.
    Nothing,
    /// Something that cannot be a secret.
    Malformed,
    /// What may be one.
    Secret(&'a str),
}

/// Leave to pass.
#[derive(Debug)]
pub struct Pass {
    /// Whose token.
    pub user_id: Uuid,
    /// Which.
    pub token_id: Uuid,
    /// What it may do, with spaces between.
    pub scopes: String,
    /// For the limit headers.
    pub decision: Decision,
}

/// Why a request does not pass.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// 401: nothing was shown.
    #[error("no credential")]
    NotAuthenticated,
    /// 401: unknown, revoked, or of an inactive owner.
    #[error("the credential is refused")]
    Invalid,
    /// 401: proven, but its time is over.
    #[error("the token has expired")]
    Expired,
    /// 403: it lacks a scope.
    #[error("the token lacks a scope")]
    InsufficientScope,
    /// 429: of one of its windows, or of its client's refused credentials.
    #[error("limited")]
    Limited(Decision),
    /// 503 or 500: the database cannot say.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl ApiTokens {
    /// Decides one request. `required`: the scopes it needs, all of them.
    pub async fn verify(
        &self,
        presented: Presented<'_>,
        required: &[String],
        visitor: &Visitor,
    ) -> Result<Pass, Refusal> {
        let secret = match presented {
            Presented::Secret(text) => ApiTokenSecret::parse(text),
            Presented::Nothing | Presented::Malformed => None,
        };
        let now = self.0.clock.elapsed();
        let is_remembered = secret
            .as_ref()
            .is_some_and(|secret| self.0.proofs.is_remembered(&secret.digest(), now));
        let failures = Charge::client(Rule::GatewayFailures, visitor.client);
        if !is_remembered
            && !visitor.exempt
            && let Some(refusal) = self.0.limiter.refusal_of(&failures).await
        {
            return Err(Refusal::Limited(refusal));
        }
        let result = match (secret, presented) {
            (Some(secret), _) => self.pass(&secret, required, visitor).await,
            (None, Presented::Nothing) => return Err(Refusal::NotAuthenticated),
            (None, _) => Err(Refusal::Invalid),
        };
        if matches!(result, Err(Refusal::Invalid | Refusal::Expired)) && !visitor.exempt {
            let decision = self.0.limiter.take(&[failures]).await;
            if !decision.is_admitted() {
                return Err(Refusal::Limited(decision));
            }
        }
        result
    }

    async fn pass(
        &self,
        secret: &ApiTokenSecret,
        required: &[String],
        visitor: &Visitor,
    ) -> Result<Pass, Refusal> {
        // A proof that turns out to be void is made anew, once: what voided it is in the database by then.
        for _ in 0..2 {
            let proof = self.prove(secret, required).await?;
            match self.0.limiter.spend(&proof.quota).await {
                Spending::Void => self.0.proofs.remove(&secret.digest()),
                Spending::Decided { decision, .. } if !decision.is_admitted() => {
                    return Err(Refusal::Limited(decision));
                }
                Spending::Decided { decision, day } => {
                    let token_id = proof.quota.token;
                    self.0.uses.add(token_id, self.0.clock.now(), visitor.ip, day);
                    return Ok(Pass {
                        user_id: proof.user_id,
                        token_id,
                        scopes: proof.scope_text.clone(),
                        decision,
                    });
                }
            }
        }
        Err(Refusal::Invalid)
    }

    /// Why a genuine token does not pass all the same.
    fn objection(&self, proof: &Proof, required: &[String]) -> Option<Refusal> {
        if proof.expires_at.is_some_and(|at| at <= self.0.clock.now()) {
            return Some(Refusal::Expired);
        }
        let has = |needed: &String| proof.scopes.iter().any(|scope| scope.covers(needed));
        (!required.iter().all(has)).then_some(Refusal::InsufficientScope)
    }

    /// A proof to which there is no objection.
    async fn prove(&self, secret: &ApiTokenSecret, required: &[String]) -> Result<Arc<Proof>, Refusal> {
        let (digest, now) = (secret.digest(), self.0.clock.elapsed());
        let mut objection = None;
        if let Some(proof) = self.0.proofs.fresh(&digest, now) {
            match self.objection(&proof, required) {
                None => return Ok(proof),
                Some(refusal) if now < proof.proven_at + REFUSES_FOR => return Err(refusal),
                // The token may have got since what it lacked.
                found => objection = found,
            }
        }
        let found = match (self.look_up(secret).await, objection) {
            // What is known holds while the database is away.
            (Err(_), Some(refusal)) => return Err(refusal),
            (found, _) => found?,
        };
        let Some(proof) = found.map(Arc::new) else {
            self.0.proofs.remove(&digest);
            return Err(Refusal::Invalid);
        };
        self.0.proofs.add(digest, Arc::clone(&proof));
        match self.objection(&proof, required) {
            None => Ok(proof),
            Some(refusal) => Err(refusal),
        }
    }

    async fn look_up(&self, secret: &ApiTokenSecret) -> Result<Option<Proof>, StorageError> {
        // Before the query: the proof is as old as the question.
        let proven_at = self.0.clock.elapsed();
        let hash = secret.hash();
        let mut on = self.0.database.read().await?;
        let found = storage::find_api_token_by_secret(&mut on, hash.as_str()).await?;
        let Some(found) = found else { return Ok(None) };
        let same: bool = found
            .token
            .secret_hash
            .as_bytes()
            .ct_eq(hash.as_str().as_bytes())
            .into();
        if !same || found.token.revoked_at.is_some() || !found.is_active {
            return Ok(None);
        }
        let mut scopes = read_list(&found.token.scopes);
        // Given to an administrator who is none any more.
        scopes.retain(|scope| found.role == UserRole::Admin || !scope.is_for_admins());
        Ok(Some(Proof {
            user_id: found.token.user_id,
            scope_text: write_list(&scopes),
            scopes,
            expires_at: found.token.expires_at,
            quota: self.quota_of(&found.token),
            proven_at,
            is_outdated: AtomicBool::default(),
        }))
    }
}
