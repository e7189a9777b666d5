//! The mail queue's worker.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use stile::storage;
use tokio_util::sync::CancellationToken;

use crate::databases::on_both_engines;
use crate::world::{EMAIL, World, caller};

on_both_engines! {
    /// RST-13, REL-01: a worker that died with a mail in hand has lost nothing.
    async fn a_mail_that_a_dead_worker_had_taken_is_sent_when_its_lease_ends(db) {
        let world = World::on(db, |_| {});
        world.register(EMAIL).await;
        world.mails(EMAIL).await;
        world.accounts.request_password_reset(EMAIL, &caller(1)).await.unwrap();
        let (now, lease) = (world.clock.now(), Duration::from_mins(2));
        let mut on = world.database.write().await.unwrap();
        storage::claim_mail(&mut on, now, now.plus(lease)).await.unwrap().unwrap();
        drop(on);
        let (restarted, _database) = world.second_process().await;
        assert_eq!(restarted.mail_queue().await.unwrap().total(), 1);
        world.advance(121);
        let token = world.token(EMAIL).await;
        assert!(world.accounts.preview_password_reset(&token).await.unwrap().is_some());
    }
}

on_both_engines! {
    /// RST-13: a transport that fails is tried again, later and later, and the request never knew.
    async fn a_mail_that_cannot_be_sent_is_tried_again_and_given_up_in_the_end(db) {
        let world = World::on(db, |_| {});
        world.register(EMAIL).await;
        world.mails(EMAIL).await;
        // A file where the folder should be.
        std::fs::remove_dir_all(&world.outbox).unwrap();
        std::fs::write(&world.outbox, "").unwrap();
        world.accounts.request_password_reset(EMAIL, &caller(1)).await.unwrap();
        let is_waiting = async || {
            let mut on = world.database.read().await.unwrap();
            !storage::is_mail_ready(&mut on, world.clock.now()).await.unwrap()
        };
        world.deliver_until(is_waiting).await;
        assert_eq!(world.accounts.mail_queue().await.unwrap().total(), 1);
        world.advance(6);
        std::fs::remove_file(&world.outbox).unwrap();
        let token = world.token(EMAIL).await;
        assert!(world.accounts.preview_password_reset(&token).await.unwrap().is_some());

        std::fs::remove_dir_all(&world.outbox).unwrap();
        std::fs::write(&world.outbox, "").unwrap();
        world.accounts.request_password_reset(EMAIL, &caller(1)).await.unwrap();
        let mut tries = 0;
        while world.accounts.mail_queue().await.unwrap().total() > 0 {
            world.deliver_until(is_waiting).await;
            world.advance(4 * 3600);
            tries += 1;
        }
        assert_eq!(tries, 10);
        std::fs::remove_file(&world.outbox).unwrap();
    }
}

on_both_engines! {
    /// Two processes share the queue: each mail leaves once, and each link but the newest of an account is dead.
    async fn two_processes_send_each_mail_once(db) {
        let world = World::on(db, |_| {});
        let (second_process, _database) = world.second_process().await;
        for n in 0..6 {
            world.register(&format!("u{n}@example.com")).await;
        }
        let stop = CancellationToken::new();
        let other = tokio::spawn({
            let (mailer, stop) = (world.mailer(), stop.clone());
            async move { second_process.run_delivery(mailer, stop).await }
        });
        for n in 0..24 {
            world.accounts.request_password_reset(&format!("u{}@example.com", n % 6), &caller(1)).await.unwrap();
        }
        world.mails("").await;
        stop.cancel();
        other.await.unwrap();
        for n in 0..6 {
            let mails = world.mails(&format!("u{n}@example.com")).await;
            assert_eq!(mails.len(), 5);
            let tokens: HashSet<_> = mails.iter().filter_map(|mail| mail.token.clone()).collect();
            assert_eq!(tokens.len(), 5);
            let mut good = 0;
            for token in tokens {
                good += usize::from(world.accounts.preview_password_reset(&token).await.unwrap().is_some());
            }
            assert_eq!(good, 1);
        }
    }
}

on_both_engines! {
    /// A mail leaves without waiting for the next look at the queue.
    async fn delivery_ends_when_it_is_told_to_and_finishes_what_it_has_in_hand(db) {
        let world = World::on(db, |_| {});
        let stop = CancellationToken::new();
        let delivery = tokio::spawn({
            let (accounts, mailer, stop) = (world.accounts.clone(), world.mailer(), stop.clone());
            async move { accounts.run_delivery(mailer, stop).await }
        });
        world.register(EMAIL).await;
        while world.accounts.mail_queue().await.unwrap().total() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
        delivery.await.unwrap();
        world.accounts.request_password_reset(EMAIL, &caller(1)).await.unwrap();
        assert_eq!(world.accounts.mail_queue().await.unwrap().total(), 1, "it has ended");
        assert_eq!(world.mails(EMAIL).await.len(), 2);
    }
}

on_both_engines! {
    async fn housekeeping_runs_until_it_is_told_to_end(db) {
        let world = World::on(db, |_| {});
        let stop = CancellationToken::new();
        let running = tokio::spawn({
            let (accounts, stop) = (world.accounts.clone(), stop.clone());
            async move { accounts.run_housekeeping(stop).await }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        stop.cancel();
        running.await.unwrap();
    }
}

/// REF-09: nothing that was issued stands in the database as it was issued.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_issued_token_stands_in_the_database_file() {
    let (settings, folder) = crate::databases::sqlite_settings();
    let folder = Arc::new(folder.unwrap());
    let world = World::on(crate::databases::open((settings, None)).await, |_| {});
    let (first, _) = world.user(EMAIL).await;
    let second = world
        .accounts
        .refresh(&first.refresh_token, &caller(1))
        .await
        .unwrap();
    world
        .accounts
        .request_password_reset(EMAIL, &caller(1))
        .await
        .unwrap();
    let mut issued: Vec<String> = world
        .mails(EMAIL)
        .await
        .into_iter()
        .filter_map(|mail| mail.token)
        .collect();
    for token in [&first.refresh_token, &second.refresh_token] {
        issued.extend(token.split('.').map(str::to_owned));
    }
    issued.extend([
        first.access_token,
        second.access_token,
        crate::world::PASSWORD.to_owned(),
    ]);
    let mut stored = Vec::new();
    for file in std::fs::read_dir(folder.path().join("data")).unwrap() {
        stored.extend(std::fs::read(file.unwrap().path()).unwrap());
    }
    assert!(
        stored
            .windows(EMAIL.len())
            .any(|window| window == EMAIL.as_bytes()),
        "the file was read"
    );
    for secret in issued {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let raw = URL_SAFE_NO_PAD
            .decode(&secret)
            .unwrap_or_else(|_| secret.clone().into_bytes());
        let hex = raw
            .iter()
            .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        for form in [secret.as_bytes(), &raw, hex.as_bytes()] {
            assert!(!stored.windows(form.len()).any(|window| window == form));
        }
    }
}
