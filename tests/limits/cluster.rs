//! A real Redis Cluster of three masters and three replicas, and a Redis over TLS with a user of its own.

use std::process::Command;
use std::time::Duration;

use stile::clock::Clock;
use stile::rate_limit::operator::Counters;
use stile::rate_limit::{Limiter, Quota, Rule, Settings, Spending, StoreState, Subject, Version};
use uuid::Uuid;

use crate::port::free_port;
use crate::process::Stile;
use crate::redis_server::RedisServer;
use crate::stand::{admitted, charge, client, eventually, remaining, settings_at, until};

struct Cluster(Vec<RedisServer>);

impl Cluster {
    /// One whose nodes are not given up, however long a busy machine keeps them from answering.
    async fn start() -> Self {
        Self::giving_up_after("60000").await
    }

    /// One in which a replica takes the place of a master that was silent for so many milliseconds.
    async fn giving_up_after(silence: &str) -> Self {
        let mut nodes = Vec::new();
        for _ in 0..6 {
            // The port of the cluster's own traffic would be 10000 higher, which may be none.
            let bus = free_port().to_string();
            let arguments = [
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &bus,
                "--cluster-node-timeout",
                silence,
                "--repl-diskless-sync-delay",
                "0",
            ];
            nodes.push(RedisServer::start_with(&arguments).await);
        }
        let addresses = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port()));
        let output = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(addresses)
            .args(["--cluster-replicas", "1", "--cluster-yes"])
            .output()
            .unwrap_or_else(|error| panic!("cannot run redis-cli ({error}): apt-get install -y redis-tools"));
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
        let cluster = Self(nodes);
        for node in &cluster.0 {
            eventually(|| async {
                node.command(&["CLUSTER", "INFO"])
                    .await
                    .contains("cluster_state:ok")
            })
            .await;
        }
        // A replica that has not caught up cannot take its master's place.
        for node in &cluster.0 {
            eventually(|| async {
                let role = node.command(&["INFO", "replication"]).await;
                role.contains("state=online") || role.contains("master_link_status:up")
            })
            .await;
        }
        cluster
    }

    fn urls(&self) -> String {
        self.0.iter().map(RedisServer::url).collect::<Vec<_>>().join(",")
    }

    async fn limiter(&self, limits: &[(Rule, &str)]) -> Limiter {
        let limiter = Limiter::start(settings_at(&self.urls(), limits), Clock::system()).unwrap();
        let _ = limiter.take(&[charge(Rule::ResetVerify, "192.0.2.255")]).await;
        until(&limiter, StoreState::Redis).await;
        limiter
    }

    /// What the cluster holds under `key`, asked of the node that has it.
    async fn get(&self, key: &str) -> String {
        for node in &self.0 {
            let answer = node.command(&["GET", key]).await;
            if !answer.starts_with("MOVED") {
                return answer;
            }
        }
        panic!("no node has {key}");
    }
}

/// limits.md 50: counters are found on every node, and a reset leaves none of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clusters_counters_are_listed_from_all_nodes_and_reset() {
    let cluster = Cluster::start().await;
    let limits = [
        (Rule::Global, "9/minute;90/hour"),
        (Rule::Login, "9/minute;strategy=exact"),
    ];
    let limiter = cluster.limiter(&limits).await;
    for last in 0..30 {
        let address = format!("10.7.0.{last}");
        let charges = [charge(Rule::Global, &address), charge(Rule::Login, &address)];
        assert_eq!(admitted(&limiter, &charges, 12).await, 9);
    }
    let settings = settings_at(&cluster.urls(), &limits);
    operators_see_and_reset_through_the_command(&cluster).await;
    let counters = Counters::connect(&settings, "no socket".as_ref()).await.unwrap();
    let mut found = counters.all().await.unwrap();
    found.retain(|reading| reading.count == 9);
    assert_eq!(found.len(), 3 * 30, "{found:?}");
    for last in 0..30 {
        let subject = Subject::Client(client(&format!("10.7.0.{last}")));
        assert_eq!(counters.reset(std::slice::from_ref(&subject)).await.unwrap(), 3);
        assert_eq!(counters.of(&[subject]).await.unwrap(), []);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    for last in 0..30 {
        let address = format!("10.7.0.{last}");
        let charges = [charge(Rule::Global, &address), charge(Rule::Login, &address)];
        assert_eq!(admitted(&limiter, &charges, 12).await, 9, "{address}");
    }
}

