//! Sessions and their end: list, one, all others, logout, and the account itself.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{Engine, PASSWORD, TestApp};

const ADA: &str = "ada@example.com";
const NOBODYS: &str = "01890000-0000-7000-8000-000000000001";

async fn is_alive(app: &TestApp, tokens: &Value) -> bool {
    let me = app.get("/auth/me").bearer(&tokens["access_token"]).await;
    if me.status != 200 {
        me.expect_problem(401, "token_invalid");
        return false;
    }
    true
}

fn path(tokens: &Value) -> String {
    format!("/auth/sessions/{}", tokens["session_id"].as_str().unwrap())
}

on_both_engines! {
    async fn the_list_shows_each_live_session_and_where_it_is(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let started = app.clock.now();
        app.post("/auth/register", json!({"email": ADA, "password": PASSWORD})).await.expect(201);
        let body = json!({"email": ADA, "password": PASSWORD});
        let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";
        let iphone = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                      Version/17.5 Mobile/15E148 Safari/604.1";
        let first = app.post("/auth/login", body.clone()).from("203.0.113.9").header("user-agent", firefox);
        let first = first.await.expect(200).body;
        app.advance(Duration::from_mins(5));
        let second = app.post("/auth/login", body.clone()).from("2001:db8::1").header("user-agent", iphone);
        let second = second.await.expect(200).body;
        app.advance(Duration::from_mins(5));
        let refresh = app.post("/auth/refresh", json!({"refresh_token": first["refresh_token"]}));
        let first = refresh.from("198.51.100.9").header("user-agent", firefox).await.expect(200).body;
        let ended = app.logged_in(ADA, PASSWORD).await;
        app.post("/auth/logout", json!({"refresh_token": ended["refresh_token"]})).await.expect(200);
        let list = app.get("/auth/sessions").bearer(&second["access_token"]).await.expect(200).body;
        let expected = json!([
            {"id": first["session_id"], "device": "desktop", "browser": "Firefox", "os": "Linux",
             "ip_address": "198.51.100.9", "created_at": started,
             "last_active": started.plus(Duration::from_mins(10)), "is_current": false},
            {"id": second["session_id"], "device": "mobile", "browser": "Safari", "os": "iPhone",
             "ip_address": "2001:db8::1", "created_at": started.plus(Duration::from_mins(5)),
             "last_active": started.plus(Duration::from_mins(5)), "is_current": true},
        ]);
        assert_eq!(list, expected);
        // One without a User-Agent, or with rubbish, is listed too.
        app.post("/auth/login", body).header("user-agent", "<script>alert(1)</script>").await.expect(200);
        app.advance(Duration::from_hours(31 * 24));
        let later = app.logged_in(ADA, PASSWORD).await;
        let list = app.get("/auth/sessions").bearer(&later["access_token"]).await.expect(200).body;
        assert_eq!(list.as_array().unwrap().len(), 1, "expired ones are not live: {list}");
        assert_eq!(list[0]["browser"], "unknown");
    }
}

on_both_engines! {
    /// OUT-03
    async fn a_user_ends_his_own_sessions_and_nobody_elses(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let ada = app.signed_up(ADA).await;
        let also_ada = app.logged_in(ADA, PASSWORD).await;
        let grace = app.signed_up("grace@example.com").await;
        let refused = app.delete(&path(&grace)).bearer(&ada["access_token"]).await.expect_problem(404, "not_found");
        let random = app.delete(&format!("/auth/sessions/{NOBODYS}")).bearer(&ada["access_token"]).await;
        assert_eq!(refused.fingerprint(), random.fingerprint());
        for malformed in ["1", "not-a-uuid", "%00", "..%2fme"] {
            let answer = app.delete(&format!("/auth/sessions/{malformed}")).bearer(&ada["access_token"]).await;
            answer.expect_problem(404, "not_found");
        }
        assert!(is_alive(&app, &grace).await);
        app.delete(&path(&also_ada)).bearer(&ada["access_token"]).await.expect(200);
        assert!(!is_alive(&app, &also_ada).await);
        app.delete(&path(&also_ada)).bearer(&ada["access_token"]).await.expect_problem(404, "not_found");
        // The current one as well.
        let answer = app.delete(&path(&ada)).bearer(&ada["access_token"]).await.expect(200);
        assert!(answer.body["message"].is_string() && answer.body["detail"].is_string());
        assert!(!is_alive(&app, &ada).await);
        app.delete(&path(&ada)).bearer(&ada["access_token"]).await.expect_problem(401, "token_invalid");
        app.delete(&path(&ada)).await.expect_problem(401, "not_authenticated");
    }
}

