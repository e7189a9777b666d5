//! stile: a product's auth API with rate limits built in.
//!
//! # Layout
//!
//! Imports point downward only; two rooms on one row do not know each other.
//!
//! ```text
//! 1  main | cli                                  parse arguments, run one command, print
//! 2  app                                         build everything once, serve, drain
//! 3  config                                      environment and env file -> every room's `Settings`
//! 4  http                                        the only room that knows axum
//! 5  accounts | api_tokens                       use cases: log in, refresh, reset, sessions | issue, prove, spend
//! 6  audit                                       one security event -> one log line and one row
//! 7  storage | rate_limit | credentials | mail   each knows only itself
//! 8  telemetry                                   logs, numbers, spans
//! 9  clock | field | brand                       the present moment; a broken rule; the looks
//! ```
//!
//! Each room owns a `Settings` type that cannot hold a wrong value. `config` alone reads the
//! environment and fills them, so no room below it knows a variable's name.

#![warn(clippy::pedantic)]
#![allow(
    clippy::module_name_repetitions,
    reason = "a module and its main type often share a word: `limit::Limit` reads well"
)]
#![allow(
    clippy::missing_errors_doc,
    reason = "how a function fails stands at its error type; a second list beside it drifts"
)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

pub mod accounts;
pub mod api_tokens;
pub mod app;
pub mod audit;
pub mod brand;
pub mod cli;
pub mod clock;
pub mod config;
pub mod credentials;
pub mod field;
pub mod http;
pub mod mail;
pub mod rate_limit;
pub mod storage;
pub mod telemetry;
