//! Registering.

use std::collections::BTreeMap;

use stile::accounts::{LoginError, RegisterError, Registered};

use crate::databases::{on_both_engines, race};
use crate::world::{EMAIL, PASSWORD, World, caller, patiently, registration};

fn codes(error: RegisterError) -> BTreeMap<String, &'static str> {
    let RegisterError::Invalid(fields) = error else {
        panic!("{error:?}")
    };
    fields
        .into_iter()
        .map(|field| (field.pointer, field.code))
        .collect()
}

on_both_engines! {
    /// REG-01
    async fn a_registration_makes_an_account_that_can_log_in_at_once(db) {
        let world = World::on(db, |_| {});
        let registered = world.accounts.register(registration(" Ada@Example.com ", PASSWORD), &caller(1)).await.unwrap();
        let Registered::Created(user) = registered else { panic!() };
        assert_eq!((user.email.as_str(), user.full_name.as_deref()), (EMAIL, Some("Ada Lovelace")));
        assert!(user.is_active && !user.is_verified && user.last_login_at.is_none());
        let tokens = world.login(EMAIL).await;
        assert_eq!(tokens.user.id, user.id);
        assert_eq!(tokens.user.last_login_at, Some(world.clock.now()));
    }
}

on_both_engines! {
    /// REG-05: another spelling is the same account.
    async fn a_taken_address_is_refused_in_any_spelling(db) {
        let world = World::on(db, |_| {});
        world.register("mike@ex.org").await;
        for email in ["mike@ex.org", "Mike@EX.org", " mike@ex.org ", "mike@ex.org."] {
            let error = world.accounts.register(registration(email, PASSWORD), &caller(2)).await.unwrap_err();
            assert!(matches!(error, RegisterError::EmailTaken), "{email}");
        }
        assert_eq!(world.mails("mike@ex.org").await.len(), 1);
    }
}

