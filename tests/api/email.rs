//! Proving an address: after registering, under `REQUIRE_EMAIL_VERIFICATION`, and when it changes.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::app::{Answer, Engine, Mail, PASSWORD, TestApp};
use crate::register::refusals;

const ADA: &str = "ada@example.com";
const NEW: &str = "new@example.com";
const FIRST: &str = "umbrella-zebra-quartz-41";
const SECOND: &str = "another-camel-window-77";

async fn strict(engine: Engine) -> TestApp {
    TestApp::on(engine)
        .set("REQUIRE_EMAIL_VERIFICATION", "true")
        .start()
        .await
}

async fn register(app: &TestApp, email: &str, password: &str) -> Answer {
    app.post("/auth/register", json!({"email": email, "password": password}))
        .await
}

async fn login(app: &TestApp, email: &str, password: &str) -> Answer {
    app.post("/auth/login", json!({"email": email, "password": password}))
        .await
}

async fn verify(app: &TestApp, mail: &Mail) -> Answer {
    app.post("/auth/verify-email", json!({"token": mail.token()}))
        .await
}

async fn resend(app: &TestApp, email: &str) -> Answer {
    app.post("/auth/resend-verification", json!({"email": email}))
        .await
}

async fn nth(app: &TestApp, email: &str, count: usize) -> Mail {
    app.mails(email, count).await.remove(count - 1)
}

async fn change(app: &TestApp, tokens: &Value, new_email: &str) -> Answer {
    let body = json!({"password": PASSWORD, "new_email": new_email});
    app.post("/auth/change-email", body)
        .bearer(&tokens["access_token"])
        .await
}

on_both_engines! {
    async fn the_link_of_a_registration_verifies_the_address_once(engine: Engine) {
        let app = TestApp::on(engine).set("FRONTEND_URL", "https://app.example").start().await;
        let tokens = app.signed_up(ADA).await;
        assert_eq!(tokens["user"]["is_verified"], false);
        let mail = nth(&app, ADA, 1).await;
        assert!(mail.link().starts_with("https://app.example/verify-email#token="), "{}", mail.link());
        let done = verify(&app, &mail).await.expect(200);
        assert!(done.body["message"].is_string() && done.body["detail"].is_string());
        let me = app.get("/auth/me").bearer(&tokens["access_token"]).await.expect(200);
        assert_eq!(me.body["is_verified"], true);
        let used = verify(&app, &mail).await.expect_problem(400, "invalid_verification_token");
        let made_up = app.post("/auth/verify-email", json!({"token": "A".repeat(43)})).await;
        assert_eq!(used.fingerprint(), made_up.fingerprint());
    }
}

on_both_engines! {
    async fn a_verification_link_lives_a_day(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        for (email, seconds, status) in [(ADA, 24 * 3600 - 1, 200), (NEW, 24 * 3600, 400)] {
            register(&app, email, PASSWORD).await.expect(201);
            let mail = nth(&app, email, 1).await;
            app.until_no_mail_waits().await;
            app.advance(Duration::from_secs(seconds));
            verify(&app, &mail).await.expect(status);
        }
    }
}

on_both_engines! {
    async fn of_many_at_once_with_one_link_one_verifies(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        register(&app, ADA, PASSWORD).await.expect(201);
        let mail = nth(&app, ADA, 1).await;
        let answers = join_all((0..20).map(|_| verify(&app, &mail))).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
        assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 400)));
    }
}

on_both_engines! {
    async fn asking_for_the_link_again_never_shows_whether_there_is_an_account(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        register(&app, ADA, PASSWORD).await.expect(201);
        register(&app, NEW, PASSWORD).await.expect(201);
        let first = nth(&app, ADA, 1).await;
        verify(&app, &nth(&app, NEW, 1).await).await.expect(200);
        let waiting = resend(&app, ADA).await.expect(200);
        for other in [NEW, "nobody@example.com"] {
            assert_eq!(resend(&app, other).await.fingerprint(), waiting.fingerprint());
        }
        let second = nth(&app, ADA, 2).await;
        app.until_no_mail_waits().await;
        assert_eq!((app.mails_now(NEW).len(), app.mails_now("nobody@example.com").len()), (1, 0));
        // Both links prove the same mailbox.
        verify(&app, &second).await.expect(200);
        verify(&app, &first).await.expect(200);
    }
}

