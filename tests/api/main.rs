//! The whole program through its HTTP surface, in the test's own process.

#[path = "../support/app.rs"]
#[macro_use]
mod app;
#[path = "../support/postgres.rs"]
#[expect(dead_code, reason = "other test binaries use the rest")]
mod postgres;

mod api_tokens;
mod door;
mod gateway;
mod surface;
