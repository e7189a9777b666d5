//! The operator's pages: for the role `admin` alone, on the same use cases and events as the API and the CLI.

use reqwest::Method;
use serde_json::json;
use stile::accounts::{Administrator, Role, UserChange};

use crate::app::{Answer, Engine, PASSWORD, TestApp};
use crate::pages::{Browser, expect_to};
use crate::redis_server::RedisServer;
use crate::test_endpoints_redis::wait_for;

const PAGES: &[&str] = &[
    "/admin",
    "/admin/users",
    "/admin/users/01a20198-d819-77d0-bbba-1eb672b949e3",
    "/admin/limits",
    "/admin/limiter",
    "/admin/limiter/state",
    "/admin/audit",
];

const FORMS: &[&str] = &[
    "/admin/users/01a20198-d819-77d0-bbba-1eb672b949e3/change",
    "/admin/limits/clear",
];

/// A browser in which an administrator is signed in.
async fn operator<'a>(app: &'a TestApp, client: &'static str) -> Browser<'a> {
    let mut browser = Browser::of(app).from(client);
    browser.sign_up("root@example.com").await.expect(303);
    let accounts = &app.app.accounts;
    let by = Administrator::operator();
    let id = accounts
        .user_id_of(&by, &"root@example.com".parse_email())
        .await
        .unwrap();
    let change = UserChange {
        role: Some(Role::Admin),
        is_active: None,
    };
    accounts.change_user(&by, id, change).await.unwrap();
    browser
}

impl Browser<'_> {
    /// Presses one of the buttons on the page of a user.
    async fn change(&mut self, path: &str, change: &str) -> Answer {
        self.submit(&format!("{path}/change"), &[("change", change)])
            .await
    }
}

trait ParseEmail {
    fn parse_email(&self) -> stile::accounts::Email;
}

impl ParseEmail for str {
    fn parse_email(&self) -> stile::accounts::Email {
        stile::accounts::Email::parse(self).unwrap()
    }
}

fn user_path(page: &Answer, email: &str) -> String {
    let (before, _) = page
        .text
        .split_once(&format!("\">{email}</a>"))
        .unwrap_or_else(|| panic!("{}", page.text));
    before.rsplit_once("href=\"").unwrap().1.to_owned()
}

#[tokio::test]
async fn nobody_but_an_administrator_gets_in() {
    let app = TestApp::on(Engine::Sqlite).start().await;
    let mut stranger = Browser::of(&app);
    let mut user = Browser::of(&app);
    user.sign_up("ada@example.com").await;
    user.open("/account").await;
    assert!(!user.open("/account").await.text.contains("/admin/"));
    for path in PAGES {
        let away = stranger.open(path).await.expect(303);
        assert!(
            away.header("location")
                .unwrap()
                .starts_with("/sign-in?return_to=%2Fadmin"),
            "{path}"
        );
        user.open(path).await.expect(403);
    }
    for path in FORMS {
        user.open("/account").await;
        user.submit(path, &[("subject", "ip:127.0.0.1")])
            .await
            .expect(403);
        expect_to(&app.request(Method::POST, &format!("/{path}")).await, "/sign-in");
    }
    let mut operator = operator(&app, "203.0.113.1").await;
    expect_to(&operator.open("/admin").await, "/admin/users");
    for path in FORMS {
        operator.open("/account").await.expect(200);
        operator.token = "wrong".into();
        operator
            .submit(path, &[("subject", "ip:127.0.0.1")])
            .await
            .expect(403);
    }
}

on_both_engines! {
    async fn a_user_is_found_deactivated_activated_and_given_a_link(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let mut ada = Browser::of(&app);
        let fields = [("full_name", "<b>Ada</b>"), ("email", "ada@example.com"), ("password", PASSWORD)];
        ada.fill("/sign-up", &fields).await.expect(303);
        let mut operator = operator(&app, "203.0.113.1").await;
        let page = operator.open("/admin/users?query=ADA").await.expect(200);
        assert!(!page.text.contains("<b>") && !page.text.contains(">root@example.com</a>"));
        let path = user_path(&page, "ada@example.com");
        assert!(operator.open("/admin/users?query=nobody").await.text.contains("Nobody."));

        operator.open(&path).await.expect(200);
        let done = operator.change(&path, "deactivate").await;
        expect_to(&done, &format!("{path}?done=deactivated"));
        expect_to(&ada.open("/account").await, "/sign-in");
        operator.change(&path, "reset-link").await.expect(403);
        let done = operator.change(&path, "activate").await;
        expect_to(&done, &format!("{path}?done=activated"));
        for nonsense in ["", "delete", "role"] {
            operator.change(&path, nonsense).await.expect(404);
        }

        let made = operator.change(&path, "reset-link").await.expect(200);
        let (_, rest) = made.text.split_once("#token=").unwrap();
        let token = rest.split('<').next().unwrap();
        assert!(!operator.open(&path).await.text.contains(token), "shown once");
        let new = [("token", token), ("new_password", "another-battery-staple-7")];
        expect_to(&ada.fill("/reset-password", &new).await, "/sign-in?done=reset");

        // The last administrator stays one.
        let page = operator.open("/admin/users").await.expect(200);
        let own = user_path(&page, "root@example.com");
        operator.open(&own).await;
        for change in ["deactivate", "make-user"] {
            let kept = operator.change(&own, change).await.expect(403);
            assert!(kept.text.contains("last active administrator"), "{}", kept.text);
        }
        operator.open("/account/delete").await.expect(200);
        let kept = operator.fill("/account/delete", &[("password", PASSWORD)]).await.expect(403);
        assert!(kept.text.contains("last active administrator"), "{}", kept.text);
        operator.open("/admin").await.expect(303);
    }
}

