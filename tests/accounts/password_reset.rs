//! Resetting a forgotten password.

use stile::accounts::{ConfirmResetError, MailRequestError};
use stile::rate_limit::Rule;

use crate::databases::{on_both_engines, race};
use crate::world::{EMAIL, PASSWORD, World, caller, patiently, registration};

const NEW: &str = "entirely-new-password-7";

async fn request(world: &World, email: &str) {
    world
        .accounts
        .request_password_reset(email, &caller(3))
        .await
        .unwrap();
}

async fn confirm(world: &World, token: &str, password: &str) -> Result<(), ConfirmResetError> {
    world
        .accounts
        .confirm_password_reset(token, password, &caller(3))
        .await
}

fn is_invalid(outcome: &Result<(), ConfirmResetError>) -> bool {
    matches!(outcome, Err(ConfirmResetError::InvalidToken))
}

on_both_engines! {
    /// RST-01, RST-04, REF-07
    async fn a_reset_sets_the_password_once_ends_all_sessions_and_tells_the_owner(db) {
        let world = World::on(db, |_| {});
        let (tokens, _) = world.user(EMAIL).await;
        request(&world, " ADA@example.com ").await;
        let token = world.token(EMAIL).await;
        let preview = world.accounts.preview_password_reset(&token).await.unwrap().unwrap();
        assert_eq!((preview.masked_email.as_str(), preview.expires_in_seconds), ("a***@example.com", 900));
        confirm(&world, &token, NEW).await.unwrap();
        assert!(!world.is_signed_in(&tokens).await);
        assert!(world.accounts.refresh(&tokens.refresh_token, &caller(1)).await.is_err());
        assert!(world.accounts.login(EMAIL, PASSWORD, &caller(1)).await.is_err());
        assert!(world.accounts.login(EMAIL, NEW, &caller(1)).await.unwrap().user.is_verified);
        assert!(is_invalid(&confirm(&world, &token, "yet-another-password").await));
        assert!(world.accounts.preview_password_reset(&token).await.unwrap().is_none());
        assert!(world.accounts.login(EMAIL, NEW, &caller(1)).await.is_ok(), "the first one counts");
        let notice = world.mails(EMAIL).await.pop().unwrap();
        assert!(notice.token.is_none() && notice.subject.contains("password"), "{notice:?}");
    }
}

on_both_engines! {
    /// RST-05
    async fn of_30_passwords_for_one_token_at_once_exactly_one_is_set(db) {
        let world = World::on(db, |_| {});
        world.register(EMAIL).await;
        for round in 0..3 {
            request(&world, EMAIL).await;
            let token = world.token(EMAIL).await;
            let outcomes = race(30, |n| {
                let (accounts, token) = (world.accounts.clone(), token.clone());
                let password = format!("password-{round}-of-racer-{n}");
                async move {
                    let caller = caller(1);
                    let outcome = patiently(|| accounts.confirm_password_reset(&token, &password, &caller)).await;
                    (outcome, password)
                }
            })
            .await;
            let won: Vec<_> = outcomes.iter().filter(|(outcome, _)| outcome.is_ok()).collect();
            assert_eq!(won.len(), 1);
            assert!(outcomes.iter().all(|(outcome, _)| outcome.is_ok() || is_invalid(outcome)));
            world.accounts.login(EMAIL, &won[0].1, &caller(1)).await.unwrap();
        }
    }
}

on_both_engines! {
    /// RST-07: its life counts from the handing over, and a clock that jumps back revives nothing that was swept.
    async fn a_link_lives_fifteen_minutes_from_when_its_mail_was_handed_over(db) {
        let world = World::on(db, |_| {});
        world.register(EMAIL).await;
        request(&world, EMAIL).await;
        world.advance(3600);
        let token = world.token(EMAIL).await;
        world.advance(15 * 60 - 5);
        let preview = world.accounts.preview_password_reset(&token).await.unwrap().unwrap();
        assert_eq!(preview.expires_in_seconds, 5);
        world.advance(10);
        assert!(is_invalid(&confirm(&world, &token, NEW).await));
        world.accounts.sweep().await.unwrap();
        world.clock.shift_wall(-3_600_000);
        assert!(is_invalid(&confirm(&world, &token, NEW).await));
    }
}

on_both_engines! {
    async fn a_refused_new_password_uses_nothing_up(db) {
        let world = World::on(db, |choices| choices.min_score = 3);
        world.register(EMAIL).await;
        request(&world, EMAIL).await;
        let token = world.token(EMAIL).await;
        for (password, code) in [("short", "too_short"), ("adalovelace", "too_weak"), (&"x".repeat(129), "too_long")] {
            let Err(ConfirmResetError::Invalid(fields)) = confirm(&world, &token, password).await else { panic!() };
            assert_eq!((fields[0].pointer.as_str(), fields[0].code), ("/new_password", code));
        }
        confirm(&world, &token, NEW).await.unwrap();
    }
}

on_both_engines! {
    /// RST-03: the same work in the request; the mail alone differs, and goes to the owner of the mailbox.
    async fn unknown_and_inactive_addresses_are_answered_alike_and_get_no_mail(db) {
        let world = World::on(db, |_| {});
        world.register(EMAIL).await;
        world.register("gone@example.com").await;
        world.deactivate("gone@example.com").await;
        for email in [EMAIL, "gone@example.com", "nobody@example.com"] {
            request(&world, email).await;
        }
        assert_eq!(world.mails(EMAIL).await.len(), 2);
        assert_eq!(world.mails("gone@example.com").await.len(), 1, "that of its registration");
        assert!(world.mails("nobody@example.com").await.is_empty());
        let error = world.accounts.request_password_reset("no address", &caller(1)).await.unwrap_err();
        assert!(matches!(error, MailRequestError::Invalid(_)));
    }
}

