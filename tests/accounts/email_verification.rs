//! Verifying an address.

use crate::databases::{on_both_engines, race};
use crate::world::{EMAIL, PASSWORD, World, caller};

on_both_engines! {
    async fn a_mailed_link_verifies_once_and_leaves_password_and_sessions_alone(db) {
        let world = World::on(db, |_| {});
        let (tokens, identity) = world.user(EMAIL).await;
        let token = world.token(EMAIL).await;
        world.accounts.change_password(&identity, PASSWORD, "changed-meanwhile-1", &caller(1)).await.unwrap();
        world.accounts.verify_email(&token, &caller(1)).await.unwrap();
        assert!(world.accounts.verify_email(&token, &caller(1)).await.is_err());
        let identity = world.accounts.authenticate(&tokens.access_token).await.unwrap();
        assert!(identity.user.is_verified);
        assert!(world.accounts.login(EMAIL, "changed-meanwhile-1", &caller(1)).await.is_ok());
    }
}

on_both_engines! {
    async fn of_20_uses_of_one_link_at_once_exactly_one_succeeds(db) {
        let world = World::on(db, |choices| choices.settings.require_email_verification = true);
        world.register_pending(EMAIL, PASSWORD).await;
        let token = world.token(EMAIL).await;
        let outcomes = race(20, |_| {
            let (accounts, token) = (world.accounts.clone(), token.clone());
            async move { accounts.verify_email(&token, &caller(1)).await.is_ok() }
        })
        .await;
        assert_eq!(outcomes.into_iter().filter(|verified| *verified).count(), 1);
        world.login(EMAIL).await;
    }
}

on_both_engines! {
    async fn a_link_lives_a_day_and_can_be_had_again_afterwards(db) {
        let world = World::on(db, |choices| choices.settings.require_email_verification = true);
        world.register_pending(EMAIL, PASSWORD).await;
        let first = world.token(EMAIL).await;
        world.advance(86_400);
        assert!(world.accounts.verify_email(&first, &caller(1)).await.is_err());
        world.accounts.sweep().await.unwrap();
        world.accounts.resend_verification(EMAIL, &caller(1)).await.unwrap();
        let second = world.token(EMAIL).await;
        world.accounts.verify_email(&second, &caller(1)).await.unwrap();
        world.login(EMAIL).await;
    }
}

on_both_engines! {
    async fn only_an_unverified_account_is_mailed_again(db) {
        let world = World::on(db, |_| {});
        world.register(EMAIL).await;
        world.accounts.verify_email(&world.token(EMAIL).await, &caller(1)).await.unwrap();
        for email in [EMAIL, "nobody@example.com"] {
            world.accounts.resend_verification(email, &caller(1)).await.unwrap();
        }
        assert_eq!(world.mails(EMAIL).await.len(), 1);
        assert!(world.mails("nobody@example.com").await.is_empty());
        assert!(world.accounts.resend_verification("no address", &caller(1)).await.is_err());
        // Each is recorded alike, whatever came of it.
        let events = world.events().await;
        let asked: Vec<_> = events.iter().filter(|row| row.event == "email_verification_request").collect();
        assert_eq!(asked.len(), 2);
        assert!(asked.iter().all(|row| row.outcome == "success" && row.account.is_some() && row.user_id.is_none()));
    }
}

on_both_engines! {
    /// Whoever proves an address by a registration of his own gets that registration, not what an administrator once made
    /// of the address.
    async fn a_registration_has_no_claim_to_the_role_of_the_account_before_it(db) {
        let world = World::on(db, |choices| choices.settings.require_email_verification = true);
        let operator = stile::accounts::Administrator::operator();
        let account = stile::accounts::NewAccount { email: EMAIL, full_name: None, role: stile::accounts::Role::Admin };
        world.accounts.create_user(&operator, &account).await.unwrap();
        world.register_pending(EMAIL, PASSWORD).await;
        world.accounts.verify_email(&world.token(EMAIL).await, &caller(1)).await.unwrap();
        assert_eq!(world.login(EMAIL).await.user.role, stile::accounts::Role::User);
    }
}

on_both_engines! {
    /// Whoever knows who is to come cannot keep him out by registering his address.
    async fn what_was_only_registered_makes_way_for_the_account_that_an_administrator_makes(db) {
        let world = World::on(db, |choices| choices.settings.require_email_verification = true);
        let operator = stile::accounts::Administrator::operator();
        let account = stile::accounts::NewAccount { email: EMAIL, full_name: None, role: stile::accounts::Role::Admin };
        world.register_pending(EMAIL, PASSWORD).await;
        let link = world.token(EMAIL).await;
        let made = world.accounts.create_user(&operator, &account).await.unwrap();
        assert_eq!(made.role, stile::accounts::Role::Admin);
        assert!(world.accounts.verify_email(&link, &caller(1)).await.is_err());
        assert!(world.accounts.login(EMAIL, PASSWORD, &caller(1)).await.is_err());
        assert!(world.accounts.create_user(&operator, &account).await.is_err());
    }
}
