//! schemathesis (PyPI) against the running program: it reads the OpenAPI document, sends what the document allows and what
//! it forbids, and holds every answer against it. `hooks.py` lets it in; without signing in it would test 401.

#[path = "../support/port.rs"]
mod port;
#[path = "../support/postgres.rs"]
mod postgres;
#[path = "../support/process.rs"]
mod process;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection, SqliteConnection};

use process::{Process, Stile};

/// They act on the whole server. `tests/api` holds their answers against the document.
const LEFT_OUT: [&str; 2] = ["test_reset", "test_clock"];

const ADMIN: &str = "admin@example.com";

/// Well above what a run takes; one that takes longer hangs.
const PATIENCE: Duration = Duration::from_mins(20);

/// Requests per operation and kind. CI runs one and the same seed, so that a failure is the change's and not chance's.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the tests' environment, not the program's"
)]
fn effort() -> (&'static str, String) {
    match std::env::var("STILE_TEST_LONG") {
        Ok(_) => ("150", std::process::id().to_string()),
        Err(_) => ("15", "1".to_owned()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_tells_the_truth_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let stile = start(folder.path(), "sqlite://data/stile.db");
    register(&stile, ADMIN).await;
    let url = format!("sqlite://{}", folder.path().join("data/stile.db").display());
    let mut database = SqliteConnection::connect(&url).await.unwrap();
    let promoted = sqlx::query("UPDATE users SET role = 'admin'").execute(&mut database);
    assert_eq!(promoted.await.unwrap().rows_affected(), 1);
    holds(&stile, folder.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_tells_the_truth_on_postgres() {
    let folder = tempfile::tempdir().unwrap();
    let url = postgres::server().fresh_database();
    let stile = start(folder.path(), &url);
    register(&stile, ADMIN).await;
    let mut database = PgConnection::connect(&url).await.unwrap();
    let promoted = sqlx::query("UPDATE users SET role = 'admin'").execute(&mut database);
    assert_eq!(promoted.await.unwrap().rows_affected(), 1);
    holds(&stile, folder.path());
}

#[test]
fn every_example_is_one_of_its_schema() {
    let folder = tempfile::tempdir().unwrap();
    let check = |document: &Value| {
        let place = folder.path().join("openapi.json");
        fs::write(&place, document.to_string()).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openapi/examples.py");
        let python = installed().with_file_name("python");
        Command::new(python).arg(script).arg(&place).output().unwrap()
    };
    let mut document = stile::http::openapi();
    let checked = check(&document);
    assert!(checked.status.success(), "{checked:?}");
    // And a wrong one is seen.
    let me = &mut document["paths"]["/api/v1/auth/me"]["get"]["responses"]["200"];
    me["content"]["application/json"]["example"]["created_at"] = json!("yesterday");
    let checked = check(&document);
    let said = String::from_utf8(checked.stderr).unwrap();
    assert!(said.contains("yesterday"), "{said}");
}

type Lie = fn(&mut Value);

/// A checker that finds nothing proves nothing: here are a status, a body and a code that are not what they should be.
#[tokio::test(flavor = "multi_thread")]
async fn a_lie_in_the_document_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let stile = start(folder.path(), "sqlite://data/stile.db");
    register(&stile, ADMIN).await;
    let lies: [(&str, Lie); 3] = [
        ("get_livez", |document| {
            document["components"]["schemas"]["Probe"]["properties"]["status"]["pattern"] = json!("^dead$");
        }),
        ("get_me", |document| {
            let responses = &mut document["paths"]["/api/v1/auth/me"]["get"]["responses"];
            responses.as_object_mut().unwrap().remove("200");
        }),
        ("revoke_api_token", |document| {
            let responses = &mut document["components"]["responses"];
            let codes =
                "/404-not_found/content/application~1problem+json/schema/allOf/1/properties/code/enum";
            *responses.pointer_mut(codes).unwrap() = json!(["gone"]);
        }),
    ];
    for (operation, lie) in lies {
        let mut document = stile::http::openapi();
        lie(&mut document);
        let run = schemathesis(
            &stile,
            folder.path(),
            &document,
            &["--include-operation-id", operation],
        );
        assert!(
            !run.passed && run.text.contains("1 unique failure"),
            "{operation}: {}",
            run.text
        );
    }
}

/// Nothing is found, and every operation was reached behind its door and was refused besides.
#[track_caller]
fn holds(stile: &Process, folder: &Path) {
    let document = stile::http::openapi();
    let run = schemathesis(stile, folder, &document, &[]);
    let panics: Vec<String> = stile
        .out
        .all()
        .into_iter()
        .filter(|line| line.contains("panicked"))
        .collect();
    assert!(run.passed, "{}", run.text);
    assert!(run.text.contains("No issues found"), "{}", run.text);
    assert_eq!(panics, Vec::<String>::new());

    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            if LEFT_OUT.contains(&id) {
                continue;
            }
            let statuses = run.calls.get(id).cloned().unwrap_or_default();
            let reached = |kind: u64| statuses.keys().any(|status| status / 100 == kind);
            let refuses = operation.get("security").is_some() || operation.get("requestBody").is_some();
            assert!(
                reached(2) && (reached(4) || !refuses),
                "{method} {path} was not tried in earnest: {statuses:?}"
            );
        }
    }
}

/// Limits off: here it is about answers, and a client that floods would get only one.
fn start(folder: &Path, database: &str) -> Process {
    Stile::in_directory(folder)
        .set("ENVIRONMENT", "test")
        .set("ENABLE_RATE_LIMITING", "false")
        .set("ENABLE_TEST_ENDPOINTS", "true")
        .set("DATABASE_URL", database)
        .set("RUST_LOG", "warn,stile::app=info")
        .start()
}

async fn register(stile: &Process, email: &str) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let account = json!({"email": email, "password": "correct-horse-battery-9"});
    let asked = client.post(stile.url("/api/v1/auth/register")).json(&account);
    assert_eq!(asked.send().await.unwrap().status(), 201);
}

