//! Backing up and restoring by the commands of `docs/OPERATIONS.md`, as they stand there, under load.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;

use serde_json::json;

use crate::postgres;
use crate::process::{PATIENCE, Process, Stile};
use crate::traffic::{PASSWORD, Traffic, login, post, unlimited};

/// The block of commands behind `<!-- name -->`.
fn commands(name: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/OPERATIONS.md");
    let page = std::fs::read_to_string(page).unwrap();
    let block = page.split_once(&format!("<!-- {name} -->\n```sh\n")).unwrap().1;
    block.split_once("```").unwrap().0.to_owned()
}

/// Types them, in `directory`.
fn typed(name: &str, directory: &Path, database_url: &str) -> String {
    let output = Command::new("sh")
        .args(["-ec", &commands(name)])
        .current_dir(directory)
        .env("DATABASE_URL", database_url)
        .output()
        .unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(
        output.status.success(),
        "{name}: {said} (apt-get install -y sqlite3 postgresql)"
    );
    said
}

/// Registers without a pause, and keeps who was acknowledged.
fn registrations(on: &Process, acknowledged: &Arc<Mutex<Vec<String>>>) -> Traffic<()> {
    let address = on.address();
    Traffic::start(4, |task, running| {
        let acknowledged = Arc::clone(acknowledged);
        async move {
            let mut n = 0;
            while running.yes() {
                let email = format!("t{task}-{n}@example.org");
                let account = json!({ "email": email, "password": PASSWORD });
                post("/api/v1/auth/register", account)
                    .send(address)
                    .await
                    .expect(201);
                acknowledged.lock().unwrap().push(email);
                n += 1;
            }
            Vec::new()
        }
    })
}

/// Accounts that were acknowledged before the backup began are in it, however busy the database was.
async fn backed_up_and_restored(
    start: impl Fn() -> Stile,
    backup: impl FnOnce(),
    restore: impl FnOnce() -> Stile,
) {
    let running = start().start();
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let traffic = registrations(&running, &acknowledged);
    crate::traffic::wait_until("there is something to lose", async || {
        acknowledged.lock().unwrap().len() > 12
    })
    .await;
    let before = acknowledged.lock().unwrap().clone();
    tokio::task::block_in_place(backup);
    traffic.stop().await;
    let all = acknowledged.lock().unwrap().len();
    assert!(all > before.len(), "it was busy meanwhile");
    running.signal("TERM");
    assert_eq!(running.wait_for_end(PATIENCE).code(), Some(0));

    let restored = tokio::task::block_in_place(restore).start();
    for email in &before {
        login(&restored, email, PASSWORD).await.expect(200);
    }
    // And it can be written to.
    let account = json!({ "email": "after@example.org", "password": PASSWORD });
    post("/api/v1/auth/register", account)
        .send(restored.address())
        .await
        .expect(201);
    println!(
        "backup: {} of {all} accounts were acknowledged before it began; all are back",
        before.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_sqlite_under_load_restores() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let stile = || unlimited(at);
    backed_up_and_restored(
        stile,
        || {
            typed("backup: sqlite", at, "");
        },
        || {
            let said = typed("restore: sqlite", at, "");
            assert_eq!(said.trim(), "ok", "integrity_check");
            stile()
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_postgresql_under_load_restores() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let (old, new) = (
        postgres::server().fresh_database(),
        postgres::server().fresh_database(),
    );
    let on = |url: &str| unlimited(at).set("DATABASE_URL", url);
    backed_up_and_restored(
        || on(&old),
        || {
            typed("backup: postgres", at, &old);
        },
        || {
            typed("restore: postgres", at, &new);
            on(&new)
        },
    )
    .await;
}
