//! Ending: readiness first, then what is in flight, exit 0 in time.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::postgres;
use crate::process::{PATIENCE, Process, status_of};
use crate::smtp::{Behaviour, Security, SmtpSink};
use crate::traffic::{
    Answer, Connection, PASSWORD, Traffic, get, is_long, login, post, register, unlimited, wait_until,
};

/// As in a terminal, also where the tests themselves were started with `nohup`.
const HEARS_HANGUPS: [&str; 2] = ["/usr/bin/env", "--default-signal=HUP"];

#[test]
fn each_signal_ends_it_with_exit_0() {
    for signal in ["TERM", "INT", "HUP"] {
        let directory = tempfile::tempdir().unwrap();
        let stile = unlimited(directory.path()).through(&HEARS_HANGUPS).start();
        stile.signal(signal);
        assert_eq!(stile.wait_for_end(PATIENCE).code(), Some(0), "SIG{signal}");
        assert_eq!(stile.err.text(), "");
    }
}

/// A signal may come while the program still waits for its database.
#[test]
fn a_signal_ends_it_while_it_starts() {
    let directory = tempfile::tempdir().unwrap();
    let stile = unlimited(directory.path())
        .set("DATABASE_URL", "postgres://u@127.0.0.1:1/d")
        .set("PORT", "0")
        .spawn();
    let waits = |line: &str| line.contains("cannot be reached yet");
    assert!(stile.out.wait_for(waits, || stile.has_ended()).is_some());
    stile.signal("TERM");
    assert_eq!(stile.wait_for_end(PATIENCE).code(), Some(0));
}

/// REL-07: not ready any more, but everything is answered, and each answer says that the connection ends.
#[tokio::test(flavor = "multi_thread")]
async fn readiness_flips_first_and_all_is_answered_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    let stile = unlimited(directory.path())
        .set("SHUTDOWN_DELAY_SECONDS", "2")
        .start();
    let mut kept = Connection::open(stile.address()).await.unwrap();
    let before = kept.ask(&get("/api/v1/health")).await.unwrap().expect(200);
    assert!(!before.closes(), "{before:?}");

    stile.signal("TERM");
    wait_until("not ready", async || {
        get("/readyz").send(stile.address()).await.status == 503
    })
    .await;
    let last = kept.ask(&get("/api/v1/health")).await.unwrap().expect(200);
    assert!(last.closes(), "{last:?}");
    assert!(kept.is_closed().await);
    let mut late = Connection::open(stile.address()).await.unwrap();
    assert!(late.ask(&get("/livez")).await.unwrap().expect(200).closes());
    assert!(late.is_closed().await);
    assert_eq!(stile.wait_for_end(PATIENCE).code(), Some(0));
}

/// REL-07: a request whose body is still on its way is answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_is_finished() {
    let directory = tempfile::tempdir().unwrap();
    let stile = unlimited(directory.path()).start();
    register(&stile, "in-flight@example.org").await.expect(201);
    let body = json!({ "email": "in-flight@example.org", "password": PASSWORD }).to_string();
    let head = format!(
        "POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let (first, rest) = body.split_at(10);
    let mut slow = Connection::open(stile.address()).await.unwrap();
    slow.write(format!("{head}{first}").as_bytes()).await.unwrap();
    let mut idle = Connection::open(stile.address()).await.unwrap();
    idle.ask(&get("/livez")).await.unwrap().expect(200);

    stile.signal("TERM");
    assert!(idle.is_closed().await, "an idle connection is closed");
    assert!(!stile.has_ended());
    slow.write(rest.as_bytes()).await.unwrap();
    let answer = slow.answer().await.unwrap().expect(200);
    assert!(answer.closes(), "{answer:?}");
    assert_eq!(stile.wait_for_end(PATIENCE).code(), Some(0));
}

/// 100 requests that never become whole, and a mail server that never answers.
async fn stuck(stile: &Process, mail: &SmtpSink) -> Vec<Connection> {
    register(stile, "stuck@example.org").await.expect(201);
    wait_until("the mail in hand", async || mail.connections() > 0).await;
    let half_a_head = "GET /api/v1/health HTTP/1.1\r\nHost: loc";
    let half_a_body = "POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\n\
                       Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"email\"";
    let mut connections = Vec::new();
    for n in 0..100 {
        let mut connection = Connection::open(stile.address()).await.unwrap();
        let half = if n % 2 == 0 { half_a_head } else { half_a_body };
        connection.write(half.as_bytes()).await.unwrap();
        connections.push(connection);
    }
    // The last of them has been accepted when one behind it is answered.
    get("/livez").send(stile.address()).await.expect(200);
    connections
}

