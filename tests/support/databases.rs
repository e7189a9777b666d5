//! A database of each engine for a test.
#![allow(dead_code, reason = "each test binary uses a part of this")]

use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use stile::clock::Timestamp;
use stile::storage::{Database, DatabaseUrl, Settings};

use crate::postgres;

/// A migrated database. SQLite's folder goes when this goes.
pub struct TestDatabase {
    pub database: Database,
    pub settings: Settings,
    _folder: Option<tempfile::TempDir>,
}

impl std::ops::Deref for TestDatabase {
    type Target = Database;

    fn deref(&self) -> &Database {
        &self.database
    }
}

/// Settings of an empty SQLite database, and the folder that holds it.
pub fn sqlite_settings() -> (Settings, Option<tempfile::TempDir>) {
    let folder = tempfile::tempdir().unwrap();
    let url = DatabaseUrl::Sqlite(folder.path().join("data/stile.db"));
    (
        Settings {
            url,
            max_connections: 10,
            tls_ca_file: None,
        },
        Some(folder),
    )
}

/// Settings of an empty PostgreSQL database.
pub fn postgres_settings() -> (Settings, Option<tempfile::TempDir>) {
    let url = DatabaseUrl::Postgres(postgres::server().fresh_database().into());
    (
        Settings {
            url,
            max_connections: 10,
            tls_ca_file: None,
        },
        None,
    )
}

/// Connects and migrates.
pub async fn open((settings, folder): (Settings, Option<tempfile::TempDir>)) -> TestDatabase {
    let database = Database::connect(&settings).await.unwrap();
    database.migrate().await.unwrap();
    TestDatabase {
        database,
        settings,
        _folder: folder,
    }
}

/// One test on both engines: `mod name` with the tests `sqlite` and `postgres`.
macro_rules! on_both_engines {
    ($(#[doc = $doc:literal])* async fn $name:ident($database:ident) $body:block) => {
        mod $name {
            #[allow(unused_imports, reason = "a test may need nothing from its file")]
            use super::*;

            $(#[doc = $doc])*
            async fn case($database: $crate::databases::TestDatabase) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                case($crate::databases::open($crate::databases::sqlite_settings()).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                case($crate::databases::open($crate::databases::postgres_settings()).await).await;
            }
        }
    };
}
pub(crate) use on_both_engines;

/// The moment `seconds` after the tests' beginning of time.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + seconds * 1000)
}

/// Runs `count` copies of a task at once and returns what each returned.
pub async fn race<T, F>(count: usize, task: impl Fn(usize) -> F) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let racers: Vec<_> = (0..count).map(|n| tokio::spawn(task(n))).collect();
    let mut results = Vec::new();
    for racer in racers {
        results.push(racer.await.unwrap());
    }
    results
}

/// Runs one statement past the program, as an administrator or a later migration might.
pub async fn raw(settings: &Settings, sql: &str) {
    let sql = AssertSqlSafe(sql.to_owned());
    match &settings.url {
        DatabaseUrl::Sqlite(path) => {
            let options = sqlx::sqlite::SqliteConnectOptions::new()
                .filename(path)
                .busy_timeout(std::time::Duration::from_secs(5));
            let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
            connection.execute(sql).await.unwrap();
        }
        DatabaseUrl::Postgres(url) => {
            let url = secrecy::ExposeSecret::expose_secret(url);
            let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
            connection.execute(sql).await.unwrap();
        }
    }
}
