//! `stile user` and `stile audit`, beside running servers on both engines; completions and manual pages.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::postgres;
use crate::process::{Ended, Process, Stile};
use crate::redis::RedisServer;
use crate::traffic::{PASSWORD, get, login, post, register, request, wait_until};

/// A stile on each engine, in a folder of its own.
pub fn engines(directory: &Path) -> [Stile; 2] {
    ["sqlite", "postgres"].map(|engine| {
        let folder = directory.join(engine);
        std::fs::create_dir_all(&folder).unwrap();
        let stile = Stile::in_directory(&folder)
            .set("ENVIRONMENT", "test")
            .set("PUBLIC_URL", "http://localhost:8000")
            .set("ENABLE_RATE_LIMITING", "false");
        if engine == "postgres" {
            stile.set("DATABASE_URL", postgres::server().fresh_database())
        } else {
            stile
        }
    })
}

pub fn user(stile: &Stile, arguments: &[&str]) -> Ended {
    stile.clone().run(&[&["user"], arguments].concat())
}

pub fn done(stile: &Stile, arguments: &[&str]) -> String {
    let ended = user(stile, arguments);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.out
}

pub fn done_json(stile: &Stile, arguments: &[&str]) -> Value {
    serde_json::from_str(&done(stile, &[arguments, &["--json"]].concat())).unwrap()
}

fn token_of(link: &str) -> &str {
    let (page, token) = link.split_once("#token=").unwrap();
    assert_eq!(page, "http://localhost:8000/reset-password");
    token
}

async fn confirm(process: &Process, token: &str, password: &str, status: u16) {
    let body = json!({"token": token, "new_password": password});
    let confirm = post("/api/v1/auth/password-reset/confirm", body);
    confirm.send(process.address()).await.expect(status);
}

/// The first administrator comes before the first start; all the rest beside two running servers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_lives_its_whole_life_from_the_command_line() {
    let redis = RedisServer::start().await;
    let directory = tempfile::tempdir().unwrap();
    for stile in engines(directory.path()) {
        let stile = stile
            .set("ENABLE_RATE_LIMITING", "true")
            .set("RATE_LIMIT_LOGIN", "off")
            .set("RATE_LIMIT_REGISTRATION", "off")
            .set("RATE_LIMIT_RESET_CONFIRM", "off")
            .set("REDIS_COMMAND_TIMEOUT_MS", "2000")
            .set(
                "REDIS_KEY_PREFIX",
                format!("run{}", uuid::Uuid::now_v7().simple()),
            )
            .set("REDIS_URL", redis.url());
        let created = user(
            &stile,
            &["create", "Root@Example.com", "--name", "Root", "--role", "admin"],
        );
        assert_eq!(created.code, Some(0), "{created:?}");
        let root = done_json(&stile, &["show", "root@example.com"]);
        assert_eq!(
            (&root["role"], &root["full_name"], &root["is_active"]),
            (&json!("admin"), &json!("Root"), &json!(true))
        );

        let servers = [stile.clone().start(), stile.clone().start()];
        for server in &servers {
            wait_until("redis", async || {
                crate::fleet::limiter_of(server).await == "redis"
            })
            .await;
        }
        let server = &servers[0];
        login(server, "root@example.com", PASSWORD).await.expect(401);
        confirm(server, token_of(&created.out), PASSWORD, 200).await;
        confirm(server, token_of(&created.out), PASSWORD, 400).await;
        let session = login(server, "root@example.com", PASSWORD).await.expect(200);
        let users = get("/api/v1/admin/users").bearer(&session.text("/access_token"));
        for server in &servers {
            users.send(server.address()).await.expect(200);
        }

        register(server, "ada@example.com").await.expect(201);
        let ada = login(server, "ada@example.com", PASSWORD).await.expect(200);
        let me = get("/api/v1/auth/me").bearer(&ada.text("/access_token"));
        let made = post("/api/v1/api-tokens", json!({"name": "ci"})).bearer(&ada.text("/access_token"));
        let made = made.send(server.address()).await.expect(201);
        let verify = get("/api/v1/api-gateway/verify").bearer(&made.text("/token"));
        let listed = done_json(&stile, &["list"]);
        let addresses: Vec<_> = listed
            .as_array()
            .unwrap()
            .iter()
            .map(|user| &user["email"])
            .collect();
        assert_eq!(addresses, ["ada@example.com", "root@example.com"]);
        assert_eq!(
            done_json(&stile, &["list", "--query", "ADA"])[0],
            done_json(&stile, &["show", "Ada@Example.com"])
        );
        let table = done(&stile, &["list"]);
        assert!(table.starts_with("ID ") && table.lines().count() == 3, "{table}");

        for server in &servers {
            me.send(server.address()).await.expect(200);
            verify.send(server.address()).await.expect(204);
        }
        assert_eq!(
            done(&stile, &["deactivate", "ada@example.com"]),
            "ada@example.com is deactivated, and signed out everywhere"
        );
        for server in &servers {
            me.send(server.address()).await.expect(401);
            verify.send(server.address()).await.expect(401);
            login(server, "ada@example.com", PASSWORD).await.expect(403);
        }
        let refused = user(&stile, &["set-password-link", "ada@example.com"]);
        assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""));
        assert_eq!(
            done_json(&stile, &["activate", "ada@example.com"])["is_active"],
            true
        );
        for server in &servers {
            me.send(server.address()).await.expect(401);
            verify.send(server.address()).await.expect(204);
        }

        let link = user(&stile, &["set-password-link", "ada@example.com"]);
        assert_eq!((link.code, link.out.lines().count()), (Some(0), 1), "{link:?}");
        let newer = done_json(&stile, &["set-password-link", "ada@example.com"]);
        assert_eq!(newer["expires_in_seconds"], 900);
        confirm(server, token_of(&link.out), "another-good-phrase-7", 400).await;
        confirm(
            server,
            token_of(newer["link"].as_str().unwrap()),
            "another-good-phrase-7",
            200,
        )
        .await;
        let ada = login(server, "ada@example.com", "another-good-phrase-7")
            .await
            .expect(200);

        // A role is gained and lost in the next request.
        let users = get("/api/v1/admin/users").bearer(&ada.text("/access_token"));
        users.send(servers[1].address()).await.expect(403);
        assert_eq!(
            done(&stile, &["set-role", "ada@example.com", "admin"]),
            "ada@example.com is admin now"
        );
        users.send(servers[1].address()).await.expect(200);
        assert_eq!(
            done_json(&stile, &["set-role", "ada@example.com", "user"])["role"],
            "user"
        );
        users.send(servers[1].address()).await.expect(403);
        let alone = "stile: there is no active administrator now";
        let demoted = user(&stile, &["set-role", "root@example.com", "user"]);
        assert_eq!((demoted.code, demoted.err.as_str()), (Some(0), alone));

        let deleted = user(&stile, &["delete", "ada@example.com"]);
        assert_eq!((deleted.code, deleted.err.as_str()), (Some(0), ""), "{deleted:?}");
        for server in &servers {
            get("/api/v1/auth/me")
                .bearer(&ada.text("/access_token"))
                .send(server.address())
                .await
                .expect(401);
            verify.send(server.address()).await.expect(401);
            login(server, "ada@example.com", "another-good-phrase-7")
                .await
                .expect(401);
        }
        assert_eq!(user(&stile, &["show", "ada@example.com"]).code, Some(1));
        let id = root["id"].as_str().unwrap();
        done(&stile, &["set-role", id, "admin"]);
        let deleted = user(&stile, &["delete", id, "--json"]);
        assert_eq!((deleted.code, deleted.err.as_str()), (Some(0), alone));
        assert_eq!(
            serde_json::from_str::<Value>(&deleted.out).unwrap(),
            json!({"deleted": id})
        );
        assert_eq!(done_json(&stile, &["list"]), json!([]));
        assert_eq!(done(&stile, &["list"]), "there are no accounts");
    }
}