/// REL-08: what never becomes whole is cut off, and that is an orderly end.
#[tokio::test(flavor = "multi_thread")]
async fn stuck_clients_and_a_stuck_mail_server_do_not_hold_it() {
    let directory = tempfile::tempdir().unwrap();
    let mail = SmtpSink::start(Security::Plain).await;
    mail.behave(Behaviour::Silent);
    let stile = unlimited(directory.path())
        .set("SMTP_URL", mail.url())
        .set("SHUTDOWN_GRACE_SECONDS", "3")
        .start();
    let connections = stuck(&stile, &mail).await;
    stile.signal("TERM");
    assert_eq!(
        stile.wait_for_end(PATIENCE).code(),
        Some(0),
        "{}",
        stile.out.text()
    );
    assert_eq!(stile.out.count("cut off"), 1, "{}", stile.out.text());
    assert_eq!(stile.err.text(), "");
    drop(connections);

    // The mail that was in hand is still queued: it leaves after the next start.
    mail.behave(Behaviour::Normal);
    let _again = unlimited(directory.path()).set("SMTP_URL", mail.url()).start();
    wait_until("the mail", async || mail.received().len() == 1).await;
}

/// REL-08.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let mail = SmtpSink::start(Security::Plain).await;
    mail.behave(Behaviour::Silent);
    let stile = unlimited(directory.path())
        .set("SMTP_URL", mail.url())
        .set("SHUTDOWN_DELAY_SECONDS", "60")
        .set("SHUTDOWN_GRACE_SECONDS", "300")
        .start();
    let _connections = stuck(&stile, &mail).await;
    stile.signal("TERM");
    wait_until("not ready", async || {
        status_of(stile.address(), "/readyz") == Some(503)
    })
    .await;
    stile.signal("TERM");
    // Without the second signal it would stay for a minute at least.
    stile.wait_for_end(Duration::from_secs(15));
}

/// The shell tells its jobs, and the kernel what is left.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_hangup_does_not_cut_the_drain_short() {
    let directory = tempfile::tempdir().unwrap();
    let stile = unlimited(directory.path())
        .set("SHUTDOWN_DELAY_SECONDS", "2")
        .through(&HEARS_HANGUPS)
        .start();
    for _ in 0..2 {
        stile.signal("HUP");
        wait_until("not ready", async || {
            status_of(stile.address(), "/readyz") == Some(503)
        })
        .await;
    }
    assert_eq!(stile.wait_for_end(PATIENCE).code(), Some(0));
    assert_eq!(stile.out.count("second signal"), 0, "{}", stile.out.text());
    assert_eq!(stile.out.count("stopped"), 1, "{}", stile.out.text());
}

/// What is in flight is answered though the log has nowhere to go any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_is_closed_lets_it_drain() {
    let directory = tempfile::tempdir().unwrap();
    // util-linux's `script` is the terminal.
    let in_a_terminal =
        r#"exec /usr/bin/script -qec "exec /usr/bin/env --default-signal=HUP $0 $*" /dev/null"#;
    let terminal = unlimited(directory.path())
        .through(&["/bin/sh", "-c", in_a_terminal])
        .start();
    let address = terminal.address();
    let mut slow = Connection::open(address).await.unwrap();
    let head = "POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                Content-Length: 2\r\n\r\n{";
    slow.write(head.as_bytes()).await.unwrap();
    let mut idle = Connection::open(address).await.unwrap();
    idle.ask(&get("/livez")).await.unwrap().expect(200);

    terminal.signal("KILL");
    assert!(idle.is_closed().await, "it was told");
    slow.write(b"}").await.unwrap();
    let answer = slow.answer().await.unwrap().expect(422);
    assert!(answer.closes(), "{answer:?}");
    wait_until("its end", async || status_of(address, "/livez").is_none()).await;
}

#[test]
fn nohup_keeps_it_running() {
    let directory = tempfile::tempdir().unwrap();
    let stile = unlimited(directory.path()).through(&["/usr/bin/nohup"]).start();
    stile.signal("HUP");
    for _ in 0..50 {
        assert_eq!(status_of(stile.address(), "/readyz"), Some(200));
    }
    stile.signal("TERM");
    assert_eq!(stile.wait_for_end(PATIENCE).code(), Some(0));
}

/// A TCP balancer that retries nothing: each connection goes to the next instance that was ready when last asked.
pub struct Balancer {
    pub address: SocketAddr,
    instances: Arc<Mutex<Vec<Instance>>>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Clone, Copy)]
struct Instance {
    address: SocketAddr,
    ready: bool,
}

