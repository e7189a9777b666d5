//! Refreshing: rotation, reuse, grace, and how long a session lives.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::app::{Answer, Engine, PASSWORD, TestApp, long};

const ADA: &str = "ada@example.com";

async fn refresh(app: &TestApp, token: &Value) -> Answer {
    refresh_at(app, app.address, token).await
}

async fn refresh_at(app: &TestApp, address: SocketAddr, token: &Value) -> Answer {
    app.post("/auth/refresh", json!({"refresh_token": token}))
        .at(address)
        .await
}

/// The refresh token of a good answer.
fn token(answer: Answer) -> Value {
    answer.expect(200).body["refresh_token"].clone()
}

on_both_engines! {
    async fn a_refresh_gives_a_successor_in_the_same_session(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let first = app.signed_up(ADA).await;
        app.advance(Duration::from_mins(20));
        app.get("/auth/me").bearer(&first["access_token"]).await.expect_problem(401, "token_expired");
        let second = refresh(&app, &first["refresh_token"]).await.expect(200).body;
        assert_eq!(second.as_object().unwrap().len(), 7);
        assert_eq!((&second["session_id"], &second["user"]), (&first["session_id"], &first["user"]));
        assert_eq!((&second["token_type"], &second["expires_in"]), (&json!("bearer"), &json!(900)));
        assert_ne!(second["refresh_token"], first["refresh_token"]);
        app.get("/auth/me").bearer(&second["access_token"]).await.expect(200);
    }
}

on_both_engines! {
    /// REF-01
    async fn a_reused_token_ends_its_session_and_no_other(engine: Engine) {
        let app = TestApp::on(engine).set("REFRESH_REUSE_GRACE_SECONDS", "0").start().await;
        let first = app.signed_up(ADA).await;
        let other = app.logged_in(ADA, PASSWORD).await;
        let second = refresh(&app, &first["refresh_token"]).await.expect(200).body;
        refresh(&app, &first["refresh_token"]).await.expect_problem(401, "refresh_token_reused");
        refresh(&app, &second["refresh_token"]).await.expect_problem(401, "invalid_refresh_token");
        app.get("/auth/me").bearer(&second["access_token"]).await.expect_problem(401, "token_invalid");
        app.get("/auth/me").bearer(&other["access_token"]).await.expect(200);
        let reasons = app.sql_texts("SELECT end_reason FROM sessions WHERE ended_at IS NOT NULL").await;
        assert_eq!(reasons, ["refresh_reuse"]);
        app.audited("refresh_reuse", "session_ended").await;
        refresh(&app, &other["refresh_token"]).await.expect(200);
    }
}

on_both_engines! {
    /// Contract, 3.3: the immediate predecessor alone, the very same successor, and a replay does not prolong it.
    async fn within_the_grace_the_predecessor_gets_the_very_same_successor(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let first = app.signed_up(ADA).await["refresh_token"].clone();
        let second = token(refresh(&app, &first).await);
        for _ in 0..3 {
            app.advance(Duration::from_secs(3));
            let replay = refresh(&app, &first).await.expect(200).body;
            assert_eq!(replay["refresh_token"], second);
            app.get("/auth/me").bearer(&replay["access_token"]).await.expect(200);
        }
        app.advance(Duration::from_secs(1));
        refresh(&app, &first).await.expect_problem(401, "refresh_token_reused");
        refresh(&app, &second).await.expect_problem(401, "invalid_refresh_token");
    }
}

on_both_engines! {
    async fn older_than_the_immediate_predecessor_is_reuse_within_the_grace_too(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let first = app.signed_up(ADA).await["refresh_token"].clone();
        let second = token(refresh(&app, &first).await);
        let third = token(refresh(&app, &second).await);
        assert_eq!(token(refresh(&app, &second).await), third);
        refresh(&app, &first).await.expect_problem(401, "refresh_token_reused");
        for dead in [&second, &first] {
            refresh(&app, dead).await.expect_problem(401, "refresh_token_reused");
        }
        refresh(&app, &third).await.expect_problem(401, "invalid_refresh_token");
    }
}