on_both_engines! {
    /// Contract, 3.1: status, headers and body byte for byte; the time is compared in tests/timing.
    async fn under_verification_a_taken_address_answers_like_a_new_one(engine: Engine) {
        let app = strict(engine).await;
        let new = register(&app, ADA, PASSWORD).await.expect(202);
        assert_eq!(new.header("content-type"), Some("application/json; charset=utf-8"));
        assert_eq!(new.body.as_object().unwrap().len(), 2);
        verify(&app, &nth(&app, ADA, 1).await).await.expect(200);
        // Verified; waiting; unknown; inactive.
        register(&app, "waiting@example.com", PASSWORD).await.expect(202);
        register(&app, "gone@example.com", PASSWORD).await.expect(202);
        verify(&app, &nth(&app, "gone@example.com", 1).await).await.expect(200);
        app.deactivate("gone@example.com").await;
        for email in [ADA, "waiting@example.com", "fresh@example.com", "gone@example.com"] {
            assert_eq!(register(&app, email, FIRST).await.fingerprint(), new.fingerprint(), "{email}");
        }
        // What is wrong with the request is told alike, too.
        let refused = register(&app, ADA, "short").await.expect_problem(422, "validation_failed");
        assert_eq!(register(&app, "fresh@example.com", "short").await.fingerprint(), refused.fingerprint());
        // The owner is told, gets no link, and nothing of his has changed.
        let notice = nth(&app, ADA, 2).await;
        assert!(!notice.text.contains("#token="), "{}", notice.text);
        login(&app, ADA, FIRST).await.expect_problem(401, "invalid_credentials");
        login(&app, ADA, PASSWORD).await.expect(200);
        let count = app.sql_texts(&format!("SELECT id FROM users WHERE email = '{ADA}'")).await.len();
        assert_eq!(count, 1);
    }
}

on_both_engines! {
    async fn an_unverified_account_is_told_so_after_the_right_password_alone(engine: Engine) {
        let app = strict(engine).await;
        register(&app, ADA, PASSWORD).await.expect(202);
        let wrong = login(&app, ADA, FIRST).await.expect_problem(401, "invalid_credentials");
        assert_eq!(login(&app, "nobody@example.com", FIRST).await.fingerprint(), wrong.fingerprint());
        login(&app, ADA, PASSWORD).await.expect_problem(403, "email_not_verified");
        assert_eq!(app.sql_texts("SELECT id FROM sessions").await.len(), 0);
        verify(&app, &nth(&app, ADA, 1).await).await.expect(200);
        let tokens = login(&app, ADA, PASSWORD).await.expect(200).body;
        assert_eq!(tokens["user"]["is_verified"], true);
    }
}

on_both_engines! {
    /// Contract, 3.1: the password that counts is that of the registration whose link is used.
    async fn each_pending_registration_is_made_real_by_its_own_link(engine: Engine) {
        for (used, password, name, other) in [(0, FIRST, "Ada", SECOND), (1, SECOND, "Mallory", FIRST)] {
            let app = strict(engine).await;
            for (password, name) in [(FIRST, "Ada"), (SECOND, "Mallory")] {
                let body = json!({"email": ADA, "password": password, "full_name": name});
                app.post("/auth/register", body).await.expect(202);
            }
            let mut mails = app.mails(ADA, 2).await;
            app.until_no_mail_waits().await;
            // Until then the newest is what waits.
            login(&app, ADA, SECOND).await.expect_problem(403, "email_not_verified");
            login(&app, ADA, FIRST).await.expect(401);
            let by_password = mail_of(&app, &mails).await;
            mails.swap(0, by_password);
            verify(&app, &mails[used]).await.expect(200);
            login(&app, ADA, other).await.expect_problem(401, "invalid_credentials");
            let tokens = login(&app, ADA, password).await.expect(200).body;
            assert_eq!(tokens["user"]["full_name"], name);
            // The account is somebody's now: the other link is void.
            verify(&app, &mails[1 - used]).await.expect_problem(400, "invalid_verification_token");
            login(&app, ADA, password).await.expect(200);
        }
    }
}

