//! The use cases on both engines, called as `http` calls them, with a clock that the tests move.

#[path = "../support/databases.rs"]
mod databases;
mod delivery;
mod email_change;
mod email_verification;
mod housekeeping;
mod login;
mod password_change;
mod password_reset;
#[path = "../support/port.rs"]
mod port;
#[path = "../support/postgres.rs"]
mod postgres;
mod refresh;
mod register;
mod sessions;
mod world;
