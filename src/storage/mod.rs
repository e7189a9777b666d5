//! The database: SQLite or PostgreSQL, one set of migrations, one text per query.
//!
//! Knows tables and transactions, no use case. One file per table, `users`, `api_tokens` and `sessions` with a few more for what is
//! done to their rows; a new table is a migration, a file here and its tests in `tests/storage/`, which run every function
//! on both engines. Rules that keep the engines alike and races harmless:
//!
//! - The first statement of a transaction writes, and what can happen once is one
//!   `UPDATE … WHERE used_at IS NULL … RETURNING`. Reading first and writing then loses on both engines.
//! - Uniqueness is `ON CONFLICT DO NOTHING` and what came back.
//! - Rows are locked in one order: mailed tokens, users, then what hangs on them. Another order deadlocks.
//! - Every instant is a parameter; the database is never asked what time it is.

mod api_token_changes;
mod api_token_uses;
mod api_tokens;
mod audit_log;
mod connection;
mod database;
mod error;
mod known_clients;
mod logins;
mod mail_jobs;
mod one_time_tokens;
mod pending_users;
mod pool;
mod reset;
mod rotations;
mod sessions;
mod user_admin;
mod users;
mod values;

use std::path::PathBuf;

use secrecy::SecretString;

pub use api_token_changes::{
    TokenVersion, change_api_token, revoke_api_token, revoke_api_tokens_of_user, rotate_api_token,
    set_api_token_counts_until, void_api_tokens_of_user,
};
pub use api_token_uses::{ApiTokenUse, forget_api_token_day, record_api_token_uses};
pub use api_tokens::{
    ApiTokenAdded, ApiTokenRow, ApiTokenTerms, NewApiToken, OwnedToken, TokenAndOwner, add_api_token,
    api_tokens_of_user, find_api_token, find_api_token_by_secret, find_owned_token, owned_tokens_before,
    sweep_api_tokens,
};
pub use audit_log::{
    AuditFilter, AuditRow, AuditSubject, add_audit_rows, audit_rows_of_user, latest_audit_rows,
    search_audit_rows, sweep_audit_rows,
};
pub use connection::{Connection, Transaction};
pub use database::{Database, PoolState};
pub use error::{ConnectError, MigrateError, StorageError};
pub use known_clients::{ClientNote, known_clients, remember_client, sweep_known_clients};
pub use logins::{Login, log_in};
pub use mail_jobs::{
    MailJob, MailKind, MailQueue, NewMailJob, claim_mail, finish_mail, is_mail_on_its_way, is_mail_ready,
    mail_queue, mark_mail_charged, queue_mail, queue_mail_if_room, renew_mail, retry_mail,
};
pub use one_time_tokens::{
    NewOneTimeToken, OneTimeToken, TokenOfUser, TokenPurpose, add_token_by_hand, add_token_of_job,
    find_token, hand_over_token, redeem_token, sweep_tokens,
};
pub use pending_users::{
    Registration, delete_pending_user, delete_stale_pending_user, register_pending, stale_pending_users,
    verify_user,
};
pub use reset::delete_everybody;
pub use rotations::rotate_session;
pub use sessions::{
    EndReason, NewSession, Rotation, Session, SessionOfUser, add_session, end_other_sessions, end_session,
    end_session_by_id, end_session_of_family, end_sessions_of_user, erase_grace_successors,
    find_live_session, find_session_of_family, live_sessions, sweep_sessions,
};
pub use user_admin::{
    ImportedUser, PageEnd, guard_administrators, has_other_active_admin, import_user, is_active_admin,
    search_users, set_standing,
};
pub use users::{
    Account, LoginRow, NewUser, PasswordChange, UserRole, add_user, change_email, change_password,
    delete_user, find_for_login, find_user, find_user_by_email, record_login, rehash_password,
    reset_password, set_full_name,
};
pub use values::new_id;

/// What `config` hands this room.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `DATABASE_URL`.
    pub url: DatabaseUrl,
    /// `DATABASE_MAX_CONNECTIONS`: pool size.
    pub max_connections: u32,
    /// `TLS_CA_FILE`: authorities trusted besides the built-in roots (PostgreSQL).
    pub tls_ca_file: Option<PathBuf>,
}

/// Which engine, and where.
#[derive(Clone, Debug)]
pub enum DatabaseUrl {
    /// A file; it and its folder are made.
    Sqlite(PathBuf),
    /// `postgres://…`. Secret: it can carry a password.
    Postgres(SecretString),
}
