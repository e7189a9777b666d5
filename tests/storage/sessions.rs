//! `sessions`

use std::net::{IpAddr, Ipv4Addr};

use stile::storage::{
    self as s, Database, EndReason, MailKind, NewOneTimeToken, NewSession, Rotation, TokenPurpose,
};
use uuid::Uuid;

use crate::engines::{add_user, at, on_both_engines, race};
use crate::mail_jobs::new_job;

const IP: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

pub async fn add_session(db: &Database, user_id: Uuid, family: &str, created: i64) -> Uuid {
    let session = NewSession {
        id: s::new_id(at(created)),
        user_id,
        family_hash: family,
        token_hash: "token-1",
        client_ip: IP,
        user_agent: Some("curl/8"),
        created_at: at(created),
        live_until: at(created + 100),
        expires_at: at(created + 1000),
    };
    s::add_session(&mut db.write().await.unwrap(), &session)
        .await
        .unwrap();
    session.id
}

pub fn rotation(session_id: Uuid, presented: &str, successor: &str, now: i64) -> Rotation {
    Rotation {
        session_id,
        user_id: Uuid::nil(),
        client: None,
        presented_hash: presented.to_owned(),
        successor_hash: successor.to_owned(),
        successor_sealed: Some("sealed".to_owned()),
        grace_ends_at: at(now + 10),
        client_ip: IP,
        user_agent: None,
        now: at(now),
        live_until: at(now + 100),
    }
}

/// A user with a session, a mailed link, a known client and two queued mails.
pub async fn user_with_everything(db: &Database, email: &str) -> Uuid {
    let id = add_user(db, email).await;
    add_session(db, id, email, 0).await;
    s::remember_client(&mut db.write().await.unwrap(), id, "10.0.0.1", at(0), 20)
        .await
        .unwrap();
    let mut job = new_job(MailKind::Verification, email);
    job.user_id = Some(id);
    s::queue_mail(&mut db.write().await.unwrap(), &job).await.unwrap();
    s::queue_mail(
        &mut db.write().await.unwrap(),
        &new_job(MailKind::PasswordReset, email),
    )
    .await
    .unwrap();
    let taken = loop {
        let job = s::claim_mail(&mut db.write().await.unwrap(), at(0), at(1))
            .await
            .unwrap()
            .unwrap();
        if job.recipient == email && job.kind == MailKind::Verification {
            break job;
        }
    };
    let token = NewOneTimeToken {
        token_hash: email,
        user_id: id,
        purpose: TokenPurpose::Verify,
        password_version: 1,
        registration: None,
        created_at: at(0),
        expires_at: at(100),
    };
    assert!(
        s::add_token_of_job(&mut db.write().await.unwrap(), &token, &taken)
            .await
            .unwrap()
    );
    id
}

/// How many users, sessions, links, known clients and queued mails there are of an account.
pub async fn what_hangs_on(db: &Database, id: Uuid, email: &str, now: i64) -> [usize; 5] {
    let mut on = db.write().await.unwrap();
    let users = usize::from(s::find_user(&mut on, id).await.unwrap().is_some());
    let sessions = s::live_sessions(&mut on, id, at(now)).await.unwrap().len();
    let links = usize::from(s::find_token(&mut on, email, at(now)).await.unwrap().is_some());
    let clients = s::known_clients(&mut on, id).await.unwrap().len();
    let mut mails = 0;
    while let Some(job) = s::claim_mail(&mut on, at(now), at(now + 1)).await.unwrap() {
        mails += usize::from(job.recipient == email);
        s::retry_mail(&mut on, &job, at(now + 1)).await.unwrap();
    }
    [users, sessions, links, clients, mails]
}

on_both_engines! {
    async fn a_session_is_found_by_its_family_with_its_user(db) {
        let user = add_user(&db, "ada@example.com").await;
        let id = add_session(&db, user, "family", 0).await;
        let mut on = db.read().await.unwrap();
        let found = s::find_session_of_family(&mut on, "family").await.unwrap().unwrap();
        assert_eq!((found.session.id, found.session.user_id, found.account.id), (id, user, user));
        assert_eq!(found.session.token_hash, "token-1");
        assert_eq!(found.session.user_agent.as_deref(), Some("curl/8"));
        assert_eq!((found.session.live_until, found.session.expires_at), (at(100), at(1000)));
        assert_eq!((found.session.created_at, found.session.last_active_at), (at(0), at(0)));
        assert_eq!(found.session.client_noted_at, Some(at(0)));
        assert!(s::find_session_of_family(&mut on, "other").await.unwrap().is_none());
    }
}