/// The same by `stile limits`, as it is typed.
async fn operators_see_and_reset_through_the_command(cluster: &Cluster) {
    let directory = tempfile::tempdir().unwrap();
    let limits = |arguments: &[&str]| {
        let stile = Stile::in_directory(directory.path())
            .set("ENVIRONMENT", "test")
            .set("REDIS_URL", cluster.urls())
            .set("RATE_LIMIT_GLOBAL", "9/minute;90/hour")
            .set("RATE_LIMIT_LOGIN", "9/minute;strategy=exact");
        let ended = stile.run(&[&["limits"], arguments].concat());
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{ended:?}");
        ended.out
    };
    let lines = |arguments: &[&str]| -> Vec<serde_json::Value> {
        let text = limits(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap()
    };
    let full = lines(&["list"]).into_iter().filter(|line| line["count"] == 9);
    assert_eq!(full.count(), 3 * 30);
    let address = "10.7.0.29";
    let shown = lines(&["show", address]);
    assert_eq!(shown.len(), 3, "{shown:?}");
    assert!(
        shown
            .iter()
            .all(|line| line["subject"] == address && line["count"] == 9)
    );
    assert_eq!(
        limits(&["reset", address]),
        format!("3 counters of {address} were emptied")
    );
    assert!(lines(&["show", address]).is_empty());
    // Full again, in every slot, for the count of all.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let again = cluster
        .limiter(&[
            (Rule::Global, "9/minute;90/hour"),
            (Rule::Login, "9/minute;strategy=exact"),
        ])
        .await;
    let charges = [charge(Rule::Global, address), charge(Rule::Login, address)];
    assert_eq!(admitted(&again, &charges, 12).await, 9);
}

/// TOK-05, TOK-08 on a cluster: all windows of a token and its mark lie in one slot, so they are decided together there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_spends_and_ends_on_a_cluster_as_on_one_server() {
    let cluster = Cluster::start().await;
    let fleet = [cluster.limiter(&[]).await, cluster.limiter(&[]).await];
    for token in (1..=12).map(Uuid::from_u128) {
        let quota = Quota {
            token,
            version: Version(1),
            most: [10, 20, 15],
            day: None,
        };
        let passed = |spending: &Spending| matches!(spending, Spending::Decided { decision, .. } if decision.is_admitted());
        let tasks = (0..40).map(|task| {
            let limiter = fleet[task % 2].clone();
            tokio::spawn(async move { limiter.spend(&quota).await })
        });
        let spent = futures_util::future::try_join_all(tasks).await.unwrap();
        assert_eq!(spent.iter().filter(|spending| passed(spending)).count(), 10);
        for window in ["minute", "hour", "day"] {
            let key = format!("rate_limit:api_token:{{{token}}}:{window}");
            assert_eq!(cluster.get(&key).await, "10", "a refused call uses up nothing");
        }
        let usage = fleet[1].token_usage(&quota).await;
        assert_eq!(
            usage.map(|window| (window.limit, window.used)),
            [(10, 10), (20, 10), (15, 10)]
        );

        let settings = settings_at(&cluster.urls(), &[]);
        let counters = Counters::connect(&settings, "no socket".as_ref()).await.unwrap();
        let subject = [Subject::Token(token)];
        assert_eq!(counters.of(&subject).await.unwrap().len(), 3);
        assert_eq!(counters.reset(&subject).await.unwrap(), 3);
        eventually(|| async { fleet[1].token_usage(&quota).await[0].used == 0 }).await;
        assert!(passed(&fleet[1].spend(&quota).await));

        // Voided by a command that only visits; heard by both at their next call.
        let visitor = Limiter::visiting(settings, Clock::system()).await.unwrap();
        assert!(visitor.void_tokens(vec![(token, Version(2))]).await);
        for limiter in &fleet {
            assert!(matches!(limiter.spend(&quota).await, Spending::Void));
            let renewed = Quota {
                version: Version(2),
                ..quota
            };
            assert!(passed(&limiter.spend(&renewed).await));
        }
    }
}

/// Rules whose keys lie in different slots; 7, 8 and 9 on a cluster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_decides_rules_side_by_side_and_gives_back_what_a_refused_request_was_charged() {
    let cluster = Cluster::start().await;
    let limits = [
        (Rule::Global, "100/minute"),
        (Rule::Login, "5/minute;50/hour"),
        (Rule::Refresh, "40/minute"),
    ];
    let fleet = [cluster.limiter(&limits).await, cluster.limiter(&limits).await];
    for last in 0..8 {
        let address = format!("10.0.0.{last}");
        let charges = [charge(Rule::Global, &address), charge(Rule::Login, &address)];
        assert_eq!(admitted(&fleet[0], &charges, 3).await, 3);
        // The second process has heard nothing of this client: Redis itself refuses, slot by slot.
        assert_eq!(admitted(&fleet[1], &charges, 9).await, 2);
        assert_eq!(remaining(&fleet[1].take(&charges).await), [95, 0, 45]);
        for (key, count) in [("ip", "5"), ("login:ip", "5")] {
            assert_eq!(cluster.get(&format!("rate_limit:{key}:{address}")).await, count);
        }
        assert_eq!(
            cluster.get(&format!("rate_limit:login:ip:{address}:3600")).await,
            "5"
        );
    }
    // Exactly N within a slot, whoever asks.
    let tasks = (0..8).map(|task| {
        let limiter = fleet[task % 2].clone();
        tokio::spawn(async move { admitted(&limiter, &[charge(Rule::Refresh, "10.0.1.1")], 30).await })
    });
    let together: Vec<usize> = futures_util::future::try_join_all(tasks).await.unwrap();
    assert_eq!(together.iter().sum::<usize>(), 40);

    // Never more than N over several slots.
    let tasks = (0..8).map(|task| {
        let limiter = fleet[task % 2].clone();
        let charges = [charge(Rule::Global, "10.0.1.2"), charge(Rule::Login, "10.0.1.2")];
        tokio::spawn(async move { admitted(&limiter, &charges, 10).await })
    });
    let together: Vec<usize> = futures_util::future::try_join_all(tasks).await.unwrap();
    assert!((1..=5).contains(&together.iter().sum::<usize>()), "{together:?}");
    for limiter in fleet {
        assert_eq!(limiter.state(), StoreState::Redis);
        limiter.shutdown().await;
    }
}