/// Which of two mails belongs to the registration with the password FIRST. The clock stands still, so both were
/// asked for at the same moment and may have left in either order.
async fn mail_of(app: &TestApp, mails: &[Mail]) -> usize {
    use stile::credentials::SecretToken;
    let first = "SELECT token_hash FROM one_time_tokens WHERE full_name = 'Ada'";
    let hash = app.sql_texts(first).await.remove(0);
    let is_it = |mail: &Mail| SecretToken::parse(&mail.token()).unwrap().hash().as_str() == hash;
    mails.iter().position(is_it).unwrap()
}

on_both_engines! {
    /// Sent again, the link is good for what was registered last at that moment, not for what comes after.
    async fn a_link_sent_again_is_for_the_registration_of_that_moment(engine: Engine) {
        let app = strict(engine).await;
        register(&app, ADA, FIRST).await.expect(202);
        nth(&app, ADA, 1).await;
        resend(&app, ADA).await.expect(200);
        let again = nth(&app, ADA, 2).await;
        app.until_no_mail_waits().await;
        register(&app, ADA, SECOND).await.expect(202);
        verify(&app, &again).await.expect(200);
        login(&app, ADA, SECOND).await.expect(401);
        login(&app, ADA, FIRST).await.expect(200);
    }
}

on_both_engines! {
    /// Contract, 3.1: a completed reset verifies too, and ends what was pending.
    async fn a_reset_verifies_a_pending_account_and_voids_its_links(engine: Engine) {
        let app = strict(engine).await;
        register(&app, ADA, FIRST).await.expect(202);
        let verification = nth(&app, ADA, 1).await;
        app.post("/auth/password-reset/request", json!({"email": ADA})).await.expect(200);
        let reset = nth(&app, ADA, 2).await;
        let body = json!({"token": reset.token(), "new_password": SECOND});
        app.post("/auth/password-reset/confirm", body).await.expect(200);
        login(&app, ADA, SECOND).await.expect(200);
        verify(&app, &verification).await.expect_problem(400, "invalid_verification_token");
        login(&app, ADA, FIRST).await.expect(401);
        // Registering it anew is registering a taken address.
        register(&app, ADA, FIRST).await.expect(202);
        app.until_no_mail_waits().await;
        login(&app, ADA, SECOND).await.expect(200);
    }
}

on_both_engines! {
    /// Registered before verification was required, used, never proven: who proves the mailbox gets the account,
    /// and the sessions of who could not end.
    async fn an_account_used_unverified_belongs_to_who_proves_the_mailbox(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let squatter = app.signed_up(ADA).await;
        let mut app = app;
        app.set("REQUIRE_EMAIL_VERIFICATION", "true");
        app.restart().await;
        login(&app, ADA, PASSWORD).await.expect_problem(403, "email_not_verified");
        register(&app, ADA, FIRST).await.expect(202);
        // Nothing changes by asking.
        login(&app, ADA, PASSWORD).await.expect_problem(403, "email_not_verified");
        verify(&app, &nth(&app, ADA, 2).await).await.expect(200);
        login(&app, ADA, PASSWORD).await.expect(401);
        login(&app, ADA, FIRST).await.expect(200);
        app.get("/auth/me").bearer(&squatter["access_token"]).await.expect_problem(401, "token_invalid");
    }
}

on_both_engines! {
    async fn registrations_of_one_address_race_and_one_account_is_left(engine: Engine) {
        let app = strict(engine).await;
        let elsewhere = app.second_instance().await;
        let passwords: Vec<String> = (0..20).map(|n| format!("zebra-umbrella-quartz-{n}")).collect();
        let attempts = passwords.iter().enumerate().map(|(n, password)| {
            let address = if n % 2 == 0 { app.address } else { elsewhere };
            let body = json!({"email": ADA, "password": password, "full_name": format!("Ada {n}")});
            app.post("/auth/register", body).at(address).send()
        });
        for answer in join_all(attempts).await {
            answer.expect(202);
        }
        assert_eq!(app.sql_texts("SELECT email FROM users").await, [ADA]);
        let mails = app.mails(ADA, 20).await;
        let answers = join_all(mails.iter().map(|mail| verify(&app, mail))).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
        let mut good = 0;
        for password in &passwords {
            good += usize::from(login(&app, ADA, password).await.status == 200);
        }
        assert_eq!(good, 1);
    }
}

