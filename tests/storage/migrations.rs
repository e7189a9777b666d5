//! Coming up, refusing, and answering when the database does not.

use std::time::{Duration, Instant};

use sqlx::Connection as _;
use stile::storage::{self as s, ConnectError, Database, DatabaseUrl, MigrateError, Settings};

use crate::authority::Localhost;
use crate::engines::{
    TestDatabase, add_user, on_both_engines, open, postgres_settings, race, raw, sqlite_settings,
};
use crate::postgres;

/// REL-17: instances that start at once on an empty database all come up.
async fn instances_start_at_once(settings: Settings) {
    let up = race(8, |_| {
        let settings = settings.clone();
        async move {
            let database = Database::connect(&settings).await.unwrap();
            database.migrate().await.unwrap();
            database
        }
    })
    .await;
    add_user(&up[0], "ada@example.com").await;
    for database in &up {
        let found = s::find_user_by_email(&mut database.read().await.unwrap(), "ada@example.com")
            .await
            .unwrap();
        assert!(found.is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_instances_that_start_at_once_on_an_empty_sqlite_all_come_up() {
    for _ in 0..5 {
        let (settings, _folder) = sqlite_settings();
        instances_start_at_once(settings).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_instances_that_start_at_once_on_an_empty_postgres_all_come_up() {
    for _ in 0..5 {
        instances_start_at_once(postgres_settings().0).await;
    }
}

on_both_engines! {
    /// REL-17
    async fn a_schema_of_a_newer_version_is_refused_clearly(db) {
        raw(
            &db.settings,
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             SELECT 9999, 'of tomorrow', TRUE, checksum, 0 FROM _sqlx_migrations WHERE version = 1",
        )
        .await;
        let error = db.migrate().await.unwrap_err();
        assert!(matches!(error, MigrateError::Newer(9999)));
        assert!(error.to_string().contains("newer version"), "{error}");
        assert!(matches!(db.check_schema().await, Err(MigrateError::Newer(9999))));
    }
}

on_both_engines! {
    async fn looking_at_a_schema_tells_what_it_lacks(db) {
        db.check_schema().await.unwrap();
        raw(&db.settings, "UPDATE _sqlx_migrations SET success = FALSE WHERE version = 10").await;
        let error = db.check_schema().await.unwrap_err();
        assert!(matches!(error, MigrateError::Pending(10)), "{error}");
        assert!(error.to_string().contains("stile migrate"), "{error}");
        raw(&db.settings, "UPDATE _sqlx_migrations SET checksum = (SELECT checksum FROM _sqlx_migrations WHERE version = 2) \
            WHERE version = 1").await;
        assert!(matches!(db.check_schema().await, Err(MigrateError::Edited(1))));
        db.close().await;
        assert!(matches!(db.check_schema().await, Err(MigrateError::Storage(error)) if error.is_unavailable()));
    }
}

/// A newer program that looks beside older servers brings nothing up to date.
async fn looking_at_an_empty_database_leaves_it_empty(
    (settings, folder): (Settings, Option<tempfile::TempDir>),
) {
    let database = Database::connect(&settings).await.unwrap();
    let error = database.check_schema().await.unwrap_err();
    assert!(matches!(error, MigrateError::Pending(1)), "{error}");
    // There is room for a table of this name.
    raw(&settings, "CREATE TABLE users (id TEXT)").await;
    drop(folder);
}

#[tokio::test]
async fn looking_at_an_empty_sqlite_leaves_it_empty() {
    looking_at_an_empty_database_leaves_it_empty(sqlite_settings()).await;
}

#[tokio::test]
async fn looking_at_an_empty_postgres_leaves_it_empty() {
    looking_at_an_empty_database_leaves_it_empty(postgres_settings()).await;
}

/// REL-17: a migration that fails in the middle, as one that is killed, leaves nothing and runs again.
async fn a_failed_migration_runs_again((settings, folder): (Settings, Option<tempfile::TempDir>)) {
    let database = Database::connect(&settings).await.unwrap();
    // The last table of the first migration is in the way.
    raw(&settings, "CREATE TABLE audit_log (id TEXT)").await;
    let error = database.migrate().await.unwrap_err();
    assert!(matches!(error, MigrateError::Failed(1, _)), "{error}");
    raw(&settings, "DROP TABLE audit_log").await;
    database.migrate().await.unwrap();
    add_user(&database, "ada@example.com").await;
    drop(folder);
}

#[tokio::test]
async fn a_migration_that_failed_in_the_middle_runs_again_on_sqlite() {
    a_failed_migration_runs_again(sqlite_settings()).await;
}

#[tokio::test]
async fn a_migration_that_failed_in_the_middle_runs_again_on_postgres() {
    a_failed_migration_runs_again(postgres_settings()).await;
}

on_both_engines! {
    async fn a_migrated_database_answers_and_is_migrated_again_without_change(db) {
        db.ping().await.unwrap();
        db.migrate().await.unwrap();
        assert!(db.pool_state().open >= 1);
        db.close().await;
        assert!(db.ping().await.unwrap_err().is_unavailable());
    }
}

on_both_engines! {
    /// REL-16: 64 writers never meet a lock.
    async fn sixty_four_writers_at_once_all_succeed(db) {
        let written = race(64, |n| {
            let database = db.database.clone();
            async move {
                for m in 0..20 {
                    let id = add_user(&database, &format!("u{n}-{m}@example.com")).await;
                    let mut transaction = database.begin().await.unwrap();
                    assert!(s::record_login(&mut transaction, id, 1, crate::engines::at(1)).await.unwrap());
                    transaction.commit().await.unwrap();
                }
                20
            }
        })
        .await;
        assert_eq!(written.into_iter().sum::<usize>(), 64 * 20);
    }
}

#[tokio::test]
async fn the_sqlite_file_and_its_folder_are_made_for_this_user_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let (settings, folder) = sqlite_settings();
    let TestDatabase {
        database: _database, ..
    } = open((settings.clone(), None)).await;
    let DatabaseUrl::Sqlite(path) = &settings.url else {
        unreachable!()
    };
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    drop(folder);
}

#[tokio::test]
async fn a_postgres_that_is_not_there_is_an_error_without_the_password() {
    let free = crate::port::free_port();
    for url in [
        format!("postgres://stile:hunter2@127.0.0.1:{free}/x"),
        "postgres://stile:hunter2@[bad".to_owned(),
    ] {
        let settings = Settings {
            url: DatabaseUrl::Postgres(url.into()),
            max_connections: 2,
            tls_ca_file: None,
        };
        let error = Database::connect(&settings).await.unwrap_err();
        assert!(matches!(error, ConnectError::Unreachable(_) | ConnectError::Url));
        assert!(!format!("{error} {error:?} {settings:?}").contains("hunter2"));
    }
}

/// REL-02: a frozen server is an error within five seconds, not a hang, and the pool lives on afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_postgres_is_unavailable_and_works_again_when_it_thaws() {
    let server = postgres::Server::start(&[]);
    let url = DatabaseUrl::Postgres(server.fresh_database().into());
    let db = open((
        Settings {
            url,
            max_connections: 3,
            tls_ca_file: None,
        },
        None,
    ))
    .await;
    let id = add_user(&db, "ada@example.com").await;
    let mut held = db.read().await.unwrap();
    server.freeze();
    let started = Instant::now();
    let outcomes = race(8, |_| {
        let database = db.database.clone();
        async move {
            match database.read().await {
                Ok(mut on) => s::find_user(&mut on, id).await.err().unwrap(),
                Err(error) => error,
            }
        }
    })
    .await;
    let in_flight = s::find_user(&mut held, id).await.err().unwrap();
    drop(held);
    assert!(
        outcomes
            .iter()
            .chain([&in_flight])
            .all(s::StorageError::is_unavailable)
    );
    assert!(
        started.elapsed() < Duration::from_secs(9),
        "{:?}",
        started.elapsed()
    );
    server.thaw();
    let found = s::find_user(&mut db.read().await.unwrap(), id).await.unwrap();
    assert!(found.is_some());
}

/// REL-02: connections that a restart has cut are replaced unseen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_the_server_has_cut_are_replaced_unseen() {
    let server = postgres::Server::start(&[]);
    let url = DatabaseUrl::Postgres(server.fresh_database().into());
    let db = open((
        Settings {
            url,
            max_connections: 3,
            tls_ca_file: None,
        },
        None,
    ))
    .await;
    let id = add_user(&db, "ada@example.com").await;
    let mut held = db.read().await.unwrap();
    server.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'stile'");
    assert!(s::find_user(&mut held, id).await.unwrap().is_some());
    drop(held);
    for _ in 0..5 {
        assert!(
            s::find_user(&mut db.read().await.unwrap(), id)
                .await
                .unwrap()
                .is_some()
        );
    }
}

/// Whoever demands TLS gets it verified, against the built-in roots and `TLS_CA_FILE`, the host's name included.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_verified_when_it_is_demanded() {
    let localhost = Localhost::certified();
    let server = postgres::Server::start_with_tls(&localhost.certificate(), &localhost.key());
    let folder = tempfile::tempdir().unwrap();
    let authorities = folder.path().join("ca.pem");
    std::fs::write(&authorities, localhost.authority).unwrap();

    let by_address = server.fresh_database();
    let by_name = by_address.replace("127.0.0.1", "localhost");
    let connect = async |url: &str, mode: &str, tls_ca_file: Option<&std::path::Path>| {
        let url = DatabaseUrl::Postgres(format!("{url}?sslmode={mode}").into());
        let settings = Settings {
            url,
            max_connections: 2,
            tls_ca_file: tls_ca_file.map(Into::into),
        };
        Database::connect(&settings).await
    };
    for mode in ["require", "verify-full"] {
        assert!(
            connect(&by_name, mode, Some(&authorities)).await.is_ok(),
            "{mode}"
        );
        assert!(
            connect(&by_name, mode, None).await.is_err(),
            "{mode}: an authority nobody trusts"
        );
        assert!(
            connect(&by_address, mode, Some(&authorities)).await.is_err(),
            "{mode}: another name"
        );
    }
    let plain = postgres_settings().0;
    let DatabaseUrl::Postgres(plain) = &plain.url else {
        unreachable!()
    };
    let error = connect(secrecy::ExposeSecret::expose_secret(plain), "require", None)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("TLS"), "{error}");
}

/// Statistics of tables that were small when they were taken would turn look-ups into reading all of a table that has grown.
#[tokio::test]
async fn statistics_that_somebody_took_of_sqlite_are_gone_after_a_start() {
    let db = open(sqlite_settings()).await;
    let DatabaseUrl::Sqlite(path) = &db.settings.url else {
        unreachable!()
    };
    let url = format!("sqlite://{}", path.display());
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let mut tables = async || -> i64 {
        let count = "SELECT COUNT(*) FROM sqlite_schema WHERE name LIKE 'sqlite_stat%'";
        sqlx::query_scalar(count)
            .fetch_one(&mut connection)
            .await
            .unwrap()
    };
    raw(&db.settings, "ANALYZE").await;
    assert!(tables().await > 0);
    db.migrate().await.unwrap();
    assert_eq!(tables().await, 0);
}
