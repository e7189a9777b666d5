//! Logging in: one answer for all that is wrong, the account's limit, and weaker hashes.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::app::{Answer, Engine, PASSWORD, TestApp};
use crate::register::refusals;

const ADA: &str = "ada@example.com";

async fn login(app: &TestApp, email: &str, password: &str) -> Answer {
    app.post("/auth/login", json!({"email": email, "password": password}))
        .await
}

async fn login_from(app: &TestApp, client: &str, email: &str, password: &str) -> Answer {
    app.post("/auth/login", json!({"email": email, "password": password}))
        .from(client)
        .await
}

on_both_engines! {
    /// LOG-01
    async fn each_login_is_a_session_of_its_own(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        app.signed_up(ADA).await;
        let first = login(&app, ADA, PASSWORD).await.expect(200);
        assert_eq!(first.header("cache-control"), Some("no-store"));
        let (first, second) = (first.body, app.logged_in(ADA, PASSWORD).await);
        for tokens in [&first, &second] {
            assert_eq!(tokens["token_type"], "bearer");
            assert_eq!(tokens["expires_in"], 15 * 60);
            assert_eq!(tokens["refresh_expires_in"], 30 * 24 * 3600);
            assert_eq!(tokens["user"]["email"], ADA);
            assert_eq!(tokens.as_object().unwrap().len(), 7);
        }
        for field in ["refresh_token", "access_token", "session_id"] {
            assert_ne!(first[field], second[field]);
        }
        let path = format!("/auth/sessions/{}", first["session_id"].as_str().unwrap());
        app.delete(&path).bearer(&second["access_token"]).await.expect(200);
        app.get("/auth/me").bearer(&first["access_token"]).await.expect_problem(401, "token_invalid");
        let refresh = json!({"refresh_token": first["refresh_token"]});
        app.post("/auth/refresh", refresh).await.expect_problem(401, "invalid_refresh_token");
        app.get("/auth/me").bearer(&second["access_token"]).await.expect(200);
        app.post("/auth/refresh", json!({"refresh_token": second["refresh_token"]})).await.expect(200);
    }
}

on_both_engines! {
    /// LOG-02
    async fn unknown_wrong_and_inactive_are_one_answer(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        app.signed_up(ADA).await;
        app.signed_up("gone@example.com").await;
        app.deactivate("gone@example.com").await;
        let wrong = login(&app, ADA, "wrong-password-1").await.expect_problem(401, "invalid_credentials");
        assert_eq!(wrong.body["detail"], "Incorrect email or password");
        let unknown = login(&app, "nobody@example.com", "wrong-password-1").await;
        let inactive = login(&app, "gone@example.com", "wrong-password-1").await;
        let empty = login(&app, ADA, "").await;
        for other in [unknown, inactive, empty] {
            assert_eq!(other.fingerprint(), wrong.fingerprint());
        }
        // Only who knows the password learns of the state.
        login(&app, "gone@example.com", PASSWORD).await.expect_problem(403, "account_inactive");
        let sessions = app.sql_texts(
            "SELECT sessions.id FROM sessions JOIN users ON users.id = user_id WHERE NOT is_active AND ended_at IS NULL",
        );
        assert_eq!(sessions.await.len(), 1, "the one from before");
    }
}

on_both_engines! {
    /// JWT-07, LOG-02: a deactivated account's sessions are over at once.
    async fn an_inactive_account_has_no_session(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let tokens = app.signed_up(ADA).await;
        app.deactivate(ADA).await;
        app.get("/auth/me").bearer(&tokens["access_token"]).await.expect_problem(401, "token_invalid");
        let refresh = json!({"refresh_token": tokens["refresh_token"]});
        app.post("/auth/refresh", refresh).await.expect_problem(401, "invalid_refresh_token");
        // It may ask for a reset like anybody; none is mailed.
        app.post("/auth/password-reset/request", json!({"email": ADA})).await.expect(200);
        app.signed_up("grace@example.com").await;
        app.mails("grace@example.com", 1).await;
        assert_eq!(app.mails_now(ADA).len(), 1, "the mail of the registration alone");
    }
}