on_both_engines! {
    async fn a_new_address_takes_effect_by_its_link(engine: Engine) {
        let app = TestApp::on(engine).set("FRONTEND_URL", "https://app.example").start().await;
        let ours = app.signed_up(ADA).await;
        let theirs = app.logged_in(ADA, PASSWORD).await;
        app.until_no_mail_waits().await;
        let answer = change(&app, &ours, " New@Example.com ").await.expect(200);
        assert!(answer.body["message"].is_string() && answer.body["detail"].is_string());
        let link = nth(&app, NEW, 1).await;
        assert!(link.link().starts_with("https://app.example/verify-email#token="), "{}", link.link());
        let started = nth(&app, ADA, 2).await;
        assert!(!started.text.contains("#token="), "{}", started.text);
        // Nothing has changed yet.
        let me = app.get("/auth/me").bearer(&ours["access_token"]).await.expect(200).body;
        assert_eq!((&me["email"], &me["is_verified"]), (&json!(ADA), &json!(false)));
        app.get("/auth/me").bearer(&theirs["access_token"]).await.expect(200);
        verify(&app, &link).await.expect(200);
        let me = app.get("/auth/me").bearer(&ours["access_token"]).await.expect(200).body;
        assert_eq!((&me["email"], &me["is_verified"]), (&json!(NEW), &json!(true)));
        app.get("/auth/me").bearer(&theirs["access_token"]).await.expect_problem(401, "token_invalid");
        app.post("/auth/refresh", json!({"refresh_token": ours["refresh_token"]})).await.expect(200);
        login(&app, ADA, PASSWORD).await.expect(401);
        login(&app, NEW, PASSWORD).await.expect(200);
        let done = nth(&app, ADA, 3).await;
        assert!(!done.text.contains("#token=") && done.subject != started.subject);
        verify(&app, &link).await.expect_problem(400, "invalid_verification_token");
        // The old address is free.
        register(&app, ADA, FIRST).await.expect(201);
    }
}

on_both_engines! {
    async fn changing_to_a_taken_address_answers_alike_and_changes_nothing(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let ours = app.signed_up(ADA).await;
        app.signed_up("grace@example.com").await;
        let free = change(&app, &ours, NEW).await.expect(200);
        let taken = change(&app, &ours, "Grace@example.com").await;
        assert_eq!(taken.fingerprint(), free.fingerprint());
        let notice = nth(&app, "grace@example.com", 2).await;
        assert!(!notice.text.contains("#token=") && !notice.text.contains(ADA), "{}", notice.text);
        login(&app, "grace@example.com", PASSWORD).await.expect(200);
    }
}

on_both_engines! {
    async fn an_address_that_was_taken_meanwhile_stays_its_owners(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let ours = app.signed_up(ADA).await;
        change(&app, &ours, NEW).await.expect(200);
        let link = nth(&app, NEW, 1).await;
        app.until_no_mail_waits().await;
        register(&app, NEW, FIRST).await.expect(201);
        verify(&app, &link).await.expect_problem(400, "invalid_verification_token");
        login(&app, NEW, FIRST).await.expect(200);
        login(&app, ADA, PASSWORD).await.expect(200);
    }
}

on_both_engines! {
    /// An address that is only pending belongs to who proves it first.
    async fn a_pending_registration_does_not_hold_an_address_against_its_owner(engine: Engine) {
        let app = strict(engine).await;
        register(&app, ADA, PASSWORD).await.expect(202);
        verify(&app, &nth(&app, ADA, 1).await).await.expect(200);
        let ours = app.logged_in(ADA, PASSWORD).await;
        register(&app, NEW, FIRST).await.expect(202);
        let pending = nth(&app, NEW, 1).await;
        change(&app, &ours, NEW).await.expect(200);
        let link = nth(&app, NEW, 2).await;
        verify(&app, &link).await.expect(200);
        verify(&app, &pending).await.expect_problem(400, "invalid_verification_token");
        login(&app, NEW, FIRST).await.expect(401);
        login(&app, NEW, PASSWORD).await.expect(200);
    }
}