on_both_engines! {
    async fn the_grace_holds_after_a_restart_and_in_another_process(engine: Engine) {
        let mut app = TestApp::on(engine).start().await;
        let first = app.signed_up(ADA).await["refresh_token"].clone();
        let second = token(refresh(&app, &first).await);
        let elsewhere = app.second_instance().await;
        assert_eq!(token(refresh_at(&app, elsewhere, &first).await), second);
        app.restart().await;
        assert_eq!(token(refresh(&app, &first).await), second);
        let third = token(refresh(&app, &second).await);
        assert_eq!(token(refresh(&app, &second).await), third);
    }
}

on_both_engines! {
    /// Contract, 3.3: unless the session was logged out; and the sealed successor is erased.
    async fn the_grace_ends_with_the_session_and_its_secret_is_erased_in_time(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let sealed = "SELECT successor_sealed FROM sessions WHERE successor_sealed IS NOT NULL";
        let first = app.signed_up(ADA).await["refresh_token"].clone();
        let second = token(refresh(&app, &first).await);
        assert_eq!(app.sql_texts(sealed).await.len(), 1);
        app.post("/auth/logout", json!({"refresh_token": second})).await.expect(200);
        assert_eq!(app.sql_texts(sealed).await.len(), 0);
        for dead in [&first, &second] {
            refresh(&app, dead).await.expect_problem(401, "invalid_refresh_token");
        }
        let third = app.logged_in(ADA, PASSWORD).await["refresh_token"].clone();
        let fourth = token(refresh(&app, &third).await);
        assert_eq!(app.sql_texts(sealed).await.len(), 1);
        app.advance(Duration::from_secs(10));
        app.app.accounts.sweep().await.unwrap();
        assert_eq!(app.sql_texts(sealed).await.len(), 0);
        refresh(&app, &fourth).await.expect(200);
    }
}

/// `rounds` times: fifty at once with the same token, at all of `addresses` in turn.
async fn race(app: &TestApp, addresses: &[SocketAddr], rounds: usize, grace: bool) {
    let login = json!({"email": ADA, "password": PASSWORD});
    app.post("/auth/register", login).await.expect(201);
    for _ in 0..rounds {
        let token = app.logged_in(ADA, PASSWORD).await["refresh_token"].clone();
        let attempts = (0..50).map(|n| refresh_at(app, addresses[n % addresses.len()], &token));
        let answers = join_all(attempts).await;
        let (good, bad): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
        for answer in &bad {
            assert_eq!(
                (answer.status, answer.body["code"].as_str()),
                (401, Some("refresh_token_reused")),
                "{}",
                answer.text
            );
        }
        let successor = &good.first().expect("one wins").body["refresh_token"];
        if grace {
            assert_eq!(bad.len(), 0);
            assert!(
                good.iter()
                    .all(|answer| answer.body["refresh_token"] == *successor)
            );
            assert_eq!(refresh(app, successor).await.status, 200);
        } else {
            assert_eq!(good.len(), 1);
            // Forty-nine reuses have ended the session.
            refresh(app, successor)
                .await
                .expect_problem(401, "invalid_refresh_token");
        }
    }
}

fn rounds() -> usize {
    if long() { 200 } else { 10 }
}

on_both_engines! {
    /// REF-02
    async fn of_fifty_at_once_with_one_token_one_wins(engine: Engine) {
        let app = TestApp::on(engine).set("REFRESH_REUSE_GRACE_SECONDS", "0").start().await;
        race(&app, &[app.address], rounds(), false).await;
    }
}

on_both_engines! {
    /// REF-02
    async fn of_fifty_at_once_within_the_grace_all_get_the_same_successor(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        race(&app, &[app.address], rounds(), true).await;
    }
}

on_both_engines! {
    /// REF-02, two servers on one database.
    async fn of_fifty_at_once_at_two_servers_one_wins(engine: Engine) {
        let app = TestApp::on(engine).set("REFRESH_REUSE_GRACE_SECONDS", "0").start().await;
        race(&app, &[app.address, app.second_instance().await], rounds(), false).await;
    }
}

on_both_engines! {
    /// REF-02, two servers on one database.
    async fn of_fifty_at_once_at_two_servers_all_get_the_same_successor_within_the_grace(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        race(&app, &[app.address, app.second_instance().await], rounds(), true).await;
    }
}