on_both_engines! {
    async fn the_role_is_given_and_laid_down(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let mut ada = Browser::of(&app);
        ada.sign_up("ada@example.com").await.expect(303);
        ada.open("/admin/users").await.expect(403);
        let mut operator = operator(&app, "203.0.113.1").await;
        let page = operator.open("/admin/users").await.expect(200);
        let (path, own) = (user_path(&page, "ada@example.com"), user_path(&page, "root@example.com"));
        let page = operator.open(&path).await.expect(200);
        assert!(page.text.contains("Make administrator") && !page.text.contains("Remove the administrator"));
        expect_to(&operator.change(&path, "make-admin").await, &format!("{path}?done=role"));
        ada.open("/admin/users").await.expect(200);
        // Another administrator is left; who lays down his own role sees none of these pages any more.
        operator.open(&own).await.expect(200);
        expect_to(&operator.change(&own, "make-user").await, "/account");
        operator.open("/admin/users").await.expect(403);
        operator.open("/account").await.expect(200);
        operator.change(&path, "make-user").await.expect(403);
        ada.open("/admin/users").await.expect(200);
    }
}

/// The whole account, from every client that it is known from, as `stile limits reset EMAIL` does.
#[tokio::test]
async fn the_limits_of_a_user_are_cleared() {
    let app = TestApp::on(Engine::Sqlite)
        .limited()
        .set("RATE_LIMIT_LOGIN_ACCOUNT", "2/hour")
        .start()
        .await;
    Browser::of(&app).sign_up("ada@example.com").await.expect(303);
    let mut operator = operator(&app, "203.0.113.1").await;
    let page = operator.open("/admin/users").await.expect(200);
    let path = user_path(&page, "ada@example.com");
    let login = |client| {
        app.post(
            "/auth/login",
            json!({"email": "ada@example.com", "password": "x"}),
        )
        .from(client)
    };
    // One that the account is known from, and a stranger.
    for client in ["127.0.0.1", "203.0.113.9"] {
        for status in [401, 401, 429] {
            login(client).await.expect(status);
        }
    }
    operator.open(&path).await.expect(200);
    let cleared = operator.change(&path, "clear-limits").await;
    expect_to(&cleared, &format!("{path}?done=cleared"));
    for client in ["127.0.0.1", "203.0.113.9"] {
        login(client).await.expect(401);
    }
}

/// An API token has limits of its own; its owner cannot empty its counters, an operator can.
#[tokio::test]
async fn the_quota_of_an_api_token_is_seen_and_cleared() {
    let app = TestApp::on(Engine::Sqlite).limited().start().await;
    let access = app.signed_up("ada@example.com").await["access_token"].clone();
    let quota = json!({"name": "<i>export</i>", "rate_limit_per_minute": 2, "rate_limit_per_hour": 2});
    let made = app.post("/api-tokens", quota).bearer(&access).await.expect(201);
    let verify = || app.get("/api-gateway/verify").bearer(&made.body["token"]);
    for status in [204, 204, 429] {
        verify().await.expect(status);
    }
    let mut operator = operator(&app, "203.0.113.1").await;
    let page = operator.open("/admin/limits").await.expect(200);
    let (limited, counted) = page.text.split_once("Counted now").unwrap();
    assert!(
        limited.contains("<strong>token_minute</strong> · &#60;i&#62;export"),
        "{limited}"
    );
    assert!(
        limited.contains(">ada@example.com</a>") && limited.contains("2 of 2"),
        "{limited}"
    );
    assert!(counted.contains("<strong>token_day</strong>"), "{counted}");
    let subject = format!("api_token:{{{}}}", made.body["id"].as_str().unwrap());
    assert!(
        page.text.contains(&format!("value=\"{subject}\"")),
        "{}",
        page.text
    );
    let cleared = operator
        .submit("/admin/limits/clear", &[("subject", &subject)])
        .await;
    expect_to(&cleared, "/admin/limits?done=cleared");
    for status in [204, 204, 429] {
        verify().await.expect(status);
    }
}

