//! The whole program through its HTTP surface, in the test's own process.

#[path = "../support/app.rs"]
#[macro_use]
mod app;
#[path = "../support/authority.rs"]
mod authority;
#[path = "../support/port.rs"]
mod port;
#[path = "../support/postgres.rs"]
mod postgres;
#[path = "../support/redis.rs"]
mod redis_server;
#[path = "../support/smtp.rs"]
mod smtp;
#[path = "../support/sql.rs"]
mod sql;

mod activity;
mod admin;
mod api_tokens;
mod broken_http;
mod cookies;
mod door;
mod email;
mod gateway;
mod gateway_queries;
mod gateway_redis;
mod hostile_input;
mod login;
mod mail_delivery;
mod metrics;
mod openapi;
mod pages;
mod pages_account;
mod pages_doors;
mod pages_limits;
mod pages_operator;
mod password_reset;
mod refresh;
mod register;
mod sessions;
mod surface;
mod test_endpoints;
mod test_endpoints_redis;
mod tokens;
