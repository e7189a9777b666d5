//! Rotations that come at once.

use std::path::Path;

use stile::storage::{self as s, DatabaseUrl};
use uuid::Uuid;

use crate::databases::TestDatabase;
use crate::engines::{add_user, at, on_both_engines, race};
use crate::sessions::{add_session, rotation};

async fn token_of(db: &TestDatabase, family: &str) -> String {
    let mut on = db.read().await.unwrap();
    let found = s::find_session_of_family(&mut on, family).await.unwrap();
    found.unwrap().session.token_hash
}

async fn sessions(db: &TestDatabase, most: usize) -> Vec<Uuid> {
    let user = add_user(db, "ada@example.com").await;
    let mut ids = Vec::new();
    for n in 0..most {
        ids.push(add_session(db, user, &format!("family-{n}"), 0).await);
    }
    ids
}

on_both_engines! {
    /// REF-02: a hundred and fifty sessions, each with two who want to rotate its token: each has one winner.
    async fn each_of_many_sessions_at_once_is_rotated_by_one(db) {
        let ids = sessions(&db, 150).await;
        let rotated = race(300, |n| {
            let (database, id) = (db.database.clone(), ids[n / 2]);
            async move {
                let successor = format!("successor-{n}");
                let rotated = s::rotate_session(&database, rotation(id, "token-1", &successor, 5)).await;
                rotated.unwrap().then_some(successor)
            }
        })
        .await;
        for (n, pair) in rotated.chunks(2).enumerate() {
            let winners: Vec<_> = pair.iter().flatten().collect();
            assert_eq!(winners.len(), 1, "session {n}");
            assert_eq!(&token_of(&db, &format!("family-{n}")).await, winners[0]);
        }
    }
}

on_both_engines! {
    /// Contract 3.3, a failed write consumes nothing: an error is an error for all of a batch, and each token still works.
    async fn a_batch_that_fails_has_used_nothing_up(db) {
        let ids = sessions(&db, 9).await;
        crate::databases::raw(&db.settings, "ALTER TABLE sessions RENAME COLUMN user_agent TO gone").await;
        let failed = race(9, |n| {
            let (database, id) = (db.database.clone(), ids[n]);
            async move { s::rotate_session(&database, rotation(id, "token-1", &format!("new-{n}"), 5)).await.is_err() }
        })
        .await;
        assert_eq!(failed, [true; 9]);
        crate::databases::raw(&db.settings, "ALTER TABLE sessions RENAME COLUMN gone TO user_agent").await;
        for (n, id) in ids.into_iter().enumerate() {
            assert!(s::rotate_session(&db, rotation(id, "token-1", &format!("new-{n}"), 6)).await.unwrap());
        }
    }
}

on_both_engines! {
    /// A client is noted with the rotation it asked for: the loser's is not, nor that of a user who is gone; alone or among many.
    async fn the_client_of_who_rotates_is_noted_and_the_losers_is_not(db) {
        let user = add_user(&db, "ada@example.com").await;
        let mut ids = Vec::new();
        for n in 0..20 {
            ids.push(add_session(&db, user, &format!("family-{n}"), 0).await);
        }
        let rotate = |id: Uuid, presented: &str, client: String| {
            let successor = format!("of-{client}");
            let client = Some(s::ClientNote { client, most: 100 });
            let rotation = s::Rotation { user_id: user, client, ..rotation(id, presented, &successor, 5) };
            let database = db.database.clone();
            async move { s::rotate_session(&database, rotation).await }
        };
        let noted = async || s::known_clients(&mut db.read().await.unwrap(), user).await.unwrap().len();
        assert!(rotate(ids[0], "token-1", "10.0.0.1".to_owned()).await.unwrap());
        assert!(!rotate(ids[0], "token-1", "10.0.0.2".to_owned()).await.unwrap());
        assert_eq!(noted().await, 1);
        let noted_at = async || {
            let mut on = db.read().await.unwrap();
            let found = s::find_session_of_family(&mut on, "family-0").await.unwrap();
            found.unwrap().session.client_noted_at
        };
        assert_eq!(noted_at().await, Some(at(5)));
        let unnoted = s::Rotation { user_id: user, ..rotation(ids[0], "of-10.0.0.1", "newer", 6) };
        assert!(s::rotate_session(&db, unnoted).await.unwrap());
        assert_eq!(noted_at().await, Some(at(5)), "nothing was noted");
        let rotated = race(40, |n| {
            let presented = if n % 2 == 0 { "token-1" } else { "another" };
            rotate(ids[n / 2], presented, format!("10.0.1.{n}"))
        })
        .await;
        assert_eq!(rotated.into_iter().filter(|rotated| *rotated.as_ref().unwrap()).count(), 19);
        assert_eq!(noted().await, 20);
        let gone = add_user(&db, "bob@example.com").await;
        let orphan = s::Rotation { user_id: gone, ..rotation(Uuid::nil(), "token-1", "new", 5) };
        let mut transaction = db.begin().await.unwrap();
        s::delete_user(&mut transaction, gone, None).await.unwrap();
        transaction.commit().await.unwrap();
        let client = Some(s::ClientNote { client: "10.0.0.1".to_owned(), most: 100 });
        assert!(!s::rotate_session(&db, s::Rotation { client, ..orphan }).await.unwrap());
    }
}

/// Those that waited for the writer are one commit, and who has gone meanwhile keeps his token.
#[tokio::test]
async fn what_waits_for_sqlites_writer_is_committed_together() {
    let db = crate::databases::open(crate::databases::sqlite_settings()).await;
    let ids = sessions(&db, 40).await;
    let DatabaseUrl::Sqlite(path) = &db.settings.url else {
        unreachable!()
    };
    let writer = db.write().await.unwrap();
    let commits = commits_in(path);
    let mut waiting: Vec<_> = ids
        .iter()
        .enumerate()
        .map(|(n, id)| {
            let (database, rotation) = (
                db.database.clone(),
                rotation(*id, "token-1", &format!("new-{n}"), 5),
            );
            tokio::spawn(async move { s::rotate_session(&database, rotation).await })
        })
        .collect();
    // All have come to the queue: there is one thread, and nothing else to do for it.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    for gone in waiting.drain(30..) {
        gone.abort();
        assert!(gone.await.unwrap_err().is_cancelled());
    }
    drop(writer);
    for rotated in waiting {
        assert!(rotated.await.unwrap().unwrap());
    }
    assert_eq!(commits_in(path) - commits, 1);
    for n in 0..40 {
        let expected = if n < 30 {
            format!("new-{n}")
        } else {
            "token-1".to_owned()
        };
        assert_eq!(token_of(&db, &format!("family-{n}")).await, expected);
    }
}

/// Commits in the write-ahead log: its frames that name the size of the database (sqlite.org/fileformat.html, 4.1).
fn commits_in(database: &Path) -> usize {
    let log = std::fs::read(database.with_extension("db-wal")).unwrap();
    let number = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().unwrap());
    let frame = 24 + number(8) as usize;
    (32..log.len())
        .step_by(frame)
        .filter(|at| number(at + 4) != 0)
        .count()
}
