//! Limits, where they are counted, and whether they hold anybody back.

use std::num::NonZeroU32;
use std::time::Duration;

use super::Verdicts;
use crate::config::Environment;
use crate::rate_limit::{Limit, Mode, RedisSettings, Rule};
use crate::storage::DatabaseUrl;

/// So many times looser or tighter than recommended is far from it.
const FAR: f64 = 10.0;

/// Fewer counters than this fill up on an ordinary day: two for each client, more for each account.
const FEW_MEMORY_KEYS: usize = 10_000;

/// Below, an answer of a Redis on the same network is often too late, and then decided in memory.
const SHORT_COMMAND_TIMEOUT: Duration = Duration::from_millis(5);

/// Above, a Redis that hangs is felt: the first requests each wait so long.
const LONG_COMMAND_TIMEOUT: Duration = Duration::from_millis(500);

pub(super) fn judge(verdicts: &mut Verdicts<'_>) {
    let config = verdicts.config;
    let settings = &config.rate_limit;
    let lenient = config.environment.is_lenient();
    if !settings.enabled {
        let text = "limiting is off: fine for E2E, not for production";
        if lenient {
            verdicts.fine(text);
        } else {
            verdicts.warn(text, "ENABLE_RATE_LIMITING=true");
        }
        return;
    }
    place(verdicts);
    if lenient {
        return;
    }
    for rule in Rule::ALL {
        of_rule(verdicts, rule);
    }
    if settings.allowlist.iter().any(|network| network.prefix_len() == 0) {
        verdicts.warn(
            "RATE_LIMIT_ALLOWLIST holds everybody: nobody is limited",
            "RATE_LIMIT_ALLOWLIST=",
        );
    }
    let burst = config.http.burst.unwrap_or(u32::MAX);
    let largest = settings.rules.largest_client_count();
    if burst < largest {
        verdicts.warn(
            format!("RATE_LIMIT_BURST={burst} is tighter than the limits it stands in front of ({largest} at once): clients are refused with `burst` before a limit is reached"),
            format!("RATE_LIMIT_BURST={}", largest.saturating_mul(2)),
        );
    }
    if settings.memory_keys.get() < FEW_MEMORY_KEYS {
        verdicts.warn(
            format!("RATE_LIMIT_MEMORY_KEYS={} are few: when all are in use, newcomers share one counter and are refused early", settings.memory_keys),
            "RATE_LIMIT_MEMORY_KEYS=200000",
        );
    }
    if let Some(redis) = &settings.redis {
        command_timeout(verdicts, redis);
    }
}

/// Where the counts live, and whether that fits the number of processes.
fn place(verdicts: &mut Verdicts<'_>) {
    const USE_REDIS: &str = "REDIS_URL=redis://HOST:6379";
    let config = verdicts.config;
    let settings = &config.rate_limit;
    match (&settings.redis, settings.fleet_size.map(NonZeroU32::get)) {
        (Some(_), _) => verdicts.fine("limiting is on, counted in Redis"),
        (None, Some(2..)) => verdicts.warn(
            "several processes share limits (RATE_LIMIT_FLEET_SIZE) without Redis: each admits only its share",
            USE_REDIS,
        ),
        (None, None)
            if !config.environment.is_lenient() && matches!(config.storage.url, DatabaseUrl::Postgres(_)) =>
        {
            verdicts.warn(
                "limiting is on, counted in memory: exact for one process only; several need REDIS_URL",
                format!("{USE_REDIS}   (or, for one process: RATE_LIMIT_FLEET_SIZE=1)"),
            );
        }
        // `RATE_LIMIT_FLEET_SIZE=1` says in so many words that there is one.
        (None, _) => verdicts.fine("limiting is on, counted in memory: exact for one process"),
    }
}