on_both_engines! {
    /// REG-09
    async fn of_50_registrations_of_one_address_at_once_exactly_one_succeeds(db) {
        let world = World::on(db, |_| {});
        let spellings = ["ada@example.com", "Ada@example.com", "ADA@EXAMPLE.COM", " ada@example.com", "ada@example.com."];
        let outcomes = race(50, |n| {
            let accounts = world.accounts.clone();
            let (email, caller) = (spellings[n % 5], caller(1));
            async move { patiently(|| accounts.register(registration(email, PASSWORD), &caller)).await }
        })
        .await;
        let (made, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        assert_eq!(made.len(), 1);
        assert!(refused.into_iter().all(|outcome| matches!(outcome, Err(RegisterError::EmailTaken))));
    }
}

on_both_engines! {
    /// REG-11: the same answer on both engines.
    async fn hostile_fields_are_refused_by_name_all_at_once(db) {
        let world = World::on(db, |_| {});
        let cases = [
            ("a\u{0}@example.com", "short", Some("a\u{0}b"), vec![("/email", "invalid_email"), ("/full_name", "invalid_characters"), ("/password", "too_short")]),
            ("a@\u{ffff}.com", PASSWORD, Some("\u{ffff}"), vec![("/email", "invalid_email"), ("/full_name", "invalid_characters")]),
            (EMAIL, &"x".repeat(129), Some(&"x".repeat(201)), vec![("/full_name", "too_long"), ("/password", "too_long")]),
        ];
        for (email, password, full_name, expected) in cases {
            let mut registration = registration(email, password);
            registration.full_name = full_name.map(str::to_owned);
            let codes = codes(world.accounts.register(registration, &caller(1)).await.unwrap_err());
            let expected: BTreeMap<String, &str> = expected.into_iter().map(|(at, code)| (at.to_owned(), code)).collect();
            assert_eq!(codes, expected);
        }
    }
}

on_both_engines! {
    /// REG-04
    async fn a_password_of_ones_own_words_is_refused(db) {
        let world = World::on(db, |choices| choices.min_score = 3);
        for password in ["lovelace", "AdaLovelace", "password1234"] {
            let error = world.accounts.register(registration("lovelace@example.com", password), &caller(1)).await.unwrap_err();
            assert_eq!(codes(error).into_iter().collect::<Vec<_>>(), [("/password".to_owned(), "too_weak")]);
        }
    }
}

on_both_engines! {
    /// Contract 3.1: with verification required, a new and a taken address are one answer.
    async fn a_taken_address_is_not_told_apart_when_verification_is_required(db) {
        let world = World::on(db, |choices| choices.settings.require_email_verification = true);
        world.register_pending(EMAIL, PASSWORD).await;
        assert!(matches!(
            world.accounts.login(EMAIL, PASSWORD, &caller(1)).await,
            Err(LoginError::EmailNotVerified)
        ));
        assert!(matches!(
            world.accounts.login(EMAIL, "wrong-password", &caller(1)).await,
            Err(LoginError::InvalidCredentials)
        ));
        let token = world.token(EMAIL).await;
        world.accounts.verify_email(&token, &caller(1)).await.unwrap();
        assert!(world.login(EMAIL).await.user.is_verified);

        world.register_pending(EMAIL, "another-password-1").await;
        let mails = world.mails(EMAIL).await;
        assert_eq!(mails.len(), 2);
        assert!(mails[1].token.is_none(), "the owner gets a notice, and no link");
        assert!(world.accounts.login(EMAIL, "another-password-1", &caller(1)).await.is_err());
        world.login(EMAIL).await;
    }
}

on_both_engines! {
    /// Contract 3.1: the password that counts is that of the registration whose link is used.
    async fn the_link_that_is_used_says_which_registration_counts(db) {
        let world = World::on(db, |choices| choices.settings.require_email_verification = true);
        for (used, email) in ["a@example.com", "b@example.com"].into_iter().enumerate() {
            let passwords = ["password-of-first", "password-of-second"];
            for password in passwords {
                world.register_pending(email, password).await;
            }
            let mails = world.mails(email).await;
            let login = async |n: usize| world.accounts.login(email, passwords[n], &caller(1)).await;
            assert!(matches!(login(1).await, Err(LoginError::EmailNotVerified)));
            world.accounts.verify_email(mails[used].token.as_ref().unwrap(), &caller(1)).await.unwrap();
            assert!(login(used).await.is_ok());
            assert!(matches!(login(1 - used).await, Err(LoginError::InvalidCredentials)));
            let other = mails[1 - used].token.as_ref().unwrap();
            assert!(world.accounts.verify_email(other, &caller(1)).await.is_err(), "pending no more");
            assert!(login(used).await.is_ok());
        }
    }
}

on_both_engines! {
    /// A stranger who registers the address after the link was mailed again gains nothing by its use.
    async fn a_link_that_was_sent_again_is_good_for_what_was_registered_before_it(db) {
        let world = World::on(db, |choices| choices.settings.require_email_verification = true);
        world.register_pending(EMAIL, PASSWORD).await;
        world.mails(EMAIL).await;
        world.accounts.resend_verification(EMAIL, &caller(1)).await.unwrap();
        let token = world.token(EMAIL).await;
        world.register_pending(EMAIL, "password-of-a-stranger").await;
        world.accounts.verify_email(&token, &caller(1)).await.unwrap();
        world.login(EMAIL).await;
        assert!(world.accounts.login(EMAIL, "password-of-a-stranger", &caller(1)).await.is_err());
    }
}

on_both_engines! {
    /// An account that was used before verification was required is not overwritten by who registers it again.
    async fn a_used_account_is_not_changed_by_a_new_registration_until_its_link_is_used(db) {
        let world = World::on(db, |choices| choices.settings.require_email_verification = true);
        world.register_pending(EMAIL, PASSWORD).await;
        world.raw("UPDATE users SET is_pending = FALSE").await;
        world.register_pending(EMAIL, "another-password-1").await;
        assert!(matches!(
            world.accounts.login(EMAIL, PASSWORD, &caller(1)).await,
            Err(LoginError::EmailNotVerified)
        ));
        world.accounts.verify_email(&world.token(EMAIL).await, &caller(1)).await.unwrap();
        assert!(world.accounts.login(EMAIL, "another-password-1", &caller(1)).await.is_ok());
    }
}
