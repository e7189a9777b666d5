//! The account as clients see it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::storage::{Account, UserRole};

/// What an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everybody.
    User,
    /// May use `/admin`.
    Admin,
}

impl Role {
    /// As it stands in answers and access tokens.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        UserRole::from(self).as_str()
    }
}

impl From<UserRole> for Role {
    fn from(role: UserRole) -> Self {
        match role {
            UserRole::User => Self::User,
            UserRole::Admin => Self::Admin,
        }
    }
}

impl From<Role> for UserRole {
    fn from(role: Role) -> Self {
        match role {
            Role::User => Self::User,
            Role::Admin => Self::Admin,
        }
    }
}

/// An account as clients see it (contract, section 3: User). Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct User {
    /// A `UUIDv7`.
    pub id: Uuid,
    /// Canonical address.
    #[schema(format = Email, example = "ada@example.com")]
    pub email: String,
    /// Name, if given.
    #[schema(example = "Ada Lovelace")]
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

impl From<Account> for User {
    fn from(account: Account) -> Self {
        Self {
            id: account.id,
            email: account.email,
            full_name: account.full_name,
            role: account.role.into(),
            is_active: account.is_active,
            is_verified: account.is_verified,
            created_at: account.created_at,
            last_login_at: account.last_login_at,
        }
    }
}