on_both_engines! {
    /// REF-06
    async fn a_session_ends_after_its_idle_life_unless_refreshed(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let first = app.signed_up(ADA).await["refresh_token"].clone();
        app.advance(Duration::from_hours(30 * 24) - Duration::from_secs(1));
        let second = refresh(&app, &first).await.expect(200).body;
        assert_eq!(second["refresh_expires_in"], 30 * 24 * 3600);
        app.advance(Duration::from_hours(30 * 24));
        refresh(&app, &second["refresh_token"]).await.expect_problem(401, "invalid_refresh_token");
        // Nor does the ended one of a session that is over end anything: it is as dead.
        refresh(&app, &first).await.expect_problem(401, "invalid_refresh_token");
    }
}

on_both_engines! {
    /// REF-06
    async fn no_refresh_extends_a_session_past_its_absolute_end(engine: Engine) {
        let app = TestApp::on(engine)
            .set("REFRESH_TOKEN_EXPIRE_DAYS", "7")
            .set("SESSION_MAX_DAYS", "10")
            .start()
            .await;
        let day = Duration::from_hours(24);
        let first = app.signed_up(ADA).await;
        assert_eq!(first["refresh_expires_in"], 7 * 24 * 3600);
        app.advance(6 * day);
        let second = refresh(&app, &first["refresh_token"]).await.expect(200).body;
        assert_eq!(second["refresh_expires_in"], 4 * 24 * 3600);
        app.advance(Duration::from_secs(4 * 24 * 3600 - 1));
        let third = refresh(&app, &second["refresh_token"]).await.expect(200).body;
        assert_eq!(third["refresh_expires_in"], 1);
        app.get("/auth/me").bearer(&third["access_token"]).await.expect(200);
        app.advance(Duration::from_secs(1));
        refresh(&app, &third["refresh_token"]).await.expect_problem(401, "invalid_refresh_token");
        app.get("/auth/me").bearer(&third["access_token"]).await.expect_problem(401, "token_invalid");
    }
}

on_both_engines! {
    /// REF-07
    async fn a_new_password_ends_the_other_sessions(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let ours = app.signed_up(ADA).await;
        let theirs = app.logged_in(ADA, PASSWORD).await;
        let new = "umbrella-zebra-quartz-41";
        let change = json!({"current_password": PASSWORD, "new_password": new});
        app.post("/auth/change-password", change).bearer(&ours["access_token"]).await.expect(200);
        app.get("/auth/me").bearer(&theirs["access_token"]).await.expect_problem(401, "token_invalid");
        refresh(&app, &theirs["refresh_token"]).await.expect_problem(401, "invalid_refresh_token");
        app.get("/auth/me").bearer(&ours["access_token"]).await.expect(200);
        let ours = refresh(&app, &ours["refresh_token"]).await.expect(200).body;
        let notice = app.mails(ADA, 2).await.pop().unwrap();
        assert!(!notice.text.contains("#token="), "{}", notice.text);
        assert_ne!(notice.subject, app.mails_now(ADA)[0].subject);
        app.post("/auth/login", json!({"email": ADA, "password": PASSWORD})).await.expect(401);
        // A reset ends them all.
        app.post("/auth/password-reset/request", json!({"email": ADA})).await.expect(200);
        let link = app.mails(ADA, 3).await.pop().unwrap();
        let reset = json!({"token": link.token(), "new_password": "another-zebra-quartz-77"});
        app.post("/auth/password-reset/confirm", reset).await.expect(200);
        app.get("/auth/me").bearer(&ours["access_token"]).await.expect_problem(401, "token_invalid");
        refresh(&app, &ours["refresh_token"]).await.expect_problem(401, "invalid_refresh_token");
    }
}

