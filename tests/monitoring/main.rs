//! What operators watch stile with: a real Prometheus that scrapes the real binary, and what `ops/` ships for it.

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
#[path = "../support/process.rs"]
mod process;
#[path = "../support/redis.rs"]
mod redis;

mod collector;
mod prometheus;
mod queries;
mod traces;
