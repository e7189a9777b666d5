//! Redis: whether it counts, keeps what it counts, answers in time, and what time it is there.

use std::time::Duration;

use super::{Connection, Fault, Place, Reading, place, within_patience};
use crate::clock::{Clock, Timestamp};
use crate::config::{Config, Verdict};
use crate::rate_limit::RedisSettings;
use crate::rate_limit::store::redis::{Failure, Link, RedisStore};

/// How often the way to Redis is measured; the best counts, so that a busy moment does not.
const TRIES: usize = 5;

pub(super) async fn try_it(config: &Config) -> Option<Connection> {
    let limits = &config.rate_limit;
    let settings = limits.redis.as_ref().filter(|_| limits.enabled)?;
    let attempt = Box::pin(connect(config, settings));
    let attempt = within_patience(attempt, || command(config, "PING")).await;
    let attempt = attempt.map_err(|fault| Fault {
        detail: format!("{}; limits would go on in memory", fault.detail),
        ..fault
    });
    Some(Connection::new("redis", attempt))
}

async fn connect(config: &Config, settings: &RedisSettings) -> Result<(&'static str, Vec<Verdict>), Fault> {
    let failed = |failure: Failure| Fault {
        fix: fix(config, &failure),
        detail: failure.to_string(),
    };
    let store = RedisStore::new(settings, &config.rate_limit.key_prefix, 0).map_err(|error| Fault {
        detail: error.to_string(),
        fix: "REDIS_URL=redis://USER:PASSWORD@HOST:6379".to_owned(),
    })?;
    let link = store.connect().await.map_err(failed)?;
    let mut verdicts = Vec::new();
    // The limiter's own script: a PING would praise a read-only replica.
    let reading = Reading::take(async {
        let reply = link.probe().await?;
        Ok(Timestamp::from_millis(reply.redis_us / 1000))
    });
    verdicts.extend(reading.await.map_err(failed)?.judge("Redis"));
    verdicts.extend(distance(&link, settings.command_timeout).await.map_err(failed)?);
    verdicts.push(eviction(config, &link).await);
    Ok(("connected", verdicts))
}

/// A warning if even the fastest of several answers came too late for a request.
async fn distance(link: &Link, command_timeout: Duration) -> Result<Option<Verdict>, Failure> {
    let clock = Clock::system();
    let mut best = Duration::MAX;
    for _ in 0..TRIES {
        let began = clock.elapsed();
        link.probe().await?;
        best = best.min(clock.elapsed().saturating_sub(began));
    }
    Ok((best > command_timeout).then(|| {
        let best = best.as_millis();
        Verdict::warning(
            format!("Redis takes {best} ms to answer, and requests wait {} ms for it: limits would be decided in memory", command_timeout.as_millis()),
            format!("REDIS_COMMAND_TIMEOUT_MS={}   (or a Redis that is nearer)", best * 3),
        )
    }))
}

/// Windows are keys with a TTL, which most eviction policies take first.
async fn eviction(config: &Config, link: &Link) -> Verdict {
    let policies = match link.eviction_policies().await {
        Ok(policies) if !policies.is_empty() => policies,
        _ => {
            return Verdict::fine(
                "Redis does not tell its eviction policy (INFO is refused): see that it is noeviction",
            );
        }
    };
    match policies.iter().find(|policy| *policy != "noeviction") {
        None => Verdict::fine("Redis evicts nothing (noeviction)"),
        Some(policy) => Verdict::warning(
            format!(
                "Redis evicts keys when it is full ({policy}): counters vanish, and clients get a new budget"
            ),
            format!(
                "{}   (and in redis.conf: maxmemory-policy noeviction)",
                command(config, "CONFIG SET maxmemory-policy noeviction")
            ),
        ),
    }
}

fn fix(config: &Config, failure: &Failure) -> String {
    let reason = failure.to_string();
    match reason.as_str() {
        "READONLY" => format!(
            "{}   (a replica does not count: REDIS_URL has to name its master_host)",
            command(config, "INFO replication")
        ),
        "OOM" => command(config, "CONFIG SET maxmemory 256mb"),
        "NOAUTH" | "WRONGPASS" => {
            "REDIS_URL=redis://USER:PASSWORD@HOST:6379   (percent-encoded; without a user: redis://:PASSWORD@HOST:6379)"
                .to_owned()
        }
        "NOPERM" => {
            let prefix = &config.rate_limit.key_prefix;
            command(config, &format!("ACL SETUSER stile on '>PASSWORD' '~{prefix}:*' '~{{{prefix}:*' +@all -@dangerous +info"))
        }
        _ => command(config, "PING"),
    }
}

fn command(config: &Config, words: &str) -> String {
    let Place { scheme, host, port } = place(config, "REDIS_URL");
    let tls = if scheme == "rediss" { " --tls" } else { "" };
    format!("redis-cli -h {host} -p {}{tls} {words}", port.unwrap_or(6379))
}
