//! Limits: what they are, who is counted, and where the counts live.
//!
//! Ask with [`Limiter::take`]; everything else serves that one question. This room knows no HTTP, no account and no
//! environment. A new limit: a variant in `rule.rs`. A new store: a file in `store/`.

mod asking;
mod breaker;
mod charge;
mod client;
mod decision;
mod fleet;
mod key;
mod limit;
mod limiter;
pub mod operator;
mod patience;
mod plan;
mod recovery;
mod remote;
mod rule;
pub mod socket;
pub mod store;
mod tally;
mod token;

pub use charge::{Charge, Subject};
pub use client::Client;
pub use decision::{Decision, Outcome, Receipt, RuleReport};
pub use key::CounterKey;
pub use limit::{Limit, LimitError, Mode, Strategy, Window};
pub use limiter::{EmptyError, GOODBYE, Limiter, StartError, StoreState};
pub use plan::Plan;
pub use remote::Phase;
pub use rule::{Per, Rule, Rules};
pub use tally::{Checks, Tally, Totals, Verdict};
pub use token::{Checkpoint, Quota, Spending, Version, WindowUse};

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;

/// What `config` hands this room.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `ENABLE_RATE_LIMITING`.
    pub enabled: bool,
    /// The limit of every rule, default or set (`rule.rs`).
    pub rules: Rules,
    /// `REDIS_URL` and its companions; `None` counts in memory.
    pub redis: Option<RedisSettings>,
    /// `REDIS_KEY_PREFIX`: first part of every key.
    pub key_prefix: String,
    /// `RATE_LIMIT_FLEET_SIZE`; `None` learns it from Redis.
    pub fleet_size: Option<NonZeroU32>,
    /// `RATE_LIMIT_MEMORY_KEYS`: most counters held in memory.
    pub memory_keys: NonZeroUsize,
    /// `RATE_LIMIT_IPV6_PREFIX`, 32 to 128 bits.
    pub ipv6_prefix: u8,
    /// `RATE_LIMIT_ALLOWLIST`: networks that are never limited.
    pub allowlist: Vec<IpNet>,
}

/// How to reach Redis, and how long to wait for it.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// One node, or several of a Redis Cluster. Secret: a URL can carry a password.
    pub nodes: Vec<SecretString>,
    /// `REDIS_CONNECT_TIMEOUT_MS`.
    pub connect_timeout: Duration,
    /// `REDIS_COMMAND_TIMEOUT_MS`: a request never waits longer for Redis.
    pub command_timeout: Duration,
    /// `REDIS_HEALTH_CHECK_SECONDS`: how often an idle connection is checked.
    pub health_check: Duration,
    /// `TLS_CA_FILE`: authorities trusted besides the built-in roots.
    pub tls_ca_file: Option<PathBuf>,
}
