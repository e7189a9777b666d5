//! `stile check --connect`: whether the database, Redis and the mail server are there, and are what stile needs.
//!
//! One file for each of them. A connection fails, or it stands and may still deserve warnings.

mod database;
mod mail;
mod redis;

use std::time::Duration;

use serde::Serialize;
use url::Url;

use crate::clock::{Clock, Timestamp};
use crate::config::{Config, Verdict};

/// No answer within this time is the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How far the clock of a server may be from ours. Two machines that are each so far from a third differ by twice that,
/// and access tokens are checked with 5 s of leeway.
const MOST_SKEW: Duration = Duration::from_secs(2);

/// What came of one connection.
#[derive(Serialize)]
pub(super) struct Connection {
    pub(super) to: &'static str,
    pub(super) ok: bool,
    pub(super) detail: String,
    /// What to type when it failed.
    pub(super) fix: Option<String>,
    /// What was seen over it.
    #[serde(skip)]
    pub(super) verdicts: Vec<Verdict>,
    /// Without it the program does not serve; without the others it serves degraded.
    #[serde(skip)]
    pub(super) vital: bool,
}

/// Why a connection failed, and what to type.
struct Fault {
    detail: String,
    fix: String,
}

impl Connection {
    fn new(to: &'static str, attempt: Result<(&str, Vec<Verdict>), Fault>) -> Self {
        let (ok, detail, fix, verdicts) = match attempt {
            Ok((detail, verdicts)) => (true, detail.to_owned(), None, verdicts),
            Err(Fault { detail, fix }) => (false, detail, Some(fix), Vec::new()),
        };
        Self {
            to,
            ok,
            detail,
            fix,
            verdicts,
            vital: false,
        }
    }
}

/// Tries all side by side.
pub(super) async fn try_all(config: &Config) -> Vec<Connection> {
    // On the heap: what three drivers keep while they connect is too much for one stack frame.
    let (database, redis, mail) = tokio::join!(
        Box::pin(database::try_it(config)),
        Box::pin(redis::try_it(config)),
        Box::pin(mail::try_it(config))
    );
    [Some(database), redis, mail].into_iter().flatten().collect()
}

/// What `attempt` came to, or that nothing came.
async fn within_patience<T>(
    attempt: impl Future<Output = Result<T, Fault>>,
    silence: impl FnOnce() -> String,
) -> Result<T, Fault> {
    let answer = tokio::time::timeout(PATIENCE, attempt).await;
    answer.unwrap_or_else(|_| {
        Err(Fault {
            detail: format!("no answer within {} s", PATIENCE.as_secs()),
            fix: silence(),
        })
    })
}

/// The moment on a server's clock that lies between two on ours.
struct Reading {
    before: Timestamp,
    theirs: Timestamp,
    after: Timestamp,
}

impl Reading {
    /// Reads a server's clock, as `ask` tells it.
    async fn take<E>(ask: impl Future<Output = Result<Timestamp, E>>) -> Result<Self, E> {
        let clock = Clock::system();
        let before = clock.now();
        let theirs = ask.await?;
        Ok(Self {
            before,
            theirs,
            after: clock.now(),
        })
    }

    /// A warning if the two clocks differ too much, however slow the answer was.
    fn judge(&self, server: &str) -> Option<Verdict> {
        let behind = self.before.since(self.theirs);
        let ahead = self.theirs.since(self.after);
        let (skew, direction) = if behind > ahead {
            (behind, "behind")
        } else {
            (ahead, "ahead of")
        };
        (skew > MOST_SKEW).then(|| {
            let text = format!(
                "the clock of {server} is {:.1} s {direction} this machine's: tokens and resets carry both times (2 s are tolerated)",
                skew.as_secs_f64()
            );
            Verdict::warning(text, "timedatectl set-ntp true   (on both machines)")
        })
    }
}

/// Where a variable's URL leads, to be written behind a command's `-h` and `-p`.
struct Place {
    /// `rediss`, `smtps`.
    scheme: String,
    /// Without the brackets of IPv6.
    host: String,
    port: Option<u16>,
}

/// The place that a variable names; the first of several.
fn place(config: &Config, variable: &str) -> Place {
    let shown = config
        .effective
        .iter()
        .find(|effective| effective.name == variable);
    let first = shown.and_then(|effective| effective.value.split(',').next());
    let url = first.and_then(|first| Url::parse(&first.replace("[redacted]", "x")).ok());
    let host = url.as_ref().map(|url| url.host_str().unwrap_or("localhost"));
    Place {
        scheme: url
            .as_ref()
            .map_or_else(String::new, |url| url.scheme().to_owned()),
        host: host.unwrap_or("HOST").trim_matches(['[', ']']).to_owned(),
        port: url.as_ref().and_then(Url::port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(before: i64, theirs: i64, after: i64) -> Option<String> {
        let at = Timestamp::from_millis;
        let reading = Reading {
            before: at(before),
            theirs: at(theirs),
            after: at(after),
        };
        reading.judge("Redis").map(|verdict| verdict.text)
    }

    #[test]
    fn clocks_may_differ_by_two_seconds_and_a_slow_answer_is_no_skew() {
        assert_eq!(judged(10_000, 12_000, 10_000), None);
        assert_eq!(judged(10_000, 8_000, 10_000), None);
        assert_eq!(judged(10_000, 11_000, 19_000), None);
        assert!(judged(10_000, 12_001, 10_000).unwrap().contains("ahead of"));
        assert!(judged(10_000, 7_000, 19_000).unwrap().contains("3.0 s behind"));
    }
}
