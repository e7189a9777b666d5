//! The database: SQLite or PostgreSQL, one set of migrations, one text per query.

use std::path::PathBuf;

use secrecy::SecretString;

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
