//! `api_tokens`

use std::net::{IpAddr, Ipv4Addr};

use stile::clock::Timestamp;
use stile::storage::{self as s, ApiTokenAdded, ApiTokenTerms, ApiTokenUse, Database, NewApiToken};
use uuid::Uuid;

use crate::engines::{add_user, at, on_both_engines, race};

const IP: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn terms(name: &str) -> ApiTokenTerms<'_> {
    ApiTokenTerms {
        name,
        scopes: "read:* write:things",
        quota: [Some(0), None, Some(7)],
        expires_at: Some(at(500)),
    }
}

async fn add(db: &Database, user_id: Uuid, hash: &str, now: Timestamp, most: i64) -> (Uuid, ApiTokenAdded) {
    let token = NewApiToken {
        id: s::new_id(now),
        user_id,
        prefix: "stile_abcdef",
        secret_hash: hash,
        terms: terms("ci"),
        created_at: now,
    };
    let mut transaction = db.begin().await.unwrap();
    let added = s::add_api_token(&mut transaction, &token, most).await.unwrap();
    transaction.commit().await.unwrap();
    (token.id, added)
}

on_both_engines! {
    async fn a_token_is_found_by_its_secret_and_by_its_owner_alone(db) {
        let (ada, bob) = (add_user(&db, "ada@x.org").await, add_user(&db, "bob@x.org").await);
        let (id, added) = add(&db, ada, "hash-1", at(1), 5).await;
        assert_eq!(added, ApiTokenAdded::Added);
        let mut on = db.read().await.unwrap();
        let found = s::find_api_token_by_secret(&mut on, "hash-1").await.unwrap().unwrap();
        assert_eq!((found.token.id, found.token.user_id, found.is_active), (id, ada, true));
        assert_eq!(found.token.scopes, "read:* write:things");
        assert_eq!(
            (found.token.per_minute, found.token.per_hour, found.token.per_day),
            (Some(0), None, Some(7))
        );
        assert_eq!((found.token.expires_at, found.token.version), (Some(at(500)), 1));
        assert!(s::find_api_token_by_secret(&mut on, "hash-2").await.unwrap().is_none());
        assert!(s::find_api_token(&mut on, ada, id).await.unwrap().is_some());
        assert!(s::find_api_token(&mut on, bob, id).await.unwrap().is_none());
        assert_eq!(s::api_tokens_of_user(&mut on, ada).await.unwrap().len(), 1);
        assert_eq!(s::api_tokens_of_user(&mut on, bob).await.unwrap().len(), 0);
        drop(on);
        let (_, nobody) = add(&db, Uuid::nil(), "hash-3", at(1), 5).await;
        assert_eq!(nobody, ApiTokenAdded::NoOwner);
    }
}

on_both_engines! {
    /// The cap holds however many are made at once.
    async fn of_many_made_at_once_exactly_the_cap_are_there(db) {
        let ada = add_user(&db, "ada@x.org").await;
        let database = db.database.clone();
        let results = race(24, move |n| {
            let database = database.clone();
            async move { add(&database, ada, &format!("hash-{n}"), at(1), 7).await.1 }
        })
        .await;
        assert_eq!(results.iter().filter(|added| **added == ApiTokenAdded::Added).count(), 7);
        assert_eq!(results.iter().filter(|added| **added == ApiTokenAdded::AtCap).count(), 17);
    }
}

on_both_engines! {
    async fn every_change_raises_the_version_and_a_revoked_token_cannot_change(db) {
        let (ada, bob) = (add_user(&db, "ada@x.org").await, add_user(&db, "bob@x.org").await);
        let (id, _) = add(&db, ada, "hash-1", at(1), 5).await;
        let mut on = db.write().await.unwrap();
        let changed = s::change_api_token(&mut on, id, 1, &terms("other")).await.unwrap().unwrap();
        assert_eq!((changed.id, changed.version), (id, 2));
        assert!(s::change_api_token(&mut on, id, 1, &terms("late")).await.unwrap().is_none());
        assert!(s::rotate_api_token(&mut on, bob, id, "p", "hash-9").await.unwrap().is_none());
        let rotated = s::rotate_api_token(&mut on, ada, id, "p", "hash-2").await.unwrap().unwrap();
        assert_eq!(rotated.version, 3);
        assert!(s::find_api_token_by_secret(&mut on, "hash-1").await.unwrap().is_none());
        assert!(s::revoke_api_token(&mut on, bob, id, at(5), at(9)).await.unwrap().is_none());
        let revoked = s::revoke_api_token(&mut on, ada, id, at(5), at(9)).await.unwrap().unwrap();
        assert_eq!(revoked.version, 4);
        assert!(s::revoke_api_token(&mut on, ada, id, at(6), at(9)).await.unwrap().is_none());
        assert!(s::rotate_api_token(&mut on, ada, id, "p", "hash-3").await.unwrap().is_none());
        assert!(s::change_api_token(&mut on, id, 4, &terms("x")).await.unwrap().is_none());
        let row = s::find_api_token(&mut on, ada, id).await.unwrap().unwrap();
        assert_eq!(row.revoked_at, Some(at(5)));
    }
}

