//! `one_time_tokens`

use stile::storage::{self as s, Database, MailJob, MailKind, NewOneTimeToken, Registration, TokenPurpose};
use uuid::Uuid;

use crate::engines::{add_user, at, new_user, on_both_engines, race};
use crate::mail_jobs::new_job;

async fn take_job(db: &Database, email: &str) -> MailJob {
    let mut job = new_job(MailKind::PasswordReset, email);
    let session = s::new_id(at(0));
    job.session_id = Some(session);
    s::queue_mail(&mut db.write().await.unwrap(), &job).await.unwrap();
    let mut on = db.write().await.unwrap();
    let job = s::claim_mail(&mut on, at(0), at(60)).await.unwrap().unwrap();
    // Makes room for the next to the same recipient.
    s::retry_mail(&mut on, &job, at(60)).await.unwrap();
    job
}

async fn add_token(db: &Database, hash: &str, user_id: Uuid, purpose: TokenPurpose, job: &MailJob) -> bool {
    let token = NewOneTimeToken {
        token_hash: hash,
        user_id,
        purpose,
        password_version: 1,
        registration: Some(Registration {
            password_hash: "hash-9",
            full_name: Some("Ada"),
        }),
        created_at: at(0),
        expires_at: at(100),
    };
    s::add_token_of_job(&mut db.write().await.unwrap(), &token, job)
        .await
        .unwrap()
}

async fn hand_over(db: &Database, hash: &str, now: i64, newest_only: bool) {
    let mut transaction = db.begin().await.unwrap();
    s::hand_over_token(&mut transaction, hash, at(now), at(now + 100), newest_only)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
}

async fn is_good(db: &Database, hash: &str, now: i64) -> bool {
    s::find_token(&mut db.read().await.unwrap(), hash, at(now))
        .await
        .unwrap()
        .is_some()
}

on_both_engines! {
    async fn a_token_carries_what_its_job_says(db) {
        let user = add_user(&db, "ada@example.com").await;
        let job = take_job(&db, "ada@example.com").await;
        assert!(add_token(&db, "t", user, TokenPurpose::Verify, &job).await);
        let found = s::find_token(&mut db.read().await.unwrap(), "t", at(1)).await.unwrap().unwrap();
        assert_eq!((found.account.id, found.token.user_id), (user, user));
        assert_eq!(found.token.purpose, TokenPurpose::Verify);
        assert_eq!(found.token.email, "ada@example.com");
        assert_eq!(found.token.password_hash.as_deref(), Some("hash-9"));
        assert_eq!(found.token.full_name.as_deref(), Some("Ada"));
        assert_eq!((found.token.password_version, found.token.expires_at), (1, at(100)));
        assert!(found.token.session_id.is_some());
    }
}

on_both_engines! {
    /// Both want the link and the account: one who takes them the other way round would be waited for in a circle.
    async fn who_proves_an_address_and_who_makes_way_for_its_owner_wait_for_each_other(db) {
        let pending = s::new_id(at(0));
        let mut registering = db.begin().await.unwrap();
        s::register_pending(&mut registering, &new_user(pending, "ada@example.com")).await.unwrap();
        registering.commit().await.unwrap();
        let job = take_job(&db, "ada@example.com").await;
        assert!(add_token(&db, "link", pending, TokenPurpose::Verify, &job).await);

        let mut proving = db.begin().await.unwrap();
        s::redeem_token(&mut proving, "link", TokenPurpose::Verify, at(1)).await.unwrap().unwrap();
        let making_way = tokio::spawn({
            let database = db.database.clone();
            async move {
                let mut transaction = database.begin().await?;
                s::delete_pending_user(&mut transaction, "ada@example.com").await?;
                transaction.commit().await
            }
        });
        // Time for it to come to where it waits; whether it has cannot be seen from here.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        s::verify_user(&mut proving, pending, "ada@example.com", None).await.unwrap().unwrap();
        proving.commit().await.unwrap();
        making_way.await.unwrap().unwrap();
        let proven = s::find_user(&mut db.read().await.unwrap(), pending).await.unwrap().unwrap();
        assert!(proven.is_verified && !proven.is_pending);
    }
}

on_both_engines! {
    async fn a_worker_that_lost_its_job_stores_no_token(db) {
        let user = add_user(&db, "ada@example.com").await;
        let job = take_job(&db, "ada@example.com").await;
        s::claim_mail(&mut db.write().await.unwrap(), at(60), at(120)).await.unwrap().unwrap();
        assert!(!add_token(&db, "t", user, TokenPurpose::Reset, &job).await);
    }
}

