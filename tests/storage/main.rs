//! Every storage function on both engines, races included.

mod api_tokens;
mod audit_log;
#[path = "../support/authority.rs"]
mod authority;
mod connections;
#[path = "../support/databases.rs"]
mod databases;
mod engines;
mod known_clients;
mod logins;
mod lost_answers;
mod mail_jobs;
mod migrations;
mod one_time_tokens;
#[path = "../support/port.rs"]
mod port;
#[path = "../support/postgres.rs"]
mod postgres;
mod reset;
mod rotations;
mod sessions;
mod user_admin;
mod users;
