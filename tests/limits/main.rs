//! The limiter, run for real: one suite of cases over memory, over Redis, and across losing Redis and getting it back.

#[path = "../support/port.rs"]
mod port;
#[path = "../support/process.rs"]
mod process;
#[path = "../support/redis.rs"]
mod redis_server;

mod cluster;
mod differential;
mod keys;
mod outage;
mod properties;
mod proxy;
mod size;
mod stand;
mod suite;