on_both_engines! {
    /// REF-08
    async fn a_token_of_one_kind_is_none_of_another(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let tokens = app.signed_up(ADA).await;
        app.post("/auth/password-reset/request", json!({"email": ADA})).await.expect(200);
        let mails = app.mails(ADA, 2).await;
        let (verify, reset) = (json!(mails[0].token()), json!(mails[1].token()));
        let api_token = json!("stile_0123456789abcdefghijABCDEFGHIJ0123456789abcdefABCD");
        for wrong in [&tokens["access_token"], &verify, &reset, &api_token] {
            refresh(&app, wrong).await.expect_problem(401, "invalid_refresh_token");
        }
        for wrong in [&tokens["refresh_token"], &verify, &reset, &api_token] {
            app.get("/auth/me").bearer(wrong).await.expect_problem(401, "token_invalid");
        }
        for wrong in [&tokens["access_token"], &tokens["refresh_token"], &reset] {
            let answer = app.post("/auth/verify-email", json!({"token": wrong})).await;
            answer.expect_problem(400, "invalid_verification_token");
        }
        for wrong in [&tokens["access_token"], &tokens["refresh_token"], &verify] {
            let body = json!({"token": wrong, "new_password": "umbrella-zebra-quartz-41"});
            app.post("/auth/password-reset/confirm", body).await.expect_problem(400, "invalid_reset_token");
            let verified = app.post("/auth/password-reset/verify", json!({"token": wrong})).await.expect(200);
            assert_eq!(verified.body["valid"], false);
        }
        // All of them are still good for what they are.
        refresh(&app, &tokens["refresh_token"]).await.expect(200);
        app.post("/auth/verify-email", json!({"token": verify})).await.expect(200);
        let body = json!({"token": reset, "new_password": "umbrella-zebra-quartz-41"});
        app.post("/auth/password-reset/confirm", body).await.expect(200);
    }
}

on_both_engines! {
    /// REF-09
    async fn no_token_stands_in_the_database_and_no_stored_hash_is_one(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let first = app.signed_up(ADA).await;
        let second = refresh(&app, &first["refresh_token"]).await.expect(200).body;
        app.post("/auth/password-reset/request", json!({"email": ADA})).await.expect(200);
        let mut secrets: Vec<String> = app.mails(ADA, 2).await.iter().map(crate::app::Mail::token).collect();
        for tokens in [&first, &second] {
            let (family, own) = tokens["refresh_token"].as_str().unwrap().split_once('.').unwrap();
            secrets.extend([family.to_owned(), own.to_owned()]);
            secrets.push(tokens["access_token"].as_str().unwrap().rsplit('.').next().unwrap().to_owned());
        }
        secrets.push(PASSWORD.to_owned());
        app.audited("token_refresh", "").await;
        let dump = app.dump().await;
        assert!(dump.contains(ADA) && dump.contains("$argon2id$"), "the dump shows what is there");
        for secret in &secrets {
            assert!(!dump.contains(secret.as_str()), "{secret}");
            let bytes = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, secret);
            let hex = bytes.unwrap_or_default().iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
            assert!(hex.is_empty() || !dump.contains(&hex), "{secret}");
        }
        let rows = app.sql_texts("SELECT family_hash || '.' || token_hash FROM sessions").await;
        for hash in rows {
            refresh(&app, &json!(hash)).await.expect_problem(401, "invalid_refresh_token");
        }
        for hash in app.sql_texts("SELECT token_hash FROM one_time_tokens").await {
            app.post("/auth/verify-email", json!({"token": hash})).await.expect(400);
            let body = json!({"token": hash, "new_password": "umbrella-zebra-quartz-41"});
            app.post("/auth/password-reset/confirm", body).await.expect(400);
        }
    }
}

on_both_engines! {
    /// A token that nobody issued ends nothing, however much of it is right.
    async fn an_invented_token_ends_nothing(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let tokens = app.signed_up(ADA).await;
        let text = tokens["refresh_token"].as_str().unwrap();
        let (family, own) = text.split_once('.').unwrap();
        let other = app.logged_in(ADA, PASSWORD).await;
        let (_, other_own) = other["refresh_token"].as_str().unwrap().split_once('.').unwrap();
        let swapped = format!("{own}.{family}");
        let cases = [own, family, &swapped, &text[..text.len() - 1], &format!("{text}="), &format!("{text}.{own}")];
        for invented in cases {
            refresh(&app, &json!(invented)).await.expect_problem(401, "invalid_refresh_token");
            app.post("/auth/logout", json!({"refresh_token": invented})).await.expect(200);
        }
        refresh(&app, &tokens["refresh_token"]).await.expect(200);
        // Who has the session's own half of it has had a token of the session: that is reuse.
        refresh(&app, &json!(format!("{family}.{other_own}"))).await.expect_problem(401, "refresh_token_reused");
    }
}

on_both_engines! {
    async fn a_refresh_without_a_token_is_422(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        for body in [json!({}), json!({"refresh_token": null}), json!({"refresh_token": 7})] {
            app.post("/auth/refresh", body).await.expect_problem(422, "validation_failed");
        }
    }
}
