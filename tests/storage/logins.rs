//! What a good login writes.

use std::net::{IpAddr, Ipv4Addr};

use stile::storage::{self as s, ClientNote, Login, NewSession, PasswordChange};
use uuid::Uuid;

use crate::engines::{add_user, at, on_both_engines, race};

pub fn login<'a>(user_id: Uuid, family: &'a str, now: i64, client: Option<&str>) -> Login<'a> {
    Login {
        seen_version: 1,
        client: client.map(|client| ClientNote {
            client: client.to_owned(),
            most: 3,
        }),
        session: NewSession {
            id: s::new_id(at(now)),
            user_id,
            family_hash: family,
            token_hash: "token-1",
            client_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            user_agent: Some("curl/8"),
            created_at: at(now),
            live_until: at(now + 100),
            expires_at: at(now + 1000),
        },
    }
}

on_both_engines! {
    /// With a client to note and without: on PostgreSQL these are two ways.
    async fn a_login_writes_its_session_its_time_and_its_client(db) {
        let user = add_user(&db, "ada@example.com").await;
        for (now, client) in [(1, Some("10.0.0.1")), (2, None)] {
            let family = format!("family-{now}");
            assert!(s::log_in(&db, &login(user, &family, now, client)).await.unwrap());
            let mut on = db.read().await.unwrap();
            let found = s::find_session_of_family(&mut on, &family).await.unwrap().unwrap();
            assert_eq!((found.session.user_id, found.session.token_hash.as_str()), (user, "token-1"));
            assert_eq!((found.session.client_ip.as_str(), found.session.user_agent.as_deref()), ("127.0.0.1", Some("curl/8")));
            assert_eq!((found.session.created_at, found.session.last_active_at), (at(now), at(now)));
            assert_eq!((found.session.live_until, found.session.expires_at), (at(now + 100), at(now + 1000)));
            assert_eq!((found.account.last_login_at, found.session.client_noted_at), (Some(at(now)), Some(at(now))));
            assert_eq!(s::known_clients(&mut on, user).await.unwrap(), ["10.0.0.1"]);
        }
        // Due for the sweep when they would end.
        assert_eq!(s::sweep_sessions(&mut db.write().await.unwrap(), at(101), 10).await.unwrap(), 1);
        assert_eq!(s::sweep_sessions(&mut db.write().await.unwrap(), at(102), 10).await.unwrap(), 1);
    }
}

on_both_engines! {
    /// A password that is changed while logins of the old one are under way: none is left signed in.
    async fn no_session_of_an_old_password_is_left_however_they_meet(db) {
        for round in 0..10 {
            let user = add_user(&db, &format!("ada{round}@example.com")).await;
            race(9, |n| {
                let database = db.database.clone();
                async move {
                    if n == 4 {
                        let mut transaction = database.begin().await.unwrap();
                        let change = PasswordChange { user_id: user, seen_version: 1, password_hash: "hash-2" };
                        assert!(s::change_password(&mut transaction, &change).await.unwrap());
                        let reason = s::EndReason::PasswordChanged;
                        s::end_sessions_of_user(&mut transaction, user, reason, at(5)).await.unwrap();
                        transaction.commit().await.unwrap();
                    } else {
                        let family = format!("family-{round}-{n}");
                        let client = (n % 2 == 0).then_some("10.0.0.1");
                        s::log_in(&database, &login(user, &family, 1, client)).await.unwrap();
                    }
                }
            })
            .await;
            assert!(s::live_sessions(&mut db.read().await.unwrap(), user, at(6)).await.unwrap().is_empty());
            assert!(!s::log_in(&db, &login(user, "late", 7, None)).await.unwrap());
            assert!(!s::log_in(&db, &login(user, "late", 7, Some("10.0.0.1"))).await.unwrap());
        }
    }
}

on_both_engines! {
    /// A login that cannot be written is not half written, and the connection it was tried on is no hindrance to the next.
    async fn a_login_that_fails_leaves_nothing_and_the_next_succeeds(db) {
        let user = add_user(&db, "ada@example.com").await;
        assert!(s::log_in(&db, &login(user, "family", 1, None)).await.unwrap());
        for client in [None, Some("10.0.0.1")] {
            let taken = s::log_in(&db, &login(user, "family", 2, client)).await.unwrap_err();
            assert!(taken.is_unique_violation());
        }
        let account = s::find_user(&mut db.read().await.unwrap(), user).await.unwrap().unwrap();
        assert_eq!(account.last_login_at, Some(at(1)));
        assert!(s::known_clients(&mut db.read().await.unwrap(), user).await.unwrap().is_empty());
        assert!(s::log_in(&db, &login(user, "another", 3, None)).await.unwrap());
        assert_eq!(s::live_sessions(&mut db.read().await.unwrap(), user, at(3)).await.unwrap().len(), 2);
    }
}
