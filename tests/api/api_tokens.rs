//! API tokens as their owner manages them.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{Answer, Engine, TestApp};

const DAY: Duration = Duration::from_hours(24);

/// Somebody signed in.
pub struct Owner<'a> {
    pub app: &'a TestApp,
    pub access: Value,
    pub id: String,
}

impl<'a> Owner<'a> {
    pub async fn sign_up(app: &'a TestApp, email: &str) -> Self {
        let tokens = app.signed_up(email).await;
        Self {
            app,
            access: tokens["access_token"].clone(),
            id: tokens["user"]["id"].as_str().unwrap().to_owned(),
        }
    }

    pub async fn create(&self, body: Value) -> Answer {
        self.app.post("/api-tokens", body).bearer(&self.access).await
    }

    pub async fn ask(&self, method: Method, path: &str) -> Answer {
        self.app.request(method, path).bearer(&self.access).await
    }

    pub async fn get(&self, id: &str) -> Answer {
        self.ask(Method::GET, &format!("/api-tokens/{id}")).await
    }

    pub async fn patch(&self, id: &str, body: Value) -> Answer {
        let path = format!("/api-tokens/{id}");
        self.app
            .request(Method::PATCH, &path)
            .bearer(&self.access)
            .json(&body)
            .await
    }

    pub async fn revoke(&self, id: &str) -> Answer {
        self.ask(Method::DELETE, &format!("/api-tokens/{id}")).await
    }
}

pub fn id(token: &Value) -> &str {
    token["id"].as_str().unwrap()
}

on_both_engines! {
    /// TOK-03: the secret is shown once.
    async fn a_secret_is_shown_by_the_answer_that_makes_it_and_by_no_other(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let owner = Owner::sign_up(&app, "ada@example.com").await;
        let made = owner
            .create(json!({"name": " CI ", "scopes": ["read:things", "write:*", "read:things"]}))
            .await
            .expect(201)
            .body;
        let secret = made["token"].as_str().unwrap();
        assert!(secret.starts_with("stile_") && secret.len() == 55);
        assert_eq!(made["name"], "CI");
        assert_eq!(made["scopes"], json!(["read:things", "write:*"]));
        assert_eq!(made["status"], "active");
        assert_eq!(made["rate_limit_per_minute"], 60);
        assert_eq!(made["rate_limit_per_hour"], 1000);
        assert_eq!(made["rate_limit_per_day"], 10000);
        assert_eq!(made["request_count"], 0);
        for field in ["expires_at", "last_used_at", "last_used_ip"] {
            assert_eq!(made[field], Value::Null, "{field}");
        }
        assert!(secret.starts_with(made["prefix"].as_str().unwrap()));

        let list = owner.ask(Method::GET, "/api-tokens").await.expect(200);
        let one = owner.get(id(&made)).await.expect(200);
        for answer in [&list, &one] {
            assert!(!answer.text.contains(secret));
            assert!(!answer.text.contains(&secret[14..]));
        }
        assert_eq!(list.body[0]["id"], made["id"]);
        assert!(list.body[0].get("token").is_none() && list.body[0].get("usage").is_none());
        assert_eq!(
            one.body["usage"]["minute"],
            json!({"limit": 60, "used": 0, "reset_at": null})
        );

        let rotated = owner.ask(Method::POST, &format!("/api-tokens/{}/rotate", id(&made))).await.expect(201).body;
        assert_ne!(rotated["token"], made["token"]);
        assert_eq!(rotated["id"], made["id"]);
        assert_eq!(rotated["scopes"], made["scopes"]);

        owner.patch(id(&made), json!({"name": "y"})).await.expect(200);
        owner.revoke(id(&made)).await.expect(204);
        for event in ["api_token_created", "api_token_rotated", "api_token_changed", "api_token_revoked"] {
            app.audited(event, "").await;
        }
    }
}

