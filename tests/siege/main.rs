//! The real binary under clients that mean no good: thousands that dribble, hold or flood, and its log afterwards.

#[path = "../support/authority.rs"]
mod authority;
#[path = "../support/port.rs"]
mod port;
#[path = "../support/postgres.rs"]
mod postgres;
#[path = "../support/process.rs"]
mod process;
#[path = "../support/redis.rs"]
mod redis;
#[path = "../support/smtp.rs"]
mod smtp;

mod crowds;
mod records;
mod secrets;
mod slow_clients;
mod storms;

use std::time::Duration;

use process::{Process, Stile};

/// Whether the full counts are run and times are measured: `scripts/test --long`.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the tests' environment, not the program's"
)]
fn long() -> bool {
    std::env::var("STILE_TEST_LONG").is_ok()
}

/// `full` in the long run, else `few`.
fn count(few: usize, full: usize) -> usize {
    if long() { full } else { few }
}

/// Without limits, which would end a siege at once.
fn undefended(directory: &tempfile::TempDir) -> Stile {
    Stile::in_directory(directory.path())
        .set("ENVIRONMENT", "test")
        .set("ENABLE_RATE_LIMITING", "false")
        .set("RUST_LOG", "warn,stile::app=info")
}

/// Held for writing by a test that measures, for reading by the crowds that would disturb it.
static QUIET: tokio::sync::RwLock<()> = tokio::sync::RwLock::const_new(());

/// A figure of `/proc/PID/status` in KiB: `VmRSS`, or its peak `VmHWM`.
fn memory(process: &Process, figure: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(figure)).unwrap();
    line.trim_matches([':', ' ', '\t'])
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_mins(1))
        .build()
        .unwrap()
}
