//! Who is charged ([`Subject`]), and for what ([`Charge`]).

use std::fmt;

use uuid::Uuid;

use super::client::Client;
use super::rule::Rule;

/// Who is charged.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Subject {
    /// A client.
    Client(Client),
    /// An account: a hex HMAC that only the caller can relate to an address.
    Account(String),
    /// An API token ([`super::Limiter::spend`]).
    Token(Uuid),
}

impl Subject {
    /// As it stands in keys: `ip:127.0.0.1`, `account:HMAC`, `api_token:{ID}`.
    #[must_use]
    pub fn tag(&self) -> String {
        match self {
            Self::Token(token) => format!("api_token:{{{token}}}"),
            Self::Client(client) => format!("ip:{client}"),
            Self::Account(mac) => format!("account:{mac}"),
        }
    }

    /// The API token, if it is one.
    #[must_use]
    pub fn as_token(&self) -> Option<Uuid> {
        match self {
            Self::Token(token) => Some(*token),
            Self::Client(_) | Self::Account(_) => None,
        }
    }

    /// Reads a [tag](Self::tag).
    #[must_use]
    pub fn from_tag(tag: &str) -> Option<Self> {
        match tag.split_once(':')? {
            ("ip", client) => Client::from_name(client).map(Self::Client),
            ("account", mac) => Some(Self::Account(mac.to_owned())),
            ("api_token", token) => {
                let token = token.strip_prefix('{')?.strip_suffix('}')?;
                token.parse().ok().map(Self::Token)
            }
            _ => None,
        }
    }
}

/// Without its kind: `127.0.0.1`, the HMAC, the id.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(client) => client.fmt(f),
            Self::Account(mac) => f.write_str(mac),
            Self::Token(token) => token.fmt(f),
        }
    }
}

/// One unit of one rule, on one subject. The same charge twice in one take costs two.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Charge {
    /// The rule.
    pub rule: Rule,
    /// Who pays.
    pub subject: Subject,
}

impl Charge {
    /// A charge to a client.
    #[must_use]
    pub fn client(rule: Rule, client: Client) -> Self {
        Self {
            rule,
            subject: Subject::Client(client),
        }
    }

    /// A charge to an account.
    #[must_use]
    pub fn account(rule: Rule, mac: String) -> Self {
        Self {
            rule,
            subject: Subject::Account(mac),
        }
    }
}
