//! What can go wrong with the database, in words that hold no secret and no user's text.

use std::fmt;

use sqlx::error::{DatabaseError, ErrorKind};
use sqlx::postgres::{PgDatabaseError, PgSeverity};

use crate::telemetry::unknown_host;

/// A query did not succeed.
///
/// Its text names a cause and a code, never SQL, values or a DSN: drivers quote values in theirs.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{cause}")]
pub struct StorageError {
    cause: Cause,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Cause {
    /// Away, frozen, restarting, full: the same request may succeed later.
    Unavailable(String),
    /// A unique value is there already.
    Unique,
    /// The row referred to is gone.
    ForeignKey,
    /// Ours to fix.
    Bug(String),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(why) => write!(f, "the database is unavailable: {why}"),
            Self::Unique => f.write_str("a unique value is there already"),
            Self::ForeignKey => f.write_str("a row that is referred to is not there"),
            Self::Bug(why) => write!(f, "the database refused a query: {why}"),
        }
    }
}

impl StorageError {
    /// The database is away, frozen or full (503), as opposed to a bug of ours (500).
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self.cause, Cause::Unavailable(_))
    }

    /// A unique value, such as an address, is taken.
    #[must_use]
    pub fn is_unique_violation(&self) -> bool {
        self.cause == Cause::Unique
    }

    /// The user or other row that a new row refers to is not there (any more).
    #[must_use]
    pub fn is_foreign_key_violation(&self) -> bool {
        self.cause == Cause::ForeignKey
    }

    /// Whoever carried the query out for others was ended in the middle of it.
    pub(super) fn given_up() -> Self {
        Self {
            cause: Cause::Unavailable("given up".to_owned()),
        }
    }

    pub(super) fn timed_out() -> Self {
        Self {
            cause: Cause::Unavailable("no answer in time".to_owned()),
        }
    }
}

impl From<sqlx::Error> for StorageError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        let cause = match error {
            E::Database(error) => database_cause(&*error),
            E::Io(error) => Cause::Unavailable(match unknown_host(&error) {
                Some(why) => why.to_owned(),
                None => format!("connection: {:?}", error.kind()),
            }),
            E::Tls(_) => {
                Cause::Unavailable("no TLS connection, or a certificate that is not trusted".to_owned())
            }
            E::PoolTimedOut => Cause::Unavailable("no connection in time".to_owned()),
            E::PoolClosed => Cause::Unavailable("shutting down".to_owned()),
            // A worker of SQLite, or the protocol of a server that goes away in the middle of an answer.
            E::WorkerCrashed => Cause::Unavailable("worker gone".to_owned()),
            E::Protocol(_) => Cause::Unavailable("protocol".to_owned()),
            E::BeginFailed => Cause::Unavailable("no transaction".to_owned()),
            E::RowNotFound => Cause::Bug("no row".to_owned()),
            E::ColumnNotFound(_)
            | E::ColumnIndexOutOfBounds { .. }
            | E::ColumnDecode { .. }
            | E::Decode(_) => Cause::Bug("a column does not read".to_owned()),
            _ => Cause::Bug("driver".to_owned()),
        };
        Self { cause }
    }
}

/// The connection over which this came is of no more use.
pub(super) fn is_cut(error: &sqlx::Error) -> bool {
    use sqlx::Error as E;
    match error {
        E::Io(_) | E::Tls(_) | E::Protocol(_) | E::WorkerCrashed => true,
        // Its last word: the server goes away, or was told to end this connection.
        E::Database(error) => error
            .try_downcast_ref::<PgDatabaseError>()
            .is_some_and(|error| matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic)),
        _ => false,
    }
}

/// No connection was made, but by a server that may be coming up, or has no room for the moment.
pub(super) fn comes_up(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        sqlx::Error::Database(error) => matches!(error.code().as_deref(), Some("53300" | "57P03")),
        _ => false,
    }
}

fn database_cause(error: &dyn DatabaseError) -> Cause {
    match error.kind() {
        ErrorKind::UniqueViolation => return Cause::Unique,
        ErrorKind::ForeignKeyViolation => return Cause::ForeignKey,
        _ => {}
    }
    let code = error.code().unwrap_or_default().into_owned();
    let unavailable = match code.parse::<u32>() {
        Ok(number) if error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() => {
            sqlite_unavailable(number)
        }
        _ => postgres_unavailable(&code),
    };
    let text = match what_it_means(&code) {
        Some(meaning) => format!("{meaning} (code {code})"),
        None => format!("code {code}"),
    };
    if unavailable {
        Cause::Unavailable(text)
    } else {
        Cause::Bug(text)
    }
}

