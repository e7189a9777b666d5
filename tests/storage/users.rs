//! `users`

use stile::storage::{self as s, PasswordChange, Registration};

use crate::engines::{add_user, at, new_user, on_both_engines, race};

on_both_engines! {
    async fn a_user_is_found_by_id_and_address_as_he_was_added(db) {
        let id = add_user(&db, "ada@example.com").await;
        let by_id = s::find_user(&mut db.read().await.unwrap(), id).await.unwrap().unwrap();
        let by_email = s::find_user_by_email(&mut db.read().await.unwrap(), "ada@example.com").await.unwrap().unwrap();
        assert_eq!(by_id.id, by_email.id);
        assert_eq!(by_id.email, "ada@example.com");
        assert_eq!(by_id.full_name.as_deref(), Some("Ada"));
        assert_eq!((by_id.is_active, by_id.is_verified, by_id.is_pending), (true, false, false));
        assert_eq!((by_id.created_at, by_id.last_login_at), (at(0), None));
        assert_eq!(by_id.role, s::UserRole::User);
        assert!(s::find_user_by_email(&mut db.read().await.unwrap(), "eve@example.com").await.unwrap().is_none());
    }
}

on_both_engines! {
    /// REG-09
    async fn of_32_who_register_one_address_exactly_one_gets_it(db) {
        let added = race(32, |_| {
            let database = db.database.clone();
            async move {
                let user = new_user(s::new_id(at(0)), "ada@example.com");
                s::add_user(&mut database.write().await.unwrap(), &user).await.unwrap()
            }
        })
        .await;
        assert_eq!(added.into_iter().filter(|added| *added).count(), 1);
    }
}

on_both_engines! {
    async fn a_pending_registration_is_replaced_and_a_used_account_is_not(db) {
        let register = async |hash: &str| {
            let mut user = new_user(s::new_id(at(0)), "ada@example.com");
            user.password_hash = hash;
            user.is_pending = true;
            let mut transaction = db.begin().await.unwrap();
            s::register_pending(&mut transaction, &user).await.unwrap();
            transaction.commit().await.unwrap();
            s::find_user_by_email(&mut db.read().await.unwrap(), "ada@example.com").await.unwrap().unwrap()
        };
        let first = register("hash-1").await;
        let second = register("hash-2").await;
        assert_eq!(first.id, second.id);
        assert_eq!(second.password_hash, "hash-2");
        assert!(second.password_version > first.password_version && second.is_pending);
        let mut transaction = db.begin().await.unwrap();
        assert!(s::record_login(&mut transaction, second.id, second.password_version, at(1)).await.unwrap());
        transaction.commit().await.unwrap();
        let third = register("hash-3").await;
        assert_eq!(third.password_hash, "hash-2");
        assert_eq!((third.is_pending, third.last_login_at), (false, Some(at(1))));
    }
}

on_both_engines! {
    async fn a_login_knows_whether_its_client_is_among_the_newest(db) {
        let id = add_user(&db, "ada@example.com").await;
        for n in 0..4 {
            let client = format!("10.0.0.{n}");
            s::remember_client(&mut db.write().await.unwrap(), id, &client, at(n), 20).await.unwrap();
        }
        let seen = async |client: &str, after: i64, most: i64| {
            let row = s::find_for_login(&mut db.read().await.unwrap(), "ada@example.com", client, at(after), most).await;
            row.unwrap().unwrap().client_seen_at
        };
        assert_eq!(seen("10.0.0.3", -1, 20).await, Some(at(3)));
        assert_eq!(seen("10.0.0.0", -1, 20).await, Some(at(0)));
        assert_eq!(seen("10.0.0.0", 0, 20).await, None, "too long ago");
        assert_eq!(seen("10.0.0.0", -1, 3).await, None, "not among the three newest");
        assert_eq!(seen("10.0.0.9", -1, 20).await, None, "a stranger");
        let nobody = s::find_for_login(&mut db.read().await.unwrap(), "eve@example.com", "10.0.0.1", at(0), 20).await;
        assert!(nobody.unwrap().is_none());
    }
}

on_both_engines! {
    /// A password that was changed while it was being checked logs nobody in.
    async fn a_login_with_a_password_that_was_changed_meanwhile_is_not_noted(db) {
        let id = add_user(&db, "ada@example.com").await;
        let mut transaction = db.begin().await.unwrap();
        let change = PasswordChange { user_id: id, seen_version: 1, password_hash: "hash-2" };
        assert!(s::change_password(&mut transaction, &change).await.unwrap());
        transaction.commit().await.unwrap();
        let mut transaction = db.begin().await.unwrap();
        assert!(!s::record_login(&mut transaction, id, 1, at(1)).await.unwrap());
        assert!(s::record_login(&mut transaction, id, 2, at(1)).await.unwrap());
        transaction.rollback().await.unwrap();
    }
}

on_both_engines! {
    async fn of_32_who_change_a_password_seen_by_all_exactly_one_does(db) {
        let id = add_user(&db, "ada@example.com").await;
        let changed = race(32, |n| {
            let database = db.database.clone();
            async move {
                let mut transaction = database.begin().await.unwrap();
                let hash = format!("hash-{n}");
                let change = PasswordChange { user_id: id, seen_version: 1, password_hash: &hash };
                let changed = s::change_password(&mut transaction, &change).await.unwrap();
                transaction.commit().await.unwrap();
                changed.then_some(hash)
            }
        })
        .await;
        let winners: Vec<_> = changed.into_iter().flatten().collect();
        assert_eq!(winners.len(), 1);
        let user = s::find_user(&mut db.read().await.unwrap(), id).await.unwrap().unwrap();
        assert_eq!(user.password_hash, winners[0]);
    }
}

