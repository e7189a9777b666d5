//! A database of each engine for a test, and what most tests put into it.

use stile::clock::Timestamp;
use stile::storage::{self, Database, DatabaseUrl, NewUser, Settings, UserRole};
use uuid::Uuid;

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
            use super::*;

            $(#[doc = $doc])*
            async fn case($database: $crate::engines::TestDatabase) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                case($crate::engines::open($crate::engines::sqlite_settings()).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                case($crate::engines::open($crate::engines::postgres_settings()).await).await;
            }
        }
    };
}
pub(crate) use on_both_engines;

/// The moment `seconds` after the tests' beginning of time.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + seconds * 1000)
}

/// Adds an ordinary user and returns his id.
pub async fn add_user(database: &Database, email: &str) -> Uuid {
    let id = storage::new_id(at(0));
    let user = new_user(id, email);
    assert!(
        storage::add_user(&mut database.write().await.unwrap(), &user)
            .await
            .unwrap()
    );
    id
}

/// An ordinary user.
pub fn new_user(id: Uuid, email: &str) -> NewUser<'_> {
    NewUser {
        id,
        email,
        full_name: Some("Ada"),
        password_hash: "hash-1",
        role: UserRole::User,
        is_verified: false,
        is_pending: false,
        created_at: at(0),
    }
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