on_both_engines! {
    /// OUT-03
    async fn all_others_can_be_ended_at_once(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let ours = app.signed_up(ADA).await;
        let grace = app.signed_up("grace@example.com").await;
        let mut others = Vec::new();
        for _ in 0..3 {
            others.push(app.logged_in(ADA, PASSWORD).await);
        }
        let answer = app.delete("/auth/sessions").bearer(&ours["access_token"]).await.expect(200);
        assert_eq!(answer.body["revoked_count"], 3);
        assert!(answer.body["message"].is_string());
        for other in &others {
            assert!(!is_alive(&app, other).await);
            let refresh = json!({"refresh_token": other["refresh_token"]});
            app.post("/auth/refresh", refresh).await.expect_problem(401, "invalid_refresh_token");
        }
        assert!(is_alive(&app, &ours).await && is_alive(&app, &grace).await);
        let again = app.delete("/auth/sessions").bearer(&ours["access_token"]).await.expect(200);
        assert_eq!(again.body["revoked_count"], 0);
        app.audited("session_revoked", "all_others").await;
    }
}

on_both_engines! {
    /// OUT-01
    async fn a_logout_ends_the_session_and_can_be_repeated(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let other = app.signed_up(ADA).await;
        // By the access token, by the refresh token, by both.
        for (bearer, body) in [(true, false), (false, true), (true, true)] {
            let tokens = app.logged_in(ADA, PASSWORD).await;
            let logout = || {
                let request = app.request(Method::POST, "/auth/logout");
                let request = if bearer { request.bearer(&tokens["access_token"]) } else { request };
                let refresh = json!({"refresh_token": tokens["refresh_token"]});
                if body { request.json(&refresh) } else { request }
            };
            let first = logout().await.expect(200);
            assert!(first.body["message"].is_string() && first.body["detail"].is_string());
            assert!(!is_alive(&app, &tokens).await);
            let refresh = json!({"refresh_token": tokens["refresh_token"]});
            app.post("/auth/refresh", refresh).await.expect_problem(401, "invalid_refresh_token");
            assert_eq!(logout().await.fingerprint(), first.fingerprint());
        }
        assert!(is_alive(&app, &other).await);
    }
}

on_both_engines! {
    /// Contract, 3.3: any refresh token ever issued in the session.
    async fn any_token_of_a_session_logs_it_out(engine: Engine) {
        let app = TestApp::on(engine).set("REFRESH_REUSE_GRACE_SECONDS", "0").start().await;
        app.signed_up(ADA).await;
        for generation in 0..4 {
            let mut tokens = vec![app.logged_in(ADA, PASSWORD).await];
            for n in 0..3 {
                let refresh = json!({"refresh_token": tokens[n]["refresh_token"]});
                tokens.push(app.post("/auth/refresh", refresh).await.expect(200).body);
            }
            let logout = json!({"refresh_token": tokens[generation]["refresh_token"]});
            app.post("/auth/logout", logout).await.expect(200);
            assert!(!is_alive(&app, &tokens[3]).await, "{generation}");
        }
    }
}