on_both_engines! {
    /// LOG-11
    async fn a_rehash_replaces_only_the_hash_that_was_verified(db) {
        let id = add_user(&db, "ada@example.com").await;
        let mut on = db.write().await.unwrap();
        assert!(s::rehash_password(&mut on, id, "hash-1", "stronger").await.unwrap());
        assert!(!s::rehash_password(&mut on, id, "hash-1", "other").await.unwrap());
        let user = s::find_user(&mut on, id).await.unwrap().unwrap();
        assert_eq!((user.password_hash.as_str(), user.password_version), ("stronger", 1));
    }
}

on_both_engines! {
    async fn a_name_is_set_and_cleared(db) {
        let id = add_user(&db, "ada@example.com").await;
        let mut on = db.write().await.unwrap();
        let named = s::set_full_name(&mut on, id, Some("Ада 😀")).await.unwrap().unwrap();
        assert_eq!(named.full_name.as_deref(), Some("Ада 😀"));
        assert_eq!(s::set_full_name(&mut on, id, None).await.unwrap().unwrap().full_name, None);
        assert!(s::set_full_name(&mut on, s::new_id(at(0)), None).await.unwrap().is_none());
    }
}

on_both_engines! {
    async fn a_reset_fits_only_the_address_and_the_password_it_was_made_for(db) {
        let id = add_user(&db, "ada@example.com").await;
        let mut transaction = db.begin().await.unwrap();
        let change = |seen_version| PasswordChange { user_id: id, seen_version, password_hash: "hash-2" };
        assert!(s::reset_password(&mut transaction, &change(1), "old@example.com").await.unwrap().is_none());
        assert!(s::reset_password(&mut transaction, &change(9), "ada@example.com").await.unwrap().is_none());
        let user = s::reset_password(&mut transaction, &change(1), "ada@example.com").await.unwrap().unwrap();
        assert_eq!((user.password_hash.as_str(), user.password_version), ("hash-2", 2));
        assert!(user.is_verified);
        transaction.commit().await.unwrap();
    }
}

on_both_engines! {
    async fn verifying_proves_the_address_and_a_registration_brings_its_own_password(db) {
        let id = add_user(&db, "ada@example.com").await;
        let registration = Registration { password_hash: "hash-9", full_name: None };
        let mut transaction = db.begin().await.unwrap();
        let wrong = s::verify_user(&mut transaction, id, "old@example.com", None).await.unwrap();
        assert!(wrong.is_none());
        let user = s::verify_user(&mut transaction, id, "ada@example.com", Some(&registration)).await.unwrap().unwrap();
        assert_eq!((user.password_hash.as_str(), user.full_name), ("hash-9", None));
        assert!(user.is_verified && user.password_version == 2);
        let again = s::verify_user(&mut transaction, id, "ada@example.com", Some(&registration)).await.unwrap();
        assert!(again.is_none(), "a proven account is no registration's any more");
        assert!(s::verify_user(&mut transaction, id, "ada@example.com", None).await.unwrap().is_some());
        transaction.commit().await.unwrap();
    }
}

on_both_engines! {
    async fn a_taken_address_is_a_unique_violation_and_a_pending_one_makes_way(db) {
        let ada = add_user(&db, "ada@example.com").await;
        add_user(&db, "bob@example.com").await;
        let mut pending = new_user(s::new_id(at(0)), "new@example.com");
        pending.is_pending = true;
        s::add_user(&mut db.write().await.unwrap(), &pending).await.unwrap();
        let mut transaction = db.begin().await.unwrap();
        let error = s::change_email(&mut transaction, ada, 1, "bob@example.com").await.err().unwrap();
        assert!(error.is_unique_violation() && !error.is_unavailable());
        transaction.rollback().await.unwrap();
        let mut transaction = db.begin().await.unwrap();
        s::delete_pending_user(&mut transaction, "bob@example.com").await.unwrap();
        s::delete_pending_user(&mut transaction, "new@example.com").await.unwrap();
        let user = s::change_email(&mut transaction, ada, 1, "new@example.com").await.unwrap().unwrap();
        transaction.commit().await.unwrap();
        assert_eq!((user.email.as_str(), user.is_verified), ("new@example.com", true));
        let bob = s::find_user_by_email(&mut db.read().await.unwrap(), "bob@example.com").await.unwrap();
        assert!(bob.is_some(), "who is not pending stays");
    }
}

on_both_engines! {
    async fn deleting_a_user_takes_all_that_hangs_on_him_and_nothing_else(db) {
        let ada = crate::sessions::user_with_everything(&db, "ada@example.com").await;
        let bob = crate::sessions::user_with_everything(&db, "bob@example.com").await;
        let mut transaction = db.begin().await.unwrap();
        assert!(s::delete_user(&mut transaction, ada, Some(9)).await.unwrap().is_none(), "the password was changed meanwhile");
        assert!(s::delete_user(&mut transaction, ada, Some(1)).await.unwrap().is_some());
        transaction.commit().await.unwrap();
        assert_eq!(crate::sessions::what_hangs_on(&db, ada, "ada@example.com", 2).await, [0, 0, 0, 0, 0]);
        assert_eq!(crate::sessions::what_hangs_on(&db, bob, "bob@example.com", 4).await, [1, 1, 1, 1, 2]);
    }
}