on_both_engines! {
    /// TOK-01: another's token is the same as none.
    async fn anothers_token_is_answered_like_one_that_nobody_has(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let ada = Owner::sign_up(&app, "ada@example.com").await;
        let eve = Owner::sign_up(&app, "eve@example.com").await;
        let made = ada.create(json!({"name": "ci"})).await.expect(201).body;
        let random = uuid::Uuid::now_v7().to_string();
        for path in ["", "/rotate"] {
            for method in [Method::GET, Method::PATCH, Method::DELETE, Method::POST] {
                let mut answers = Vec::new();
                for id in [id(&made), &random] {
                    let request = app.request(method.clone(), &format!("/api-tokens/{id}{path}")).bearer(&eve.access);
                    let mut answer = request.json(&json!({"name": "mine"})).await;
                    answer.body["request_id"] = Value::Null;
                    answers.push((answer.status, answer.body));
                }
                assert_eq!(answers[0], answers[1], "{method} {path}");
                assert!([404, 405].contains(&answers[0].0));
            }
        }
        assert_eq!(eve.ask(Method::GET, "/api-tokens").await.body, json!([]));
        let after = ada.get(id(&made)).await.expect(200).body;
        assert_eq!((&after["name"], &after["status"]), (&json!("ci"), &json!("active")));
        eve.get("not-an-id").await.expect_problem(404, "not_found");
    }
}

/// TOK-02: nobody gets more than his own, whatever he writes.
#[tokio::test]
async fn a_token_is_the_callers_and_never_above_his_allowance() {
    let app = TestApp::on(Engine::Sqlite).start().await;
    let ada = Owner::sign_up(&app, "ada@example.com").await;
    let bob = Owner::sign_up(&app, "bob@example.com").await;
    app.post("/api-tokens", json!({"name": "x", "user_id": bob.id}))
        .await
        .expect_problem(401, "not_authenticated");
    let made = ada
        .create(json!({"name": "x", "user_id": bob.id, "quota_day": 10_u64.pow(12), "token": "stile_x", "request_count": -5}))
        .await
        .expect(201)
        .body;
    assert_eq!(made["rate_limit_per_day"], 10_000);
    assert_eq!(made["request_count"], 0);
    assert_eq!(bob.ask(Method::GET, "/api-tokens").await.body, json!([]));
    for scope in ["admin", "admin:users", "admin:*"] {
        let refused = ada
            .create(json!({"name": "x", "scopes": ["read:a", scope]}))
            .await;
        let refused = refused.expect_problem(422, "validation_failed");
        assert_eq!(refused.body["errors"][0]["pointer"], "/scopes/1");
    }
}

/// TOK-04 and the bad input of names, scopes and times.
#[tokio::test]
async fn each_field_takes_what_is_documented_and_nothing_else() {
    let app = TestApp::on(Engine::Sqlite).start().await;
    let owner = Owner::sign_up(&app, "ada@example.com").await;
    let refused = |body: Value, pointer: &'static str| {
        let owner = &owner;
        async move {
            let answer = owner.create(body.clone()).await;
            assert_eq!(answer.status, 422, "{body}: {}", answer.text);
            assert_eq!(answer.body["errors"][0]["pointer"], pointer, "{body}");
        }
    };
    for bad in [
        json!(-1),
        json!(61),
        json!(2_u64.pow(31)),
        json!(i64::MAX),
        json!(2_u64.pow(63)),
        json!(1.5),
        json!("10"),
        json!([]),
        json!(true),
    ] {
        refused(
            json!({"name": "x", "rate_limit_per_minute": bad}),
            "/rate_limit_per_minute",
        )
        .await;
    }
    let huge = app
        .request(Method::POST, "/api-tokens")
        .bearer(&owner.access)
        .header("content-type", "application/json")
        .raw(r#"{"name":"x","rate_limit_per_day":1e309}"#)
        .await;
    assert!([400, 422].contains(&huge.status), "{}", huge.text);
    refused(
        json!({"name": "x", "rate_limit_per_minute": 10, "rate_limit_per_hour": 9}),
        "/rate_limit_per_hour",
    )
    .await;
    refused(
        json!({"name": "x", "rate_limit_per_hour": 100, "rate_limit_per_day": 99}),
        "/rate_limit_per_day",
    )
    .await;
    for name in [
        json!(""),
        json!("  "),
        json!("a\r\nb"),
        json!("a\0"),
        json!("x".repeat(101)),
        json!(null),
    ] {
        refused(json!({"name": name}), "/name").await;
    }
    refused(json!({}), "/name").await;
    refused(json!({"name": 7}), "/name").await;
    for scope in ["a b", "a\r\nX-Auth-User-Id: 1", "A", "", "é", &"a".repeat(65)] {
        refused(json!({"name": "x", "scopes": [scope]}), "/scopes/0").await;
    }
    refused(json!({"name": "x", "scopes": "read:a"}), "/scopes").await;
    for time in ["yesterday", "2020-01-01T00:00:00Z", "2999-13-01T00:00:00Z", ""] {
        refused(json!({"name": "x", "expires_at": time}), "/expires_at").await;
    }
    for good in [
        json!({"name": "x", "rate_limit_per_minute": 0}),
        json!({"name": "x", "rate_limit_per_minute": 0, "rate_limit_per_hour": 0, "rate_limit_per_day": 0}),
        json!({"name": "x", "rate_limit_per_minute": null, "scopes": null, "expires_at": null}),
        json!({"name": "x", "expires_at": "2999-12-31T23:59:59+02:00"}),
        json!({"name": "Łukasz 👩"}),
    ] {
        owner.create(good).await.expect(201);
    }
}

