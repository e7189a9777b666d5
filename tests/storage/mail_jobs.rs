//! `mail_jobs`

use std::collections::HashSet;

use stile::storage::{self as s, MailKind, NewMailJob};

use crate::engines::{add_user, at, on_both_engines, race};

pub fn new_job(kind: MailKind, recipient: &str) -> NewMailJob<'_> {
    NewMailJob {
        id: s::new_id(at(0)),
        kind,
        recipient,
        user_id: None,
        password_version: None,
        password_hash: None,
        full_name: None,
        session_id: None,
        is_charged: false,
        created_at: at(0),
    }
}

on_both_engines! {
    async fn a_taken_mail_comes_back_when_its_lease_ends_and_is_gone_when_finished(db) {
        let user = add_user(&db, "ada@example.com").await;
        let mut on = db.write().await.unwrap();
        let mut job = new_job(MailKind::Registration, "ada@example.com");
        job.user_id = Some(user);
        job.password_hash = Some("hash");
        job.full_name = Some("Ada");
        assert!(!s::is_mail_ready(&mut on, at(0)).await.unwrap());
        s::queue_mail(&mut on, &job).await.unwrap();
        assert!(s::is_mail_ready(&mut on, at(0)).await.unwrap());
        let taken = s::claim_mail(&mut on, at(0), at(60)).await.unwrap().unwrap();
        assert_eq!((taken.id, taken.kind, taken.attempts), (job.id, MailKind::Registration, 1));
        assert_eq!((taken.password_hash.as_deref(), taken.full_name.as_deref()), (Some("hash"), Some("Ada")));
        assert!(!taken.is_charged);
        assert!(s::claim_mail(&mut on, at(59), at(120)).await.unwrap().is_none());
        s::mark_mail_charged(&mut on, &taken).await.unwrap();
        let again = s::claim_mail(&mut on, at(60), at(120)).await.unwrap().unwrap();
        assert_eq!((again.attempts, again.is_charged), (2, true));
        s::finish_mail(&mut on, &taken).await.unwrap();
        assert_eq!(s::mail_queue(&mut on, at(0)).await.unwrap().total(), 1, "the first worker has lost it");
        s::retry_mail(&mut on, &taken, at(61)).await.unwrap();
        assert!(s::claim_mail(&mut on, at(61), at(120)).await.unwrap().is_none());
        s::retry_mail(&mut on, &again, at(70)).await.unwrap();
        let third = s::claim_mail(&mut on, at(70), at(130)).await.unwrap().unwrap();
        s::finish_mail(&mut on, &third).await.unwrap();
        assert_eq!(s::mail_queue(&mut on, at(0)).await.unwrap().total(), 0);
    }
}

on_both_engines! {
    async fn the_mail_that_is_due_longest_is_taken_first(db) {
        let mut on = db.write().await.unwrap();
        for (seconds, recipient) in [(2, "a@example.com"), (0, "b@example.com"), (1, "c@example.com")] {
            let mut job = new_job(MailKind::PasswordReset, recipient);
            job.created_at = at(seconds);
            s::queue_mail(&mut on, &job).await.unwrap();
        }
        let mut order = Vec::new();
        while let Some(job) = s::claim_mail(&mut on, at(9), at(60)).await.unwrap() {
            order.push(job.created_at);
        }
        assert_eq!(order, [at(0), at(1), at(2)]);
    }
}

on_both_engines! {
    async fn mails_to_one_recipient_leave_in_order_but_one_that_waits_holds_none_up(db) {
        let mut on = db.write().await.unwrap();
        for recipient in ["ada@example.com", "ada@example.com", "bob@example.com"] {
            s::queue_mail(&mut on, &new_job(MailKind::PasswordReset, recipient)).await.unwrap();
        }
        let first = s::claim_mail(&mut on, at(0), at(60)).await.unwrap().unwrap();
        let bobs = s::claim_mail(&mut on, at(0), at(60)).await.unwrap().unwrap();
        assert_eq!((first.recipient.as_str(), bobs.recipient.as_str()), ("ada@example.com", "bob@example.com"));
        assert!(!s::is_mail_ready(&mut on, at(0)).await.unwrap(), "the first is in hand");
        assert!(s::claim_mail(&mut on, at(0), at(60)).await.unwrap().is_none());
        s::retry_mail(&mut on, &first, at(30)).await.unwrap();
        let second = s::claim_mail(&mut on, at(1), at(61)).await.unwrap().unwrap();
        assert!(second.id > first.id);
    }
}

on_both_engines! {
    async fn of_32_workers_each_mail_goes_to_exactly_one(db) {
        for n in 0..16 {
            let recipient = format!("u{n}@example.com");
            let job = new_job(MailKind::PasswordReset, &recipient);
            s::queue_mail(&mut db.write().await.unwrap(), &job).await.unwrap();
        }
        let taken = race(32, |_| {
            let database = db.database.clone();
            async move {
                let mut mine = Vec::new();
                for _ in 0..16 {
                    let job = s::claim_mail(&mut database.write().await.unwrap(), at(1), at(60)).await.unwrap();
                    mine.extend(job.map(|job| job.id));
                }
                mine
            }
        })
        .await;
        let taken: Vec<_> = taken.into_iter().flatten().collect();
        assert_eq!(taken.len(), 16);
        assert_eq!(taken.into_iter().collect::<HashSet<_>>().len(), 16);
    }
}

