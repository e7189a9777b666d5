//! The admin API: for administrators alone, and what they do takes effect at once, in every process.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{Answer, Engine, PASSWORD, Request, TestApp};

/// Of two instances with one name, so that each takes the other's access tokens.
async fn start(engine: Engine) -> TestApp {
    TestApp::on(engine)
        .set("PUBLIC_URL", "http://localhost:8000")
        .start()
        .await
}

const NOBODY: &str = "01a20198-d7ff-76d0-ae30-1b8ed89ad059";

/// Signed up, and made an administrator as the command line would.
async fn admin(app: &TestApp, email: &str) -> Value {
    let session = app.signed_up(email).await;
    let sql = format!("UPDATE users SET role = 'admin' WHERE email = '{email}'");
    assert_eq!(app.sql(&sql).await, 1);
    session
}

fn id(session: &Value) -> &str {
    session["user"]["id"].as_str().unwrap()
}

fn path(session: &Value) -> String {
    format!("/admin/users/{}", id(session))
}

fn patch<'a>(app: &'a TestApp, by: &Value, path: &str, body: Value) -> Request<'a> {
    app.request(Method::PATCH, path)
        .bearer(&by["access_token"])
        .json(&body)
}

fn get<'a>(app: &'a TestApp, by: &Value, path: &str) -> Request<'a> {
    app.get(path).bearer(&by["access_token"])
}

fn delete_me<'a>(app: &'a TestApp, session: &Value) -> Request<'a> {
    app.delete("/auth/me")
        .bearer(&session["access_token"])
        .json(&json!({"password": PASSWORD}))
}

/// Every route, on the user with this id.
fn all_routes<'a>(app: &'a TestApp, id: &str) -> Vec<Request<'a>> {
    let path = format!("/admin/users/{id}");
    vec![
        app.get("/admin/users"),
        app.get(&path),
        app.request(Method::PATCH, &path)
            .json(&json!({"is_active": false})),
        app.delete(&path),
        app.request(Method::POST, &format!("{path}/reset-link")),
    ]
}

fn emails(answer: &Answer) -> Vec<&str> {
    let users = answer.body["users"].as_array().unwrap();
    users.iter().map(|user| user["email"].as_str().unwrap()).collect()
}

on_both_engines! {
    async fn nobody_but_an_administrator_gets_past_the_door_and_a_demoted_one_loses_it_at_once(engine: Engine) {
        let app = start(engine).await;
        let (root, ada) = (admin(&app, "root@example.com").await, app.signed_up("ada@example.com").await);
        admin(&app, "other@example.com").await;
        for target in [id(&root), NOBODY, "x"] {
            for request in all_routes(&app, target) {
                request.await.expect_problem(401, "not_authenticated");
            }
        }
        // A user is told the same of users there are, of none, and of what is no id.
        let mut refusals = Vec::new();
        for target in [id(&root), id(&ada), NOBODY, "x", "%00"] {
            for request in all_routes(&app, target) {
                let answer = request.bearer(&ada["access_token"]).await.expect_problem(403, "forbidden");
                refusals.push(answer.fingerprint());
            }
        }
        refusals.dedup();
        assert_eq!(refusals.len(), 1, "{refusals:#?}");
        app.audited("admin_denied", "not_admin").await;

        get(&app, &root, "/admin/users").await.expect(200);
        let second = app.second_instance().await;
        let by = app.logged_in("other@example.com", PASSWORD).await;
        patch(&app, &by, &path(&root), json!({"role": "user"})).at(second).await.expect(200);
        for request in all_routes(&app, id(&ada)) {
            request.bearer(&root["access_token"]).await.expect_problem(403, "forbidden");
        }
        assert_eq!(get(&app, &root, "/auth/me").await.expect(200).body["role"], "user");
    }
}

