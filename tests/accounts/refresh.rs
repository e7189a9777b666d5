//! Refreshing.

use std::collections::HashSet;
use std::time::Duration;

use stile::accounts::{RefreshError, SessionTokens};

use crate::databases::{on_both_engines, race};
use crate::world::{EMAIL, World, caller};

async fn refresh(world: &World, token: &str) -> Result<SessionTokens, RefreshError> {
    world.accounts.refresh(token, &caller(1)).await
}

fn is_reused(outcome: &Result<SessionTokens, RefreshError>) -> bool {
    matches!(outcome, Err(RefreshError::Reused))
}

fn is_invalid(outcome: &Result<SessionTokens, RefreshError>) -> bool {
    matches!(outcome, Err(RefreshError::Invalid))
}

on_both_engines! {
    /// REF-01
    async fn without_grace_a_used_token_ends_its_session_and_no_other(db) {
        let world = World::on(db, |choices| choices.settings.refresh_reuse_grace = Duration::ZERO);
        let (first, _) = world.user(EMAIL).await;
        let other = world.login(EMAIL).await;
        let second = refresh(&world, &first.refresh_token).await.unwrap();
        assert!(is_reused(&refresh(&world, &first.refresh_token).await));
        assert!(is_invalid(&refresh(&world, &second.refresh_token).await));
        assert!(!world.is_signed_in(&second).await);
        assert!(refresh(&world, &other.refresh_token).await.is_ok());
        let reuse = world.events().await.into_iter().filter(|row| row.event == "refresh_reuse").count();
        assert_eq!(reuse, 1);
    }
}

on_both_engines! {
    /// REF-02, with two processes.
    async fn of_50_uses_of_one_token_without_grace_exactly_one_succeeds(db) {
        let world = World::on(db, |choices| choices.settings.refresh_reuse_grace = Duration::ZERO);
        let (second_process, _database) = world.second_process().await;
        world.register(EMAIL).await;
        for _ in 0..4 {
            let tokens = world.login(EMAIL).await;
            let outcomes = race(50, |n| {
                let accounts = if n % 2 == 0 { world.accounts.clone() } else { second_process.clone() };
                let token = tokens.refresh_token.clone();
                async move { accounts.refresh(&token, &caller(1)).await }
            })
            .await;
            assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
            assert_eq!(outcomes.iter().filter(|outcome| is_reused(outcome)).count(), 49);
            for tokens in outcomes.into_iter().flatten() {
                assert!(refresh(&world, &tokens.refresh_token).await.is_err(), "the session is over");
            }
        }
    }
}

on_both_engines! {
    /// REF-02, with two processes.
    async fn of_50_uses_of_one_token_within_the_grace_all_get_the_same_successor(db) {
        let world = World::on(db, |_| {});
        let (second_process, _database) = world.second_process().await;
        world.register(EMAIL).await;
        let mut tokens = world.login(EMAIL).await;
        for _ in 0..4 {
            let outcomes = race(50, |n| {
                let accounts = if n % 2 == 0 { world.accounts.clone() } else { second_process.clone() };
                let token = tokens.refresh_token.clone();
                async move { accounts.refresh(&token, &caller(1)).await.unwrap() }
            })
            .await;
            let successors: HashSet<_> = outcomes.iter().map(|tokens| tokens.refresh_token.clone()).collect();
            assert_eq!(successors.len(), 1);
            tokens = outcomes.into_iter().next().unwrap();
            assert!(world.is_signed_in(&tokens).await);
            world.advance(11);
        }
    }
}

on_both_engines! {
    /// Contract 3.3: after a restart too; a replay does not prolong the grace; what is older is reuse.
    async fn the_predecessor_gets_the_same_successor_until_the_grace_ends(db) {
        let world = World::on(db, |_| {});
        let (first, _) = world.user(EMAIL).await;
        let second = refresh(&world, &first.refresh_token).await.unwrap();
        world.advance(5);
        assert_eq!(refresh(&world, &first.refresh_token).await.unwrap().refresh_token, second.refresh_token);
        let (restarted, _database) = world.second_process().await;
        world.advance(4);
        let again = restarted.refresh(&first.refresh_token, &caller(2)).await.unwrap();
        assert_eq!(again.refresh_token, second.refresh_token);
        world.advance(1);
        assert!(is_reused(&refresh(&world, &first.refresh_token).await));
        assert!(is_invalid(&refresh(&world, &second.refresh_token).await));
    }
}

on_both_engines! {
    async fn within_the_grace_a_token_older_than_the_predecessor_is_reuse(db) {
        let world = World::on(db, |_| {});
        let (first, _) = world.user(EMAIL).await;
        let second = refresh(&world, &first.refresh_token).await.unwrap();
        let third = refresh(&world, &second.refresh_token).await.unwrap();
        assert!(is_reused(&refresh(&world, &first.refresh_token).await));
        assert!(is_invalid(&refresh(&world, &third.refresh_token).await));
    }
}

on_both_engines! {
    async fn a_session_that_was_logged_out_has_no_grace(db) {
        let world = World::on(db, |_| {});
        let (first, _) = world.user(EMAIL).await;
        let second = refresh(&world, &first.refresh_token).await.unwrap();
        world.logout(&second.refresh_token).await;
        assert!(is_invalid(&refresh(&world, &first.refresh_token).await));
        assert!(is_invalid(&refresh(&world, &second.refresh_token).await));
    }
}