on_both_engines! {
    async fn a_live_session_is_good_for_its_own_active_user_until_it_ends(db) {
        let ada = add_user(&db, "ada@example.com").await;
        let bob = add_user(&db, "bob@example.com").await;
        let id = add_session(&db, ada, "family", 0).await;
        let mut on = db.write().await.unwrap();
        assert_eq!(s::find_live_session(&mut on, id, ada, at(99)).await.unwrap().unwrap().id, ada);
        assert!(s::find_live_session(&mut on, id, bob, at(99)).await.unwrap().is_none());
        assert!(s::find_live_session(&mut on, id, ada, at(100)).await.unwrap().is_none(), "idle for too long");
        assert!(s::end_session(&mut on, ada, id, EndReason::Logout, at(5)).await.unwrap());
        assert!(s::find_live_session(&mut on, id, ada, at(6)).await.unwrap().is_none());
    }
}

on_both_engines! {
    async fn rotating_keeps_the_predecessor_and_refuses_a_token_that_is_not_live(db) {
        let user = add_user(&db, "ada@example.com").await;
        let id = add_session(&db, user, "family", 0).await;
        assert!(s::rotate_session(&db, rotation(id, "token-1", "token-2", 5)).await.unwrap());
        assert!(!s::rotate_session(&db, rotation(id, "token-1", "token-3", 5)).await.unwrap());
        let session = s::find_session_of_family(&mut db.read().await.unwrap(), "family").await.unwrap().unwrap().session;
        assert_eq!(session.token_hash, "token-2");
        assert_eq!(session.previous_hash.as_deref(), Some("token-1"));
        assert_eq!(session.successor_sealed.as_deref(), Some("sealed"));
        assert_eq!((session.last_active_at, session.live_until), (at(5), at(105)));
        assert!(!s::rotate_session(&db, rotation(id, "token-2", "token-3", 105)).await.unwrap(), "expired");
    }
}

on_both_engines! {
    /// REF-02
    async fn of_32_who_rotate_one_token_exactly_one_does(db) {
        let user = add_user(&db, "ada@example.com").await;
        let id = add_session(&db, user, "family", 0).await;
        let rotated = race(32, |n| {
            let database = db.database.clone();
            async move {
                let successor = format!("successor-{n}");
                let rotation = rotation(id, "token-1", &successor, 5);
                let rotated = s::rotate_session(&database, rotation).await.unwrap();
                rotated.then_some(successor.clone())
            }
        })
        .await;
        let winners: Vec<_> = rotated.into_iter().flatten().collect();
        assert_eq!(winners.len(), 1);
        let session = s::find_session_of_family(&mut db.read().await.unwrap(), "family").await.unwrap().unwrap();
        assert_eq!(session.session.token_hash, winners[0]);
    }
}

on_both_engines! {
    async fn a_sealed_successor_is_erased_when_its_grace_or_its_session_ends(db) {
        let user = add_user(&db, "ada@example.com").await;
        let id = add_session(&db, user, "family", 0).await;
        assert!(s::rotate_session(&db, rotation(id, "token-1", "token-2", 5)).await.unwrap());
        let others = add_session(&db, user, "other", 0).await;
        assert!(s::rotate_session(&db, rotation(others, "token-1", "token-2", 5)).await.unwrap());
        let mut on = db.write().await.unwrap();
        assert_eq!(s::erase_grace_successors(&mut on, at(14), 10).await.unwrap(), 0);
        assert_eq!(s::erase_grace_successors(&mut on, at(15), 1).await.unwrap(), 1);
        assert_eq!(s::erase_grace_successors(&mut on, at(15), 10).await.unwrap(), 1);
        assert_eq!(s::erase_grace_successors(&mut on, at(15), 10).await.unwrap(), 0);
        drop(on);
        assert!(s::rotate_session(&db, rotation(id, "token-2", "token-3", 20)).await.unwrap());
        let mut on = db.write().await.unwrap();
        let ended = s::end_session_of_family(&mut on, "family", EndReason::Reuse, at(21)).await.unwrap();
        assert_eq!(ended, Some((id, user)));
        let session = s::find_session_of_family(&mut on, "family").await.unwrap().unwrap().session;
        assert_eq!(session.successor_sealed, None);
        assert_eq!((session.ended_at, session.end_reason.as_deref()), (Some(at(21)), Some("refresh_reuse")));
        drop(on);
        assert!(!s::rotate_session(&db, rotation(id, "token-3", "token-4", 22)).await.unwrap());
        let mut on = db.write().await.unwrap();
        let again = s::end_session_of_family(&mut on, "family", EndReason::Logout, at(22)).await.unwrap();
        assert_eq!(again, None);
    }
}