on_both_engines! {
    /// Contract, 3.3: a token that is dead is fine, none at all is not.
    async fn a_logout_needs_a_token_dead_or_alive(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let tokens = app.signed_up(ADA).await;
        let bare = app.request(Method::POST, "/auth/logout").await.expect_problem(401, "not_authenticated");
        assert_eq!(bare.header("www-authenticate"), Some("Bearer"));
        app.post("/auth/logout", json!({})).await.expect_problem(401, "not_authenticated");
        app.post("/auth/logout", json!({"refresh_token": null})).await.expect_problem(401, "not_authenticated");
        app.post("/auth/logout", json!({"refresh_token": "never was one"})).await.expect(200);
        let forged = format!("{}x", tokens["access_token"].as_str().unwrap());
        let forged = app.request(Method::POST, "/auth/logout").bearer(&json!(forged)).await;
        forged.expect_problem(401, "token_invalid");
        assert!(is_alive(&app, &tokens).await);
        app.advance(Duration::from_mins(20));
        app.request(Method::POST, "/auth/logout").bearer(&tokens["access_token"]).await.expect(200);
        app.advance(Duration::from_hours(31 * 24));
        app.post("/auth/logout", json!({"refresh_token": tokens["refresh_token"]})).await.expect(200);
        // Of an account that is gone.
        let grace = app.signed_up("grace@example.com").await;
        let delete = app.delete("/auth/me").json(&json!({"password": PASSWORD})).bearer(&grace["access_token"]);
        delete.await.expect(204);
        app.post("/auth/logout", json!({"refresh_token": grace["refresh_token"]})).await.expect(200);
        app.request(Method::POST, "/auth/logout").bearer(&grace["access_token"]).await.expect(200);
    }
}