on_both_engines! {
    /// LOG-05
    async fn a_password_longer_than_any_costs_no_hash(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        app.signed_up(ADA).await;
        login(&app, ADA, &"x".repeat(1_000_000)).await.expect_problem(413, "payload_too_large");
        for length in [129, 4097] {
            let refused = login(&app, ADA, &"x".repeat(length)).await.expect_problem(422, "validation_failed");
            assert_eq!(refusals(&refused), [("/password", "too_long")]);
            let unknown = login(&app, "nobody@example.com", &"x".repeat(length)).await;
            assert_eq!(refused.fingerprint(), unknown.fingerprint());
        }
        login(&app, ADA, &"x".repeat(128)).await.expect_problem(401, "invalid_credentials");
    }
}

on_both_engines! {
    /// LOG-06
    async fn guesses_at_one_account_from_many_addresses_are_limited_together(engine: Engine) {
        for email in [ADA, "nobody@example.com"] {
            let app = TestApp::on(engine).set("RATE_LIMIT_LOGIN_ACCOUNT", "12/hour").limited().start().await;
            app.post("/auth/register", json!({"email": ADA, "password": PASSWORD})).await.expect(201);
            for n in 0..12 {
                let guess = login_from(&app, &format!("203.0.113.{n}"), email, "wrong-password-1").await;
                guess.expect_problem(401, "invalid_credentials");
            }
            for n in 12..20 {
                let client = format!("203.0.113.{n}");
                let refused = login_from(&app, &client, email, PASSWORD).await.expect_problem(429, "rate_limited");
                assert_eq!(refused.body["limit"], "login_account");
                assert_eq!(refused.header("retry-after"), Some("3600"));
                assert_eq!(refused.header("x-ratelimit-limit"), None, "the account's rule shows in no header");
                assert_eq!(refused.header("ratelimit"), None);
            }
            // Every spelling is the same account, and another account is another.
            login_from(&app, "203.0.113.99", &email.to_uppercase(), PASSWORD).await.expect(429);
            login_from(&app, "203.0.113.99", "other@example.com", PASSWORD).await.expect(401);
            app.advance(Duration::from_hours(1));
            let status = if email == ADA { 200 } else { 401 };
            login_from(&app, "203.0.113.99", email, PASSWORD).await.expect(status);
        }
    }
}

on_both_engines! {
    async fn a_good_login_costs_the_account_nothing(engine: Engine) {
        let app = TestApp::on(engine).set("RATE_LIMIT_LOGIN_ACCOUNT", "2/hour").limited().start().await;
        app.post("/auth/register", json!({"email": ADA, "password": PASSWORD})).await.expect(201);
        app.post("/auth/register", json!({"email": "gone@example.com", "password": PASSWORD})).await.expect(201);
        app.deactivate("gone@example.com").await;
        for n in 0..6 {
            // Each from a stranger's address, so all share one count.
            login_from(&app, &format!("203.0.113.{n}"), ADA, PASSWORD).await.expect(200);
            let inactive = login_from(&app, &format!("203.0.113.{n}"), "gone@example.com", PASSWORD).await;
            inactive.expect_problem(403, "account_inactive");
        }
        login_from(&app, "198.51.100.1", ADA, "wrong-password-1").await.expect(401);
        login_from(&app, "198.51.100.2", ADA, "wrong-password-1").await.expect(401);
        login_from(&app, "198.51.100.3", ADA, PASSWORD).await.expect(429);
    }
}

