//! Counters in Redis: the calls on an open connection, and nothing of what to do when they fail. How it is opened is
//! in `redis_dialer.rs`.
//!
//! Each decision is one script. A script's text is sent only where Redis does not know it (`NOSCRIPT`, which means that
//! nothing ran); nothing that counts is ever sent twice. Needs Redis 7 or later (`PEXPIRETIME`).

#[path = "redis_counters.rs"]
mod counters;
#[path = "redis_dialer.rs"]
mod dialer;
#[path = "redis_facts.rs"]
mod facts;
#[path = "redis_scripts.rs"]
mod scripts;
#[path = "redis_takes.rs"]
mod takes;

use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::Slot;
use redis::{Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::scripts::{Script, Scripts};
use self::takes::Job;
pub use super::reply::{Failure, Roll, TakeReply};
use super::{Ask, Merge, Merged, Taken};
use crate::rate_limit::charge::Subject;
use crate::rate_limit::key::CounterKey;
use crate::telemetry::unknown_host;

pub use dialer::RedisStore;

/// Probe keys, so that with some certainty each node of a cluster holds one.
const PROBES: usize = 8;
/// A limit that is never reached: shadow rules are counted and never a reason to refuse.
const NEVER: u64 = 1_000_000_000_000;

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        let not_a_counter = error
            .code()
            .is_some_and(|code| code == "WRONGTYPE" || code == "NOTACOUNTER")
            || error
                .detail()
                .is_some_and(|detail| detail.contains("WRONGTYPE") || detail.contains("NOTACOUNTER"));
        if not_a_counter {
            return Self::Value;
        }
        let reason = match error.code() {
            Some(code) => code.to_owned(),
            None if error.is_connection_refusal() => "connection refused".to_owned(),
            None if error.is_timeout() => "timed out".to_owned(),
            None if error.is_connection_dropped() => "connection lost".to_owned(),
            None => unknown_host(&error).unwrap_or(error.category()).to_owned(),
        };
        let gone = error.is_unrecoverable_error() || error.is_io_error();
        if gone {
            Self::Disconnected(reason)
        } else {
            Self::Server(reason)
        }
    }
}

/// What every key and every unit of this process is called after.
#[derive(Debug)]
struct Names {
    prefix: String,
    /// Starts with a letter: in a script it must not read as a number.
    process: String,
}

/// An open connection. Clones share it.
#[derive(Clone)]
pub struct Link(Arc<Line>);

#[derive(Clone)]
struct Line {
    connection: Connection,
    /// Takes on their way to a single server, those of one moment together; a cluster's go each to its slot.
    takes: Option<UnboundedSender<Job>>,
    gone: CancellationToken,
    scripts: Arc<Scripts>,
    names: Arc<Names>,
}

#[derive(Clone)]
enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

/// How long the answer to a call that was given up is still waited for, in the background.
pub const LATE: Duration = Duration::from_secs(20);

impl Link {
    /// Whether both are the same connection.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Waits until the connection has ended. In a cluster, where one of several may end, for ever.
    pub async fn closed(&self) -> Failure {
        self.0.gone.cancelled().await;
        Failure::Disconnected("connection lost".to_owned())
    }

    /// Places of `asks` by the part of Redis that can decide them together: all of them, or in a cluster those of a slot.
    #[must_use]
    pub fn groups(&self, asks: &[Ask]) -> Vec<Vec<usize>> {
        if matches!(self.0.connection, Connection::Single(_)) {
            return vec![(0..asks.len()).collect()];
        }
        let mut groups: Vec<(Slot, Vec<usize>)> = Vec::new();
        for (place, ask) in asks.iter().enumerate() {
            let slot = Slot::for_key(ask.key.name(&self.0.names.prefix));
            match groups.iter_mut().find(|(known, _)| *known == slot) {
                Some((_, places)) => places.push(place),
                None => groups.push((slot, vec![place])),
            }
        }
        groups.into_iter().map(|(_, places)| places).collect()
    }

    /// Reads the counters of `asks`, which lie in one slot. Charges nothing.
    pub async fn peek(&self, asks: &[Ask]) -> Result<TakeReply, Failure> {
        let mut call = Cmd::new();
        call.arg("EVALSHA").arg(&self.0.scripts.peek.sha).arg(asks.len());
        for ask in asks {
            call.arg(ask.key.name(&self.0.names.prefix));
        }
        for ask in asks {
            call.arg(if ask.key.is_exact() { ask.period_ms } else { 0 });
        }
        let value = self.0.run(call, |scripts| &scripts.peek).await?;
        peek_reply(&value, asks.len()).ok_or_else(|| Failure::Server("unexpected answer".to_owned()))
    }

