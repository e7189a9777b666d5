//! The two engines behind one type: opening them, bringing the schema up to date, and handing out connections.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::str::FromStr as _;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, SqliteConnection};
use tracing::Instrument as _;

use super::connection::{Connection, Link, QUERY_TIMEOUT, Transaction, execute, fetch_all, fetch_optional};
use super::error::{ConnectError, MigrateError, StorageError};
use super::pool::{Lent, Pool, Terms};
use super::rotations::Rotations;
use super::{DatabaseUrl, Settings};
use crate::clock::Timestamp;
use crate::telemetry::traces::span;

/// All of `migrations/`, in the binary.
static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// Longest wait for a connection of PostgreSQL. With [`QUERY_TIMEOUT`] it keeps a request that meets a
/// frozen server under five seconds.
const POSTGRES_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest wait for SQLite's one writer: many short writes queue for it.
const SQLITE_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long SQLite waits for a lock of another process (`stile user …` beside a server).
const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_millis(2500);

/// Pages of SQLite's file that each reader keeps, of 4 KiB: enough for the upper levels of its trees. What is below them is taken from
/// the system's cache, which holds it once for all. SQLite's default of 2 MB for each reader is more than a core's own caches hold: with
/// many users each page would be written to memory that has gone cold, and looked for there.
const READERS_CACHE_PAGES: &str = "64";

/// A connection is closed when nobody wanted it for so long,
const REST: Duration = Duration::from_mins(10);

/// and when it is as old as this.
const LIFE: Duration = Duration::from_mins(30);

/// A database of either engine. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Database {
    /// One writer, because SQLite has one: writes queue for its connection, first come first served, and
    /// none ever meets a lock. Readers never wait for it (write-ahead log).
    Sqlite {
        /// One connection.
        writer: Pool<SqliteConnection>,
        /// The others; they refuse to write.
        readers: Pool<SqliteConnection>,
        /// What waits for the writer, to be committed together.
        rotations: Rotations,
    },
    /// One pool for everything.
    Postgres {
        /// The pool.
        pool: Pool<PgConnection>,
        /// For migrations, which take a connection without statement timeout.
        options: Box<PgConnectOptions>,
    },
}

/// How the pool stands (for metrics).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolState {
    /// Open connections.
    pub open: u32,
    /// Of them, not in use.
    pub idle: u32,
    /// Most that may be open.
    pub most: u32,
}

