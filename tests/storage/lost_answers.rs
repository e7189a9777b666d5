//! Answers of PostgreSQL that are lost on their way, when what was asked has been done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use secrecy::ExposeSecret as _;
use stile::storage::{self as s, AuditRow, Database, DatabaseUrl, PasswordChange, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::audit_log::row;
use crate::databases::{TestDatabase, at, open, postgres_settings, race};
use crate::engines::add_user;
use crate::logins::login;
use crate::sessions::{add_session, rotation};

/// A database whose server is behind a proxy that can lose an answer.
struct Lossy {
    database: Database,
    /// The next answer is lost, and its connection with it.
    losing: Arc<AtomicBool>,
    /// The same, past the proxy.
    db: TestDatabase,
}

impl Lossy {
    async fn open() -> Self {
        let db = open(postgres_settings()).await;
        let DatabaseUrl::Postgres(url) = &db.settings.url else {
            unreachable!()
        };
        let url = url.expose_secret();
        let (_, address) = url.rsplit_once('@').unwrap();
        let (server, _) = address.split_once('/').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = url.replace(server, &listener.local_addr().unwrap().to_string());
        let losing = Arc::new(AtomicBool::new(false));
        tokio::spawn(accept(listener, server.to_owned(), Arc::clone(&losing)));
        let settings = Settings {
            url: DatabaseUrl::Postgres(url.into()),
            ..db.settings.clone()
        };
        let database = Database::connect(&settings).await.unwrap();
        Self { database, losing, db }
    }

    fn lose_next_answer(&self) {
        self.losing.store(true, Ordering::SeqCst);
    }

    fn has_lost_it(&self) -> bool {
        !self.losing.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, server: String, losing: Arc<AtomicBool>) {
    while let Ok((near, _)) = listener.accept().await {
        let far = TcpStream::connect(&server).await.unwrap();
        let losing = Arc::clone(&losing);
        tokio::spawn(async move {
            let (mut near_read, mut near_write) = near.into_split();
            let (mut far_read, mut far_write) = far.into_split();
            let answers = async {
                let mut bytes = vec![0; 65_536];
                // The server has answered, so it has done what it was asked for, and committed it.
                while let Ok(read @ 1..) = far_read.read(&mut bytes).await
                    && !losing.swap(false, Ordering::SeqCst)
                    && near_write.write_all(&bytes[..read]).await.is_ok()
                {}
            };
            tokio::select! {
                _ = tokio::io::copy(&mut near_read, &mut far_write) => {}
                () = answers => {}
            }
        });
    }
}

async fn token_of(db: &Database, family: &str) -> String {
    let mut on = db.read().await.unwrap();
    let found = s::find_session_of_family(&mut on, family).await.unwrap();
    found.unwrap().session.token_hash
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_whose_answer_is_lost_is_one_login() {
    let lossy = Lossy::open().await;
    let user = add_user(&lossy.db, "ada@example.com").await;
    for now in 1..=5 {
        // The first prepares the statement, which is an answer of its own; so does who says it again.
        if now > 1 {
            lossy.lose_next_answer();
        }
        let family = format!("family-{now}");
        assert!(
            s::log_in(&lossy.database, &login(user, &family, now, None))
                .await
                .unwrap()
        );
        assert!(lossy.has_lost_it());
        let mut on = lossy.db.read().await.unwrap();
        let sessions = s::live_sessions(&mut on, user, at(now)).await.unwrap();
        assert_eq!(sessions.len(), usize::try_from(now).unwrap());
    }
}

/// What a second saying finds: its own session, as it has become meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_said_again_opens_nothing_anew() {
    let db = open(postgres_settings()).await;
    let user = add_user(&db, "ada@example.com").await;
    let said = login(user, "family", 1, None);
    let live = async || {
        let mut on = db.read().await.unwrap();
        s::live_sessions(&mut on, user, at(3)).await.unwrap().len()
    };
    let answers = race(10, |_| {
        let (database, id) = (db.database.clone(), said.session.id);
        async move {
            let mut said = login(user, "family", 1, None);
            said.session.id = id;
            s::log_in(&database, &said).await
        }
    })
    .await;
    assert!(answers.into_iter().all(|answer| answer.unwrap()));
    assert_eq!(live().await, 1);
    assert!(
        s::rotate_session(&db, rotation(said.session.id, "token-1", "token-2", 2))
            .await
            .unwrap()
    );
    assert!(s::log_in(&db, &said).await.unwrap());
    assert_eq!(token_of(&db, "family").await, "token-2");
    let mut on = db.write().await.unwrap();
    s::end_session(&mut on, user, said.session.id, s::EndReason::Logout, at(3))
        .await
        .unwrap();
    assert!(s::log_in(&db, &said).await.unwrap());
    assert_eq!(live().await, 0);
    let mut transaction = db.begin().await.unwrap();
    let change = PasswordChange {
        user_id: user,
        seen_version: 1,
        password_hash: "hash-2",
    };
    assert!(s::change_password(&mut transaction, &change).await.unwrap());
    transaction.commit().await.unwrap();
    assert!(!s::log_in(&db, &said).await.unwrap());
}

/// REF-02: it recognises its own successor, and nobody else's presented token is taken for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_whose_answer_is_lost_has_won_and_nobody_else_has() {
    let lossy = Lossy::open().await;
    let user = add_user(&lossy.db, "ada@example.com").await;
    for round in 0..20 {
        let family = format!("family-{round}");
        let id = add_session(&lossy.db, user, &family, 0).await;
        // Prepares the statement on each connection that there is.
        race(4, |_| {
            let database = lossy.database.clone();
            async move { s::rotate_session(&database, rotation(id, "nobody's", "nothing", 1)).await }
        })
        .await;
        lossy.lose_next_answer();
        let most = if round % 2 == 0 { 1 } else { 4 };
        let rotated = race(most, |n| {
            let database = lossy.database.clone();
            async move {
                let successor = format!("successor-{n}");
                let rotated = s::rotate_session(&database, rotation(id, "token-1", &successor, 5)).await;
                rotated.unwrap().then_some(successor)
            }
        })
        .await;
        assert!(lossy.has_lost_it());
        let winners: Vec<String> = rotated.into_iter().flatten().collect();
        assert_eq!(winners, [token_of(&lossy.db, &family).await], "round {round}");
        let replayed = s::rotate_session(&lossy.database, rotation(id, "token-1", "replayed", 6)).await;
        assert!(!replayed.unwrap());
        let next = rotation(id, &winners[0], "next", 7);
        assert!(s::rotate_session(&lossy.database, next).await.unwrap());
        // Said again when somebody has gone on with it, or the session is over, it is not the one that rotated.
        let late = s::rotate_session(&lossy.database, rotation(id, "token-1", &winners[0], 8)).await;
        assert!(!late.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_rows_whose_answer_is_lost_are_written_once() {
    let lossy = Lossy::open().await;
    let rows = |from: i64| -> Vec<AuditRow> { (from..from + 10).map(row).collect() };
    let add = async |rows: &[AuditRow]| {
        let mut on = lossy.database.write_idempotent().await.unwrap();
        s::add_audit_rows(&mut on, rows).await
    };
    add(&rows(0)).await.unwrap();
    lossy.lose_next_answer();
    add(&rows(10)).await.unwrap();
    assert!(lossy.has_lost_it());
    let mut on = lossy.db.read().await.unwrap();
    assert_eq!(s::latest_audit_rows(&mut on, 100).await.unwrap().len(), 20);
}

/// Nobody knows whether it took place.
#[tokio::test(flavor = "multi_thread")]
async fn any_other_write_whose_answer_is_lost_is_an_error() {
    let lossy = Lossy::open().await;
    let user = add_user(&lossy.db, "ada@example.com").await;
    let mut on = lossy.database.write().await.unwrap();
    assert!(
        s::set_full_name(&mut on, user, Some("Ada"))
            .await
            .unwrap()
            .is_some()
    );
    lossy.lose_next_answer();
    let lost = s::set_full_name(&mut on, user, Some("Lovelace")).await;
    assert!(lost.is_err_and(|error| error.is_unavailable()));
    assert!(lossy.has_lost_it());
}
