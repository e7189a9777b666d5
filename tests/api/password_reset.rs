//! Resetting a forgotten password: the link, its life, its one use, and what it reveals.

use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::app::{Answer, Engine, Mail, PASSWORD, TestApp, long};
use crate::register::refusals;

const ADA: &str = "ada@example.com";
const NEW: &str = "umbrella-zebra-quartz-41";

async fn request(app: &TestApp, email: &str) -> Answer {
    app.post("/auth/password-reset/request", json!({"email": email}))
        .await
}

async fn verify(app: &TestApp, token: &str) -> Value {
    let answer = app.post("/auth/password-reset/verify", json!({"token": token}));
    answer.await.expect(200).body
}

async fn confirm(app: &TestApp, token: &str, password: &str) -> Answer {
    let body = json!({"token": token, "new_password": password});
    app.post("/auth/password-reset/confirm", body).await
}

async fn login(app: &TestApp, password: &str) -> Answer {
    app.post("/auth/login", json!({"email": ADA, "password": password}))
        .await
}

/// Asks for a link; `nth` is its place among all mails to `email`, from 1.
async fn link(app: &TestApp, email: &str, nth: usize) -> Mail {
    request(app, email).await.expect(200);
    let mail = app.mails(email, nth).await.remove(nth - 1);
    // Its life counts from when it is handed over, which is noted after the mail is there.
    app.until_no_mail_waits().await;
    mail
}

fn bad() -> Value {
    json!({"valid": false, "email": null, "expires_in_seconds": null})
}

on_both_engines! {
    /// RST-01
    async fn a_reset_sets_the_password_and_logs_nobody_in(engine: Engine) {
        let app = TestApp::on(engine).set("FRONTEND_URL", "https://app.example/shop/").start().await;
        app.signed_up(ADA).await;
        let asked = request(&app, ADA).await.expect(200);
        assert!(asked.body["message"].is_string() && asked.body["detail"].is_string());
        let mail = app.mails(ADA, 2).await.pop().unwrap();
        assert!(mail.link().starts_with("https://app.example/shop/reset-password#token="), "{}", mail.link());
        assert!(mail.text.contains("15 minutes"), "{}", mail.text);
        let preview = verify(&app, &mail.token()).await;
        assert_eq!(preview, json!({"valid": true, "email": "a***@example.com", "expires_in_seconds": 900}));
        let done = confirm(&app, &mail.token(), NEW).await.expect(200);
        assert_eq!(done.body.as_object().unwrap().len(), 2, "a Message and no token");
        login(&app, PASSWORD).await.expect_problem(401, "invalid_credentials");
        let tokens = login(&app, NEW).await.expect(200).body;
        assert_eq!(tokens["user"]["is_verified"], true, "who has the mailbox has the address");
        let notice = app.mails(ADA, 3).await.pop().unwrap();
        assert!(!notice.text.contains("#token=") && !notice.text.contains(NEW), "{}", notice.text);
    }
}

