//! `GET /auth/me/activity`: a user's own part of the audit log.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{Engine, PASSWORD, TestApp};

/// The events of a user, the newest first, as soon as there are `count`: rows are written behind the answers.
async fn events(app: &TestApp, session: &Value, count: usize) -> Vec<Value> {
    for _ in 0..100 {
        let page = app
            .get("/auth/me/activity?limit=100")
            .bearer(&session["access_token"])
            .await
            .expect(200);
        let events = page.body["events"].as_array().unwrap().clone();
        assert!(events.len() <= count, "{events:#?}");
        if events.len() == count {
            return events;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{count} events were expected");
}

fn named(events: &[Value]) -> Vec<String> {
    let name = |event: &Value| format!("{} {}", event["event"], event["reason"]).replace('"', "");
    events.iter().map(name).collect()
}

on_both_engines! {
    async fn a_user_sees_what_happened_to_his_account_and_nothing_of_others(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        app.get("/auth/me/activity").await.expect_problem(401, "not_authenticated");
        let ada = app.signed_up("ada@example.com").await;
        let grace = app.signed_up("grace@example.com").await;
        let wrong = json!({"email": "ada@example.com", "password": "not-the-password"});
        app.post("/auth/login", wrong).from("203.0.113.9").await.expect(401);
        app.post("/api-tokens", json!({"name": "ci"})).bearer(&ada["access_token"]).await.expect(201);
        let refresh = json!({"refresh_token": ada["refresh_token"]});
        let ada = app.post("/auth/refresh", refresh).await.expect(200).body;

        let events = events(&app, &ada, 5).await;
        assert_eq!(
            named(&events),
            ["token_refresh null", "api_token_created null", "login_failure wrong_password", "login_success null", "register null"]
        );
        let failure = &events[2];
        let fields: Vec<_> = failure.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["at", "by_admin", "client_ip", "event", "id", "outcome", "reason", "request_id"]);
        assert_eq!((&failure["client_ip"], &failure["outcome"]), (&json!("203.0.113.9"), &json!("failure")));
        assert_eq!(named(&self::events(&app, &grace, 2).await), ["login_success null", "register null"]);
        let text = json!(events).to_string();
        for secret in [PASSWORD, "not-the-password", "stile_", "grace"] {
            assert!(!text.contains(secret), "{secret}");
        }
    }
}

on_both_engines! {
    async fn what_administrators_change_is_shown_without_saying_who_and_from_where(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let ada = app.signed_up("ada@example.com").await;
        let root = app.signed_up("root@example.com").await;
        app.sql("UPDATE users SET role = 'admin' WHERE email = 'root@example.com'").await;
        let path = format!("/admin/users/{}", ada["user"]["id"].as_str().unwrap());
        let change = |body: Value| {
            app.request(Method::PATCH, &path).bearer(&root["access_token"]).from("203.0.113.66").json(&body)
        };
        app.get(&path).bearer(&root["access_token"]).await.expect(200);
        change(json!({"role": "admin"})).await.expect(200);
        change(json!({"is_active": false, "role": "user"})).await.expect(200);
        change(json!({"is_active": true})).await.expect(200);
        let ada = app.logged_in("ada@example.com", PASSWORD).await;
        let shown = events(&app, &ada, 7).await;
        assert_eq!(named(&shown), [
            "login_success null",
            "admin_user_activated null",
            "admin_role_changed user",
            "admin_user_deactivated null",
            "admin_role_changed admin",
            "login_success null",
            "register null",
        ]);
        for event in &shown[1..5] {
            assert_eq!((&event["by_admin"], &event["client_ip"], &event["request_id"]), (&json!(true), &Value::Null, &Value::Null));
        }
        assert!(!json!(shown).to_string().contains(root["user"]["id"].as_str().unwrap()));
        // The administrator sees what he did.
        let own = events(&app, &root, 7).await;
        assert_eq!((named(&own)[4].as_str(), &own[4]["by_admin"]), ("admin_user_viewed null", &json!(false)));
    }
}

on_both_engines! {
    async fn pages_hold_each_event_once(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let ada = app.signed_up("ada@example.com").await;
        for _ in 0..6 {
            app.post("/api-tokens", json!({"name": "ci"})).bearer(&ada["access_token"]).await.expect(201);
        }
        let all = events(&app, &ada, 8).await;
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = app.get(&format!("/auth/me/activity?limit=3&cursor={cursor}")).bearer(&ada["access_token"]).await.expect(200);
            seen.extend(page.body["events"].as_array().unwrap().iter().cloned());
            let Some(next) = page.body["next_cursor"].as_str() else { break };
            cursor = next.to_owned();
        }
        assert_eq!(seen, all);
        let refused = app.get("/auth/me/activity?cursor=x").bearer(&ada["access_token"]).await;
        refused.expect_problem(422, "validation_failed");
    }
}
