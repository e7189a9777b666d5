//! `known_clients`

use stile::storage as s;

use crate::engines::{add_user, at, on_both_engines};

on_both_engines! {
    async fn only_the_newest_clients_are_remembered(db) {
        let user = add_user(&db, "ada@example.com").await;
        let mut on = db.write().await.unwrap();
        for (n, client) in ["a", "b", "c", "a", "d"].into_iter().enumerate() {
            s::remember_client(&mut on, user, client, at(n as i64), 3).await.unwrap();
        }
        assert_eq!(s::known_clients(&mut on, user).await.unwrap(), ["d", "a", "c"]);
    }
}

on_both_engines! {
    async fn a_client_of_a_user_who_is_gone_is_a_foreign_key_violation(db) {
        let mut on = db.write().await.unwrap();
        let error = s::remember_client(&mut on, s::new_id(at(0)), "a", at(0), 3).await.unwrap_err();
        assert!(error.is_foreign_key_violation());
    }
}

on_both_engines! {
    async fn clients_not_seen_for_long_are_forgotten(db) {
        let user = add_user(&db, "ada@example.com").await;
        s::remember_client(&mut db.write().await.unwrap(), user, "old", at(0), 3).await.unwrap();
        s::remember_client(&mut db.write().await.unwrap(), user, "new", at(1), 3).await.unwrap();
        let mut transaction = db.begin().await.unwrap();
        assert_eq!(s::sweep_known_clients(&mut transaction, at(0), 10).await.unwrap(), 1);
        transaction.commit().await.unwrap();
        assert_eq!(s::known_clients(&mut db.read().await.unwrap(), user).await.unwrap(), ["new"]);
    }
}
