//! Rotating keys under load: the order of docs/OPERATIONS.md, with real key files and two instances.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::drain::Balancer;
use crate::postgres;
use crate::process::{PATIENCE, Process, Stile};
use crate::traffic::{PASSWORD, Traffic, get, login, post, register, unlimited};

type Variables<'a> = &'a [(&'a str, &'a str)];

fn make_key(directory: &Path, name: &str) {
    let pem = Stile::in_directory(directory).run(&["keys", "generate"]).out;
    std::fs::write(directory.join(name), pem + "\n").unwrap();
}

/// The `kid`s of a key set.
fn published(key_set: &Value) -> Vec<String> {
    let keys = key_set["keys"].as_array().unwrap();
    keys.iter()
        .map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect()
}

/// The `kid` that a token names.
fn kid(token: &str) -> String {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

/// Two instances behind a balancer, restarted one after the other for each step.
struct Fleet<'a> {
    directory: &'a Path,
    database: String,
    balancer: Balancer,
    instances: Vec<Process>,
}

impl<'a> Fleet<'a> {
    async fn start(directory: &'a Path, variables: Variables<'_>) -> Self {
        let mut fleet = Self {
            directory,
            database: postgres::server().fresh_database(),
            balancer: Balancer::start().await,
            instances: Vec::new(),
        };
        for _ in 0..2 {
            let instance = fleet.instance(variables);
            fleet.balancer.add(instance.address()).await;
            fleet.instances.push(instance);
        }
        fleet
    }

    fn instance(&self, variables: Variables<'_>) -> Process {
        unlimited(self.directory)
            .set("DATABASE_URL", &self.database)
            .set("SHUTDOWN_DELAY_SECONDS", "1")
            .set_all(variables)
            .start()
    }

    async fn roll(&mut self, variables: Variables<'_>) {
        for place in 0..2 {
            let old = &self.instances[place];
            old.signal("TERM");
            assert_eq!(old.wait_for_end(PATIENCE).code(), Some(0), "{}", old.out.text());
            self.balancer.remove(old.address());
            let new = self.instance(variables);
            self.balancer.add(new.address()).await;
            self.instances[place] = new;
        }
    }

    async fn key_set(&self) -> Value {
        get("/.well-known/jwks.json")
            .send(self.balancer.address)
            .await
            .expect(200)
            .json()
    }
}

/// Sessions that refresh, repeat a refresh whose answer was lost, and are used, through whichever instance is next. Each
/// yields what went wrong, or a step that went well.
fn sessions(fleet: &Fleet<'_>, first: &[Value]) -> Traffic<Result<(), String>> {
    let (to, first) = (fleet.balancer.address, first.to_vec());
    Traffic::start(first.len(), move |n, running| {
        let mut session = first[n].clone();
        async move {
            let mut seen = Vec::new();
            while running.yes() {
                tokio::time::sleep(Duration::from_millis(50)).await;
                let step = async {
                    let asked = |what: &'static str| move |error| format!("{what}: {error}");
                    let key_set = get("/.well-known/jwks.json")
                        .try_send(to)
                        .await
                        .map_err(asked("key set"))?;
                    let body = json!({ "refresh_token": session["refresh_token"] });
                    let refresh = post("/api/v1/auth/refresh", body);
                    let answer = refresh.try_send(to).await.map_err(asked("refresh"))?;
                    let again = refresh.try_send(to).await.map_err(asked("again"))?;
                    if answer.status != 200 || again.status != 200 {
                        return Err(format!("{answer:?} {again:?}"));
                    }
                    let (answer, again) = (answer.json(), again.json());
                    if answer["refresh_token"] != again["refresh_token"] {
                        return Err("a repeated refresh gave another token".to_owned());
                    }
                    // Another service has read the key set before it sees the token.
                    let token = answer["access_token"].as_str().unwrap();
                    if !published(&key_set.json()).contains(&kid(token)) {
                        return Err("a token was signed by a key that was not yet published".to_owned());
                    }
                    let me = get("/api/v1/auth/me").bearer(token);
                    let me = me.try_send(to).await.map_err(asked("me"))?;
                    if me.status != 200 {
                        return Err(format!("{me:?}"));
                    }
                    Ok(answer)
                };
                match step.await {
                    Ok(next) => {
                        session = next;
                        seen.push(Ok(()));
                    }
                    Err(fault) => {
                        seen.push(Err(fault));
                        break;
                    }
                }
            }
            seen
        }
    })
}

