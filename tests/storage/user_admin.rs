//! What an administrator does to users.

use stile::storage::{self as s, UserRole};

use crate::engines::{add_user, at, new_user, on_both_engines, race};

on_both_engines! {
    async fn users_are_searched_in_pages_the_newest_first(db) {
        let mut ids = Vec::new();
        for name in ["ada", "a_a", "grace"] {
            ids.push(add_user(&db, &format!("{name}@example.com")).await);
        }
        let mut on = db.read().await.unwrap();
        let first = s::search_users(&mut on, None, None, 2).await.unwrap();
        assert_eq!(first.iter().map(|user| user.id).collect::<Vec<_>>(), [ids[2], ids[1]]);
        let end = Some((first[1].created_at, first[1].id));
        let rest = s::search_users(&mut on, None, end, 2).await.unwrap();
        assert_eq!(rest.iter().map(|user| user.id).collect::<Vec<_>>(), [ids[0]]);
        let found = s::search_users(&mut on, Some("A_"), None, 9).await.unwrap();
        assert_eq!(found.iter().map(|user| user.id).collect::<Vec<_>>(), [ids[1]]);
    }
}

on_both_engines! {
    async fn standing_is_set_in_part_or_whole(db) {
        let ada = add_user(&db, "ada@example.com").await;
        let grace = add_user(&db, "grace@example.com").await;
        let mut transaction = db.begin().await.unwrap();
        s::guard_administrators(&mut transaction).await.unwrap();
        let on = &mut transaction;
        let set = s::set_standing(on, ada, None, Some(UserRole::Admin)).await.unwrap().unwrap();
        assert_eq!((set.is_active, set.role), (true, UserRole::Admin));
        assert!(s::is_active_admin(on, ada).await.unwrap());
        assert!(s::has_other_active_admin(on, grace).await.unwrap());
        assert!(!s::has_other_active_admin(on, ada).await.unwrap());
        let set = s::set_standing(on, ada, Some(false), None).await.unwrap().unwrap();
        assert_eq!((set.is_active, set.role), (false, UserRole::Admin));
        assert!(!s::is_active_admin(on, ada).await.unwrap());
        assert!(s::set_standing(on, s::new_id(at(0)), Some(true), None).await.unwrap().is_none());
        transaction.commit().await.unwrap();
    }
}

on_both_engines! {
    /// Whoever registers the address takes its place, and with the link the role is gone: it is nobody's to count on.
    async fn an_account_that_was_only_registered_is_no_administrator(db) {
        let pending = s::new_id(at(0));
        let mut transaction = db.begin().await.unwrap();
        let registered = s::NewUser { is_pending: true, ..new_user(pending, "ada@example.com") };
        s::register_pending(&mut transaction, &registered).await.unwrap();
        let set = s::set_standing(&mut transaction, pending, None, Some(UserRole::Admin)).await.unwrap().unwrap();
        assert_eq!((set.is_active, set.is_pending, set.role), (true, true, UserRole::Admin));
        let grace = s::new_id(at(0));
        assert!(!s::is_active_admin(&mut transaction, pending).await.unwrap());
        assert!(!s::has_other_active_admin(&mut transaction, grace).await.unwrap());
        s::verify_user(&mut transaction, pending, "ada@example.com", None).await.unwrap().unwrap();
        assert!(s::is_active_admin(&mut transaction, pending).await.unwrap());
        assert!(s::has_other_active_admin(&mut transaction, grace).await.unwrap());
        transaction.commit().await.unwrap();
    }
}