#[tokio::test]
async fn a_patch_sets_what_it_names_and_null_is_the_default() {
    let app = TestApp::on(Engine::Sqlite).start().await;
    let owner = Owner::sign_up(&app, "ada@example.com").await;
    let body = json!({"name": "x", "scopes": ["a"], "rate_limit_per_minute": 1, "expires_at": "2999-01-01T00:00:00Z"});
    let made = owner.create(body).await.expect(201).body;
    let id = id(&made);
    let patched = owner.patch(id, json!({"name": "y"})).await.expect(200).body;
    assert_eq!(
        (
            &patched["name"],
            &patched["scopes"],
            &patched["rate_limit_per_minute"]
        ),
        (&json!("y"), &json!(["a"]), &json!(1))
    );
    let patched = owner
        .patch(
            id,
            json!({"scopes": null, "expires_at": null, "rate_limit_per_minute": null}),
        )
        .await
        .expect(200)
        .body;
    assert_eq!(
        (
            &patched["scopes"],
            &patched["rate_limit_per_minute"],
            &patched["expires_at"]
        ),
        (&json!([]), &json!(60), &Value::Null)
    );
    owner.patch(id, json!({"name": null})).await.expect(422);
    owner
        .patch(id, json!({"rate_limit_per_day": 59}))
        .await
        .expect(422);
    owner.revoke(id).await.expect(204);
    owner.revoke(id).await.expect(204);
    owner
        .patch(id, json!({"name": "z"}))
        .await
        .expect_problem(409, "token_revoked");
    owner
        .ask(Method::POST, &format!("/api-tokens/{id}/rotate"))
        .await
        .expect_problem(409, "token_revoked");
    assert_eq!(owner.get(id).await.expect(200).body["status"], "revoked");
}

#[tokio::test]
async fn an_expired_token_says_so() {
    let app = TestApp::on(Engine::Sqlite).start().await;
    let owner = Owner::sign_up(&app, "ada@example.com").await;
    let soon = app.clock.now().plus(Duration::from_secs(60)).to_string();
    let made = owner
        .create(json!({"name": "x", "expires_at": soon}))
        .await
        .expect(201)
        .body;
    assert_eq!(made["status"], "active");
    app.advance(Duration::from_secs(60));
    assert_eq!(owner.get(id(&made)).await.body["status"], "expired");
}

/// Of one that was only counted, or that ended another, nobody would know the secret.
#[tokio::test]
async fn a_secret_that_is_stored_is_answered_though_nothing_can_be_read_any_more() {
    let app = TestApp::on(Engine::Sqlite)
        .set("DATABASE_MAX_CONNECTIONS", "2")
        .start()
        .await;
    let signed_up = Owner::sign_up(&app, "ada@example.com").await;
    let made = signed_up.create(json!({"name": "x"})).await.expect(201).body;
    let owner = stile::api_tokens::Owner {
        user_id: signed_up.id.parse().unwrap(),
        is_admin: false,
        ip: "127.0.0.1".parse().unwrap(),
        request_id: "of-a-test",
    };
    let api_tokens = &app.app.api_tokens;
    let the_only_reader = app.app.database.read().await.unwrap();
    let id = id(&made).parse().unwrap();
    let rotated = api_tokens.rotate(&owner, id).await.unwrap().token.unwrap();
    let asked = stile::api_tokens::TermsChange {
        name: stile::api_tokens::Edit::Set("y".to_owned()),
        ..Default::default()
    };
    let second = api_tokens.create(&owner, &asked).await.unwrap().token.unwrap();
    drop(the_only_reader);
    for token in [rotated, second] {
        let verify = app.get("/api-gateway/verify").bearer(&json!(token));
        verify.await.expect(204);
    }
}