on_both_engines! {
    /// RST-04, RST-05
    async fn of_32_who_redeem_one_token_exactly_one_does(db) {
        let user = add_user(&db, "ada@example.com").await;
        let job = take_job(&db, "ada@example.com").await;
        assert!(add_token(&db, "t", user, TokenPurpose::Reset, &job).await);
        let redeemed = race(32, |_| {
            let database = db.database.clone();
            async move {
                let mut transaction = database.begin().await.unwrap();
                let token = s::redeem_token(&mut transaction, "t", TokenPurpose::Reset, at(1)).await.unwrap();
                transaction.commit().await.unwrap();
                token.is_some()
            }
        })
        .await;
        assert_eq!(redeemed.into_iter().filter(|redeemed| *redeemed).count(), 1);
        assert!(!is_good(&db, "t", 1).await);
    }
}

on_both_engines! {
    async fn a_token_that_is_expired_unknown_or_for_something_else_is_not_redeemed(db) {
        let user = add_user(&db, "ada@example.com").await;
        let job = take_job(&db, "ada@example.com").await;
        add_token(&db, "t", user, TokenPurpose::Reset, &job).await;
        let mut transaction = db.begin().await.unwrap();
        let mut redeem = async |hash: &str, purpose, now| {
            s::redeem_token(&mut transaction, hash, purpose, at(now)).await.unwrap().is_some()
        };
        assert!(!redeem("t", TokenPurpose::Reset, 100).await);
        assert!(!redeem("u", TokenPurpose::Reset, 1).await);
        assert!(!redeem("t", TokenPurpose::Verify, 1).await);
        assert!(redeem("t", TokenPurpose::Reset, 99).await);
    }
}

on_both_engines! {
    /// A transaction that is given up, by an error or by a client that hangs up, uses nothing up.
    async fn a_redeemed_token_is_good_again_after_a_rollback_or_a_dropped_transaction(db) {
        let user = add_user(&db, "ada@example.com").await;
        let job = take_job(&db, "ada@example.com").await;
        add_token(&db, "t", user, TokenPurpose::Reset, &job).await;
        for drop_it in [true, false] {
            let mut transaction = db.begin().await.unwrap();
            assert!(s::redeem_token(&mut transaction, "t", TokenPurpose::Reset, at(1)).await.unwrap().is_some());
            if drop_it { drop(transaction) } else { transaction.rollback().await.unwrap() }
            // A writer that comes next sees it undone.
            db.begin().await.unwrap().rollback().await.unwrap();
            assert!(is_good(&db, "t", 1).await);
        }
    }
}

on_both_engines! {
    /// Contract 3.4: newest only; RST-11: the link already mailed stays good until the newer one is handed over.
    async fn an_older_link_dies_when_the_newer_one_is_handed_over_and_not_before(db) {
        let user = add_user(&db, "ada@example.com").await;
        let first = take_job(&db, "ada@example.com").await;
        add_token(&db, "first", user, TokenPurpose::Reset, &first).await;
        hand_over(&db, "first", 10, true).await;
        assert!(is_good(&db, "first", 109).await, "its life counts from the handing over");
        let second = take_job(&db, "ada@example.com").await;
        add_token(&db, "second", user, TokenPurpose::Reset, &second).await;
        add_token(&db, "verify", user, TokenPurpose::Verify, &second).await;
        assert!(is_good(&db, "first", 11).await);
        hand_over(&db, "second", 11, true).await;
        assert!(!is_good(&db, "first", 11).await);
        assert!(is_good(&db, "second", 11).await);
    }
}

on_both_engines! {
    async fn registrations_keep_their_links_but_a_retry_replaces_its_own(db) {
        let user = add_user(&db, "ada@example.com").await;
        let first = take_job(&db, "ada@example.com").await;
        let second = take_job(&db, "ada@example.com").await;
        add_token(&db, "first", user, TokenPurpose::Verify, &first).await;
        hand_over(&db, "first", 1, false).await;
        add_token(&db, "failed", user, TokenPurpose::Verify, &second).await;
        add_token(&db, "second", user, TokenPurpose::Verify, &second).await;
        assert!(is_good(&db, "failed", 1).await, "its mail may have arrived after all");
        hand_over(&db, "second", 1, false).await;
        assert!(is_good(&db, "first", 1).await && is_good(&db, "second", 1).await);
        assert!(!is_good(&db, "failed", 1).await);
    }
}

on_both_engines! {
    /// RST-07: a clock that jumps back does not revive what was swept.
    async fn sweeping_deletes_expired_tokens_for_good(db) {
        let user = add_user(&db, "ada@example.com").await;
        let job = take_job(&db, "ada@example.com").await;
        add_token(&db, "t", user, TokenPurpose::Reset, &job).await;
        let sweep = async |now: i64| {
            let mut transaction = db.begin().await.unwrap();
            let swept = s::sweep_tokens(&mut transaction, at(now), 10).await.unwrap();
            transaction.commit().await.unwrap();
            swept
        };
        assert_eq!(sweep(99).await, 0);
        assert_eq!(sweep(100).await, 1);
        assert!(!is_good(&db, "t", 1).await);
    }
}