on_both_engines! {
    /// RST-02
    async fn no_header_moves_the_link(engine: Engine) {
        let app = TestApp::on(engine).set("FRONTEND_URL", "https://app.example").start().await;
        app.signed_up(ADA).await;
        let neutral = |mail: &Mail| {
            let strip = |text: &str| text.replace(&mail.token(), "TOKEN");
            (mail.to.clone(), mail.subject.clone(), strip(&mail.text), strip(&mail.html))
        };
        let clean = neutral(&link(&app, ADA, 2).await);
        assert!(clean.2.contains("https://app.example/reset-password#token=TOKEN"), "{}", clean.2);
        let headers = [
            ("host", "evil.example"),
            ("x-forwarded-host", "evil.example"),
            ("forwarded", "host=evil.example;proto=http"),
            ("x-forwarded-proto", "http"),
            ("x-original-host", "evil.example"),
            ("x-host", "evil.example"),
            ("origin", "https://evil.example"),
            ("referer", "https://evil.example/"),
        ];
        let body = json!({"email": ADA});
        for (n, (name, value)) in headers.into_iter().enumerate() {
            app.post("/auth/password-reset/request", body.clone()).header(name, value).await.expect(200);
            assert_eq!(neutral(&app.mails(ADA, 3 + n).await[2 + n]), clean, "{name}");
        }
        // Absolute form.
        let text = body.to_string();
        let raw = format!(
            "POST http://evil.example/api/v1/auth/password-reset/request HTTP/1.1\r\nHost: evil.example\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
            text.len()
        );
        let address = app.address;
        let answer = tokio::task::spawn_blocking(move || {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.write_all(raw.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        });
        let answer = answer.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(neutral(&app.mails(ADA, 3 + headers.len()).await[2 + headers.len()]), clean);
    }
}

on_both_engines! {
    /// RST-03, the part that does not need a clock: see tests/timing.
    async fn known_unknown_and_inactive_are_one_answer(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        app.signed_up(ADA).await;
        app.signed_up("gone@example.com").await;
        app.deactivate("gone@example.com").await;
        let known = request(&app, ADA).await.expect(200);
        for other in ["nobody@example.com", "gone@example.com", " ADA@example.com "] {
            assert_eq!(request(&app, other).await.fingerprint(), known.fingerprint());
        }
        app.mails(ADA, 3).await;
        // The queue is empty, and nobody else got anything but his registration's mail.
        app.until_no_mail_waits().await;
        assert_eq!(app.mails_now("gone@example.com").len(), 1);
        assert_eq!(app.mails_now("nobody@example.com").len(), 0);
    }
}

on_both_engines! {
    /// RST-04
    async fn a_used_reset_link_is_refused(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        app.signed_up(ADA).await;
        let token = link(&app, ADA, 2).await.token();
        confirm(&app, &token, NEW).await.expect(200);
        let second = confirm(&app, &token, "another-zebra-quartz-77").await.expect_problem(400, "invalid_reset_token");
        let made_up = confirm(&app, &"A".repeat(43), "another-zebra-quartz-77").await;
        assert_eq!(second.fingerprint(), made_up.fingerprint());
        assert_eq!(verify(&app, &token).await, bad());
        login(&app, NEW).await.expect(200);
        login(&app, "another-zebra-quartz-77").await.expect(401);
    }
}

on_both_engines! {
    /// RST-05
    async fn of_thirty_at_once_with_one_link_one_sets_its_password(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        app.signed_up(ADA).await;
        let elsewhere = app.second_instance().await;
        let mut sent = 1;
        for round in 0..if long() { 100 } else { 4 } {
            let token = link(&app, ADA, sent + 1).await.token();
            let passwords: Vec<String> = (0..30).map(|n| format!("zebra-{round}-umbrella-{n}-quartz")).collect();
            let attempts = passwords.iter().enumerate().map(|(n, password)| {
                let body = json!({"token": token, "new_password": password});
                let address = if n % 2 == 0 { app.address } else { elsewhere };
                app.post("/auth/password-reset/confirm", body).at(address).send()
            });
            let answers = join_all(attempts).await;
            let winners: Vec<usize> = (0..30).filter(|&n| answers[n].status == 200).collect();
            assert_eq!(winners.len(), 1);
            for answer in answers.iter().filter(|answer| answer.status != 200) {
                // Thirty hashes at once on a busy machine: whoever waited too long for his was told so (3.2).
                let code = answer.body["code"].as_str().unwrap();
                assert!(["invalid_reset_token", "overloaded"].contains(&code), "{}", answer.text);
            }
            login(&app, &passwords[winners[0]]).await.expect(200);
            login(&app, &passwords[(winners[0] + 7) % 30]).await.expect(401);
            sent += 2; // the link and one notice
            assert_eq!(app.mails(ADA, sent).await.len(), sent);
        }
    }
}

on_both_engines! {
    /// RST-07
    async fn a_link_lives_fifteen_minutes_and_no_clock_revives_it(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        app.signed_up(ADA).await;
        let token = link(&app, ADA, 2).await.token();
        app.advance(Duration::from_secs(15 * 60 - 5));
        assert_eq!(verify(&app, &token).await["expires_in_seconds"], 5);
        app.advance(Duration::from_secs(10));
        assert_eq!(verify(&app, &token).await, bad());
        confirm(&app, &token, NEW).await.expect_problem(400, "invalid_reset_token");
        // Swept, it stays dead when the wall clock is set back.
        app.app.accounts.sweep().await.unwrap();
        app.clock.shift_wall(-3_600_000);
        assert_eq!(verify(&app, &token).await, bad());
        confirm(&app, &token, NEW).await.expect_problem(400, "invalid_reset_token");
        // So does a used one, swept or not.
        let token = link(&app, ADA, 3).await.token();
        confirm(&app, &token, NEW).await.expect(200);
        app.clock.shift_wall(-3_600_000);
        confirm(&app, &token, PASSWORD).await.expect_problem(400, "invalid_reset_token");
        login(&app, NEW).await.expect(200);
        // A jump forward ends a link like waiting does.
        let token = link(&app, ADA, 5).await.token();
        app.clock.shift_wall(15 * 60 * 1000);
        confirm(&app, &token, PASSWORD).await.expect_problem(400, "invalid_reset_token");
    }
}

on_both_engines! {
    async fn how_long_a_link_lives_is_a_setting(engine: Engine) {
        let app = TestApp::on(engine).set("RESET_TOKEN_EXPIRE_MINUTES", "120").start().await;
        app.signed_up(ADA).await;
        let mail = link(&app, ADA, 2).await;
        assert!(mail.text.contains("2 hours"), "{}", mail.text);
        app.advance(Duration::from_secs(2 * 3600 - 1));
        assert_eq!(verify(&app, &mail.token()).await["expires_in_seconds"], 1);
        confirm(&app, &mail.token(), NEW).await.expect(200);
    }
}

on_both_engines! {
    async fn only_the_newest_link_works(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        app.signed_up(ADA).await;
        // At once, so that they are in the workers' hands together.
        let rounds = 12;
        for answer in join_all((0..rounds).map(|_| request(&app, ADA))).await {
            answer.expect(200);
        }
        let mails = app.mails(ADA, 1 + rounds).await;
        app.until_no_mail_waits().await;
        let (newest, older) = mails[1..].split_last().unwrap();
        for mail in older {
            confirm(&app, &mail.token(), NEW).await.expect_problem(400, "invalid_reset_token");
        }
        confirm(&app, &newest.token(), NEW).await.expect(200);
    }
}

on_both_engines! {
    async fn a_refused_password_does_not_use_the_link_up(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        app.signed_up(ADA).await;
        let token = link(&app, ADA, 2).await.token();
        for (password, code) in
            [("short", "too_short"), ("password1", "too_weak"), (ADA, "too_weak"), (&"x".repeat(129), "too_long")]
        {
            let refused = confirm(&app, &token, password).await.expect_problem(422, "validation_failed");
            assert_eq!(refusals(&refused), [("/new_password", code)]);
        }
        // A bad token is a bad token whatever the password.
        confirm(&app, &"A".repeat(43), "short").await.expect_problem(400, "invalid_reset_token");
        confirm(&app, &token, NEW).await.expect(200);
    }
}

on_both_engines! {
    /// RST-08
    async fn tokens_are_256_random_bits(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        app.signed_up(ADA).await;
        let count = if long() { 2000 } else { 60 };
        for _ in 0..count {
            request(&app, ADA).await.expect(200);
        }
        for _ in 0..if long() { 100 } else { 1 } {
            if app.mails_now(ADA).len() > count {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let tokens: HashSet<String> = app.mails(ADA, count + 1).await[1..].iter().map(Mail::token).collect();
        assert_eq!(tokens.len(), count);
        for at in 0..42 {
            let letters: HashSet<u8> = tokens.iter().map(|token| token.as_bytes()[at]).collect();
            assert!(letters.len() > 20, "place {at} has only {} letters", letters.len());
        }
        for token in &tokens {
            assert_eq!(token.len(), 43);
            let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            assert!(token.bytes().all(is_base64url), "{token}");
        }
    }
}

on_both_engines! {
    /// RST-08: guessing is limited per client.
    async fn guesses_at_links_are_limited(engine: Engine) {
        let app = TestApp::on(engine)
            .set("RATE_LIMIT_RESET_VERIFY", "10/minute")
            .set("RATE_LIMIT_RESET_CONFIRM", "5/minute")
            .limited()
            .start()
            .await;
        for (path, limit, rule) in [("verify", 10, "reset_verify"), ("confirm", 5, "reset_confirm")] {
            let path = format!("/auth/password-reset/{path}");
            let guess = |n: usize| app.post(&path, json!({"token": format!("{n:043}"), "new_password": NEW})).send();
            for n in 0..limit {
                assert_ne!(guess(n).await.status, 429);
            }
            for n in limit..limit + 10 {
                assert_eq!(guess(n).await.expect_problem(429, "rate_limited").body["limit"], rule);
            }
        }
    }
}

on_both_engines! {
    /// RST-11: over the recipient's limit nothing changes, and the link already mailed stays good.
    async fn one_mailbox_gets_so_many_reset_mails_and_no_answer_shows_it(engine: Engine) {
        let app = TestApp::on(engine).set("RATE_LIMIT_MAIL_ACCOUNT", "3/hour").limited().start().await;
        app.signed_up(ADA).await;
        let first = request(&app, ADA).await.expect(200);
        for n in 0..50 {
            let asked = app.post("/auth/password-reset/request", json!({"email": ADA})).from(&format!("203.0.113.{n}"));
            assert_eq!(asked.await.fingerprint(), first.fingerprint());
        }
        app.until_no_mail_waits().await;
        let mails = app.mails_now(ADA);
        assert_eq!(mails.len(), 1 + 3, "one of the registration, three resets");
        // Verification mails are counted apart.
        app.post("/auth/resend-verification", json!({"email": ADA})).await.expect(200);
        assert_eq!(app.mails(ADA, 5).await.len(), 5);
        // Notices are never held back.
        confirm(&app, &mails[3].token(), NEW).await.expect(200);
        assert_eq!(app.mails(ADA, 6).await.len(), 6);
        // Another mailbox is another count, and after the window there is mail again.
        app.signed_up("grace@example.com").await;
        link(&app, "grace@example.com", 2).await;
        app.advance(Duration::from_hours(1));
        link(&app, ADA, 7).await;
    }
}

on_both_engines! {
    /// RST-12
    async fn the_token_travels_in_no_address(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        app.signed_up(ADA).await;
        let mail = link(&app, ADA, 2).await;
        let (before, fragment) = mail.link().split_once('#').unwrap();
        assert!(!before.contains("token") && !before.contains('?'), "{before}");
        assert_eq!(fragment, format!("token={}", mail.token()));
        // In the address of a request it is nothing.
        for path in ["verify", "confirm"] {
            let path = format!("/auth/password-reset/{path}?token={}", mail.token());
            app.post(&path, json!({"new_password": NEW})).await.expect_problem(422, "validation_failed");
            let answer = app.get(&path).await.expect_problem(405, "method_not_allowed");
            assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
            assert!(!answer.text.contains(&mail.token()));
        }
        confirm(&app, &mail.token(), NEW).await.expect(200);
    }
}

on_both_engines! {
    /// Contract, 3.4.
    async fn a_reset_clears_the_failed_logins(engine: Engine) {
        let app = TestApp::on(engine).set("RATE_LIMIT_LOGIN_ACCOUNT", "3/hour").limited().start().await;
        app.post("/auth/register", json!({"email": ADA, "password": PASSWORD})).await.expect(201);
        let from = async |client: &str, password: &str| {
            app.post("/auth/login", json!({"email": ADA, "password": password})).from(client).await
        };
        from("198.51.100.1", PASSWORD).await.expect(200);
        for _ in 0..3 {
            from("198.51.100.1", "wrong-password-1").await.expect(401);
            from("203.0.113.1", "wrong-password-1").await.expect(401);
        }
        from("198.51.100.1", PASSWORD).await.expect(429);
        from("203.0.113.1", PASSWORD).await.expect(429);
        let token = link(&app, ADA, 2).await.token();
        confirm(&app, &token, "short").await.expect(422);
        from("203.0.113.1", PASSWORD).await.expect(429);
        confirm(&app, &token, NEW).await.expect(200);
        from("198.51.100.1", NEW).await.expect(200);
        from("203.0.113.1", NEW).await.expect(200);
    }
}

on_both_engines! {
    /// A link is for the password it was asked against, and for the address it was mailed to.
    async fn a_changed_password_voids_the_link(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let tokens = app.signed_up(ADA).await;
        let token = link(&app, ADA, 2).await.token();
        let change = json!({"current_password": PASSWORD, "new_password": NEW});
        app.post("/auth/change-password", change).bearer(&tokens["access_token"]).await.expect(200);
        assert_eq!(verify(&app, &token).await, bad());
        confirm(&app, &token, "another-zebra-quartz-77").await.expect_problem(400, "invalid_reset_token");
        login(&app, NEW).await.expect(200);
    }
}

on_both_engines! {
    async fn a_deactivated_account_cannot_be_reset(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        app.signed_up(ADA).await;
        let token = link(&app, ADA, 2).await.token();
        app.deactivate(ADA).await;
        assert_eq!(verify(&app, &token).await, bad());
        confirm(&app, &token, NEW).await.expect_problem(400, "invalid_reset_token");
        login(&app, PASSWORD).await.expect_problem(403, "account_inactive");
    }
}

on_both_engines! {
    /// A login that is being checked while the password is reset does not come through with the old one.
    async fn logins_race_with_a_reset_and_none_survives_it(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        app.signed_up(ADA).await;
        let (mut old, mut sent) = (PASSWORD.to_owned(), 1);
        for round in 0..if long() { 60 } else { 6 } {
            let new = format!("zebra-{round}-umbrella-quartz");
            let token = link(&app, ADA, sent + 1).await.token();
            let logins = join_all((0..8).map(|_| login(&app, &old)));
            let (reset, logins) = futures_util::future::join(confirm(&app, &token, &new), logins).await;
            reset.expect(200);
            for answer in logins.into_iter().filter(|answer| answer.status == 200) {
                let me = app.get("/auth/me").bearer(&answer.body["access_token"]).await;
                me.expect_problem(401, "token_invalid");
            }
            login(&app, &old).await.expect(401);
            sent += 2;
            app.mails(ADA, sent).await;
            old = new;
        }
    }
}