on_both_engines! {
    /// Each sees what the one before it has left: two administrators, and all of many racers want to demote one.
    async fn guarded_changes_leave_an_administrator(db) {
        for _ in 0..5 {
            let mut admins = Vec::new();
            for n in 0..2 {
                let id = s::new_id(at(n));
                admins.push(add_user(&db, &format!("{id}@example.com")).await);
            }
            let mut transaction = db.begin().await.unwrap();
            for id in &admins {
                s::set_standing(&mut transaction, *id, None, Some(UserRole::Admin)).await.unwrap();
            }
            transaction.commit().await.unwrap();
            let demoted = race(8, |n| {
                let (database, id) = (db.database.clone(), admins[n % 2]);
                async move {
                    let mut transaction = database.begin().await.unwrap();
                    s::guard_administrators(&mut transaction).await.unwrap();
                    let may = s::is_active_admin(&mut transaction, id).await.unwrap()
                        && s::has_other_active_admin(&mut transaction, id).await.unwrap();
                    if may {
                        s::set_standing(&mut transaction, id, None, Some(UserRole::User)).await.unwrap();
                    }
                    transaction.commit().await.unwrap();
                    may
                }
            })
            .await;
            assert_eq!(demoted.into_iter().filter(|done| *done).count(), 1);
            let mut transaction = db.begin().await.unwrap();
            for id in admins {
                s::set_standing(&mut transaction, id, None, Some(UserRole::User)).await.unwrap();
            }
            transaction.commit().await.unwrap();
        }
    }
}

on_both_engines! {
    async fn a_link_made_by_hand_is_for_active_users_and_ends_older_ones(db) {
        let ada = add_user(&db, "ada@example.com").await;
        let make = async |hash: &str| {
            let added = s::add_token_by_hand(&mut db.write().await.unwrap(), hash, ada, at(1), at(100)).await.unwrap();
            let mut transaction = db.begin().await.unwrap();
            s::hand_over_token(&mut transaction, hash, at(1), at(100), true).await.unwrap();
            transaction.commit().await.unwrap();
            added
        };
        assert!(make("first").await && make("second").await);
        let mut on = db.read().await.unwrap();
        assert!(s::find_token(&mut on, "first", at(2)).await.unwrap().is_none());
        let found = s::find_token(&mut on, "second", at(2)).await.unwrap().unwrap();
        assert_eq!((found.account.id, found.token.email.as_str()), (ada, "ada@example.com"));
        drop(on);
        let mut transaction = db.begin().await.unwrap();
        s::set_standing(&mut transaction, ada, Some(false), None).await.unwrap();
        transaction.commit().await.unwrap();
        let nobody = s::new_id(at(0));
        let mut on = db.write().await.unwrap();
        assert!(!s::add_token_by_hand(&mut on, "third", ada, at(1), at(100)).await.unwrap());
        assert!(!s::add_token_by_hand(&mut on, "third", nobody, at(1), at(100)).await.unwrap());
    }
}

on_both_engines! {
    async fn an_import_adds_skips_and_takes_the_place_of_what_was_only_registered(db) {
        let imported = |email: &str| s::ImportedUser {
            id: s::new_id(at(5)),
            email: email.to_owned(),
            full_name: None,
            password_hash: "imported".to_owned(),
            is_verified: true,
            created_at: at(-9),
        };
        let ada = add_user(&db, "ada@example.com").await;
        let pending = s::new_id(at(0));
        let mut transaction = db.begin().await.unwrap();
        let registered = s::NewUser { id: pending, is_pending: true, ..new_user(pending, "grace@example.com") };
        s::register_pending(&mut transaction, &registered).await.unwrap();
        let joan = imported("joan@example.com");
        assert_eq!(s::import_user(&mut transaction, &joan).await.unwrap(), Some(joan.id));
        assert_eq!(s::import_user(&mut transaction, &imported("joan@example.com")).await.unwrap(), None);
        assert_eq!(s::import_user(&mut transaction, &imported("ada@example.com")).await.unwrap(), None);
        assert_eq!(s::import_user(&mut transaction, &imported("grace@example.com")).await.unwrap(), Some(pending));
        transaction.commit().await.unwrap();
        let mut on = db.read().await.unwrap();
        assert_eq!(s::find_user(&mut on, ada).await.unwrap().unwrap().password_hash, "hash-1");
        let grace = s::find_user(&mut on, pending).await.unwrap().unwrap();
        assert_eq!((grace.password_hash.as_str(), grace.password_version), ("imported", 2));
        assert!(grace.is_verified && !grace.is_pending && grace.full_name.is_none());
        let joan = s::find_user(&mut on, joan.id).await.unwrap().unwrap();
        assert_eq!((joan.created_at, joan.role, joan.is_active), (at(-9), UserRole::User, true));
    }
}