impl Database {
    /// Opens the database; makes SQLite's file and folder. Fails if it does not answer now.
    pub async fn connect(settings: &Settings) -> Result<Self, ConnectError> {
        let database = match &settings.url {
            DatabaseUrl::Sqlite(path) => Self::sqlite(path, settings.max_connections)?,
            DatabaseUrl::Postgres(url) => Self::postgres(url.expose_secret(), settings)?,
        };
        // Two instances that start at once on a new SQLite file both want to switch it to WAL, and that one
        // lock is not waited for by SQLite itself.
        let mut tries = 50;
        loop {
            match database.write().await {
                Ok(_) => return Ok(database),
                Err(error)
                    if tries > 0 && matches!(database, Self::Sqlite { .. }) && error.is_unavailable() =>
                {
                    tries -= 1;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => return Err(ConnectError::Unreachable(database.cause(error).await)),
            }
        }
    }

    /// Why there was no connection. The pool tries again until its time is over, and then only knows that it is over.
    async fn cause(&self, error: StorageError) -> StorageError {
        let Self::Postgres { options, .. } = self else {
            return error;
        };
        match tokio::time::timeout(POSTGRES_ACQUIRE_TIMEOUT, options.connect()).await {
            Ok(Err(cause)) => cause.into(),
            Ok(Ok(_)) | Err(_) => error,
        }
    }

    fn sqlite(path: &Path, max_connections: u32) -> Result<Self, ConnectError> {
        make_private_file(path).map_err(ConnectError::File)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            // FULL: a commit is on the disk before it is acknowledged, so that not even a power cut brings a
            // used link or an old password back. NORMAL would survive a killed process only.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(SQLITE_BUSY_TIMEOUT)
            .disable_statement_logging();
        let terms = |most: u32| Terms {
            most,
            patience: SQLITE_ACQUIRE_TIMEOUT,
            rest: REST,
            life: LIFE,
            // Each has a thread of its own, which wakes its borrower wherever he is.
            are_at_home: false,
        };
        let of_writer = Terms {
            rest: Duration::MAX,
            life: Duration::MAX,
            ..terms(1)
        };
        let writer = Pool::new(options.clone(), of_writer);
        let of_readers = terms(max_connections.saturating_sub(1).max(1));
        let options = options
            .pragma("query_only", "ON")
            .pragma("cache_size", READERS_CACHE_PAGES);
        let readers = Pool::new(options, of_readers);
        Ok(Self::Sqlite {
            writer,
            readers,
            rotations: Rotations::default(),
        })
    }

    fn postgres(url: &str, settings: &Settings) -> Result<Self, ConnectError> {
        let mut options = PgConnectOptions::from_str(url).map_err(|_| ConnectError::Url)?;
        // Whoever demands TLS gets it verified: libpq's `require` alone would take any certificate. Without a
        // word about it (`prefer`) TLS is used if offered, which protects from listeners and from nobody else.
        if matches!(options.get_ssl_mode(), PgSslMode::Require) {
            options = options.ssl_mode(PgSslMode::VerifyFull);
        }
        if let Some(authorities) = &settings.tls_ca_file {
            options = options.ssl_root_cert(authorities);
        }
        let options = options
            .application_name("stile")
            .options([("client_min_messages", "warning")])
            .disable_statement_logging();
        let limited = options.clone().options([
            ("statement_timeout", QUERY_TIMEOUT.as_millis()),
            (
                "idle_in_transaction_session_timeout",
                5 * QUERY_TIMEOUT.as_millis(),
            ),
        ]);
        let terms = Terms {
            most: settings.max_connections,
            patience: POSTGRES_ACQUIRE_TIMEOUT,
            rest: REST,
            life: LIFE,
            are_at_home: true,
        };
        let pool = Pool::new(limited, terms);
        Ok(Self::Postgres {
            pool,
            options: Box::new(options),
        })
    }

    /// Brings the schema up to date. Instances that start at once wait for each other; what fails or is
    /// killed in the middle leaves nothing behind and runs again at the next start.
    pub async fn migrate(&self) -> Result<(), MigrateError> {
        match self {
            // sqlx takes no lock on SQLite. Inside one immediate transaction the migrator's own become
            // savepoints, so a second instance waits for the first and then finds everything done.
            Self::Sqlite { writer, .. } => {
                let mut writer = writer.lend().await.map_err(StorageError::from)?;
                let mut transaction = writer
                    .link()
                    .begin_with("BEGIN IMMEDIATE")
                    .await
                    .map_err(StorageError::from)?;
                MIGRATOR.run_direct(None, &mut *transaction, false).await?;
                // Statistics that somebody took (`ANALYZE`) while a table was small would have SQLite read all of it for
                // ever after. Without any it goes by the indexes, which is what every query here is written for.
                sqlx::raw_sql("DROP TABLE IF EXISTS sqlite_stat1; DROP TABLE IF EXISTS sqlite_stat4")
                    .execute(&mut *transaction)
                    .await
                    .map_err(StorageError::from)?;
                transaction.commit().await.map_err(StorageError::from)?;
            }
            // A connection of its own: a long migration must not meet the statement timeout, and closing it
            // gives the advisory lock back whatever happened.
            Self::Postgres { options, .. } => {
                let connect = tokio::time::timeout(POSTGRES_ACQUIRE_TIMEOUT, options.connect());
                let mut connection = connect
                    .await
                    .map_err(|_| StorageError::timed_out())?
                    .map_err(StorageError::from)?;
                let migrated = MIGRATOR.run_direct(None, &mut connection, false).await;
                connection.close().await.ok();
                migrated?;
            }
        }
        Ok(())
    }

    /// Whether the schema is the one that this program knows, for whoever must not bring it up to date: he may be newer
    /// than the servers that run. Changes nothing.
    pub async fn check_schema(&self) -> Result<(), MigrateError> {
        let mut on = self.read().await?;
        let sql = "SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version";
        let applied = match fetch_all!((i64, Vec<u8>), &mut on, sql) {
            Ok(applied) => applied,
            Err(error) if error.is_unavailable() => return Err(error.into()),
            // No such table: nothing ever ran here.
            Err(_) => Vec::new(),
        };
        let known = |version: i64| MIGRATOR.iter().find(|migration| migration.version == version);
        for (version, checksum) in &applied {
            let migration = known(*version).ok_or(MigrateError::Newer(*version))?;
            if *migration.checksum != **checksum {
                return Err(MigrateError::Edited(*version));
            }
        }
        let has_run = |version| applied.iter().any(|(applied, _)| *applied == version);
        let mut versions = MIGRATOR.iter().map(|migration| migration.version);
        match versions.find(|version| !has_run(*version)) {
            Some(version) => Err(MigrateError::Pending(version)),
            None => Ok(()),
        }
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StorageError> {
        execute!(&mut self.read().await?, "SELECT 1").map(drop)
    }

    /// What time it is at PostgreSQL, for an operator who compares clocks: nothing that is stored depends on it. SQLite's
    /// time is this machine's.
    pub async fn server_time(&self) -> Result<Timestamp, StorageError> {
        let sql = match self {
            Self::Sqlite { .. } => "SELECT CAST(strftime('%s', 'now') AS BIGINT) * 1000",
            Self::Postgres { .. } => "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT",
        };
        let row = fetch_optional!((i64,), &mut self.read().await?, sql)?;
        Ok(Timestamp::from_millis(row.map_or(0, |(millis,)| millis)))
    }

    /// A connection for reading. What its first statement reads is read again, from another connection, if this one turns out to
    /// be cut.
    pub async fn read(&self) -> Result<Connection, StorageError> {
        Ok(match self {
            // A local file does not go away.
            Self::Sqlite { readers, .. } => {
                Connection::new(Link::Sqlite(waited_for(readers.lend()).await?), false)
            }
            Self::Postgres { pool, .. } => {
                Connection::new(Link::Postgres(waited_for(pool.lend()).await?), true)
            }
        })
    }

    /// A connection for single statements that write: one that lives. Whether a write took place cannot be told where the
    /// connection is lost over it, so it is never said twice. ([`Self::write_idempotent`] is for one that may be.)
    pub async fn write(&self) -> Result<Connection, StorageError> {
        let link = match self {
            Self::Sqlite { writer, .. } => Link::Sqlite(waited_for(writer.lend()).await?),
            Self::Postgres { pool, .. } => Link::Postgres(waited_for(pool.proven()).await?),
        };
        Ok(Connection::new(link, false))
    }

    /// A connection for a single statement that writes, and of which twice is once: done again, also when much has happened
    /// since, it changes nothing and answers the same, or what would be true had it come late. Then it need not be known whether
    /// it took place, and so nobody asks first whether the connection lives: if it turns out to be cut, the statement is said
    /// again to another.
    pub async fn write_idempotent(&self) -> Result<Connection, StorageError> {
        match self {
            Self::Sqlite { .. } => self.write().await,
            Self::Postgres { .. } => self.read().await,
        }
    }

    /// A transaction. Dropped without [`Transaction::commit`], it never happened.
    pub async fn begin(&self) -> Result<Transaction, StorageError> {
        Transaction::begin(self.write_idempotent().await?).await
    }

    /// Open and idle connections.
    #[must_use]
    pub fn pool_state(&self) -> PoolState {
        let counted = |pools: &[((usize, usize), u32)]| PoolState {
            open: pools.iter().map(|((open, _), _)| whole(*open)).sum(),
            idle: pools.iter().map(|((_, idle), _)| whole(*idle)).sum(),
            most: pools.iter().map(|(_, most)| most).sum(),
        };
        match self {
            Self::Sqlite { writer, readers, .. } => {
                counted(&[(writer.count(), writer.most()), (readers.count(), readers.most())])
            }
            Self::Postgres { pool, .. } => counted(&[(pool.count(), pool.most())]),
        }
    }

    /// Closes all connections, after those in use have been given back.
    pub async fn close(&self) {
        match self {
            Self::Sqlite { writer, readers, .. } => {
                readers.close().await;
                writer.close().await;
            }
            Self::Postgres { pool, .. } => pool.close().await,
        }
    }
}

/// The time that is waited for a connection is a span of its own.
async fn waited_for<C: sqlx::Connection>(
    lending: impl Future<Output = Result<Lent<C>, sqlx::Error>>,
) -> Result<Lent<C>, StorageError> {
    let lent = Box::pin(lending).instrument(span!("database.connection")).await;
    lent.map_err(StorageError::from)
}

fn whole(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Makes the file, and the folders above it, readable by this user alone: it holds password hashes.
fn make_private_file(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map(drop)
}