on_both_engines! {
    /// OUT-03
    async fn sessions_are_listed_newest_first_and_ended_one_or_all_but_one(db) {
        let ada = add_user(&db, "ada@example.com").await;
        let bob = add_user(&db, "bob@example.com").await;
        let first = add_session(&db, ada, "1", 0).await;
        let second = add_session(&db, ada, "2", 1).await;
        let third = add_session(&db, ada, "3", 2).await;
        let bobs = add_session(&db, bob, "4", 2).await;
        let mut on = db.write().await.unwrap();
        let list: Vec<_> = s::live_sessions(&mut on, ada, at(3)).await.unwrap().iter().map(|s| s.id).collect();
        assert_eq!(list, [third, second, first]);
        assert!(!s::end_session(&mut on, ada, bobs, EndReason::Revoked, at(3)).await.unwrap());
        assert!(s::end_session(&mut on, ada, second, EndReason::Revoked, at(3)).await.unwrap());
        assert!(!s::end_session(&mut on, ada, second, EndReason::Revoked, at(3)).await.unwrap());
        assert_eq!(s::end_other_sessions(&mut on, ada, third, EndReason::Revoked, at(3)).await.unwrap(), 1);
        let list: Vec<_> = s::live_sessions(&mut on, ada, at(3)).await.unwrap().iter().map(|s| s.id).collect();
        assert_eq!(list, [third]);
        assert_eq!(s::end_sessions_of_user(&mut on, ada, EndReason::PasswordReset, at(3)).await.unwrap(), 1);
        assert_eq!(s::live_sessions(&mut on, bob, at(3)).await.unwrap().len(), 1);
    }
}

on_both_engines! {
    /// OUT-01
    async fn a_session_is_ended_by_its_id_once(db) {
        let user = add_user(&db, "ada@example.com").await;
        let id = add_session(&db, user, "family", 0).await;
        let mut on = db.write().await.unwrap();
        assert_eq!(s::end_session_by_id(&mut on, id, EndReason::Logout, at(3)).await.unwrap(), Some(user));
        assert_eq!(s::end_session_by_id(&mut on, id, EndReason::Logout, at(3)).await.unwrap(), None);
    }
}

on_both_engines! {
    async fn sweeping_deletes_sessions_that_ended_before_and_no_others(db) {
        let user = add_user(&db, "ada@example.com").await;
        add_session(&db, user, "expired", 0).await;
        let ended = add_session(&db, user, "ended", 50).await;
        add_session(&db, user, "live", 50).await;
        s::end_session(&mut db.write().await.unwrap(), user, ended, EndReason::Logout, at(60)).await.unwrap();
        let sweep = async |before: i64| {
            let mut transaction = db.begin().await.unwrap();
            let swept = s::sweep_sessions(&mut transaction, at(before), 10).await.unwrap();
            transaction.commit().await.unwrap();
            swept
        };
        assert_eq!(sweep(59).await, 0);
        assert_eq!(sweep(60).await, 1);
        assert_eq!(sweep(100).await, 1);
        assert!(s::find_session_of_family(&mut db.read().await.unwrap(), "live").await.unwrap().is_some());
    }
}

on_both_engines! {
    /// A rotation leaves `sweep_at` where it is: the sweep finds the session there, moves it on, and finds it again when it is over.
    async fn a_session_that_was_refreshed_is_swept_when_it_is_over_and_not_when_it_would_have_been(db) {
        let user = add_user(&db, "ada@example.com").await;
        for n in 0..5 {
            let id = add_session(&db, user, &format!("family-{n}"), 0).await;
            assert!(s::rotate_session(&db, rotation(id, "token-1", "token-2", 50)).await.unwrap());
        }
        let sweep = async |before: i64| s::sweep_sessions(&mut db.write().await.unwrap(), at(before), 2).await.unwrap();
        assert_eq!([sweep(99).await, sweep(149).await, sweep(149).await, sweep(149).await], [0, 2, 2, 1]);
        assert_eq!(s::live_sessions(&mut db.read().await.unwrap(), user, at(60)).await.unwrap().len(), 5);
        assert_eq!(sweep(149).await, 0, "each is moved on once");
        assert_eq!([sweep(150).await, sweep(150).await, sweep(150).await, sweep(150).await], [2, 2, 1, 0]);
        assert!(s::live_sessions(&mut db.read().await.unwrap(), user, at(60)).await.unwrap().is_empty());
    }
}
