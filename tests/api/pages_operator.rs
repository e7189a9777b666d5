//! The operator's pages: for the role `admin` alone, on the same use cases and events as the API and the CLI.

use reqwest::Method;
use serde_json::json;
use stile::accounts::{Administrator, Role, UserChange};

use crate::app::{Answer, Engine, PASSWORD, TestApp};
use crate::pages::{Browser, expect_to};

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
    "/admin/users/01a20198-d819-77d0-bbba-1eb672b949e3/deactivate",
    "/admin/users/01a20198-d819-77d0-bbba-1eb672b949e3/activate",
    "/admin/users/01a20198-d819-77d0-bbba-1eb672b949e3/reset-link",
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
        let done = operator.submit(&format!("{path}/deactivate"), &[]).await;
        expect_to(&done, &format!("{path}?done=deactivated"));
        expect_to(&ada.open("/account").await, "/sign-in");
        operator.submit(&format!("{path}/reset-link"), &[]).await.expect(403);
        let done = operator.submit(&format!("{path}/activate"), &[]).await;
        expect_to(&done, &format!("{path}?done=activated"));

        let made = operator.submit(&format!("{path}/reset-link"), &[]).await.expect(200);
        let (_, rest) = made.text.split_once("#token=").unwrap();
        let token = rest.split('<').next().unwrap();
        assert!(!operator.open(&path).await.text.contains(token), "shown once");
        let new = [("token", token), ("new_password", "another-battery-staple-7")];
        expect_to(&ada.fill("/reset-password", &new).await, "/sign-in?done=reset");

        // The last administrator stays one.
        let page = operator.open("/admin/users").await.expect(200);
        let own = user_path(&page, "root@example.com");
        operator.open(&own).await;
        let kept = operator.submit(&format!("{own}/deactivate"), &[]).await.expect(403);
        assert!(kept.text.contains("last active administrator"), "{}", kept.text);
        operator.open("/admin").await.expect(303);
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
    assert!(
        limited.contains("2 of 2 · begins anew in 60 minutes"),
        "{limited}"
    );

    for nonsense in [
        "",
        "x",
        "ip:",
        "ip:nowhere",
        "api_token:{01a20198-d819-77d0-bbba-1eb672b949e3}",
    ] {
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

    // Each use is an event.
    for _ in 0..100 {
        let log = operator
            .open("/admin/audit?event=admin_limits_cleared")
            .await
            .expect(200);
        if log.text.contains("<td>admin_limits_cleared</td>") {
            let nobody = operator.open("/admin/audit?whose=nobody").await.expect(200);
            assert!(nobody.text.contains("neither an address nor an id"));
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("events are written within two seconds");
}
