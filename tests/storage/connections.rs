//! Connections that are lent, lost and replaced.

use std::time::Duration;

use sqlx::Connection as _;
use stile::storage::{self, Database, NewUser, PoolState, UserRole};

use crate::databases::{TestDatabase, at, on_both_engines, open, postgres_settings, race, raw};
use crate::engines::{add_user, new_user};
use crate::logins::login;
use crate::sessions::{add_session, rotation};

/// As a restart, a failover or a firewall does it.
async fn cut_all(db: &TestDatabase) {
    raw(
        &db.settings,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    .await;
}

/// Opens as many connections as there may be.
async fn open_all(database: &Database) {
    let ids = race(10, |_| {
        let database = database.clone();
        async move {
            let mut on = database.read().await.unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
            storage::find_user_by_email(&mut on, "ada@example.org")
                .await
                .unwrap()
                .unwrap()
                .id
        }
    })
    .await;
    assert_eq!(ids.len(), 10);
    assert_eq!(
        database.pool_state(),
        PoolState {
            open: 10,
            idle: 10,
            most: 10
        }
    );
}

/// REL-02
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_were_cut_are_replaced_and_nobody_hears_of_it() {
    let db = open(postgres_settings()).await;
    let id = add_user(&db, "ada@example.org").await;
    for round in 0..5 {
        let mut ids = Vec::new();
        for n in 0..6 {
            ids.push(add_session(&db, id, &format!("family-{round}-{n}"), 0).await);
        }
        open_all(&db.database).await;
        cut_all(&db).await;
        // All at once, so that each of the ten is met: who reads, who writes, who logs in or rotates, and who begins a transaction.
        let answers = race(30, |n| {
            let (database, session) = (db.database.clone(), ids[n / 5]);
            async move {
                match n % 5 {
                    0 => storage::find_user(&mut database.read().await?, id)
                        .await
                        .map(|found| found.is_some()),
                    1 => storage::set_full_name(&mut database.write().await?, id, Some("Ada"))
                        .await
                        .map(|found| found.is_some()),
                    2 => storage::log_in(&database, &login(id, &format!("login-{round}-{n}"), 1, None)).await,
                    3 => storage::rotate_session(&database, rotation(session, "token-1", "token-2", 1)).await,
                    _ => {
                        let mut transaction = database.begin().await?;
                        let noted = storage::record_login(&mut transaction, id, 1, at(n as i64)).await?;
                        transaction.commit().await?;
                        Ok(noted)
                    }
                }
            }
        })
        .await;
        for answer in answers {
            assert!(answer.unwrap(), "round {round}");
        }
        let mut on = db.read().await.unwrap();
        let sessions = storage::live_sessions(&mut on, id, at(2)).await.unwrap();
        assert_eq!(sessions.len(), (round + 1) * 12);
    }
}

/// What was begun is lost with its connection, and what comes later in it is not said to another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_whose_connection_is_cut_has_not_happened() {
    let db = open(postgres_settings()).await;
    let id = add_user(&db, "ada@example.org").await;
    let mut transaction = db.begin().await.unwrap();
    assert!(
        storage::record_login(&mut transaction, id, 1, at(1))
            .await
            .unwrap()
    );
    cut_all(&db).await;
    let lost = storage::record_login(&mut transaction, id, 1, at(2))
        .await
        .unwrap_err();
    assert!(lost.is_unavailable(), "{lost}");
    drop(transaction);
    let ada = storage::find_user(&mut db.read().await.unwrap(), id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(ada.last_login_at, None);
}

/// The second statement on a connection may follow from the first.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_first_statement_is_said_again() {
    let db = open(postgres_settings()).await;
    let id = add_user(&db, "ada@example.org").await;
    let mut on = db.read().await.unwrap();
    assert!(storage::find_user(&mut on, id).await.unwrap().is_some());
    cut_all(&db).await;
    assert!(
        storage::find_user(&mut on, id)
            .await
            .is_err_and(|error| error.is_unavailable())
    );
    drop(on);
    assert!(
        storage::find_user(&mut db.read().await.unwrap(), id)
            .await
            .unwrap()
            .is_some()
    );
}

on_both_engines! {
    /// A refusal of the database is no reason to open another connection.
    async fn a_statement_that_is_refused_leaves_its_connection_usable(db) {
        let mut on = db.write().await.unwrap();
        let nobody = storage::new_id(at(0));
        let noted = storage::remember_client(&mut on, nobody, "127.0.0.1", at(0), 20).await;
        assert!(noted.is_err_and(|error| error.is_foreign_key_violation()));
        let user = NewUser { role: UserRole::User, ..new_user(nobody, "ada@example.org") };
        assert!(storage::add_user(&mut on, &user).await.unwrap());
        let open = db.pool_state().open;
        drop(on);
        assert!(storage::find_user(&mut db.read().await.unwrap(), nobody).await.unwrap().is_some());
        assert!(db.pool_state().open <= open + 1, "{:?}", db.pool_state());
    }
}

on_both_engines! {
    /// Never more than `DATABASE_MAX_CONNECTIONS`, and whoever waits gets his turn.
    async fn there_are_never_more_connections_than_allowed(db) {
        let id = add_user(&db, "ada@example.org").await;
        let most = race(200, |n| {
            let database = db.database.clone();
            async move {
                let mut on = database.read().await.unwrap();
                assert!(storage::find_user(&mut on, id).await.unwrap().is_some());
                if n % 7 == 0 {
                    // Given up in the middle: that connection is closed.
                    let asking = storage::find_user(&mut on, id);
                    let _ = tokio::time::timeout(Duration::ZERO, asking).await;
                }
                database.pool_state().open
            }
        })
        .await;
        assert!(most.iter().all(|open| *open <= 10), "{most:?}");
    }
}

on_both_engines! {
    /// An orderly end: what is under way ends, and nothing begins.
    async fn closing_waits_for_what_is_lent(db) {
        let id = add_user(&db, "ada@example.org").await;
        let mut on = db.read().await.unwrap();
        let database = db.database.clone();
        let closing = tokio::spawn(async move { database.close().await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!closing.is_finished());
        assert!(storage::find_user(&mut on, id).await.unwrap().is_some());
        drop(on);
        closing.await.unwrap();
        assert_eq!(db.pool_state().open, 0);
        assert!(db.read().await.is_err_and(|error| error.is_unavailable()));
    }
}

/// `.cargo/config.toml` says how SQLite is built, and nothing would complain if it were not read.
#[tokio::test]
async fn sqlite_is_built_without_global_locks() {
    let mut sqlite = sqlx::SqliteConnection::connect("sqlite::memory:").await.unwrap();
    let options: Vec<String> = sqlx::query_scalar("PRAGMA compile_options")
        .fetch_all(&mut sqlite)
        .await
        .unwrap();
    assert!(
        options.iter().any(|option| option == "DEFAULT_MEMSTATUS=0"),
        "{options:?}"
    );
    assert!(
        !options.iter().any(|option| option == "ENABLE_MEMORY_MANAGEMENT"),
        "{options:?}"
    );
}