on_both_engines! {
    /// Contract 3.3: the sealed successor is erased when the grace ends, and sooner when the session does.
    async fn nothing_sealed_outlives_its_grace(db) {
        let world = World::on(db, |_| {});
        let (first, _) = world.user(EMAIL).await;
        refresh(&world, &first.refresh_token).await.unwrap();
        world.accounts.sweep().await.unwrap();
        assert!(refresh(&world, &first.refresh_token).await.is_ok());
        world.advance(10);
        world.accounts.sweep().await.unwrap();
        let mut on = world.database.write().await.unwrap();
        assert_eq!(stile::storage::erase_grace_successors(&mut on, crate::databases::at(1_000_000), 10).await.unwrap(), 0);
    }
}

on_both_engines! {
    /// REF-06
    async fn a_session_ends_when_idle_for_too_long_and_at_its_absolute_end_whatever_is_refreshed(db) {
        let world = World::on(db, |choices| {
            choices.settings.session_idle_lifetime = Duration::from_secs(100);
            choices.settings.session_max_lifetime = Duration::from_secs(250);
        });
        let (tokens, _) = world.user(EMAIL).await;
        assert_eq!(tokens.refresh_expires_in, 100);
        world.advance(100);
        assert!(is_invalid(&refresh(&world, &tokens.refresh_token).await));
        let mut tokens = world.login(EMAIL).await;
        for expected in [100, 70] {
            world.advance(90);
            tokens = refresh(&world, &tokens.refresh_token).await.unwrap();
            assert_eq!(tokens.refresh_expires_in, expected);
        }
        world.advance(69);
        tokens = refresh(&world, &tokens.refresh_token).await.unwrap();
        assert_eq!(tokens.refresh_expires_in, 1);
        world.advance(1);
        assert!(is_invalid(&refresh(&world, &tokens.refresh_token).await));
        assert!(!world.is_signed_in(&tokens).await);
    }
}

on_both_engines! {
    /// REF-08, and JWT-07 for refreshing.
    async fn other_tokens_and_inactive_users_are_refused(db) {
        let world = World::on(db, |_| {});
        let (tokens, _) = world.user(EMAIL).await;
        world.accounts.request_password_reset(EMAIL, &caller(1)).await.unwrap();
        let reset = world.token(EMAIL).await;
        let (family, own) = tokens.refresh_token.split_once('.').unwrap();
        let twisted = format!("{own}.{family}");
        for token in [tokens.access_token.as_str(), &reset, family, &twisted, "", "x"] {
            assert!(is_invalid(&refresh(&world, token).await), "{token}");
        }
        assert!(world.accounts.authenticate(&tokens.refresh_token).await.is_err());
        world.deactivate(EMAIL).await;
        assert!(is_invalid(&refresh(&world, &tokens.refresh_token).await));
        world.raw("UPDATE users SET is_active = TRUE").await;
        assert!(refresh(&world, &tokens.refresh_token).await.is_ok(), "nothing was used up");
    }
}

on_both_engines! {
    /// Contract 3.3: a failed write consumes nothing.
    async fn a_refresh_that_the_database_fails_leaves_the_token_good(db) {
        let world = World::on(db, |choices| choices.settings.refresh_reuse_grace = Duration::ZERO);
        let (failing, database) = world.second_process().await;
        let (tokens, _) = world.user(EMAIL).await;
        database.close().await;
        let outcome = failing.refresh(&tokens.refresh_token, &caller(1)).await;
        assert!(matches!(outcome, Err(RefreshError::Storage(error)) if error.is_unavailable()));
        assert!(refresh(&world, &tokens.refresh_token).await.is_ok());
    }
}

on_both_engines! {
    /// A client that only ever refreshes stays known.
    async fn a_refresh_makes_its_client_known(db) {
        let world = World::on(db, |choices| {
            choices.rules.set(stile::rate_limit::Rule::LoginAccount, "1/hour".parse().unwrap());
        });
        let (tokens, _) = world.user(EMAIL).await;
        world.accounts.refresh(&tokens.refresh_token, &caller(7)).await.unwrap();
        for stranger in [100, 101] {
            assert!(world.accounts.login(EMAIL, "wrong-password", &caller(stranger)).await.is_err());
        }
        assert!(world.accounts.login(EMAIL, crate::world::PASSWORD, &caller(8)).await.is_err());
        assert!(world.accounts.login(EMAIL, crate::world::PASSWORD, &caller(7)).await.is_ok());
    }
}

on_both_engines! {
    /// Not each refresh notes its client; those that do come often enough.
    async fn a_client_that_is_refreshed_every_twenty_minutes_stays_known(db) {
        let world = World::on(db, |choices| {
            choices.rules.set(stile::rate_limit::Rule::LoginAccount, "1/hour".parse().unwrap());
        });
        let (tokens, _) = world.user(EMAIL).await;
        let mut token = tokens.refresh_token;
        for _ in 0..7 {
            world.advance(20 * 60);
            token = refresh(&world, &token).await.unwrap().refresh_token;
        }
        // Two hours and twenty minutes after the login, which alone would be forgotten now.
        world.advance(30 * 86_400 - 3600);
        for stranger in [100, 101] {
            assert!(world.accounts.login(EMAIL, "wrong-password", &caller(stranger)).await.is_err());
        }
        assert!(world.accounts.login(EMAIL, crate::world::PASSWORD, &caller(1)).await.is_ok());
    }
}