/// A node is killed under load, and its replica takes its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_of_a_cluster_gives_nobody_a_second_budget() {
    let mut cluster = Cluster::giving_up_after("1000").await;
    let mut settings: Settings = settings_at(&cluster.urls(), &[(Rule::Login, "5/minute")]);
    settings.redis.as_mut().unwrap().command_timeout = Duration::from_millis(200);
    let limiter = Limiter::start(settings, Clock::system()).unwrap();
    let _ = limiter.take(&[charge(Rule::ResetVerify, "192.0.2.255")]).await;
    for last in 0..20 {
        assert_eq!(
            admitted(&limiter, &[charge(Rule::Login, &format!("10.0.0.{last}"))], 9).await,
            5
        );
    }
    let load = {
        let limiter = limiter.clone();
        tokio::spawn(async move {
            let clock = Clock::system();
            let mut passed = vec![0; 40];
            while clock.elapsed() < Duration::from_secs(7) {
                for (last, passed) in passed.iter_mut().enumerate() {
                    let charges = [charge(Rule::Login, &format!("10.0.0.{last}"))];
                    *passed += usize::from(limiter.take(&charges).await.is_admitted());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            passed
        })
    };
    tokio::time::sleep(Duration::from_millis(100)).await;
    cluster.0[0].kill();
    let passed = load.await.unwrap();
    assert_eq!(passed[..20], [0; 20], "whoever was over stays over");
    assert_eq!(passed[20..], [5; 20], "and everybody else gets his budget once");
    eventually(|| async { limiter.state() == StoreState::Redis }).await;
}

/// `rediss://` with an authority of one's own, and a user with a password.
#[tokio::test]
async fn redis_over_tls_with_a_user_and_a_password() {
    let authority = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let mut redis = RedisServer::stopped(&[
        "--port",
        "0",
        "--tls-port",
        "{port}",
        "--tls-cert-file",
        "{folder}/cert.pem",
        "--tls-key-file",
        "{folder}/key.pem",
        "--tls-auth-clients",
        "no",
        "--user",
        "default",
        "off",
        "--user",
        "stile",
        "on",
        ">s3cret",
        "~rate_limit:*",
        "~{rate_limit:*",
        "+@all",
        "-@dangerous",
    ]);
    let certificate = redis.folder().join("cert.pem");
    std::fs::write(&certificate, authority.cert.pem()).unwrap();
    std::fs::write(
        redis.folder().join("key.pem"),
        authority.signing_key.serialize_pem(),
    )
    .unwrap();
    redis.restart().await;
    let url = format!("rediss://stile:s3cret@localhost:{}", redis.port());
    let charges = [charge(Rule::Login, "10.0.0.1")];

    let mut trusting = settings_at(&url, &[(Rule::Login, "5/minute")]);
    trusting.redis.as_mut().unwrap().tls_ca_file = Some(certificate);
    let limiter = Limiter::start(trusting.clone(), Clock::system()).unwrap();
    assert_eq!(admitted(&limiter, &charges, 3).await, 3);
    assert_eq!(limiter.state(), StoreState::Redis);
    let another = Limiter::start(trusting, Clock::system()).unwrap();
    assert_eq!(admitted(&another, &charges, 9).await, 2, "they count together");

    // Verification is never switched off: without the authority there is no Redis.
    let mistrusting = settings_at(&url, &[(Rule::Login, "5/minute")]);
    let limiter = Limiter::start(mistrusting, Clock::system()).unwrap();
    assert_eq!(admitted(&limiter, &charges, 9).await, 5);
    assert_eq!(limiter.state(), StoreState::Degraded);
}

#[tokio::test]
async fn a_missing_or_empty_authority_file_is_refused_at_the_start() {
    for file in ["/nonexistent/ca.pem", "/dev/null"] {
        let mut settings = settings_at("rediss://localhost", &[]);
        settings.redis.as_mut().unwrap().tls_ca_file = Some(file.into());
        let error = Limiter::start(settings, Clock::system()).unwrap_err().to_string();
        assert!(error.contains("TLS_CA_FILE"), "{error}");
    }
}