on_both_engines! {
    async fn a_worker_keeps_a_mail_by_saying_so_and_only_while_it_is_his(db) {
        let mut on = db.write().await.unwrap();
        for _ in 0..2 {
            s::queue_mail(&mut on, &new_job(MailKind::PasswordReset, "ada@example.com")).await.unwrap();
        }
        let first = s::claim_mail(&mut on, at(0), at(20)).await.unwrap().unwrap();
        s::renew_mail(&mut on, &first, at(40)).await.unwrap();
        assert!(s::claim_mail(&mut on, at(39), at(60)).await.unwrap().is_none(), "nor the next to its recipient");
        let again = s::claim_mail(&mut on, at(40), at(60)).await.unwrap().unwrap();
        assert_eq!((again.id, again.attempts), (first.id, 2));
        s::renew_mail(&mut on, &first, at(1000)).await.unwrap();
        assert_eq!(s::claim_mail(&mut on, at(60), at(80)).await.unwrap().unwrap().attempts, 3);
    }
}

on_both_engines! {
    /// RST-13: the queue is bounded.
    async fn a_full_queue_takes_no_more_but_notices(db) {
        let mut on = db.write().await.unwrap();
        let job = || new_job(MailKind::PasswordReset, "ada@example.com");
        assert!(s::queue_mail_if_room(&mut on, &job(), 2).await.unwrap());
        assert!(s::queue_mail_if_room(&mut on, &job(), 2).await.unwrap());
        assert!(!s::queue_mail_if_room(&mut on, &job(), 2).await.unwrap());
        s::queue_mail(&mut on, &new_job(MailKind::PasswordChanged, "ada@example.com")).await.unwrap();
        assert_eq!(s::mail_queue(&mut on, at(0)).await.unwrap().total(), 3);
    }
}

on_both_engines! {
    async fn the_queue_tells_what_waits_what_is_in_hand_and_what_failed(db) {
        let mut on = db.write().await.unwrap();
        let empty = s::mail_queue(&mut on, at(0)).await.unwrap();
        assert_eq!((empty.total(), empty.oldest), (0, None));
        for (seconds, recipient) in [(3, "a@example.com"), (5, "b@example.com"), (7, "c@example.com"), (9, "d@example.com")] {
            let mut job = new_job(MailKind::PasswordReset, recipient);
            job.created_at = at(seconds);
            s::queue_mail(&mut on, &job).await.unwrap();
        }
        let failed = s::claim_mail(&mut on, at(10), at(30)).await.unwrap().unwrap();
        s::retry_mail(&mut on, &failed, at(100)).await.unwrap();
        s::claim_mail(&mut on, at(10), at(30)).await.unwrap().unwrap();
        let queue = s::mail_queue(&mut on, at(11)).await.unwrap();
        assert_eq!(queue, s::MailQueue { waiting: 2, in_hand: 1, retrying: 1, oldest: Some(at(3)) });
        let later = s::mail_queue(&mut on, at(30)).await.unwrap();
        assert_eq!((later.in_hand, later.retrying), (0, 2), "its worker is gone");
    }
}

on_both_engines! {
    async fn a_mail_is_on_its_way_until_it_is_sent_or_put_off(db) {
        let mut on = db.write().await.unwrap();
        let to = Some("ada@example.com");
        assert!(!s::is_mail_on_its_way(&mut on, to, at(0)).await.unwrap());
        s::queue_mail(&mut on, &new_job(MailKind::PasswordReset, "ada@example.com")).await.unwrap();
        assert!(s::is_mail_on_its_way(&mut on, to, at(0)).await.unwrap());
        assert!(!s::is_mail_on_its_way(&mut on, Some("grace@example.com"), at(0)).await.unwrap());
        assert!(s::is_mail_on_its_way(&mut on, None, at(0)).await.unwrap());
        let taken = s::claim_mail(&mut on, at(0), at(60)).await.unwrap().unwrap();
        assert!(s::is_mail_on_its_way(&mut on, to, at(0)).await.unwrap(), "in hand");
        s::retry_mail(&mut on, &taken, at(90)).await.unwrap();
        assert!(!s::is_mail_on_its_way(&mut on, to, at(89)).await.unwrap(), "put off");
        assert!(s::is_mail_on_its_way(&mut on, to, at(90)).await.unwrap(), "due again");
        let again = s::claim_mail(&mut on, at(90), at(120)).await.unwrap().unwrap();
        s::finish_mail(&mut on, &again).await.unwrap();
        assert!(!s::is_mail_on_its_way(&mut on, to, at(90)).await.unwrap());
    }
}
