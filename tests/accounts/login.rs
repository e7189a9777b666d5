//! Logging in.

use stile::accounts::{Caller, LoginError};
use stile::rate_limit::Rule;

use crate::databases::{on_both_engines, race};
use crate::world::{Choices, EMAIL, PASSWORD, World, caller, patiently};

fn account_limit(limit: &str) -> impl FnOnce(&mut Choices) {
    move |choices| choices.rules.set(Rule::LoginAccount, limit.parse().unwrap())
}

async fn wrong(world: &World, email: &str, from: u32) -> LoginError {
    world
        .accounts
        .login(email, "wrong-password", &caller(from))
        .await
        .err()
        .unwrap()
}

fn stranger(n: usize) -> Caller {
    caller(100 + u32::try_from(n).unwrap())
}

on_both_engines! {
    /// LOG-01
    async fn two_logins_are_two_sessions_each_ended_on_its_own(db) {
        let world = World::on(db, |_| {});
        let (first, _) = world.user(EMAIL).await;
        let second = world.login(EMAIL).await;
        assert_ne!(first.session_id, second.session_id);
        assert_ne!(first.refresh_token, second.refresh_token);
        assert_eq!((first.expires_in, first.refresh_expires_in), (900, 30 * 86_400));
        world.logout(&first.refresh_token).await;
        assert!(!world.is_signed_in(&first).await);
        assert!(world.is_signed_in(&second).await);
    }
}

on_both_engines! {
    /// LOG-02 and contract 3.2.
    async fn an_unknown_address_a_wrong_password_and_an_inactive_account_are_one_answer(db) {
        let world = World::on(db, |_| {});
        world.register(EMAIL).await;
        assert!(matches!(wrong(&world, EMAIL, 1).await, LoginError::InvalidCredentials));
        assert!(matches!(wrong(&world, "eve@example.com", 1).await, LoginError::InvalidCredentials));
        world.deactivate(EMAIL).await;
        assert!(matches!(wrong(&world, EMAIL, 1).await, LoginError::InvalidCredentials));
        let right = world.accounts.login(EMAIL, PASSWORD, &caller(1)).await;
        assert!(matches!(right, Err(LoginError::AccountInactive)));
        let reasons: Vec<_> = world.events().await.into_iter().filter_map(|row| row.reason).collect();
        assert_eq!(reasons, ["wrong_password", "unknown_account", "wrong_password", "account_inactive"]);
    }
}

on_both_engines! {
    /// REG-03
    async fn only_the_exact_password_logs_in(db) {
        let world = World::on(db, |_| {});
        let password = "Aä".repeat(32);
        world.accounts.register(crate::world::registration(EMAIL, &password), &caller(1)).await.unwrap();
        let login = async |password: &str| world.accounts.login(EMAIL, password, &caller(1)).await.is_ok();
        assert!(login(&password).await);
        let shorter: String = password.chars().take(63).collect();
        for other in [shorter, format!("{password}x"), password.to_lowercase(), format!("{password} "), String::new()] {
            assert!(!login(&other).await);
        }
    }
}

on_both_engines! {
    /// LOG-05
    async fn what_no_password_or_address_can_be_is_refused_by_name(db) {
        let world = World::on(db, |_| {});
        let error = world.accounts.login("no address", &"x".repeat(1_000_000), &caller(1)).await.err().unwrap();
        let LoginError::Invalid(fields) = error else { panic!() };
        let codes: Vec<_> = fields.iter().map(|field| (field.pointer.as_str(), field.code)).collect();
        assert_eq!(codes, [("/email", "invalid_email"), ("/password", "too_long")]);
    }
}

on_both_engines! {
    /// LOG-06: over any number of addresses, and for an account that does not exist just the same.
    async fn an_account_takes_so_many_wrong_passwords_from_all_strangers_together(db) {
        let world = World::on(db, account_limit("5/hour"));
        world.register(EMAIL).await;
        for email in [EMAIL, "nobody@example.com"] {
            for n in 0..8 {
                let error = wrong(&world, email, 100 + n).await;
                assert_eq!(matches!(error, LoginError::Limited(_)), n >= 5, "{email} {n} {error:?}");
            }
        }
        let spelled = world.accounts.login(" ADA@example.com.", PASSWORD, &caller(99)).await;
        assert!(matches!(spelled, Err(LoginError::Limited(_))), "limits.md 18");
        world.advance(3601);
        assert!(world.accounts.login(EMAIL, PASSWORD, &caller(99)).await.is_ok());
    }
}