on_both_engines! {
    /// Contract 3.4: newest only.
    async fn a_newer_link_kills_the_older_one(db) {
        let world = World::on(db, |_| {});
        world.register(EMAIL).await;
        request(&world, EMAIL).await;
        let first = world.token(EMAIL).await;
        request(&world, EMAIL).await;
        assert!(world.accounts.preview_password_reset(&first).await.unwrap().is_some(), "not before it is mailed");
        let second = world.token(EMAIL).await;
        assert!(is_invalid(&confirm(&world, &first, NEW).await));
        confirm(&world, &second, NEW).await.unwrap();
    }
}

on_both_engines! {
    /// RST-11: over the limit nothing changes, and verification mails are counted apart.
    async fn a_recipient_gets_so_many_reset_mails_and_the_last_link_stays_good(db) {
        let world = World::on(db, |choices| choices.rules.set(Rule::MailAccount, "2/hour".parse().unwrap()));
        world.register(EMAIL).await;
        for n in 0..50 {
            world.accounts.request_password_reset(EMAIL, &caller(n)).await.unwrap();
        }
        let mails = world.mails(EMAIL).await;
        assert_eq!(mails.len(), 3, "that of the registration, and two");
        let token = mails.last().unwrap().token.clone().unwrap();
        let others = mails[1].token.clone().unwrap();
        let good: Vec<_> = [&token, &others].into_iter().collect();
        let mut live = 0;
        for token in good {
            live += usize::from(world.accounts.preview_password_reset(token).await.unwrap().is_some());
        }
        assert_eq!(live, 1, "one of the two that were mailed is good");
        world.accounts.resend_verification(EMAIL, &caller(1)).await.unwrap();
        assert_eq!(world.mails(EMAIL).await.len(), 4);
        world.accounts.resend_verification(EMAIL, &caller(1)).await.unwrap();
        assert_eq!(world.mails(EMAIL).await.len(), 4);
        world.advance(3601);
        request(&world, EMAIL).await;
        assert_eq!(world.mails(EMAIL).await.len(), 5);
    }
}

on_both_engines! {
    /// Contract 3.4: a completed reset clears the counter, for strangers and for each known client.
    async fn a_completed_reset_lets_a_locked_out_owner_in(db) {
        let world = World::on(db, |choices| choices.rules.set(Rule::LoginAccount, "2/hour".parse().unwrap()));
        world.user(EMAIL).await;
        for from in [1, 50] {
            for _ in 0..3 {
                assert!(world.accounts.login(EMAIL, "wrong-password", &caller(from)).await.is_err());
            }
        }
        request(&world, EMAIL).await;
        confirm(&world, &world.token(EMAIL).await, NEW).await.unwrap();
        for from in [1, 3, 50] {
            assert!(world.accounts.login(EMAIL, NEW, &caller(from)).await.is_ok(), "from {from}");
        }
    }
}

on_both_engines! {
    /// Contract 3.1: a completed reset verifies, and ends pending registrations.
    async fn a_reset_on_a_pending_account_verifies_it_and_ends_its_registrations(db) {
        let world = World::on(db, |choices| choices.settings.require_email_verification = true);
        world.accounts.register(registration(EMAIL, PASSWORD), &caller(1)).await.unwrap();
        let verification = world.token(EMAIL).await;
        request(&world, EMAIL).await;
        confirm(&world, &world.token(EMAIL).await, NEW).await.unwrap();
        assert!(world.accounts.verify_email(&verification, &caller(1)).await.is_err());
        assert!(world.accounts.login(EMAIL, NEW, &caller(1)).await.is_ok());
        assert!(world.accounts.login(EMAIL, PASSWORD, &caller(1)).await.is_err());
    }
}

on_both_engines! {
    /// Who wins an account back is safe from a change of address that the thief has asked for.
    async fn a_reset_voids_a_change_of_address_that_waits(db) {
        let world = World::on(db, |_| {});
        let (_, identity) = world.user(EMAIL).await;
        let ask = async |address: &str| world.accounts.change_email(&identity, PASSWORD, address, &caller(9)).await.unwrap();
        ask("thief@example.com").await;
        let mailed = world.token("thief@example.com").await;
        request(&world, EMAIL).await;
        let reset = world.token(EMAIL).await;
        ask("queued@example.com").await;
        confirm(&world, &reset, NEW).await.unwrap();
        assert!(world.accounts.verify_email(&mailed, &caller(9)).await.is_err());
        assert!(world.mails("queued@example.com").await.is_empty());
        assert!(world.accounts.login(EMAIL, NEW, &caller(1)).await.is_ok());
    }
}

on_both_engines! {
    /// RST-08, REF-08: what is no reset token is none here.
    async fn other_tokens_reset_nothing(db) {
        let world = World::on(db, |_| {});
        let (tokens, _) = world.user(EMAIL).await;
        let verification = world.token(EMAIL).await;
        for token in [tokens.access_token.as_str(), &tokens.refresh_token, &verification, "", "x", &"A".repeat(43)] {
            assert!(is_invalid(&confirm(&world, token, NEW).await));
            assert!(world.accounts.preview_password_reset(token).await.unwrap().is_none());
        }
        world.accounts.verify_email(&verification, &caller(1)).await.unwrap();
    }
}