#[tokio::test]
async fn who_is_limited_is_seen_and_set_free() {
    let app = TestApp::on(Engine::Sqlite)
        .limited()
        .set("RATE_LIMIT_LOGIN", "2/hour")
        .start()
        .await;
    let mut operator = operator(&app, "203.0.113.1").await;
    let login = || {
        app.post("/auth/login", json!({"email": "a@example.com", "password": "x"}))
            .from("203.0.113.9")
    };
    let page = operator.open("/admin/limits").await.expect(200);
    assert!(page.text.contains("Nobody."), "{}", page.text);
    for _ in 0..2 {
        login().await.expect(401);
    }
    login().await.expect(429);
    let page = operator.open("/admin/limits").await.expect(200);
    let (limited, _) = page.text.split_once("Counted now").unwrap();
    assert!(
        limited.contains("<strong>login</strong> · <code>203.0.113.9</code>"),
        "{limited}"
    );
    assert!(limited.contains("2 of 2 · resets in 60 minutes"), "{limited}");

    for nonsense in ["", "x", "ip:", "ip:nowhere", "account:*", "api_token:{*}"] {
        operator
            .submit("/admin/limits/clear", &[("subject", nonsense)])
            .await
            .expect(404);
    }
    let cleared = operator
        .submit("/admin/limits/clear", &[("subject", "ip:203.0.113.9")])
        .await;
    expect_to(&cleared, "/admin/limits?done=cleared");
    login().await.expect(401);

    let state = operator.open("/admin/limiter/state").await.expect(200).body;
    assert_eq!(state["store"], "memory");
    assert_eq!(state["process"].as_str().unwrap().len(), 4, "{state}");
    assert_eq!(state["since"], "2026-09-21T14:13:20Z");
    let rules = state["rules"].as_array().unwrap();
    let rule = rules.iter().find(|rule| rule["name"] == "login").unwrap();
    // Three by the API, one by the page, and one more refused.
    assert_eq!(
        (rule["allowed"].as_u64(), rule["refused"].as_u64()),
        (Some(4), Some(1)),
        "{rule}"
    );
    let page = operator.open("/admin/limiter").await.expect(200);
    assert!(page.text.contains("data-rule=\"login_account\""), "{}", page.text);

    // Each use is an event, and says of whom.
    for (event, reason) in [
        ("admin_limits_read", ""),
        ("admin_limits_cleared", "ip:203.0.113.9"),
    ] {
        logged(&mut operator, event, reason).await;
    }
    let nobody = operator.open("/admin/audit?whose=nobody").await.expect(200);
    assert!(nobody.text.contains("neither an address nor an id"));
}

/// Cleared in Redis, so that every process hears of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_limited_through_redis_is_seen_and_set_free_and_a_lost_redis_is_told() {
    let mut redis = RedisServer::start().await;
    let app = TestApp::on(Engine::Sqlite)
        .limited()
        .set("REDIS_URL", redis.url())
        .set("REDIS_COMMAND_TIMEOUT_MS", "2000")
        .set("RATE_LIMIT_LOGIN", "2/hour")
        .start()
        .await;
    wait_for(&app, app.address, "redis").await;
    let other = app.second_instance().await;
    wait_for(&app, other, "redis").await;
    let mut operator = operator(&app, "203.0.113.1").await;
    let login = || {
        app.post("/auth/login", json!({"email": "a@example.com", "password": "x"}))
            .from("203.0.113.9")
            .at(other)
    };
    for status in [401, 401, 429] {
        login().await.expect(status);
    }
    let page = operator.open("/admin/limits").await.expect(200);
    let (limited, _) = page.text.split_once("Counted now").unwrap();
    assert!(limited.contains("<code>203.0.113.9</code>"), "{limited}");
    let cleared = operator
        .submit("/admin/limits/clear", &[("subject", "ip:203.0.113.9")])
        .await;
    expect_to(&cleared, "/admin/limits?done=cleared");
    let mut passed = false;
    for _ in 0..400 {
        passed = login().await.status == 401;
        if passed {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    assert!(passed, "the other process never heard of it");

    redis.kill();
    wait_for(&app, app.address, "degraded").await;
    let page = operator.open("/admin/limits").await.expect(200);
    assert!(page.text.contains("Redis does not answer"), "{}", page.text);
    operator
        .submit("/admin/limits/clear", &[("subject", "ip:203.0.113.9")])
        .await
        .expect(503);
}

/// Waits for the row of an event, which is written a moment after it.
async fn logged(operator: &mut Browser<'_>, event: &str, reason: &str) {
    for _ in 0..400 {
        let path = format!("/admin/audit?event={event}");
        let log = operator.open(&path).await.expect(200);
        if log.text.contains(&format!("<td>{event}</td>")) && log.text.contains(reason) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    panic!("{event} was not written within ten seconds");
}