on_both_engines! {
    /// LOG-09
    async fn strangers_cannot_lock_an_owner_out(engine: Engine) {
        let app = TestApp::on(engine).set("RATE_LIMIT_LOGIN_ACCOUNT", "5/hour").limited().start().await;
        app.post("/auth/register", json!({"email": ADA, "password": PASSWORD})).await.expect(201);
        let home = "198.51.100.7";
        login_from(&app, home, ADA, PASSWORD).await.expect(200);
        for n in 0..40 {
            let guess = login_from(&app, &format!("203.0.113.{}", n % 20), ADA, "wrong-password-1").await;
            assert_eq!(guess.status, if n < 5 { 401 } else { 429 });
            // Asking for resets changes nothing either.
            app.post("/auth/password-reset/request", json!({"email": ADA})).from("203.0.113.1").await.expect(200);
        }
        login_from(&app, "203.0.113.200", ADA, PASSWORD).await.expect(429);
        // The owner's own mistakes count where he is, and only there.
        for _ in 0..5 {
            login_from(&app, home, ADA, "wrong-password-1").await.expect(401);
        }
        login_from(&app, home, ADA, PASSWORD).await.expect(429);
        app.advance(Duration::from_hours(1));
        login_from(&app, home, ADA, PASSWORD).await.expect(200);
    }
}

on_both_engines! {
    /// LOG-09: known for 30 days from the last use, by login, refresh or reset; an IPv6 network is one client.
    async fn a_client_is_known_for_thirty_days_from_its_last_use(engine: Engine) {
        let app = TestApp::on(engine)
            .set("RATE_LIMIT_LOGIN_ACCOUNT", "1/minute")
            .set("REFRESH_TOKEN_EXPIRE_DAYS", "60")
            .limited()
            .start()
            .await;
        app.post("/auth/register", json!({"email": ADA, "password": PASSWORD})).await.expect(201);
        // Sent before the clock moves: a mail whose lease runs out on its way is sent again.
        app.mails(ADA, 1).await;
        // Whether a client has a count to itself while the strangers' is used up.
        let is_known = async |client: &str| {
            app.advance(Duration::from_mins(1));
            login_from(&app, "203.0.113.250", ADA, "wrong-password-1").await.expect(401);
            login_from(&app, "203.0.113.251", ADA, "wrong-password-1").await.expect(429);
            login_from(&app, client, ADA, "wrong-password-1").await.status == 401
        };
        assert!(!is_known("2001:db8::1").await, "registering is no use");
        app.advance(Duration::from_mins(1));
        login_from(&app, "2001:db8::1", ADA, PASSWORD).await.expect(200);
        assert!(is_known("2001:db8::ffff").await);
        assert!(!is_known("2001:db8:0:1::1").await);
        // A second login prolongs it, also on the same day.
        app.advance(Duration::from_hours(20));
        let tokens = login_from(&app, "2001:db8::1", ADA, PASSWORD).await.expect(200).body;
        app.advance(Duration::from_hours(30 * 24 - 1));
        assert!(is_known("2001:db8::1").await);
        app.advance(Duration::from_hours(1));
        assert!(!is_known("2001:db8::1").await);
        // A refresh makes its client known, and so does a completed reset.
        let refresh = app.post("/auth/refresh", json!({"refresh_token": tokens["refresh_token"]}));
        refresh.from("198.51.100.1").await.expect(200);
        assert!(is_known("198.51.100.1").await);
        app.post("/auth/password-reset/request", json!({"email": ADA})).await.expect(200);
        let link = app.mails(ADA, 2).await.pop().unwrap();
        let reset = json!({"token": link.token(), "new_password": "umbrella-zebra-quartz-41"});
        app.post("/auth/password-reset/confirm", reset).from("198.51.100.2").await.expect(200);
        assert!(is_known("198.51.100.2").await);
    }
}

on_both_engines! {
    /// LOG-09: the twenty newest.
    async fn the_twenty_clients_used_last_are_known(engine: Engine) {
        let app = TestApp::on(engine).set("RATE_LIMIT_LOGIN_ACCOUNT", "1/hour").limited().start().await;
        app.post("/auth/register", json!({"email": ADA, "password": PASSWORD})).await.expect(201);
        for n in (0..20).chain([0, 20]) {
            app.advance(Duration::from_millis(1));
            login_from(&app, &format!("198.51.100.{n}"), ADA, PASSWORD).await.expect(200);
        }
        login_from(&app, "203.0.113.1", ADA, "wrong-password-1").await.expect(401);
        let forgotten = login_from(&app, "198.51.100.1", ADA, "wrong-password-1").await;
        assert_eq!(forgotten.status, 429, "the first but one was used longest ago");
        for n in [0, 2, 20] {
            login_from(&app, &format!("198.51.100.{n}"), ADA, "wrong-password-1").await.expect(401);
        }
    }
}