on_both_engines! {
    async fn a_revoked_token_counts_until_its_day_is_over(db) {
        let ada = add_user(&db, "ada@x.org").await;
        let (id, _) = add(&db, ada, "hash-1", at(1), 1).await;
        assert_eq!(add(&db, ada, "hash-2", at(2), 1).await.1, ApiTokenAdded::AtCap);
        s::revoke_api_token(&mut db.write().await.unwrap(), ada, id, at(3), at(1000)).await.unwrap();
        assert_eq!(add(&db, ada, "hash-2", at(4), 1).await.1, ApiTokenAdded::AtCap);
        s::set_api_token_counts_until(&mut db.write().await.unwrap(), id, at(5)).await.unwrap();
        assert_eq!(add(&db, ada, "hash-2", at(5), 1).await.1, ApiTokenAdded::Added);
        let mut on = db.write().await.unwrap();
        assert_eq!(s::sweep_api_tokens(&mut on, at(3), 9).await.unwrap(), 0);
        assert_eq!(s::sweep_api_tokens(&mut on, at(6), 9).await.unwrap(), 1);
    }
}

on_both_engines! {
    async fn long_revoked_tokens_are_forgotten_a_few_at_a_time(db) {
        let ada = add_user(&db, "ada@x.org").await;
        for hash in ["hash-1", "hash-2", "hash-3"] {
            let (id, _) = add(&db, ada, hash, at(1), 9).await;
            s::revoke_api_token(&mut db.write().await.unwrap(), ada, id, at(2), at(3)).await.unwrap();
        }
        let mut on = db.write().await.unwrap();
        for forgotten in [2, 1, 0] {
            assert_eq!(s::sweep_api_tokens(&mut on, at(9), 2).await.unwrap(), forgotten);
        }
    }
}

on_both_engines! {
    async fn uses_add_up_and_of_a_day_window_the_most_counts(db) {
        let ada = add_user(&db, "ada@x.org").await;
        let (id, _) = add(&db, ada, "hash-1", at(1), 5).await;
        let used = |count, last: i64, day: Option<(i64, i64)>| ApiTokenUse {
            id,
            count,
            last_at: at(last),
            last_ip: IP,
            day: day.map(|(used, ends)| (used, at(ends))),
        };
        let cases = [
            (used(3, 10, Some((3, 100))), (3, 10, 3, 100)),
            (used(2, 9, Some((2, 100))), (5, 10, 3, 100)),
            (used(1, 11, None), (6, 11, 3, 100)),
            (used(4, 12, Some((9, 100))), (10, 12, 9, 100)),
            (used(1, 120, Some((1, 200))), (11, 120, 1, 200)),
            (used(1, 99, Some((10, 100))), (12, 120, 1, 200)),
        ];
        for (used, (count, last, day_used, day_ends)) in cases {
            let mut transaction = db.begin().await.unwrap();
            s::record_api_token_uses(&mut transaction, &[used]).await.unwrap();
            transaction.commit().await.unwrap();
            let row = s::find_api_token(&mut db.read().await.unwrap(), ada, id).await.unwrap().unwrap();
            assert_eq!((row.request_count, row.last_used_at), (count, Some(at(last))));
            assert_eq!((row.day_used, row.day_ends_at), (day_used, at(day_ends)));
            assert_eq!(row.last_used_ip.as_deref(), Some("127.0.0.1"));
        }
        s::forget_api_token_day(&mut db.write().await.unwrap(), id).await.unwrap();
        let row = s::find_api_token(&mut db.read().await.unwrap(), ada, id).await.unwrap().unwrap();
        assert_eq!((row.day_used, row.day_ends_at, row.request_count), (0, Timestamp::from_millis(0), 12));
    }
}

