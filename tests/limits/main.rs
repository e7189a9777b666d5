//! The limiter, run for real: one suite of cases over memory, over Redis, and across losing Redis and getting it back.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test these are assertions"
)]

#[path = "../support/redis.rs"]
mod redis_server;

mod differential;
mod keys;
mod outage;
mod properties;
mod proxy;
mod stand;
mod suite;
