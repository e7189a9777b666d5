//! What a case stands on: a limiter, its store, and a way to let time pass.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use stile::clock::Clock;
use stile::rate_limit::{
    Charge, Client, Decision, Limiter, RedisSettings, Rule, Rules, Settings, StoreState,
};

use crate::redis_server::RedisServer;

/// A command timeout that a busy test machine does not reach by itself.
const PATIENT: Duration = Duration::from_secs(2);

pub fn rules(limits: &[(Rule, &str)]) -> Rules {
    let mut rules = Rules::defaults(false);
    for (rule, limit) in limits {
        rules.set(*rule, limit.parse().unwrap());
    }
    rules
}

/// In memory.
pub fn settings(limits: &[(Rule, &str)]) -> Settings {
    Settings {
        enabled: true,
        rules: rules(limits),
        redis: None,
        key_prefix: "rate_limit".to_owned(),
        fleet_size: None,
        memory_keys: NonZeroUsize::new(200_000).unwrap(),
        ipv6_prefix: 64,
        allowlist: Vec::new(),
    }
}

pub fn redis_settings(url: &str) -> RedisSettings {
    RedisSettings {
        nodes: url.split(',').map(|node| node.to_owned().into()).collect(),
        connect_timeout: Duration::from_secs(2),
        command_timeout: PATIENT,
        health_check: Duration::from_secs(30),
        tls_ca_file: None,
    }
}

/// In the Redis at `url`.
pub fn settings_at(url: &str, limits: &[(Rule, &str)]) -> Settings {
    Settings {
        redis: Some(redis_settings(url)),
        ..settings(limits)
    }
}

/// A limiter on `redis` that has found it.
pub async fn limiter_on(redis: &RedisServer, limits: &[(Rule, &str)]) -> Limiter {
    let limiter = Limiter::start(settings_at(&redis.url(), limits), Clock::system()).unwrap();
    until(&limiter, StoreState::Redis).await;
    // The first answer shows that the connection is made.
    let _ = limiter.take(&[charge(Rule::ResetVerify, "192.0.2.255")]).await;
    limiter
}

/// Waits, at most 20 s, until the limiter says `state`.
pub async fn until(limiter: &Limiter, state: StoreState) {
    eventually(|| async { limiter.state() == state }).await;
}

/// Waits, at most 20 s, until `holds`.
pub async fn eventually<F: Future<Output = bool>>(holds: impl Fn() -> F) {
    for _ in 0..4000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it did not come about within 20 s");
}

pub fn client(address: &str) -> Client {
    Client::of(address.parse::<IpAddr>().unwrap(), 64)
}

pub fn charge(rule: Rule, address: &str) -> Charge {
    Charge::client(rule, client(address))
}

pub fn remaining(decision: &Decision) -> Vec<u64> {
    decision.reports.iter().map(|report| report.remaining).collect()
}

/// Takes `times` and counts how many were admitted.
pub async fn admitted(limiter: &Limiter, charges: &[Charge], times: usize) -> usize {
    let mut admitted = 0;
    for _ in 0..times {
        admitted += usize::from(limiter.take(charges).await.is_admitted());
    }
    admitted
}

/// A store under the suite. A case says the same of each.
pub struct Stand {
    clock: Clock,
    redis: Option<tokio::sync::Mutex<RedisServer>>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Memory,
    Redis,
    /// Redis was there, and is killed before the first request.
    Lost,
    /// Redis is killed at every other turn, and comes back empty at the others.
    Flapping,
}

impl Stand {
    pub fn memory() -> Self {
        let clock = Clock::manual(stile::clock::Timestamp::from_millis(1_700_000_000_000));
        Self {
            clock,
            redis: None,
            kind: Kind::Memory,
        }
    }

    pub async fn redis() -> Self {
        Self::on(Kind::Redis).await
    }

    pub async fn lost() -> Self {
        Self::on(Kind::Lost).await
    }

    pub async fn flapping() -> Self {
        Self::on(Kind::Flapping).await
    }

    async fn on(kind: Kind) -> Self {
        Self {
            clock: Clock::system(),
            redis: Some(RedisServer::start().await.into()),
            kind,
        }
    }

    pub async fn limiter(&self, limits: &[(Rule, &str)]) -> Limiter {
        let Some(redis) = &self.redis else {
            return Limiter::start(settings(limits), self.clock.clone()).unwrap();
        };
        let mut redis = redis.lock().await;
        let limiter = limiter_on(&redis, limits).await;
        if self.kind == Kind::Lost {
            redis.kill();
            until(&limiter, StoreState::Degraded).await;
        }
        limiter
    }

    /// Where a store can be lost or come back between two steps of a case, it does so here.
    pub async fn turn(&self, limiter: &Limiter) {
        if self.kind != Kind::Flapping {
            return;
        }
        let mut redis = self.redis.as_ref().unwrap().lock().await;
        if limiter.state() == StoreState::Redis {
            redis.kill();
            until(limiter, StoreState::Degraded).await;
        } else {
            redis.restart().await;
            until(limiter, StoreState::Redis).await;
        }
    }

    pub async fn pass(&self, span: Duration) {
        match self.kind {
            Kind::Memory => self.clock.advance(span),
            // A clock that is moved does not move Redis. What is rounded to milliseconds is given one.
            _ => tokio::time::sleep(span + Duration::from_millis(2)).await,
        }
    }
}
