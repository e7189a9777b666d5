//! Changing the password, and deleting the account.

use stile::accounts::{DeleteAccountError, ReauthenticateError};
use stile::rate_limit::Rule;

use crate::databases::{on_both_engines, race};
use crate::world::{EMAIL, PASSWORD, World, caller, patiently};

const NEW: &str = "entirely-new-password-7";

fn field(outcome: Result<(), impl Into<DeleteAccountError>>) -> (String, &'static str) {
    match outcome.map_err(Into::into) {
        Err(DeleteAccountError::Refused(ReauthenticateError::Invalid(fields))) => {
            (fields[0].pointer.clone(), fields[0].code)
        }
        other => panic!("{other:?}"),
    }
}

on_both_engines! {
    /// REF-07
    async fn a_changed_password_ends_the_other_sessions_and_tells_the_owner(db) {
        let world = World::on(db, |_| {});
        let (tokens, identity) = world.user(EMAIL).await;
        let other = world.login(EMAIL).await;
        world.accounts.change_password(&identity, PASSWORD, NEW, &caller(1)).await.unwrap();
        assert!(world.is_signed_in(&tokens).await);
        assert!(world.accounts.refresh(&tokens.refresh_token, &caller(1)).await.is_ok());
        assert!(!world.is_signed_in(&other).await);
        assert!(world.accounts.refresh(&other.refresh_token, &caller(1)).await.is_err());
        assert!(world.accounts.login(EMAIL, PASSWORD, &caller(1)).await.is_err());
        assert!(world.accounts.login(EMAIL, NEW, &caller(1)).await.is_ok());
        assert!(world.mails(EMAIL).await.pop().unwrap().subject.contains("password"));
    }
}

on_both_engines! {
    /// Contract 3.4
    async fn a_wrong_current_password_is_told_by_name_and_counts_as_a_failed_login(db) {
        let world = World::on(db, |choices| choices.rules.set(Rule::LoginAccount, "2/hour".parse().unwrap()));
        let (_, identity) = world.user(EMAIL).await;
        let change = async |current: &str| world.accounts.change_password(&identity, current, NEW, &caller(60)).await;
        assert_eq!(field(change("wrong-password").await), ("/current_password".to_owned(), "wrong_password"));
        let delete = world.accounts.delete_account(&identity, "wrong-password", &caller(61)).await;
        assert_eq!(field(delete), ("/password".to_owned(), "wrong_password"));
        assert!(matches!(change(PASSWORD).await, Err(ReauthenticateError::Limited(_))));
        let login = world.accounts.login(EMAIL, PASSWORD, &caller(62)).await;
        assert!(matches!(login, Err(stile::accounts::LoginError::Limited(_))));
        assert!(world.accounts.change_password(&identity, PASSWORD, NEW, &caller(1)).await.is_ok(), "known client");
    }
}

on_both_engines! {
    /// REG-04, LOG-05
    async fn a_refused_new_password_and_an_impossible_current_one_are_told_by_name(db) {
        let world = World::on(db, |choices| choices.min_score = 3);
        let (_, identity) = world.user(EMAIL).await;
        let change = async |current: &str, new: &str| {
            field(world.accounts.change_password(&identity, current, new, &caller(1)).await)
        };
        assert_eq!(change(PASSWORD, "adalovelace").await, ("/new_password".to_owned(), "too_weak"));
        assert_eq!(change(PASSWORD, "short").await, ("/new_password".to_owned(), "too_short"));
        let long = "x".repeat(100_000);
        assert_eq!(change(&long, NEW).await, ("/current_password".to_owned(), "too_long"));
    }
}

on_both_engines! {
    async fn of_10_changes_at_once_exactly_one_is_made(db) {
        let world = World::on(db, |_| {});
        let (_, identity) = world.user(EMAIL).await;
        let outcomes = race(10, |n| {
            let (accounts, identity) = (world.accounts.clone(), identity.clone());
            async move {
                let new = format!("{NEW}-{n}");
                let caller = caller(1);
                patiently(|| accounts.change_password(&identity, PASSWORD, &new, &caller)).await.map(|()| new)
            }
        })
        .await;
        let made: Vec<_> = outcomes.into_iter().flatten().collect();
        assert_eq!(made.len(), 1);
        world.accounts.login(EMAIL, &made[0], &caller(1)).await.unwrap();
    }
}

on_both_engines! {
    async fn a_deleted_account_is_gone_with_its_sessions_and_its_address_is_free(db) {
        let world = World::on(db, |_| {});
        let (tokens, identity) = world.user(EMAIL).await;
        world.accounts.request_password_reset(EMAIL, &caller(1)).await.unwrap();
        let reset = world.token(EMAIL).await;
        world.accounts.delete_account(&identity, PASSWORD, &caller(1)).await.unwrap();
        assert!(!world.is_signed_in(&tokens).await);
        assert!(world.accounts.refresh(&tokens.refresh_token, &caller(1)).await.is_err());
        assert!(world.accounts.confirm_password_reset(&reset, NEW, &caller(1)).await.is_err());
        assert!(world.accounts.login(EMAIL, PASSWORD, &caller(1)).await.is_err());
        let again = world.accounts.delete_account(&identity, PASSWORD, &caller(1)).await;
        assert!(matches!(again, Err(DeleteAccountError::Refused(ReauthenticateError::SessionOver))));
        world.user(EMAIL).await;
    }
}