/// Primary result codes (<https://www.sqlite.org/rescode.html>): busy, locked, read-only, interrupted,
/// I/O error, full, cannot open, protocol.
fn sqlite_unavailable(code: u32) -> bool {
    matches!(code & 0xff, 5 | 6 | 8 | 9 | 10 | 13 | 14 | 15)
}

/// Classes of SQLSTATE (<https://www.postgresql.org/docs/current/errcodes-appendix.html>): connection,
/// rolled back by the server, resources, operator intervention and system errors; a read-only replica;
/// a role or database that may yet be set up.
fn postgres_unavailable(code: &str) -> bool {
    ["08", "28", "40", "53", "57", "58"]
        .iter()
        .any(|class| code.starts_with(class))
        || matches!(code, "25006" | "3D000" | "55P03")
}

/// The codes that an operator meets while setting up.
fn what_it_means(code: &str) -> Option<&'static str> {
    match code {
        "28P01" | "28000" => Some("the server refuses this user or password"),
        "3D000" => Some("the server has no such database"),
        "53300" => Some("the server has too many connections"),
        "57P03" => Some("the server is starting up or shutting down"),
        "13" => Some("the disk is full"),
        "26" => Some("the file is no SQLite database"),
        _ => None,
    }
}

/// The database could not be reached, opened or brought to this program's schema at start.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// `DATABASE_URL` is no URL that PostgreSQL's driver understands. Not repeated: it can hold a password.
    #[error("the PostgreSQL URL does not parse")]
    Url,
    /// The SQLite file or its folder cannot be made.
    #[error("the SQLite file cannot be made: {0}")]
    File(std::io::Error),
    /// Not reached, or it refuses this user.
    #[error("{0}")]
    Unreachable(StorageError),
}

/// The schema is not, or could not be brought, up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// A newer stile has migrated this database.
    #[error(
        "the database has migration {0}, which this stile does not know: it was migrated by a newer version. \
         Start that version, or restore a backup from before it"
    )]
    Newer(i64),
    /// A migration that has run has another text now.
    #[error(
        "migration {0} has run with another text than this stile has: a landed migration is never edited"
    )]
    Edited(i64),
    /// A migration has not run, and is not to be run now.
    #[error(
        "the database has not had migration {0}: a server of this version runs it at its start, or `stile migrate`"
    )]
    Pending(i64),
    /// A migration failed; nothing of it stayed.
    #[error("migration {0} failed and was rolled back: {1}")]
    Failed(i64, StorageError),
    /// The database did not answer.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<sqlx::migrate::MigrateError> for MigrateError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        use sqlx::migrate::MigrateError as E;
        match error {
            E::VersionMissing(version) => Self::Newer(version),
            E::VersionMismatch(version) => Self::Edited(version),
            E::ExecuteMigration(error, version) => Self::Failed(version, error.into()),
            E::Execute(error) => Self::Storage(error.into()),
            other => Self::Storage(StorageError {
                cause: Cause::Bug(format!("migration: {other}")),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_when_it_goes_away_is_unavailable_and_the_rest_is_a_bug() {
        for code in [
            "57P01", "57P03", "57014", "08006", "53300", "40P01", "25006", "58030",
        ] {
            assert!(postgres_unavailable(code), "{code}");
        }
        for code in ["42P01", "22021", "23502", "42601", ""] {
            assert!(!postgres_unavailable(code), "{code}");
        }
        for code in [5, 5 | (1 << 8), 13, 10, 778, 14] {
            assert!(sqlite_unavailable(code), "{code}");
        }
        for code in [1, 19, 20, 275] {
            assert!(!sqlite_unavailable(code), "{code}");
        }
    }

    #[test]
    fn a_driver_error_that_quotes_a_value_does_not_show_it() {
        let secret = "postgres://stile:hunter2@db/stile";
        let error = StorageError::from(sqlx::Error::Protocol(secret.to_owned()));
        assert!(!format!("{error} {error:?}").contains("hunter2"));
        let error = StorageError::from(sqlx::Error::Configuration(secret.into()));
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
