//! Sessions and logging out.

use stile::accounts::{AuthenticateError, EndSessionError, Logout, LogoutError, UpdateProfileError};

use crate::databases::on_both_engines;
use crate::world::{EMAIL, World, caller};

on_both_engines! {
    /// OUT-01
    async fn any_refresh_token_ever_issued_logs_its_session_out_and_again_is_fine(db) {
        let world = World::on(db, |_| {});
        let (first, _) = world.user(EMAIL).await;
        let second = world.accounts.refresh(&first.refresh_token, &caller(1)).await.unwrap();
        let third = world.accounts.refresh(&second.refresh_token, &caller(1)).await.unwrap();
        for token in ["", "rubbish", &third.access_token] {
            world.logout(token).await;
        }
        assert!(world.is_signed_in(&third).await);
        world.logout(&first.refresh_token).await;
        assert!(!world.is_signed_in(&third).await);
        assert!(world.accounts.refresh(&third.refresh_token, &caller(1)).await.is_err());
        world.logout(&third.refresh_token).await;
        let logouts = world.events().await.into_iter().filter(|row| row.event == "logout").count();
        assert_eq!(logouts, 1);
    }
}

on_both_engines! {
    async fn an_access_token_logs_its_session_out_and_a_forged_one_does_not(db) {
        let world = World::on(db, |_| {});
        let (tokens, identity) = world.user(EMAIL).await;
        let forged = format!("{}x", tokens.access_token);
        let outcome = world.accounts.logout(Logout::AccessToken(forged), &caller(1)).await;
        assert!(matches!(outcome, Err(LogoutError::Invalid)));
        assert!(world.is_signed_in(&tokens).await);
        world.accounts.logout(Logout::AccessToken(tokens.access_token.clone()), &caller(1)).await.unwrap();
        assert!(!world.is_signed_in(&tokens).await);
        world.accounts.logout(Logout::Session(identity.session_id), &caller(1)).await.unwrap();
    }
}

on_both_engines! {
    async fn an_access_token_expires_and_dies_with_its_session_or_its_user(db) {
        let world = World::on(db, |_| {});
        let (tokens, identity) = world.user(EMAIL).await;
        assert_eq!((identity.user.email.as_str(), identity.session_id), (EMAIL, tokens.session_id));
        world.deactivate(EMAIL).await;
        let outcome = world.accounts.authenticate(&tokens.access_token).await;
        assert!(matches!(outcome, Err(AuthenticateError::Invalid)), "JWT-07: at once");
        world.raw("UPDATE users SET is_active = TRUE").await;
        assert!(world.is_signed_in(&tokens).await);
        world.advance(15 * 60 + 6);
        let outcome = world.accounts.authenticate(&tokens.access_token).await;
        assert!(matches!(outcome, Err(AuthenticateError::Expired)));
    }
}

on_both_engines! {
    /// OUT-03
    async fn sessions_are_listed_and_ended_by_their_owner_alone(db) {
        let world = World::on(db, |_| {});
        let (first, identity) = world.user(EMAIL).await;
        let second = world.login(EMAIL).await;
        let third = world.login(EMAIL).await;
        let (bobs, _) = world.user("bob@example.com").await;
        let list = world.accounts.sessions(&identity).await.unwrap();
        assert_eq!(list.len(), 3);
        let mine = list.iter().find(|session| session.is_current).unwrap();
        assert_eq!(mine.id, first.session_id);
        assert_eq!((mine.browser.as_str(), mine.os.as_str(), mine.device.as_str()), ("Firefox", "Linux", "desktop"));
        assert_eq!(mine.ip_address, "10.0.0.1");
        assert_eq!((mine.created_at, mine.last_active), (world.clock.now(), world.clock.now()));

        let end = async |id| world.accounts.end_session(&identity, id, &caller(1)).await;
        assert!(matches!(end(bobs.session_id).await, Err(EndSessionError::NotFound)));
        assert!(matches!(end(uuid::Uuid::nil()).await, Err(EndSessionError::NotFound)));
        assert!(world.is_signed_in(&bobs).await);
        end(second.session_id).await.unwrap();
        assert!(!world.is_signed_in(&second).await);
        assert_eq!(world.accounts.end_other_sessions(&identity, &caller(1)).await.unwrap(), 1);
        assert!(!world.is_signed_in(&third).await);
        assert!(world.is_signed_in(&first).await && world.is_signed_in(&bobs).await);
        assert_eq!(world.accounts.end_other_sessions(&identity, &caller(1)).await.unwrap(), 0);
    }
}

on_both_engines! {
    /// REG-11: what a client calls itself is stored without what PostgreSQL would refuse.
    async fn a_hostile_user_agent_is_stored_without_its_control_characters(db) {
        let world = World::on(db, |_| {});
        world.register(EMAIL).await;
        let mut hostile = caller(1);
        hostile.user_agent = Some(format!("a\u{0}b\n{}", "😀".repeat(5000)));
        let tokens = world.accounts.login(EMAIL, crate::world::PASSWORD, &hostile).await.unwrap();
        let identity = world.accounts.authenticate(&tokens.access_token).await.unwrap();
        let list = world.accounts.sessions(&identity).await.unwrap();
        assert_eq!((list[0].browser.as_str(), list[0].device.as_str()), ("unknown", "unknown"));
    }
}

on_both_engines! {
    async fn the_name_is_changed_taken_away_and_checked(db) {
        let world = World::on(db, |_| {});
        let (_, identity) = world.user(EMAIL).await;
        let update = async |name: Option<&str>| world.accounts.update_profile(&identity, name.map(str::to_owned)).await;
        assert_eq!(update(Some("  Ada K. ")).await.unwrap().full_name.as_deref(), Some("Ada K."));
        assert_eq!(update(Some(" ")).await.unwrap().full_name, None);
        assert_eq!(update(None).await.unwrap().full_name, None);
        let error = update(Some("a\u{0}")).await.unwrap_err();
        assert!(matches!(error, UpdateProfileError::Invalid(fields) if fields[0].pointer == "/full_name"));
    }
}
