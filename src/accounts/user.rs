//! The account as clients see it.

use serde::Serialize;
use uuid::Uuid;

use crate::clock::Timestamp;

/// What an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everybody.
    User,
    /// May use `/admin`.
    Admin,
}

/// An account as clients see it (contract, section 3: User). Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct User {
    /// UUIDv7.
    pub id: Uuid,
    /// Canonical address.
    pub email: String,
    /// Name, if given.
    pub full_name: Option<String>,
    /// `user` or `admin`.
    pub role: Role,
    /// May log in.
    pub is_active: bool,
    /// Has proven the address.
    pub is_verified: bool,
    /// When the account was made.
    pub created_at: Timestamp,
    /// The last good login.
    pub last_login_at: Option<Timestamp>,
}
