//! stile behind real reverse proxies, with the configurations that the repository ships: its own API, and the gateway check.

#[path = "../support/app.rs"]
#[expect(dead_code, reason = "other test binaries use the rest")]
mod app;
#[path = "../support/port.rs"]
mod port;
#[path = "../support/postgres.rs"]
mod postgres;

mod asking;
mod auth;
mod caddy;
mod door;
mod gateway;
mod nginx;
mod product;
mod proxy;
