//! Every storage function on both engines, races included.

mod api_tokens;
mod audit_log;
mod engines;
mod known_clients;
mod mail_jobs;
mod migrations;
mod one_time_tokens;
#[path = "../support/postgres.rs"]
mod postgres;
mod sessions;
mod users;
