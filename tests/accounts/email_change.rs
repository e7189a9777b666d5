//! Changing the address.

use stile::accounts::ReauthenticateError;

use crate::databases::{on_both_engines, race};
use crate::world::{EMAIL, PASSWORD, World, caller};

const NEW: &str = "countess@example.com";

on_both_engines! {
    async fn the_address_changes_when_the_link_is_used_and_other_sessions_end(db) {
        let world = World::on(db, |_| {});
        let (tokens, identity) = world.user(EMAIL).await;
        let other = world.login(EMAIL).await;
        world.accounts.request_password_reset(EMAIL, &caller(1)).await.unwrap();
        let reset = world.token(EMAIL).await;
        world.accounts.change_email(&identity, PASSWORD, "Countess@Example.com", &caller(1)).await.unwrap();
        let link = world.token(NEW).await;
        assert!(world.is_signed_in(&other).await, "nothing has changed yet");
        world.login(EMAIL).await;
        world.accounts.verify_email(&link, &caller(5)).await.unwrap();
        let user = world.accounts.authenticate(&tokens.access_token).await.unwrap().user;
        assert_eq!((user.email.as_str(), user.is_verified), (NEW, true));
        assert!(!world.is_signed_in(&other).await);
        assert!(world.accounts.login(EMAIL, PASSWORD, &caller(1)).await.is_err());
        world.login(NEW).await;
        assert!(world.accounts.verify_email(&link, &caller(5)).await.is_err());
        let outcome = world.accounts.confirm_password_reset(&reset, "entirely-new-password", &caller(1)).await;
        assert!(outcome.is_err(), "a link that was mailed to the old address is void");
        let old = world.mails(EMAIL).await;
        let notices = old.iter().filter(|mail| mail.subject.starts_with("Your e-mail address")).count();
        assert_eq!(notices, 2, "when it was asked for and when it was done: {old:?}");
        world.register(EMAIL).await;
    }
}

on_both_engines! {
    async fn a_taken_address_is_answered_alike_and_its_owner_gets_a_notice_instead_of_a_link(db) {
        let world = World::on(db, |_| {});
        let (_, identity) = world.user(EMAIL).await;
        world.register("bob@example.com").await;
        world.mails("bob@example.com").await;
        world.accounts.change_email(&identity, PASSWORD, "bob@example.com", &caller(1)).await.unwrap();
        let mails = world.mails("bob@example.com").await;
        assert_eq!(mails.len(), 2);
        assert!(mails[1].token.is_none());
    }
}

on_both_engines! {
    async fn an_address_that_was_registered_but_never_proven_makes_way(db) {
        let world = World::on(db, |_| {});
        let (_, identity) = world.user(EMAIL).await;
        world.register(NEW).await;
        world.raw(&format!("UPDATE users SET is_pending = TRUE WHERE email = '{NEW}'")).await;
        world.accounts.change_email(&identity, PASSWORD, NEW, &caller(1)).await.unwrap();
        world.accounts.verify_email(&world.token(NEW).await, &caller(1)).await.unwrap();
        assert_eq!(world.login(NEW).await.user.id, identity.user.id);
    }
}

on_both_engines! {
    async fn of_two_accounts_that_prove_one_address_at_once_exactly_one_gets_it(db) {
        let world = World::on(db, |_| {});
        let mut links = Vec::new();
        for email in [EMAIL, "bob@example.com"] {
            let (_, identity) = world.user(email).await;
            world.accounts.change_email(&identity, PASSWORD, NEW, &caller(1)).await.unwrap();
            links.push(world.token(NEW).await);
        }
        let outcomes = race(8, |n| {
            let (accounts, link) = (world.accounts.clone(), links[n % 2].clone());
            async move { accounts.verify_email(&link, &caller(1)).await.is_ok() }
        })
        .await;
        assert_eq!(outcomes.into_iter().filter(|changed| *changed).count(), 1);
        world.login(NEW).await;
    }
}

on_both_engines! {
    async fn a_wrong_password_or_a_bad_address_changes_nothing(db) {
        let world = World::on(db, |_| {});
        let (_, identity) = world.user(EMAIL).await;
        let ask = async |password: &str, address: &str| {
            match world.accounts.change_email(&identity, password, address, &caller(1)).await {
                Err(ReauthenticateError::Invalid(fields)) => (fields[0].pointer.clone(), fields[0].code),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(ask("wrong-password", NEW).await, ("/current_password".to_owned(), "wrong_password"));
        assert_eq!(ask(PASSWORD, "no address").await, ("/new_email".to_owned(), "invalid_email"));
        assert_eq!(ask(PASSWORD, " ADA@example.com").await, ("/new_email".to_owned(), "unchanged"));
        assert!(world.mails(NEW).await.is_empty());
    }
}

on_both_engines! {
    async fn a_newer_change_of_address_kills_the_older_one(db) {
        let world = World::on(db, |_| {});
        let (_, identity) = world.user(EMAIL).await;
        world.accounts.change_email(&identity, PASSWORD, "first@example.com", &caller(1)).await.unwrap();
        let first = world.token("first@example.com").await;
        world.accounts.change_email(&identity, PASSWORD, NEW, &caller(1)).await.unwrap();
        let second = world.token(NEW).await;
        assert!(world.accounts.verify_email(&first, &caller(1)).await.is_err());
        world.accounts.verify_email(&second, &caller(1)).await.unwrap();
    }
}