struct Run {
    passed: bool,
    text: String,
    /// Operation, status, how often.
    calls: BTreeMap<String, BTreeMap<u64, u64>>,
}

fn schemathesis(stile: &Process, folder: &Path, document: &Value, arguments: &[&str]) -> Run {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openapi");
    let work = tempfile::tempdir_in(folder).unwrap();
    let (written, calls) = (work.path().join("openapi.json"), work.path().join("calls"));
    fs::write(&written, document.to_string()).unwrap();
    fs::write(&calls, "").unwrap();
    let out = fs::File::create(work.path().join("out")).unwrap();
    let (examples, seed) = effort();
    let mut child = Command::new(installed())
        .arg("--config-file")
        .arg(here.join("schemathesis.toml"))
        .arg("run")
        .arg(&written)
        .args(["--url", &stile.url(""), "--no-color"])
        .args(["--max-examples", examples, "--seed", &seed])
        .args(arguments)
        // It leaves folders where it stands.
        .current_dir(work.path())
        .env("SCHEMATHESIS_HOOKS", here.join("hooks.py"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("STILE_URL", stile.url(""))
        .env("STILE_OUTBOX", folder.join("data/outbox"))
        .env("STILE_CALLS", &calls)
        .stdin(Stdio::null())
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .spawn()
        .unwrap();
    let until = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if Instant::now() > until {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        pause();
    };
    let text = fs::read_to_string(work.path().join("out")).unwrap();
    let mut counted: BTreeMap<String, BTreeMap<u64, u64>> = BTreeMap::new();
    for line in fs::read_to_string(&calls).unwrap().lines() {
        let call: Value = serde_json::from_str(line).unwrap();
        let statuses = counted.entry(call["operation"].as_str().unwrap().to_owned());
        *statuses
            .or_default()
            .entry(call["status"].as_u64().unwrap())
            .or_default() += 1;
    }
    Run {
        passed: status.is_some_and(|status| status.success()),
        text: format!("{status:?}\n{text}"),
        calls: counted,
    }
}

/// `scripts/test` puts it there.
fn installed() -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_stile")).ancestors().nth(2).unwrap();
    let command = target.join("schemathesis/bin/schemathesis");
    assert!(
        command.exists(),
        "the tests need schemathesis; scripts/test installs it, and so does\n\
         python3 -m venv {0}/schemathesis && {0}/schemathesis/bin/pip install -r tests/openapi/requirements.txt",
        target.display()
    );
    command
}

fn pause() {
    #[expect(
        clippy::disallowed_methods,
        reason = "another process sets the pace; the runtime has other threads"
    )]
    std::thread::sleep(Duration::from_millis(50));
}