impl Balancer {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let instances: Arc<Mutex<Vec<Instance>>> = Arc::default();
        let asks = tokio::spawn({
            let instances = Arc::clone(&instances);
            async move {
                loop {
                    let known = instances.lock().unwrap().clone();
                    for instance in known {
                        let answer = get("/readyz").try_send(instance.address).await;
                        let ready = answer.is_ok_and(|answer| answer.status == 200);
                        for known in &mut *instances.lock().unwrap() {
                            if known.address == instance.address {
                                known.ready = ready;
                            }
                        }
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        });
        let forwards = tokio::spawn({
            let instances = Arc::clone(&instances);
            async move {
                let turn = AtomicUsize::new(0);
                while let Ok((mut client, _)) = listener.accept().await {
                    let ready: Vec<Instance> = {
                        let instances = instances.lock().unwrap();
                        instances.iter().filter(|one| one.ready).copied().collect()
                    };
                    let turn = turn.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(async move {
                        // No instance, or none that accepts: the client sees a closed connection.
                        let Some(instance) = ready.get(turn % ready.len().max(1)) else {
                            return;
                        };
                        if let Ok(mut server) = TcpStream::connect(instance.address).await {
                            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                        }
                    });
                }
            }
        });
        Self {
            address,
            instances,
            tasks: vec![asks, forwards],
        }
    }

    pub async fn add(&self, address: SocketAddr) {
        let ready = false;
        self.instances.lock().unwrap().push(Instance { address, ready });
        wait_until("the balancer has seen it", async || {
            let instances = self.instances.lock().unwrap();
            instances.iter().any(|one| one.address == address && one.ready)
        })
        .await;
    }

    pub fn remove(&self, address: SocketAddr) {
        self.instances
            .lock()
            .unwrap()
            .retain(|one| one.address != address);
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// REL-07.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_fails_no_request() {
    let directory = tempfile::tempdir().unwrap();
    let database = postgres::server().fresh_database();
    let start = || {
        unlimited(directory.path())
            .set("DATABASE_URL", &database)
            .set("SHUTDOWN_DELAY_SECONDS", "1")
            .start()
    };
    let balancer = Balancer::start().await;
    let mut instances = [start(), start()];
    for instance in &instances {
        balancer.add(instance.address()).await;
    }
    register(&instances[0], "rolling@example.org").await.expect(201);
    let session = login(&instances[0], "rolling@example.org", PASSWORD).await;
    let me = get("/api/v1/auth/me").bearer(&session.expect(200).text("/access_token"));
    let wrong = json!({ "email": "rolling@example.org", "password": "wrong" });

    // 16 kept-alive connections at 10 requests a second each, and 40 new connections a second.
    let to = balancer.address;
    let traffic = Traffic::start(20, |n, running| {
        let (me, login) = (me.clone(), post("/api/v1/auth/login", wrong.clone()));
        async move {
            let mut seen: Vec<Result<(usize, Answer), String>> = Vec::new();
            let mut kept: Option<Connection> = None;
            while running.yes() {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let request = if n == 0 { &login } else { &me };
                if n < 16 {
                    if kept.is_none() {
                        kept = Connection::open(to).await.ok();
                    }
                    let Some(connection) = &mut kept else {
                        seen.push(Err("not connected".to_owned()));
                        continue;
                    };
                    let answer = connection.ask(request).await;
                    if answer.as_ref().map_or(true, Answer::closes) {
                        kept = None;
                    }
                    seen.push(answer.map(|answer| (n, answer)).map_err(|e| format!("kept: {e}")));
                } else {
                    let answer = request.try_send(to).await;
                    seen.push(answer.map(|answer| (n, answer)).map_err(|e| format!("new: {e}")));
                }
            }
            seen
        }
    });

    let rounds = if is_long() { 10 } else { 3 };
    for round in 0..rounds {
        let old = &mut instances[round % 2];
        old.signal("TERM");
        assert_eq!(old.wait_for_end(PATIENCE).code(), Some(0), "{}", old.out.text());
        balancer.remove(old.address());
        *old = start();
        balancer.add(old.address()).await;
    }
    let seen = traffic.stop().await;
    let total = seen.len();
    let failed: Vec<_> = seen
        .into_iter()
        .filter(|result| match result {
            Ok((n, answer)) => answer.status != if *n == 0 { 401 } else { 200 },
            Err(_) => true,
        })
        .collect();
    println!(
        "rolling restart: {rounds} restarts, {total} requests, {} failed",
        failed.len()
    );
    assert!(
        failed.is_empty(),
        "{} of {total}: {:?}",
        failed.len(),
        failed.first()
    );
    assert!(total > 200, "{total} requests are no traffic");
}