async fn log_in(fleet: &Fleet<'_>, count: usize) -> Vec<Value> {
    let instance = &fleet.instances[0];
    register(instance, "rotating@example.org").await.expect(201);
    let mut sessions = Vec::new();
    for _ in 0..count {
        let answer = login(instance, "rotating@example.org", PASSWORD).await;
        sessions.push(answer.expect(200).json());
    }
    sessions
}

async fn status_with(fleet: &Fleet<'_>, token: &str) -> u16 {
    get("/api/v1/auth/me")
        .bearer(token)
        .send(fleet.balancer.address)
        .await
        .status
}

fn assert_without_a_gap(seen: &[Result<(), String>]) {
    let failed: Vec<_> = seen.iter().filter_map(|step| step.as_ref().err()).collect();
    println!(
        "rotation: {} rounds of five requests, {} failed",
        seen.len(),
        failed.len()
    );
    assert!(
        failed.is_empty(),
        "{} of {}: {:?}",
        failed.len(),
        seen.len(),
        failed[0]
    );
    assert!(seen.len() > 50, "{} rounds are no traffic", seen.len());
}

/// Issue 5 item 7: accept the new key everywhere, then sign with it, then forget the old one. `SECRET_KEY` is derived, and
/// goes along.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signing_key_is_rotated_without_a_failed_request() {
    let folder = tempfile::tempdir().unwrap();
    make_key(folder.path(), "old.pem");
    make_key(folder.path(), "new.pem");
    let file = "JWT_SIGNING_KEY_FILE";
    let previous = "JWT_PREVIOUS_KEY_FILES";
    let mut fleet = Fleet::start(folder.path(), &[(file, "old.pem")]).await;
    let first = log_in(&fleet, 6).await;
    let oldest = first[0]["access_token"].as_str().unwrap().to_owned();
    let old_kid = kid(&oldest);
    assert_eq!(published(&fleet.key_set().await).join(" "), old_kid);

    let traffic = sessions(&fleet, &first);
    fleet.roll(&[(file, "old.pem"), (previous, "new.pem")]).await;
    assert_eq!(
        published(&fleet.key_set().await).len(),
        2,
        "the new key is published before it signs"
    );
    fleet.roll(&[(file, "new.pem"), (previous, "old.pem")]).await;
    assert_eq!(published(&fleet.key_set().await).len(), 2);
    let newest = login(&fleet.instances[0], "rotating@example.org", PASSWORD).await;
    let newest = newest.expect(200).text("/access_token");
    assert_ne!(kid(&newest), old_kid);
    assert_eq!(
        status_with(&fleet, &oldest).await,
        200,
        "the old key's tokens are good until they expire"
    );
    fleet.roll(&[(file, "new.pem")]).await;
    assert_without_a_gap(&traffic.stop().await);

    assert_eq!(published(&fleet.key_set().await), [kid(&newest)]);
    assert_eq!(
        status_with(&fleet, &oldest).await,
        401,
        "a key that is gone signs nothing"
    );
    assert_eq!(status_with(&fleet, &newest).await, 200);
}

/// The same order for `SECRET_KEY`: what one instance sealed, the other opens, whichever is the older.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_key_is_rotated_without_a_failed_request() {
    const OLD: &str = "v7QmZ0tXc2LrN8yPbK4sWfJ6hD1gUa9eOiR3TxVw";
    const NEW: &str = "kB5nYq8sUe1zHj4GmR7wLd0XpT3cVf6aNoI9tQxS";
    let folder = tempfile::tempdir().unwrap();
    let (current, previous) = ("SECRET_KEY", "SECRET_KEY_PREVIOUS");
    let mut fleet = Fleet::start(folder.path(), &[(current, OLD)]).await;
    let first = log_in(&fleet, 6).await;
    let traffic = sessions(&fleet, &first);
    fleet.roll(&[(current, OLD), (previous, NEW)]).await;
    fleet.roll(&[(current, NEW), (previous, OLD)]).await;
    // The grace of what the old key sealed is over before it goes.
    tokio::time::sleep(Duration::from_secs(10)).await;
    fleet.roll(&[(current, NEW)]).await;
    assert_without_a_gap(&traffic.stop().await);
}