on_both_engines! {
    /// Writers of one batch each, over the same tokens, neither lose a use nor wait for each other in a circle.
    async fn batches_written_at_once_lose_nothing(db) {
        let ada = add_user(&db, "ada@x.org").await;
        let mut ids = Vec::new();
        for n in 0..10 {
            ids.push(add(&db, ada, &format!("hash-{n}"), at(1 + n), 50).await.0);
        }
        let (database, tokens) = (db.database.clone(), ids.clone());
        race(8, move |n| {
            let (database, mut tokens) = (database.clone(), tokens.clone());
            async move {
                tokens.rotate_left(n);
                let uses: Vec<_> = tokens
                    .into_iter()
                    .map(|id| ApiTokenUse { id, count: 1, last_at: at(2), last_ip: IP, day: None })
                    .collect();
                let mut transaction = database.begin().await.unwrap();
                s::record_api_token_uses(&mut transaction, &uses).await.unwrap();
                transaction.commit().await.unwrap();
            }
        })
        .await;
        for row in s::api_tokens_of_user(&mut db.read().await.unwrap(), ada).await.unwrap() {
            assert_eq!(row.request_count, 8);
        }
    }
}

on_both_engines! {
    async fn what_ends_all_tokens_of_a_user_answers_their_versions(db) {
        let (ada, bob) = (add_user(&db, "ada@x.org").await, add_user(&db, "bob@x.org").await);
        let (first, _) = add(&db, ada, "hash-1", at(1), 5).await;
        let (second, _) = add(&db, ada, "hash-2", at(2), 5).await;
        add(&db, bob, "hash-3", at(2), 5).await;
        let mut transaction = db.begin().await.unwrap();
        let voided = s::void_api_tokens_of_user(&mut transaction, ada).await.unwrap();
        assert!(voided.len() == 2 && voided.iter().all(|token| token.version == 2));
        let ended = s::revoke_api_tokens_of_user(&mut transaction, ada, at(3), at(9)).await.unwrap();
        assert!(ended.len() == 2 && ended.iter().all(|token| token.version == 3));
        transaction.commit().await.unwrap();
        let mut transaction = db.begin().await.unwrap();
        let mut gone = s::delete_user(&mut transaction, ada, Some(1)).await.unwrap().unwrap();
        transaction.commit().await.unwrap();
        gone.sort();
        assert_eq!(gone, [first, second]);
        assert!(s::find_api_token_by_secret(&mut db.read().await.unwrap(), "hash-3").await.unwrap().is_some());
    }
}

on_both_engines! {
    async fn everybodys_tokens_are_read_page_by_page_and_any_one_by_its_id(db) {
        let (ada, bob) = (add_user(&db, "ada@x.org").await, add_user(&db, "bob@x.org").await);
        let mut ids = Vec::new();
        for n in 0..5 {
            let owner = if n == 3 { bob } else { ada };
            ids.push(add(&db, owner, &format!("hash-{n}"), at(n), 9).await.0);
        }
        ids.reverse();
        let mut on = db.read().await.unwrap();
        let mut seen = Vec::new();
        let mut before = Uuid::max();
        loop {
            let page = s::owned_tokens_before(&mut on, before, None, 2).await.unwrap();
            let Some(last) = page.last() else { break };
            before = last.token.id;
            seen.extend(page.iter().map(|owned| owned.token.id));
        }
        assert_eq!(seen, ids, "the newest first, each once");
        let bobs = s::owned_tokens_before(&mut on, Uuid::max(), Some(bob), 9).await.unwrap();
        assert_eq!(bobs.len(), 1);
        assert_eq!((bobs[0].token.id, &*bobs[0].email, bobs[0].is_active), (ids[1], "bob@x.org", true));
        let found = s::find_owned_token(&mut on, ids[0]).await.unwrap().unwrap();
        assert_eq!((found.token.user_id, &*found.email), (ada, "ada@x.org"));
        assert!(s::find_owned_token(&mut on, Uuid::nil()).await.unwrap().is_none());
    }
}