#[test]
fn what_is_wrong_with_a_command_is_told_in_a_line() {
    let directory = tempfile::tempdir().unwrap();
    let [stile, _] = engines(directory.path());
    for arguments in [
        &["user", "create", "nobody"][..],
        &["user", "create", "ada@example.com", "--role", "root"],
        &["user", "create"],
        &["user", "show", "a b@example.com"],
        &["user", "show"],
        &["user", "activate", ""],
        &["user", "set-role", "ada@example.com"],
        &["user", "set-role", "ada@example.com", "root"],
        &["user", "delete", "x\u{1b}[2J"],
        &["user", "import", "nowhere.jsonl"],
        &["user", "import", "."],
        &["user", "frobnicate"],
        &["audit", "--since", "yesterday"],
        &["audit", "--until", "7x"],
        &["audit", "--user", "nobody"],
        &["audit", "--event", "login"],
        &["completions", "csh"],
        &["frobnicate"],
    ] {
        let ended = stile.clone().run(arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert!(ended.err.starts_with("stile: "), "{ended:?}");
        assert_eq!(
            (ended.out.as_str(), ended.err.lines().count()),
            ("", 1),
            "{ended:?}"
        );
        assert!(!ended.err.contains('\u{1b}'), "{ended:?}");
    }
    assert!(!directory.path().join("sqlite/data").exists(), "nothing was made");
    for command in ["show", "activate", "deactivate", "set-password-link", "delete"] {
        let ended = user(&stile, &[command, "ada@example.com"]);
        assert_eq!(
            (ended.code, ended.err.as_str()),
            (Some(1), "stile: there is no user ada@example.com")
        );
    }
    assert_eq!(done(&stile, &["list"]), "there are no accounts");
    assert!(
        !directory.path().join("sqlite/data").exists(),
        "looking leaves no trace"
    );

    done(&stile, &["create", "ada@example.com"]);
    let ended = user(&stile, &["create", "ADA@example.com"]);
    assert_eq!(
        (ended.code, ended.err.as_str()),
        (Some(1), "stile: there is an account with this address")
    );
    for command in ["show", "activate", "delete"] {
        let nobody = "01a20198-d7ff-76d0-ae30-1b8ed89ad059";
        let ended = user(&stile, &[command, nobody]);
        assert_eq!(
            (ended.code, ended.err),
            (Some(1), format!("stile: there is no user {nobody}"))
        );
    }
    let named = user(&stile, &["create", "grace@example.com", "--name", "a\nb"]);
    assert_eq!((named.code, named.err.lines().count()), (Some(2), 1), "{named:?}");
}

/// Contract, section 5: what users did at the servers, and the operator at the command line.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_log_is_read_by_time_user_and_event() {
    let directory = tempfile::tempdir().unwrap();
    for stile in engines(directory.path()) {
        let audit = |arguments: &[&str]| {
            let ended = stile.clone().run(&[&["audit", "--json"], arguments].concat());
            assert_eq!(ended.code, Some(0), "{ended:?}");
            serde_json::from_str::<Vec<Value>>(&ended.out).unwrap()
        };
        let named = |entries: &[Value]| {
            entries
                .iter()
                .map(|entry| entry["event"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert!(audit(&[]).is_empty());
        let server = stile.clone().start();
        register(&server, "ada@example.com").await.expect(201);
        login(&server, "ada@example.com", "wrong").await.expect(401);
        let session = login(&server, "ada@example.com", PASSWORD).await.expect(200);
        login(&server, "nobody@example.com", PASSWORD).await.expect(401);
        done(&stile, &["deactivate", "ada@example.com"]);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let of_ada = [
            "admin_user_deactivated",
            "login_success",
            "login_failure",
            "register",
        ];
        assert_eq!(
            named(&audit(&["--user", "ada@example.com", "--since", "1h"])),
            of_ada
        );
        let all = audit(&["--since", "24h"]);
        let deactivated = all
            .iter()
            .find(|entry| entry["event"] == "admin_user_deactivated")
            .unwrap();
        assert_eq!(
            (&deactivated["target_id"], &deactivated["user_id"]),
            (&json!(session.text("/user/id")), &Value::Null)
        );
        let failures = audit(&["--event", "login_failure"]);
        assert_eq!(failures.len(), 2);
        let fields = [
            "account",
            "at",
            "client_ip",
            "event",
            "id",
            "occurrences",
            "outcome",
            "reason",
            "request_id",
            "target_id",
            "user_id",
        ];
        assert_eq!(
            failures[0].as_object().unwrap().keys().collect::<Vec<_>>(),
            fields
        );
        assert_eq!(
            (&failures[0]["reason"], &failures[0]["client_ip"]),
            (&json!("unknown_account"), &json!("127.0.0.1"))
        );
        assert_eq!(audit(&["--user", "nobody@example.com"]).len(), 1);
        let at = failures[1]["at"].as_str().unwrap();
        assert_eq!(
            named(&audit(&[
                "--since",
                at,
                "--until",
                at,
                "--user",
                "ada@example.com"
            ])),
            ["login_failure"]
        );
        assert!(audit(&["--until", "1h"]).is_empty());
        // Deleted, his events are found by address and by id.
        done(&stile, &["delete", "ada@example.com"]);
        assert_eq!(audit(&["--user", &session.text("/user/id")]).len(), 5);
        assert_eq!(
            audit(&["--user", "ada@example.com"]),
            audit(&["--user", &session.text("/user/id")])
        );
        assert_eq!(
            named(&audit(&["--user", "ada@example.com"]))[0],
            "admin_user_deleted"
        );
        let table = stile.clone().run(&["audit", "--event", "register"]);
        assert!(
            table.out.starts_with("AT ") && table.out.lines().count() == 2,
            "{table:?}"
        );
        let text = json!(audit(&[])).to_string();
        for secret in [
            PASSWORD,
            "ada@example.com",
            &session.text("/access_token"),
            &session.text("/refresh_token"),
        ] {
            assert!(!text.contains(secret));
        }
        let out = request("DELETE", "/api/v1/auth/sessions").bearer(&session.text("/access_token"));
        out.send(server.address()).await.expect(401);
    }
}

#[test]
fn shells_complete_and_manuals_explain_every_command() {
    let directory = tempfile::tempdir().unwrap();
    let [stile, _] = engines(directory.path());
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = stile.clone().run(&["completions", shell]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.out.contains("set-password-link"), "{shell}");
    }
    let ended = stile.clone().run(&["man", "man/man1"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let page =
        |name: &str| std::fs::read_to_string(directory.path().join("sqlite/man/man1").join(name)).unwrap();
    assert!(page("stile.1").contains("stile"));
    assert!(page("stile-user-import.1").contains("password_hash"));
    assert!(page("stile-audit.1").contains("since"));
    let ended = stile.clone().run(&["man", "man/man1/stile.1"]);
    assert_eq!((ended.code, ended.err.lines().count()), (Some(1), 1), "{ended:?}");
}