on_both_engines! {
    async fn users_are_found_by_a_part_of_address_or_name_as_it_is_written(engine: Engine) {
        let app = start(engine).await;
        let root = admin(&app, "root@example.com").await;
        for (email, name) in [
            ("ada.l@example.com", "Ada Lovelace"),
            ("a_b@example.com", "100% Sure"),
            ("axb@example.com", "Łukasz !x\\"),
            ("grace@example.org", "Grace Hopper"),
        ] {
            let body = json!({"email": email, "password": PASSWORD, "full_name": name});
            app.post("/auth/register", body).await.expect(201);
        }
        let found = async |query: &str| {
            let query: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
            let answer = get(&app, &root, &format!("/admin/users?query={query}")).await.expect(200);
            emails(&answer).iter().map(|email| (*email).to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(found("LOVE").await, ["ada.l@example.com"]);
        assert_eq!(found(" Ada.L@EXAMPLE ").await, ["ada.l@example.com"]);
        assert_eq!(found("a_b").await, ["a_b@example.com"]);
        assert_eq!(found("%").await, ["a_b@example.com"]);
        assert_eq!(found("!").await, ["axb@example.com"]);
        assert_eq!(found("\\").await, ["axb@example.com"]);
        assert_eq!(found("Łuk").await, ["axb@example.com"]);
        assert_eq!(found("example.org").await, ["grace@example.org"]);
        assert_eq!(found("nobody").await, Vec::<String>::new());
        assert_eq!(found("' OR '1'='1").await, Vec::<String>::new());
        assert_eq!(found("").await.len(), 5);

        for (query, pointer) in [
            ("query=a%00b", "/query"),
            (&format!("query={}", "x".repeat(255)), "/query"),
            ("cursor=x", "/cursor"),
            ("limit=0", "/limit"),
            ("limit=101", "/limit"),
        ] {
            let refused = get(&app, &root, &format!("/admin/users?{query}")).await;
            let refused = refused.expect_problem(422, "validation_failed");
            assert_eq!(refused.body["errors"][0]["pointer"], pointer, "{query}");
        }
        let listed = get(&app, &root, "/admin/users?query=grace").await.expect(200);
        let fields: Vec<_> = listed.body["users"][0].as_object().unwrap().keys().map(String::as_str).collect();
        let user = ["created_at", "email", "full_name", "id", "is_active", "is_verified", "last_login_at", "role"];
        assert_eq!(fields, user);
        assert_eq!(listed.body["next_cursor"], Value::Null);
    }
}

on_both_engines! {
    async fn pages_hold_each_user_once_whatever_is_added_or_deleted_meanwhile(engine: Engine) {
        let app = start(engine).await;
        let root = admin(&app, "root@example.com").await;
        let register = async |email: String| {
            let body = json!({"email": email, "password": PASSWORD});
            app.post("/auth/register", body).await.expect(201).body["id"].as_str().unwrap().to_owned()
        };
        let mut ids = vec![id(&root).to_owned()];
        for n in 0..9 {
            // Some of one and the same moment.
            app.advance(Duration::from_millis(n % 2));
            ids.push(register(format!("u{n}@example.com")).await);
        }
        let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = get(&app, &root, &format!("/admin/users?limit=3&cursor={cursor}")).await.expect(200);
            let users = page.body["users"].as_array().unwrap();
            seen.extend(users.iter().map(|user| user["id"].as_str().unwrap().to_owned()));
            pages += 1;
            register(format!("late{pages}@example.com")).await;
            if pages == 1 {
                app.delete(&format!("/admin/users/{}", seen[2])).bearer(&root["access_token"]).await.expect(204);
            }
            let Some(next) = page.body["next_cursor"].as_str() else { break };
            cursor = next.to_owned();
        }
        ids.reverse();
        assert_eq!((seen, pages), (ids, 4));
    }
}

on_both_engines! {
    /// JWT-07: refused at once, in both processes.
    async fn a_deactivated_user_is_out_everywhere_at_once_and_comes_back_with_his_password(engine: Engine) {
        let app = start(engine).await;
        let (root, ada) = (admin(&app, "root@example.com").await, app.signed_up("ada@example.com").await);
        let token = app.post("/api-tokens", json!({"name": "ci"})).bearer(&ada["access_token"]).await.expect(201);
        let second = app.second_instance().await;
        let verify = || app.get("/api-gateway/verify").bearer(&token.body["token"]);
        for address in [app.address, second] {
            verify().at(address).await.expect(204);
            get(&app, &ada, "/auth/me").at(address).await.expect(200);
        }

        let off = patch(&app, &root, &path(&ada), json!({"is_active": false})).await.expect(200);
        assert_eq!((&off.body["is_active"], &off.body["email"]), (&json!(false), &json!("ada@example.com")));
        for address in [app.address, second] {
            get(&app, &ada, "/auth/me").at(address).await.expect_problem(401, "token_invalid");
            let refresh = json!({"refresh_token": ada["refresh_token"]});
            app.post("/auth/refresh", refresh).at(address).await.expect_problem(401, "invalid_refresh_token");
            app.get("/api-gateway/session").bearer(&ada["access_token"]).at(address).await.expect(401);
            let right = json!({"email": "ada@example.com", "password": PASSWORD});
            app.post("/auth/login", right).at(address).await.expect_problem(403, "account_inactive");
            let wrong = json!({"email": "ada@example.com", "password": "wrong"});
            app.post("/auth/login", wrong).at(address).await.expect_problem(401, "invalid_credentials");
        }
        verify().await.expect(401);
        // The other process has no Redis to hear it from: its proof ends by itself.
        app.advance(Duration::from_secs(5));
        verify().at(second).await.expect(401);
        app.post(&format!("{}/reset-link", path(&ada)), json!({})).bearer(&root["access_token"]).await
            .expect_problem(403, "account_inactive");

        patch(&app, &root, &path(&ada), json!({"is_active": true})).await.expect(200);
        get(&app, &ada, "/auth/me").await.expect_problem(401, "token_invalid");
        app.logged_in("ada@example.com", PASSWORD).await;
        verify().await.expect(204);
    }
}

on_both_engines! {
    async fn a_deleted_user_is_gone_with_all_that_hangs_on_him(engine: Engine) {
        let app = start(engine).await;
        let (root, ada) = (admin(&app, "root@example.com").await, app.signed_up("ada@example.com").await);
        let token = app.post("/api-tokens", json!({"name": "ci"})).bearer(&ada["access_token"]).await.expect(201);
        app.get("/api-gateway/verify").bearer(&token.body["token"]).await.expect(204);
        let delete = || app.delete(&path(&ada)).bearer(&root["access_token"]);
        let deleted = delete().await.expect(204);
        assert_eq!(deleted.text, "");
        delete().await.expect_problem(404, "not_found");
        get(&app, &ada, "/auth/me").await.expect_problem(401, "token_invalid");
        app.get("/api-gateway/verify").bearer(&token.body["token"]).await.expect(401);
        for table in ["sessions", "api_tokens", "one_time_tokens", "known_clients", "mail_jobs"] {
            let column = if table == "known_clients" { "client" } else if table == "one_time_tokens" { "email" } else { "id" };
            let left = app.sql_texts(&format!("SELECT {column} FROM {table} WHERE user_id = '{}'", id(&ada))).await;
            assert!(left.is_empty(), "{table}: {left:?}");
        }
        app.signed_up("ada@example.com").await;
    }
}

on_both_engines! {
    async fn a_reset_link_sets_a_password_once_and_ends_older_links(engine: Engine) {
        let app = start(engine).await;
        let (root, ada) = (admin(&app, "root@example.com").await, app.signed_up("ada@example.com").await);
        app.post("/auth/password-reset/request", json!({"email": "ada@example.com"})).await.expect(200);
        let mailed = app.mails("ada@example.com", 2).await.pop().unwrap().token();
        app.until_no_mail_waits().await;
        let link = || app.post(&format!("{}/reset-link", path(&ada)), json!({})).bearer(&root["access_token"]);
        let first = link().await.expect(200).body["link"].as_str().unwrap().to_owned();
        let second = link().await.expect(200);
        assert_eq!(second.body["expires_in_seconds"], 900);
        let second = second.body["link"].as_str().unwrap();
        let (page, token) = second.split_once("#token=").unwrap();
        assert_eq!(page, "http://localhost:8000/reset-password");
        let verify = async |token: &str| {
            app.post("/auth/password-reset/verify", json!({"token": token})).await.expect(200).body["valid"] == true
        };
        assert!(!verify(&mailed).await);
        assert!(!verify(first.split_once("#token=").unwrap().1).await);
        assert!(verify(token).await);
        app.advance(Duration::from_secs(899));
        let confirm = |password: &str| {
            app.post("/auth/password-reset/confirm", json!({"token": token, "new_password": password}))
        };
        confirm("another-good-phrase-7").await.expect(200);
        confirm("another-good-phrase-8").await.expect_problem(400, "invalid_reset_token");
        get(&app, &ada, "/auth/me").await.expect(401);
        app.logged_in("ada@example.com", "another-good-phrase-7").await;
        assert!(!app.dump().await.contains(token), "only its hash is stored");

        let late = link().await.expect(200).body["link"].as_str().unwrap().to_owned();
        app.advance(Duration::from_secs(901));
        assert!(!verify(late.split_once("#token=").unwrap().1).await);
    }
}

on_both_engines! {
    async fn a_change_of_nothing_changes_nothing_and_a_wrong_one_is_refused(engine: Engine) {
        let app = start(engine).await;
        let (root, ada) = (admin(&app, "root@example.com").await, app.signed_up("ada@example.com").await);
        let before = get(&app, &root, &path(&ada)).await.expect(200).body;
        for body in [json!({}), json!({"email": "x@example.com", "is_admin": true, "id": NOBODY}), json!({"is_active": true})] {
            assert_eq!(patch(&app, &root, &path(&ada), body).await.expect(200).body, before);
        }
        get(&app, &ada, "/auth/me").await.expect(200);
        for (body, pointer) in [
            (json!({"role": "root"}), "/role"),
            (json!({"role": null}), "/role"),
            (json!({"role": ["admin"]}), "/role"),
            (json!({"is_active": null}), "/is_active"),
            (json!({"is_active": "false"}), "/is_active"),
            (json!({"role": "admin", "is_active": 0}), "/is_active"),
            (json!([]), ""),
        ] {
            let refused = patch(&app, &root, &path(&ada), body).await.expect_problem(422, "validation_failed");
            assert_eq!(refused.body["errors"][0]["pointer"], pointer);
        }
        app.request(Method::PATCH, &path(&ada)).bearer(&root["access_token"]).await.expect_problem(400, "invalid_request");
        app.request(Method::PUT, &path(&ada)).bearer(&root["access_token"]).await.expect_problem(405, "method_not_allowed");
        assert_eq!(get(&app, &root, &path(&ada)).await.expect(200).body, before);

        // Nobody's id, and what is no id, are one answer.
        let mut absent = Vec::new();
        for target in [NOBODY, "x", "00000000-0000-0000-0000-000000000000", "%27%20OR%201=1", "..%2f"] {
            for request in all_routes(&app, target).into_iter().skip(1) {
                absent.push(request.bearer(&root["access_token"]).await.expect_problem(404, "not_found").fingerprint());
            }
        }
        absent.dedup();
        assert_eq!(absent.len(), 1, "{absent:#?}");
    }
}

on_both_engines! {
    async fn the_last_active_administrator_cannot_lock_himself_out(engine: Engine) {
        let app = start(engine).await;
        let (root, ada) = (admin(&app, "root@example.com").await, app.signed_up("ada@example.com").await);
        let own = path(&root);
        for body in [json!({"role": "user"}), json!({"is_active": false}), json!({"role": "user", "is_active": true})] {
            patch(&app, &root, &own, body).await.expect_problem(403, "forbidden");
        }
        app.delete(&own).bearer(&root["access_token"]).await.expect_problem(403, "forbidden");
        app.audited("admin_role_changed", "last_admin").await;
        // An inactive one is no help.
        patch(&app, &root, &path(&ada), json!({"role": "admin", "is_active": false})).await.expect(200);
        patch(&app, &root, &own, json!({"role": "user"})).await.expect_problem(403, "forbidden");
        patch(&app, &root, &path(&ada), json!({"is_active": true})).await.expect(200);
        patch(&app, &root, &own, json!({"role": "user"})).await.expect(200);
        get(&app, &root, "/admin/users").await.expect_problem(403, "forbidden");
    }
}

on_both_engines! {
    async fn the_last_active_administrator_cannot_delete_his_own_account(engine: Engine) {
        let app = start(engine).await;
        let (root, ada) = (admin(&app, "root@example.com").await, app.signed_up("ada@example.com").await);
        let by_himself = delete_me(&app, &root).await.expect_problem(403, "forbidden");
        let by_an_administrator = app.delete(&path(&root)).bearer(&root["access_token"]).await;
        assert_eq!(by_himself.fingerprint(), by_an_administrator.expect_problem(403, "forbidden").fingerprint());
        app.audited("account_deleted", "last_admin").await;
        // Only who knows the password is told.
        let wrong = app.delete("/auth/me").bearer(&root["access_token"]).json(&json!({"password": "wrong"}));
        assert_eq!(wrong.await.expect_problem(422, "validation_failed").body["errors"][0]["code"], "wrong_password");
        // He stays what he was, and an inactive one is no help.
        patch(&app, &root, &path(&ada), json!({"role": "admin", "is_active": false})).await.expect(200);
        delete_me(&app, &root).await.expect_problem(403, "forbidden");
        patch(&app, &root, &path(&ada), json!({"is_active": true})).await.expect(200);
        delete_me(&app, &root).await.expect(204);
        let ada = app.logged_in("ada@example.com", PASSWORD).await;
        delete_me(&app, &ada).await.expect_problem(403, "forbidden");
        // Nobody else is held.
        delete_me(&app, &app.signed_up("grace@example.com").await).await.expect(204);
    }
}

on_both_engines! {
    async fn of_two_administrators_who_delete_themselves_at_once_one_is_left(engine: Engine) {
        let app = start(engine).await;
        let second = app.second_instance().await;
        for round in 0..if crate::app::long() { 40 } else { 8 } {
            let one = admin(&app, &format!("one{round}@example.com")).await;
            let other = admin(&app, &format!("other{round}@example.com")).await;
            let both = [delete_me(&app, &one), delete_me(&app, &other).at(second)];
            let mut statuses = join_all(both.map(Request::send)).await.iter().map(|answer| answer.status).collect::<Vec<_>>();
            statuses.sort_unstable();
            assert_eq!(statuses, [204, 403], "round {round}");
            assert_eq!(app.sql("UPDATE users SET role = 'user' WHERE role = 'admin'").await, 1);
        }
    }
}

on_both_engines! {
    async fn of_administrators_who_demote_and_delete_each_other_at_once_one_is_left(engine: Engine) {
        let app = start(engine).await;
        let mut sessions = Vec::new();
        for n in 0..4 {
            sessions.push(admin(&app, &format!("root{n}@example.com")).await);
        }
        let second = app.second_instance().await;
        for round in 0..3 {
            app.sql("UPDATE users SET role = 'admin', is_active = TRUE").await;
            let requests = (0..4).flat_map(|by| (0..4).map(move |whom| (by, whom)));
            let answers = join_all(requests.map(|(by, whom)| {
                let body = if (by + whom + round) % 2 == 0 { json!({"role": "user"}) } else { json!({"is_active": false}) };
                let at = if whom % 2 == 0 { app.address } else { second };
                patch(&app, &sessions[by], &path(&sessions[whom]), body).at(at).send()
            })).await;
            for answer in answers {
                assert!([200, 401, 403].contains(&answer.status), "{}", answer.text);
            }
            let left = app.sql_texts("SELECT email FROM users WHERE role = 'admin' AND is_active").await;
            assert!(!left.is_empty(), "round {round}");
            for (n, session) in sessions.iter_mut().enumerate() {
                app.sql("UPDATE users SET is_active = TRUE").await;
                *session = app.logged_in(&format!("root{n}@example.com"), PASSWORD).await;
            }
        }
        // Of many who delete the same user one did.
        app.sql("UPDATE users SET role = 'admin', is_active = TRUE").await;
        let ada = app.signed_up("ada@example.com").await;
        let deletes = (0..8).map(|n| {
            let at = if n % 2 == 0 { app.address } else { second };
            app.delete(&path(&ada)).bearer(&sessions[n % 4]["access_token"]).at(at).send()
        });
        let mut statuses: Vec<u16> = join_all(deletes).await.iter().map(|answer| answer.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [204, 404, 404, 404, 404, 404, 404, 404]);
    }
}

on_both_engines! {
    async fn the_audit_log_says_who_did_what_to_whom(engine: Engine) {
        let app = start(engine).await;
        let (root, ada) = (admin(&app, "root@example.com").await, app.signed_up("ada@example.com").await);
        let from = "203.0.113.7";
        get(&app, &root, "/admin/users").from(from).await.expect(200);
        get(&app, &root, &path(&ada)).from(from).await.expect(200);
        patch(&app, &root, &path(&ada), json!({"is_active": false})).from(from).await.expect(200);
        patch(&app, &root, &path(&ada), json!({"is_active": true, "role": "admin"})).from(from).await.expect(200);
        app.post(&format!("{}/reset-link", path(&ada)), json!({})).bearer(&root["access_token"]).from(from).await.expect(200);
        app.delete(&path(&ada)).bearer(&root["access_token"]).from(from).await.expect(204);
        app.delete(&path(&ada)).bearer(&root["access_token"]).from(from).await.expect(404);
        app.audited("admin_user_deleted", "no_such_user").await;
        let rows = app.sql_texts(&format!(
            "SELECT event || ' ' || outcome || ' ' || COALESCE(reason, '-') || ' ' || COALESCE(target_id, '-') \
             FROM audit_log WHERE user_id = '{}' AND client_ip = '{from}' AND request_id IS NOT NULL ORDER BY id",
            id(&root),
        )).await;
        let ada = id(&ada);
        assert_eq!(rows, [
            "admin_users_listed success - -".to_owned(),
            format!("admin_user_viewed success - {ada}"),
            format!("admin_user_deactivated success - {ada}"),
            format!("admin_user_activated success - {ada}"),
            format!("admin_role_changed success admin {ada}"),
            format!("admin_reset_link_created success - {ada}"),
            format!("admin_user_deleted success - {ada}"),
            format!("admin_user_deleted failure no_such_user {ada}"),
        ]);
    }
}

on_both_engines! {
    /// Each use is audited, also where the client hangs up in the middle of it.
    async fn no_change_escapes_the_audit_log_by_hanging_up(engine: Engine) {
        let app = start(engine).await;
        let root = admin(&app, "root@example.com").await;
        for n in 100..250_u64 {
            let id = format!("01a20198-d7ff-76d0-ae30-000000000{n}");
            let sql = format!("INSERT INTO users (id, email, password_hash, password_version, role, is_active, is_verified, \
                is_pending, created_at) VALUES ('{id}', '{n}@example.com', '!', 1, 'user', TRUE, TRUE, FALSE, 0)");
            assert_eq!(app.sql(&sql).await, 1);
            let promotes = patch(&app, &root, &format!("/admin/users/{id}"), json!({"role": "admin"}));
            let _ = tokio::time::timeout(Duration::from_micros(n * 40), promotes.send()).await;
        }
        // The last ones are still being carried out, and rows are written a moment later.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let promoted = "SELECT id FROM users WHERE role = 'admin' AND email <> 'root@example.com' ORDER BY id";
        let audited = "SELECT target_id FROM audit_log WHERE event = 'admin_role_changed' AND outcome = 'success' ORDER BY target_id";
        let (promoted, audited) = (app.sql_texts(promoted).await, app.sql_texts(audited).await);
        assert!(!promoted.is_empty());
        assert_eq!(audited, promoted);
    }
}