on_both_engines! {
    async fn the_cap_holds_when_many_are_made_at_once(engine: Engine) {
        let app = TestApp::on(engine)
            .set("API_TOKENS_PER_USER", "5")
            .set("JWT_ISSUER", "stile")
            .start()
            .await;
        let owner = Owner::sign_up(&app, "ada@example.com").await;
        let other = app.second_instance().await;
        let make = |n: usize| {
            let request = app.post("/api-tokens", json!({"name": format!("t{n}")})).bearer(&owner.access);
            if usize::is_multiple_of(n, 2) { request.send() } else { request.at(other).send() }
        };
        let answers = futures_util::future::join_all((0..20).map(make)).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 5);
        for refused in answers.into_iter().filter(|answer| answer.status != 201) {
            refused.expect_problem(409, "token_limit_reached");
        }
        let list = owner.ask(Method::GET, "/api-tokens").await.body;
        assert_eq!(list.as_array().unwrap().len(), 5);
    }
}

/// Else revoking and making anew would be a new quota.
#[tokio::test]
async fn a_revoked_token_counts_until_its_day_is_over_and_is_readable_for_a_month() {
    let app = TestApp::on(Engine::Sqlite)
        .set("API_TOKENS_PER_USER", "1")
        .limited()
        .start()
        .await;
    let owner = Owner::sign_up(&app, "ada@example.com").await;
    let unused = owner.create(json!({"name": "unused"})).await.expect(201).body;
    owner
        .create(json!({"name": "y"}))
        .await
        .expect_problem(409, "token_limit_reached");
    owner.revoke(id(&unused)).await.expect(204);
    // It was never used: no day window is open.
    let used = owner.create(json!({"name": "used"})).await.expect(201).body;
    app.get("/api-gateway/verify")
        .bearer(&used["token"])
        .await
        .expect(204);
    owner.revoke(id(&used)).await.expect(204);
    owner
        .create(json!({"name": "y"}))
        .await
        .expect_problem(409, "token_limit_reached");
    app.advance(DAY);
    let access = app.logged_in("ada@example.com", crate::app::PASSWORD).await["access_token"].clone();
    let owner = Owner { access, ..owner };
    owner.create(json!({"name": "y"})).await.expect(201);
    assert_eq!(owner.get(id(&used)).await.expect(200).body["status"], "revoked");
}

/// `API_TOKEN_SCOPES`.
#[tokio::test]
async fn only_listed_scopes_can_be_put_on_a_token() {
    let app = TestApp::on(Engine::Sqlite)
        .set("API_TOKEN_SCOPES", "read:*,write:things")
        .start()
        .await;
    let owner = Owner::sign_up(&app, "ada@example.com").await;
    for good in ["read:a", "read:*", "write:things"] {
        owner
            .create(json!({"name": "x", "scopes": [good]}))
            .await
            .expect(201);
    }
    for bad in ["write:*", "delete:all", "read"] {
        owner
            .create(json!({"name": "x", "scopes": [bad]}))
            .await
            .expect_problem(422, "validation_failed");
    }
}

/// REF-08, REF-09: an API token opens no session endpoint, and nothing but its hash is stored.
#[tokio::test]
async fn a_token_is_no_session_and_is_stored_as_a_hash() {
    let app = TestApp::on(Engine::Sqlite).start().await;
    let owner = Owner::sign_up(&app, "ada@example.com").await;
    let made = owner.create(json!({"name": "x"})).await.expect(201).body;
    app.get("/auth/me").bearer(&made["token"]).await.expect(401);
    app.get("/api-tokens").bearer(&made["token"]).await.expect(401);
    app.post("/auth/refresh", json!({"refresh_token": made["token"]}))
        .await
        .expect(401);
    let secret = made["token"].as_str().unwrap();
    for file in ["data/stile.db", "data/stile.db-wal"] {
        let bytes = std::fs::read(app.directory.path().join(file)).unwrap_or_default();
        let holds = |needle: &str| {
            bytes
                .windows(needle.len())
                .any(|window| window == needle.as_bytes())
        };
        assert!(!holds(secret) && !holds(&secret[14..49]), "{file}");
    }
}