    /// Notes for `life` that proofs of a token older than `version` are void.
    pub async fn void(&self, token: Uuid, version: i64, life: Duration) -> Result<(), Failure> {
        let mut call = Cmd::new();
        call.arg("EVALSHA")
            .arg(&self.0.scripts.void.sha)
            .arg(1)
            .arg(CounterKey::mark_of(&self.0.names.prefix, token))
            .arg(version)
            .arg(u64::try_from(life.as_millis()).unwrap_or(u64::MAX));
        self.0.run(call, |scripts| &scripts.void).await.map(|_| ())
    }

    /// Tells Redis of one counter. `offset_us` turns elapsed into Unix microseconds of Redis. `raise`: where Redis has
    /// the same window with a smaller count, it forgot some of it.
    pub async fn merge(
        &self,
        key: &CounterKey,
        merge: &Merge,
        offset_us: i64,
        raise: bool,
    ) -> Result<Merged, Failure> {
        let name = key.name(&self.0.names.prefix);
        let value = match merge {
            Merge::Fixed {
                known,
                resets_at,
                add,
                ticket,
            } => {
                let mut call = Cmd::new();
                call.arg("EVALSHA")
                    .arg(&self.0.scripts.merge.sha)
                    .arg(2)
                    .arg(&name)
                    .arg(self.mark(&name, *ticket));
                call.arg(*known)
                    .arg(*resets_at)
                    .arg(*add)
                    .arg(u8::from(*ticket != 0))
                    .arg(u8::from(raise));
                self.0.run(call, |scripts| &scripts.merge).await?
            }
            Merge::Exact { stamps, period_ms } => {
                let mut call = Cmd::new();
                call.arg("EVALSHA")
                    .arg(&self.0.scripts.merge_exact.sha)
                    .arg(1)
                    .arg(&name)
                    .arg(*period_ms);
                for (at_us, id) in stamps {
                    call.arg(offset_us.saturating_add_unsigned(*at_us));
                    call.arg(format!("{}{id}", self.0.names.process));
                }
                self.0.run(call, |scripts| &scripts.merge_exact).await?
            }
        };
        merged(&value).ok_or_else(|| Failure::Server("unexpected answer".to_owned()))
    }

    /// The key that marks a ticket as merged. In a cluster it lies where the counter lies.
    fn mark(&self, name: &str, ticket: u64) -> String {
        let process = &self.0.names.process;
        if name.contains('{') {
            format!("{name}:merged:{process}{ticket}")
        } else {
            format!("{{{name}}}:merged:{process}{ticket}")
        }
    }

    /// Gives one window back what was taken. Answers whether it was still open.
    pub async fn refund(&self, taken: &Taken) -> Result<bool, Failure> {
        let mut call = Cmd::new();
        call.arg("EVALSHA")
            .arg(&self.0.scripts.refund.sha)
            .arg(1)
            .arg(taken.key.name(&self.0.names.prefix))
            .arg(taken.cost);
        if taken.key.is_exact() {
            call.arg(&self.0.names.process).arg(taken.id);
        } else {
            call.arg(taken.resets_at);
        }
        let value = self.0.run(call, |scripts| &scripts.refund).await?;
        Ok(matches!(value, Value::Int(1)))
    }

    /// Empties one counter.
    pub async fn clear(&self, key: &CounterKey) -> Result<(), Failure> {
        let mut call = Cmd::new();
        call.arg("EVALSHA")
            .arg(&self.0.scripts.clear.sha)
            .arg(1)
            .arg(key.name(&self.0.names.prefix));
        self.0.run(call, |scripts| &scripts.clear).await.map(|_| ())
    }

    /// Runs the real script, so that a server that cannot count (read-only, out of memory, loading) does not pass. On a
    /// cluster several keys are tried, spread over its nodes.
    pub async fn probe(&self) -> Result<TakeReply, Failure> {
        let probes = if matches!(self.0.connection, Connection::Single(_)) {
            1
        } else {
            PROBES
        };
        let calls = (0..probes).map(|place| {
            let mut call = Cmd::new();
            let name = format!("{}:probe:{}{place}", self.0.names.prefix, self.0.names.process);
            call.arg("EVALSHA").arg(&self.0.scripts.take.sha).arg(1).arg(name);
            call.arg(1).arg(NEVER).arg(1000).arg(1).arg(0).arg(0);
            self.0.run(call, |scripts| &scripts.take)
        });
        let values = futures_util::future::try_join_all(calls).await?;
        let reply = values.first().and_then(|value| takes::replies(value, [1])?.pop());
        reply.unwrap_or_else(|| Err(Failure::Server("unexpected answer".to_owned())))
    }

