//! The gateway check as real reverse proxies ask it, with the configurations that the repository ships.

#[path = "../support/app.rs"]
#[expect(dead_code, reason = "other test binaries use the rest")]
mod app;
#[path = "../support/postgres.rs"]
mod postgres;

mod asking;
mod caddy;
mod door;
mod nginx;
mod product;