fn of_rule(verdicts: &mut Verdicts<'_>, rule: Rule) {
    let limit = verdicts.config.rate_limit.rules.get(rule);
    let recommended = recommended(verdicts.config.environment, rule);
    let name = rule.variable();
    let fix = format!("{name}={recommended}");
    if limit.is_off() {
        verdicts.warn(format!("{name} is off: nothing holds this back"), fix);
    } else if limit.is_deny() {
        verdicts.fine(format!("{name} is deny: every request is refused"));
    } else if limit.mode() == Mode::Shadow {
        verdicts.warn(
            format!("{name} is in shadow mode: it counts and logs, and refuses nobody"),
            format!("{name}={}", limit.rate()),
        );
    } else if let (Some(ours), Some(theirs)) = (most_in_an_hour(limit), most_in_an_hour(&recommended)) {
        if ours >= FAR * theirs {
            let text = format!(
                "{name} lets {:.0} times as much through as is recommended ({recommended}): it hardly holds anybody back",
                ours / theirs
            );
            verdicts.warn(text, fix);
        } else if ours * FAR <= theirs {
            let text = format!(
                "{name} is {:.0} times tighter than is recommended ({recommended}): ordinary users will meet it",
                theirs / ours
            );
            verdicts.warn(text, fix);
        }
    }
}

/// What the env file that ships for this environment says of `rule`; else its default.
fn recommended(environment: Environment, rule: Rule) -> Limit {
    let shipped = if environment == Environment::Staging {
        include_str!("../../../.env.staging")
    } else {
        include_str!("../../../.env.production")
    };
    let mut lines = shipped.lines().filter_map(|line| line.split_once('='));
    lines
        .find(|(name, _)| *name == rule.variable())
        .and_then(|(_, limit)| limit.parse().ok())
        .unwrap_or_else(|| rule.default_limit(environment.is_lenient()))
}

/// The most that a limit admits in an hour, its windows one behind the other; `None` without windows. An hour, because
/// that is how long somebody who guesses, or who mistypes, stays.
fn most_in_an_hour(limit: &Limit) -> Option<f64> {
    const HOUR: f64 = 3600.0;
    let of_window = |count: u32, seconds: u32| f64::from(count) * (HOUR / f64::from(seconds)).max(1.0);
    let windows = limit.windows().iter();
    windows
        .map(|window| of_window(window.count(), window.seconds()))
        .min_by(f64::total_cmp)
}

fn command_timeout(verdicts: &mut Verdicts<'_>, redis: &RedisSettings) {
    const FIX: &str = "REDIS_COMMAND_TIMEOUT_MS=50";
    let timeout = redis.command_timeout;
    let millis = timeout.as_millis();
    if timeout < SHORT_COMMAND_TIMEOUT {
        verdicts.warn(
            format!("REDIS_COMMAND_TIMEOUT_MS={millis} is short: answers that come later are decided in memory, and limits are then not exact"),
            FIX,
        );
    } else if timeout > LONG_COMMAND_TIMEOUT {
        verdicts.warn(
            format!("REDIS_COMMAND_TIMEOUT_MS={millis} is long: when Redis hangs, requests wait that long before they go on"),
            FIX,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn most(limit: &str) -> f64 {
        most_in_an_hour(&limit.parse().unwrap()).unwrap()
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "whole numbers")]
    fn the_most_in_an_hour_is_that_of_the_window_that_binds() {
        assert_eq!(most("5/minute"), 300.0);
        assert_eq!(most("5/minute;20/hour"), 20.0);
        assert_eq!(most("1000/day"), 1000.0);
        assert_eq!(most("1/second"), 3600.0);
        assert!(most_in_an_hour(&"off".parse().unwrap()).is_none());
    }

    #[test]
    fn recommended_is_what_the_shipped_files_say() {
        let of = |environment, rule| recommended(environment, rule).to_string();
        assert_eq!(of(Environment::Production, Rule::Login), "5/minute");
        assert_eq!(of(Environment::Staging, Rule::Login), "100/minute");
        assert_eq!(of(Environment::Staging, Rule::GatewayFailures), "30/minute");
    }
}