    /// Says that this process is alive and asks who else is, of those heard within `life`, and who was reset by an
    /// operator since `heard_us` (Unix microseconds of Redis).
    pub async fn announce(&self, life: Duration, heard_us: i64) -> Result<Roll, Failure> {
        let mut call = Cmd::new();
        call.arg("EVALSHA")
            .arg(&self.0.scripts.announce.sha)
            .arg(2)
            .arg(self.fleet_key())
            .arg(self.resets_key());
        call.arg(&self.0.names.process)
            .arg(u64::try_from(life.as_millis()).unwrap_or(u64::MAX))
            .arg(heard_us);
        let value = self.0.run(call, |scripts| &scripts.announce).await?;
        roll(&value).ok_or_else(|| Failure::Server("unexpected answer".to_owned()))
    }

    /// Takes this process off the list.
    pub async fn leave(&self) -> Result<(), Failure> {
        let mut call = redis::cmd("ZREM");
        call.arg(self.fleet_key()).arg(&self.0.names.process);
        Ok(self.0.send(&call).await.map(|_| ())?)
    }

    fn fleet_key(&self) -> String {
        format!("{}:fleet", self.0.names.prefix)
    }

    /// In a cluster it lies where the list of processes lies.
    fn resets_key(&self) -> String {
        format!("{{{}}}:resets", self.fleet_key())
    }
}

impl Line {
    /// Sends `EVALSHA`, and once `EVAL` where Redis does not know the script.
    async fn run(&self, call: Cmd, script: impl Fn(&Scripts) -> &Script + Send) -> Result<Value, Failure> {
        let error = match self.send(&call).await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        if error.kind() != ErrorKind::Server(ServerErrorKind::NoScript) {
            return Err(error.into());
        }
        let mut whole = redis::cmd("EVAL");
        whole.arg(script(&self.scripts).text);
        for arg in call.args_iter().skip(2) {
            if let redis::Arg::Simple(arg) = arg {
                whole.arg(arg);
            }
        }
        Ok(self.send(&whole).await?)
    }

    async fn send(&self, call: &Cmd) -> RedisResult<Value> {
        let value = match &self.connection {
            Connection::Single(connection) => connection.clone().req_packed_command(call).await,
            Connection::Cluster(connection) => connection.clone().req_packed_command(call).await,
        };
        value.and_then(Value::extract_error)
    }
}

fn int(value: &Value) -> Option<i64> {
    if let Value::Int(int) = value {
        Some(*int)
    } else {
        None
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

fn peek_reply(value: &Value, asked: usize) -> Option<TakeReply> {
    let Value::Array(parts) = value else { return None };
    let (redis_us, parts) = parts.split_first()?;
    let counts = takes::counts(parts)?;
    (counts.len() == asked).then_some(TakeReply {
        admitted: false,
        void: false,
        redis_us: int(redis_us)?,
        counts,
    })
}

fn merged(value: &Value) -> Option<Merged> {
    let Value::Array(parts) = value else { return None };
    let [count, resets_at, redis_us] = parts.as_slice() else {
        return None;
    };
    let count = u32::try_from(int(count)?).ok()?;
    Some(Merged {
        count,
        resets_at: int(resets_at)?,
        redis_ms: int(redis_us)? / 1000,
    })
}

fn reset(value: &Value) -> Option<(i64, Subject)> {
    let (moment, subject) = text(value)?.split_once(' ')?;
    Some((moment.parse().ok()?, Subject::from_tag(subject)?))
}

fn roll(value: &Value) -> Option<Roll> {
    let Value::Array(parts) = value else { return None };
    let [known, Value::Array(names), Value::Array(resets)] = parts.as_slice() else {
        return None;
    };
    let number = |name: &Value| {
        let number = text(name)?.strip_prefix('p')?.strip_suffix(':')?;
        u64::from_str_radix(number, 16).ok()
    };
    Some(Roll {
        was_known: int(known)? == 1,
        alive: names.iter().filter_map(number).collect(),
        resets: resets.iter().filter_map(reset).collect(),
    })
}
