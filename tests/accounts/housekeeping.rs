//! Sweeping what has expired.

use stile::storage::{self as s, AuditRow};

use crate::databases::{at, on_both_engines, race};
use crate::world::{EMAIL, PASSWORD, World, caller};

async fn is_there(world: &World, email: &str) -> bool {
    let mut on = world.database.read().await.unwrap();
    s::find_user_by_email(&mut on, email).await.unwrap().is_some()
}

const DAY: u64 = 86_400;

on_both_engines! {
    /// More than a batch, and nothing that is younger than `AUDIT_RETENTION_DAYS`.
    async fn audit_rows_go_when_their_time_is_over_however_many_they_are(db) {
        let world = World::on(db, |choices| choices.settings.audit_retention = std::time::Duration::from_hours(48));
        let row = |second: i64| AuditRow {
            id: s::new_id(at(second)),
            at: at(second),
            event: "login_failure".to_owned(),
            outcome: "failure".to_owned(),
            reason: None,
            user_id: None,
            target_id: None,
            account: None,
            client_ip: None,
            request_id: None,
            occurrences: 1,
        };
        let rows: Vec<AuditRow> = (0..1203).map(row).collect();
        let mut transaction = world.database.begin().await.unwrap();
        s::add_audit_rows(&mut transaction, &rows).await.unwrap();
        transaction.commit().await.unwrap();
        world.advance(2 * DAY + 1199);
        world.accounts.sweep().await.unwrap();
        let left = s::latest_audit_rows(&mut world.database.read().await.unwrap(), 10_000).await.unwrap();
        assert_eq!(left.iter().map(|row| row.at).collect::<Vec<_>>(), [at(1202), at(1201), at(1200)]);
    }
}

on_both_engines! {
    async fn a_registration_that_came_to_nothing_makes_room_when_no_link_proves_it_any_more(db) {
        let world = World::on(db, |choices| choices.settings.require_email_verification = true);
        for email in [EMAIL, "anew@example.com", "proven@example.com", "later@example.com"] {
            world.register_pending(email, PASSWORD).await;
        }
        world.accounts.verify_email(&world.token("proven@example.com").await, &caller(1)).await.unwrap();
        world.mails(EMAIL).await;
        world.advance(8 * DAY - 1);
        world.register_pending("anew@example.com", "another-good-phrase-7").await;
        world.accounts.sweep().await.unwrap();
        assert!(is_there(&world, EMAIL).await);
        world.advance(2);
        // Its mail still waits; then it is on its way; then its link is good for a day.
        world.accounts.sweep().await.unwrap();
        assert!(is_there(&world, "anew@example.com").await);
        let anew = world.token("anew@example.com").await;
        world.accounts.resend_verification("later@example.com", &caller(1)).await.unwrap();
        world.accounts.sweep().await.unwrap();
        for (email, there) in [
            (EMAIL, false), ("anew@example.com", true), ("proven@example.com", true), ("later@example.com", false),
        ] {
            assert_eq!(is_there(&world, email).await, there, "{email}");
        }
        world.advance(DAY - 10);
        world.accounts.sweep().await.unwrap();
        world.accounts.verify_email(&anew, &caller(1)).await.unwrap();
        let events = world.events().await;
        let gone = events.iter().filter(|row| row.reason.as_deref() == Some("never_verified"));
        assert_eq!(gone.count(), 2);
    }
}

on_both_engines! {
    async fn where_no_proof_is_asked_for_no_registration_is_swept(db) {
        let world = World::on(db, |_| {});
        world.register(EMAIL).await;
        world.raw("UPDATE users SET is_pending = TRUE").await;
        world.advance(100 * DAY);
        world.accounts.sweep().await.unwrap();
        world.login(EMAIL).await;
    }
}

on_both_engines! {
    /// Either is first: registered anew, it is there, and its mail comes.
    async fn registering_anew_while_it_is_swept_loses_nothing(db) {
        let world = World::on(db, |choices| choices.settings.require_email_verification = true);
        for n in 0..10 {
            let email = format!("u{n}@example.com");
            world.register_pending(&email, PASSWORD).await;
            world.mails(&email).await;
            world.advance(9 * DAY);
            let outcomes = race(4, |racer| {
                let (accounts, email) = (world.accounts.clone(), email.clone());
                async move {
                    if racer % 2 == 0 {
                        accounts.sweep().await.unwrap();
                    } else {
                        accounts.register(crate::world::registration(&email, PASSWORD), &caller(1)).await.unwrap();
                    }
                }
            });
            outcomes.await;
            let token = world.token(&email).await;
            world.accounts.verify_email(&token, &caller(1)).await.unwrap();
            world.login(&email).await;
        }
    }
}