on_both_engines! {
    /// RL-07: the charge comes before the hash.
    async fn of_50_wrong_passwords_at_once_exactly_as_many_as_allowed_are_tried(db) {
        let world = World::on(db, account_limit("5/hour"));
        world.register(EMAIL).await;
        let errors = race(50, |n| {
            let accounts = world.accounts.clone();
            let caller = stranger(n);
            async move { patiently(|| accounts.login(EMAIL, "wrong-password", &caller)).await.err().unwrap() }
        })
        .await;
        let tried = errors.iter().filter(|error| matches!(error, LoginError::InvalidCredentials)).count();
        let limited = errors.iter().filter(|error| matches!(error, LoginError::Limited(_))).count();
        assert_eq!((tried, limited), (5, 45));

        // Like a refusal by any other limit: one event names the rule, of many from one client in one row.
        let rows = world.events().await;
        let refused: Vec<_> = rows.iter().filter(|row| row.event == "rate_limited").collect();
        assert_eq!(refused.iter().map(|row| row.occurrences).sum::<i64>(), 45);
        for row in refused {
            assert_eq!(row.reason.as_deref(), Some("login_account"));
            assert!(row.client_ip.is_some() && row.request_id.is_some() && row.account.is_none(), "{row:?}");
        }
        let of_the_account = rows.iter().filter(|row| row.reason.as_deref() == Some("account_limited"));
        assert_eq!(of_the_account.filter(|row| row.account.is_some()).count(), 45);
    }
}

on_both_engines! {
    /// limits.md 33
    async fn a_good_login_costs_nothing(db) {
        let world = World::on(db, account_limit("2/hour"));
        world.register(EMAIL).await;
        for n in 0..6 {
            assert!(world.accounts.login(EMAIL, PASSWORD, &caller(n)).await.is_ok());
        }
        world.deactivate(EMAIL).await;
        for _ in 0..4 {
            let right = world.accounts.login(EMAIL, PASSWORD, &caller(1)).await;
            assert!(matches!(right, Err(LoginError::AccountInactive)), "a correct password is no failure");
        }
    }
}

on_both_engines! {
    /// LOG-09: strangers cannot lock an owner out, who has as many tries to himself and no more.
    async fn a_client_the_account_was_used_from_has_its_own_limit(db) {
        let world = World::on(db, account_limit("3/hour"));
        world.user(EMAIL).await;
        for n in 0..10 {
            wrong(&world, EMAIL, 100 + n).await;
        }
        assert!(matches!(wrong(&world, EMAIL, 200).await, LoginError::Limited(_)));
        assert!(world.accounts.login(EMAIL, PASSWORD, &caller(1)).await.is_ok());
        for n in 0..4 {
            assert_eq!(matches!(wrong(&world, EMAIL, 1).await, LoginError::Limited(_)), n >= 3);
        }
    }
}

on_both_engines! {
    async fn a_client_is_known_for_thirty_days(db) {
        let world = World::on(db, account_limit("1/hour"));
        world.user(EMAIL).await;
        let knows = async || {
            wrong(&world, EMAIL, 999).await;
            world.accounts.login(EMAIL, PASSWORD, &caller(1)).await.is_ok()
        };
        world.advance(29 * 86_400);
        assert!(knows().await, "and it is noted again");
        world.advance(29 * 86_400);
        assert!(knows().await);
        world.advance(31 * 86_400);
        assert!(!knows().await);
    }
}

on_both_engines! {
    /// limits.md 49
    async fn a_caller_on_the_allow_list_is_not_charged(db) {
        let world = World::on(db, account_limit("1/hour"));
        world.register(EMAIL).await;
        let mut exempt = caller(5);
        exempt.exempt = true;
        for _ in 0..4 {
            let error = world.accounts.login(EMAIL, "wrong-password", &exempt).await.err().unwrap();
            assert!(matches!(error, LoginError::InvalidCredentials));
        }
        assert!(matches!(wrong(&world, EMAIL, 6).await, LoginError::InvalidCredentials));
    }
}

on_both_engines! {
    /// LOG-11
    async fn a_weak_hash_is_replaced_at_a_good_login_also_by_twenty_at_once(db) {
        let world = World::on(db, |_| {});
        world.register(EMAIL).await;
        // bcrypt of PASSWORD with cost 4.
        let weak = bcrypt::hash(PASSWORD, 4).unwrap();
        world.raw(&format!("UPDATE users SET password_hash = '{weak}'")).await;
        let logins = race(20, |n| {
            let accounts = world.accounts.clone();
            let caller = stranger(n);
            async move { patiently(|| accounts.login(EMAIL, PASSWORD, &caller)).await.is_ok() }
        })
        .await;
        assert!(logins.into_iter().all(|logged_in| logged_in));
        let mut on = world.database.read().await.unwrap();
        let account = stile::storage::find_user_by_email(&mut on, EMAIL).await.unwrap().unwrap();
        assert!(account.password_hash.starts_with("$argon2id$"));
        drop(on);
        world.login(EMAIL).await;
    }
}
