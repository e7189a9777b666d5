//! The real binary: what it says, how it ends, and what it finds in its environment.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this is a test: the lints' own exception covers test functions, not what they call"
)]

#[path = "../support/authority.rs"]
mod authority;
#[path = "../support/port.rs"]
mod port;
#[path = "../support/postgres.rs"]
mod postgres;
#[path = "../support/process.rs"]
mod process;
#[path = "../limits/proxy.rs"]
#[allow(dead_code, reason = "the tests of the limiter use more of it")]
mod proxy;
#[path = "../support/redis.rs"]
mod redis;
#[path = "../support/smtp.rs"]
mod smtp;

mod backup;
mod check;
mod commands;
mod connections;
mod crash;
mod databases;
mod drain;
mod fleet;
mod limits;
mod production;
mod proxies;
mod redis_lost;
mod refusals;
mod rotation;
mod start;
mod tokens;
mod traffic;
mod user_import;
mod users;
mod verdicts;

/// A good secret.
const SECRET: &str = "q2nD0LxTfR8aPzWvYh3mKsEu7oJc5BgVt1XiZ9yCwN4bHkQeMrSdAl6FpUjG0O+/";

/// What production needs, with servers that nobody runs.
const PRODUCTION: &[(&str, &str)] = &[
    ("ENVIRONMENT", "production"),
    ("JWT_SECRET", SECRET),
    ("DATABASE_URL", "postgres://stile:s3cr3t@127.0.0.1:1/stile"),
    ("REDIS_URL", "redis://:s3cr3t@127.0.0.1:1/0"),
    ("SMTP_URL", "smtp://mailer:s3cr3t@127.0.0.1:1"),
    ("PUBLIC_URL", "https://auth.example.org"),
    ("API_TOKEN_SCOPES", "read:*,write:*"),
];