on_both_engines! {
    /// Contract, 3.4: a wrong current password counts as a failed login, wherever one is asked for.
    async fn wrong_current_passwords_count_as_failed_logins(engine: Engine) {
        let app = TestApp::on(engine).set("RATE_LIMIT_LOGIN_ACCOUNT", "3/hour").limited().start().await;
        let tokens = app.signed_up(ADA).await;
        let bearer = &tokens["access_token"];
        let change = json!({"current_password": "wrong-password-1", "new_password": "umbrella-zebra-quartz-41"});
        let changed = app.post("/auth/change-password", change.clone()).bearer(bearer).await;
        let changed = changed.expect_problem(422, "validation_failed");
        assert_eq!(refusals(&changed), [("/current_password", "wrong_password")]);
        let moving = json!({"password": "wrong-password-1", "new_email": "new@example.com"});
        let moved = app.post("/auth/change-email", moving).bearer(bearer).await;
        assert_eq!(refusals(&moved.expect_problem(422, "validation_failed")), [("/current_password", "wrong_password")]);
        let deleting = json!({"password": "wrong-password-1"});
        let deleted = app.delete("/auth/me").json(&deleting).bearer(bearer).await;
        assert_eq!(refusals(&deleted.expect_problem(422, "validation_failed")), [("/password", "wrong_password")]);
        // Three failures: neither here nor at login there is a fourth.
        let right = json!({"current_password": PASSWORD, "new_password": "umbrella-zebra-quartz-41"});
        let limited = app.post("/auth/change-password", right.clone()).bearer(bearer).await;
        assert_eq!(limited.expect_problem(429, "rate_limited").body["limit"], "login_account");
        app.delete("/auth/me").json(&deleting).bearer(bearer).await.expect_problem(429, "rate_limited");
        login(&app, ADA, PASSWORD).await.expect_problem(429, "rate_limited");
        // From elsewhere the owner's session can go on.
        app.post("/auth/change-password", right).bearer(bearer).from("203.0.113.1").await.expect(200);
    }
}

on_both_engines! {
    /// LOG-11
    async fn a_weaker_hash_is_rewritten_at_the_next_good_login(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        app.signed_up(ADA).await;
        let current = app.stored_hash(ADA).await;
        assert!(current.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{current}");
        // bcrypt, cost 5, of "pässwörd".
        let bcrypt = "$2b$05$abcdefghijklmnopqrstuuZVEMa1pjhlynBQ1qXmSvGBJpN9h1w8G";
        app.sql(&format!("UPDATE users SET password_hash = '{bcrypt}' WHERE email = '{ADA}'")).await;
        login(&app, ADA, "wrong-password-1").await.expect(401);
        assert_eq!(app.stored_hash(ADA).await, bcrypt);
        let answers = join_all((0..20).map(|_| login(&app, ADA, "pässwörd"))).await;
        assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
        let rewritten = app.stored_hash(ADA).await;
        assert!(rewritten.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{rewritten}");
        login(&app, ADA, "pässwörd").await.expect(200);
        assert_eq!(app.stored_hash(ADA).await, rewritten, "once is enough");
        login(&app, ADA, PASSWORD).await.expect(401);
    }
}

on_both_engines! {
    /// A hash that nothing can read is nobody's password, and no error either.
    async fn a_broken_hash_lets_nobody_in(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        app.signed_up(ADA).await;
        for broken in ["", "!", "$argon2id$v=19$m=19456,t=2,p=1$", "plain"] {
            app.sql(&format!("UPDATE users SET password_hash = '{broken}'")).await;
            for password in ["", "!", "plain", PASSWORD] {
                login(&app, ADA, password).await.expect_problem(401, "invalid_credentials");
            }
        }
    }
}