on_both_engines! {
    /// OUT-04
    async fn a_logout_by_cookie_takes_both_cookies_away(engine: Engine) {
        let app = TestApp::on(engine).set("AUTH_COOKIES", "true").start().await;
        app.post("/auth/register", json!({"email": ADA, "password": PASSWORD})).await.expect(201);
        let origin = format!("http://localhost:{}", app.address.port());
        let login = json!({"email": ADA, "password": PASSWORD, "use_cookies": true});
        app.post("/auth/login", login.clone()).await.expect_problem(403, "forbidden");
        let login = app.post("/auth/login", login).header("origin", &origin).await.expect(200);
        assert!(login.body.get("access_token").is_none() && login.body.get("refresh_token").is_none());
        let set = cookies(&login);
        assert_eq!(set.len(), 2);
        let jar = set.iter().map(|(name, value, _)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        app.get("/auth/me").header("cookie", &jar).await.expect(200);
        let logout = || app.request(Method::POST, "/auth/logout").header("cookie", &jar);
        logout().await.expect_problem(403, "forbidden");
        logout().header("origin", "https://evil.example").await.expect_problem(403, "forbidden");
        app.get("/auth/me").header("cookie", &jar).await.expect(200);
        let answer = logout().header("origin", &origin).await.expect(200);
        let cleared = cookies(&answer);
        for ((name, _, attributes), (cleared_name, value, cleared_attributes)) in set.iter().zip(&cleared) {
            assert_eq!((name, value.as_str()), (cleared_name, ""));
            let without_age = |all: &[String]| -> Vec<String> {
                all.iter().filter(|one| !one.starts_with("Max-Age")).cloned().collect()
            };
            assert_eq!(without_age(attributes), without_age(cleared_attributes));
            assert!(cleared_attributes.contains(&"Max-Age=0".to_owned()), "{cleared_attributes:?}");
        }
        app.get("/auth/me").header("cookie", &jar).await.expect_problem(401, "token_invalid");
        logout().header("origin", &origin).await.expect(200);
    }
}

/// Name, value and attributes of each cookie that is set.
fn cookies(answer: &crate::app::Answer) -> Vec<(String, String, Vec<String>)> {
    let lines = answer.headers.get_all("set-cookie").iter();
    let read = |line: &reqwest::header::HeaderValue| {
        let mut parts = line.to_str().unwrap().split("; ").map(str::to_owned);
        let first = parts.next().unwrap();
        let (name, value) = first.split_once('=').unwrap();
        let mut attributes: Vec<String> = parts.collect();
        attributes.sort();
        (name.to_owned(), value.to_owned(), attributes)
    };
    lines.map(read).collect()
}

on_both_engines! {
    async fn a_deleted_account_is_gone_with_all_that_hangs_on_it(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let tokens = app.signed_up(ADA).await;
        let also = app.logged_in(ADA, PASSWORD).await;
        let grace = app.signed_up("grace@example.com").await;
        app.post("/auth/password-reset/request", json!({"email": ADA})).await.expect(200);
        let mails = app.mails(ADA, 2).await;
        let id = tokens["user"]["id"].as_str().unwrap().to_owned();
        app.delete("/auth/me").json(&json!({"password": PASSWORD})).await.expect_problem(401, "not_authenticated");
        app.delete("/auth/me").bearer(&tokens["access_token"]).await.expect_problem(400, "invalid_request");
        let delete = app.delete("/auth/me").json(&json!({"password": PASSWORD})).bearer(&tokens["access_token"]);
        assert_eq!(delete.await.expect(204).text, "");
        for tokens in [&tokens, &also] {
            assert!(!is_alive(&app, tokens).await);
            let refresh = json!({"refresh_token": tokens["refresh_token"]});
            app.post("/auth/refresh", refresh).await.expect_problem(401, "invalid_refresh_token");
        }
        app.post("/auth/login", json!({"email": ADA, "password": PASSWORD})).await.expect_problem(401, "invalid_credentials");
        let verify = json!({"token": mails[0].token()});
        app.post("/auth/verify-email", verify).await.expect_problem(400, "invalid_verification_token");
        let reset = json!({"token": mails[1].token(), "new_password": "umbrella-zebra-quartz-41"});
        app.post("/auth/password-reset/confirm", reset).await.expect_problem(400, "invalid_reset_token");
        for table in ["sessions", "one_time_tokens", "known_clients", "mail_jobs"] {
            let left = app.sql_texts(&format!("SELECT user_id FROM {table} WHERE user_id = '{id}'")).await;
            assert_eq!(left, Vec::<String>::new(), "{table}");
        }
        assert!(is_alive(&app, &grace).await);
        // The address is free, and who takes it is somebody else.
        let anew = app.signed_up(ADA).await;
        assert_ne!(anew["user"]["id"], id.as_str());
        assert!(!is_alive(&app, &tokens).await);
    }
}

on_both_engines! {
    /// Of two that delete and change at once, neither leaves half of anything.
    async fn deleting_races_with_everything_else_without_an_error(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let rounds = if crate::app::long() { 40 } else { 6 };
        for round in 0..rounds {
            let email = format!("user{round}@example.com");
            let tokens = app.signed_up(&email).await;
            let bearer = &tokens["access_token"];
            let change = json!({"current_password": PASSWORD, "new_password": "umbrella-zebra-quartz-41"});
            let login = json!({"email": email, "password": PASSWORD});
            let refresh = json!({"refresh_token": tokens["refresh_token"]});
            let moving = json!({"password": PASSWORD, "new_email": format!("new{round}@example.com")});
            let requests = [
                app.delete("/auth/me").json(&json!({"password": PASSWORD})).bearer(bearer),
                app.delete("/auth/me").json(&json!({"password": PASSWORD})).bearer(bearer),
                app.post("/auth/change-password", change).bearer(bearer),
                app.post("/auth/change-email", moving).bearer(bearer),
                app.post("/auth/login", login.clone()),
                app.post("/auth/login", login.clone()),
                app.post("/auth/refresh", refresh),
                app.post("/auth/password-reset/request", json!({"email": email})),
                app.delete("/auth/sessions").bearer(bearer),
            ];
            let answers = futures_util::future::join_all(requests.map(crate::app::Request::send)).await;
            for answer in &answers {
                assert!(answer.status < 500, "{}", answer.text);
            }
            let deleted = answers[..2].iter().filter(|answer| answer.status == 204).count();
            assert!(deleted <= 1);
            let users = app.sql_texts(&format!("SELECT id FROM users WHERE email = '{email}'")).await;
            assert_eq!(users.len(), 1 - deleted);
        }
    }
}