on_both_engines! {
    async fn two_accounts_race_for_one_address(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        for round in 0..if crate::app::long() { 30 } else { 5 } {
            let wanted = format!("wanted{round}@example.com");
            let mut owners = Vec::new();
            for name in ["ada", "grace", "joan"] {
                let email = format!("{name}{round}@example.com");
                let tokens = app.signed_up(&email).await;
                change(&app, &tokens, &wanted).await.expect(200);
                owners.push((email, tokens));
            }
            let links = app.mails(&wanted, 3).await;
            app.until_no_mail_waits().await;
            let register = register(&app, &wanted, FIRST);
            let verify = join_all(links.iter().map(|link| verify(&app, link)));
            let (registered, verified) = futures_util::future::join(register, verify).await;
            let won = verified.iter().filter(|answer| answer.status == 200).count();
            let registered = usize::from(registered.status == 201);
            assert_eq!(won + registered, 1);
            assert!(verified.iter().all(|answer| matches!(answer.status, 200 | 400)));
            let holders = app.sql_texts(&format!("SELECT id FROM users WHERE email = '{wanted}'")).await;
            assert_eq!(holders.len(), 1);
        }
    }
}

on_both_engines! {
    /// Only the newest link, only while the password is the same, and no reset link of the old address after it.
    async fn a_link_for_a_new_address_is_void_when_it_should_be(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let ours = app.signed_up(ADA).await;
        change(&app, &ours, NEW).await.expect(200);
        let first = nth(&app, NEW, 1).await;
        app.until_no_mail_waits().await;
        change(&app, &ours, "newer@example.com").await.expect(200);
        let second = nth(&app, "newer@example.com", 1).await;
        app.post("/auth/password-reset/request", json!({"email": ADA})).await.expect(200);
        app.until_no_mail_waits().await;
        verify(&app, &first).await.expect_problem(400, "invalid_verification_token");
        let reset = app.mails_now(ADA).into_iter().find(|mail| mail.text.contains("reset-password#")).unwrap();
        verify(&app, &second).await.expect(200);
        let body = json!({"token": reset.token(), "new_password": FIRST});
        app.post("/auth/password-reset/confirm", body).await.expect_problem(400, "invalid_reset_token");
        // Who wins the account back by a new password is safe from a change that was begun before.
        change(&app, &ours, NEW).await.expect(200);
        let third = nth(&app, NEW, 2).await;
        app.until_no_mail_waits().await;
        let new = json!({"current_password": PASSWORD, "new_password": FIRST});
        app.post("/auth/change-password", new).bearer(&ours["access_token"]).await.expect(200);
        verify(&app, &third).await.expect_problem(400, "invalid_verification_token");
        login(&app, "newer@example.com", FIRST).await.expect(200);
    }
}

on_both_engines! {
    async fn a_change_of_address_needs_a_password_and_an_address(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let ours = app.signed_up(ADA).await;
        let ask = |body: Value| app.post("/auth/change-email", body).bearer(&ours["access_token"]).send();
        let wrong = ask(json!({"password": "wrong-password-1", "new_email": NEW})).await;
        assert_eq!(refusals(&wrong.expect_problem(422, "validation_failed")), [("/current_password", "wrong_password")]);
        let malformed = ask(json!({"password": PASSWORD, "new_email": "a@b@c.com"})).await;
        assert_eq!(refusals(&malformed.expect_problem(422, "validation_failed")), [("/new_email", "invalid_email")]);
        ask(json!({"password": PASSWORD})).await.expect_problem(422, "validation_failed");
        app.post("/auth/change-email", json!({"password": PASSWORD, "new_email": NEW}))
            .await
            .expect_problem(401, "not_authenticated");
        app.until_no_mail_waits().await;
        assert_eq!(app.mails_now(NEW).len(), 0);
    }
}
