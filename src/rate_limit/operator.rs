//! What an operator does with counters: list them, look at those of one subject, reset them.
//!
//! Where Redis counts, he asks Redis, and no process is needed. Where one process counts in memory, he asks that process
//! through its socket (`socket.rs`).
//!
//! A reset is noted in Redis before and after the counters are emptied. Every process reads the note within a second, and
//! after an outage before it tells Redis anything, and forgets what it remembers of the subject: the note before keeps a
//! process that is about to merge from bringing old counts back, the one after takes what was read in between.

use std::path::Path;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};

use super::charge::Subject;
use super::key::CounterKey;
use super::limiter::Limiter;
use super::rule::{Rule, Rules};
use super::store::Reading;
use super::store::redis::{Failure, Link, RedisStore};
use super::{Settings, StartError, socket};

/// Keys asked for at once.
const BATCH: usize = 256;
/// Longest wait for Redis or the process as a whole.
const PATIENCE: Duration = Duration::from_mins(1);

/// Where an operator finds the counters.
#[derive(Debug)]
pub enum Counters {
    /// In Redis.
    Redis(Link, Box<Rules>),
    /// In a process that counts in memory, behind this socket.
    Process(socket::Client),
}

/// Why the counters are not to be had.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// Nothing is counted.
    #[error("limiting is off (ENABLE_RATE_LIMITING=false): nothing is counted")]
    Off,
    /// The settings fit nothing.
    #[error(transparent)]
    Settings(#[from] StartError),
    /// Redis does not answer.
    #[error("Redis does not answer ({0}); meanwhile each process counts in memory, and nothing was changed")]
    Redis(Failure),
    /// No process counts in memory behind the socket.
    #[error(transparent)]
    Process(#[from] socket::SocketError),
}

impl From<Failure> for OperatorError {
    fn from(failure: Failure) -> Self {
        Self::Redis(failure)
    }
}

impl Counters {
    /// Finds them as a process with these settings would count. `socket`: where such a process listens.
    pub async fn connect(settings: &Settings, socket: &Path) -> Result<Self, OperatorError> {
        if !settings.enabled {
            return Err(OperatorError::Off);
        }
        let Some(redis) = &settings.redis else {
            let client = socket::Client::new(socket, &settings.key_prefix);
            return Ok(Self::Process(client));
        };
        let link = RedisStore::new(redis, &settings.key_prefix, 0)?.connect().await?;
        Ok(Self::Redis(link, Box::new(settings.rules.clone())))
    }

    /// Every counter that counts anything.
    pub async fn all(&self) -> Result<Vec<Reading>, OperatorError> {
        match self {
            Self::Redis(link, rules) => patiently(read(link, rules, ":*")).await,
            Self::Process(process) => Ok(process.all().await?),
        }
    }

    /// Those of `subjects`.
    pub async fn of(&self, subjects: &[Subject]) -> Result<Vec<Reading>, OperatorError> {
        match self {
            Self::Redis(link, rules) => patiently(read_subjects(link, rules, subjects)).await,
            Self::Process(process) => Ok(process.of(subjects).await?),
        }
    }

    /// Empties those of `subjects`, in every process. Answers how many counted anything.
    pub async fn reset(&self, subjects: &[Subject]) -> Result<usize, OperatorError> {
        match self {
            Self::Redis(link, rules) => patiently(reset(link, rules, subjects)).await,
            Self::Process(process) => Ok(process.reset(subjects).await?),
        }
    }
}

/// A process that serves finds them wherever it counts: in Redis, or in itself.
impl Limiter {
    /// Every counter that counts anything.
    pub async fn all_counters(&self) -> Result<Vec<Reading>, OperatorError> {
        match self.in_redis().await? {
            Some(counters) => counters.all().await,
            None => Ok(self.counters(None).await),
        }
    }

    /// Empties those of `subjects`, in every process. Answers how many counted anything: none while limiting is off.
    pub async fn reset_everywhere(&self, subjects: &[Subject]) -> Result<usize, OperatorError> {
        if !self.settings().enabled {
            return Ok(0);
        }
        if let Some(counters) = self.in_redis().await? {
            return counters.reset(subjects).await;
        }
        let counting = self.counters(Some(subjects)).await.len();
        self.reset(subjects);
        Ok(counting)
    }

    /// By a connection of its own: a long list does not stand before the checks of requests.
    async fn in_redis(&self) -> Result<Option<Counters>, OperatorError> {
        let settings = self.settings();
        if settings.enabled && settings.redis.is_none() {
            return Ok(None);
        }
        // With Redis nobody listens at a socket, and none is asked for.
        Counters::connect(settings, Path::new("")).await.map(Some)
    }
}

async fn patiently<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, OperatorError> {
    let result = tokio::time::timeout(PATIENCE, work).await;
    Ok(result.unwrap_or(Err(Failure::Timeout))?)
}

async fn read(link: &Link, rules: &Rules, pattern: &str) -> Result<Vec<Reading>, Failure> {
    read_keys(link, rules, &link.counters(pattern).await?).await
}

async fn read_keys(link: &Link, rules: &Rules, keys: &[CounterKey]) -> Result<Vec<Reading>, Failure> {
    let mut readings = Vec::with_capacity(keys.len());
    for batch in keys.chunks(BATCH) {
        let answers = join_all(batch.iter().map(|key| link.read(key, rules))).await;
        for answer in answers {
            readings.extend(answer?.filter(|reading| reading.count > 0));
        }
    }
    Ok(readings)
}

async fn read_subjects(link: &Link, rules: &Rules, subjects: &[Subject]) -> Result<Vec<Reading>, Failure> {
    // The counters of a token are known by their names.
    let of_tokens: Option<Vec<_>> = subjects.iter().map(Subject::as_token).collect();
    if let Some(tokens) = of_tokens {
        let keys = tokens
            .into_iter()
            .flat_map(|token| Rule::TOKEN.map(|rule| CounterKey::of_token(token, rule)));
        return read_keys(link, rules, &keys.collect::<Vec<_>>()).await;
    }
    // One walk, however many subjects: an account has one for each client it is known from.
    let pattern = match subjects {
        [one] => format!("*:{}*", one.tag()),
        // Of the others nobody asks for several.
        [Subject::Account(_), ..] => "*:account:*".to_owned(),
        _ => ":*".to_owned(),
    };
    let mut readings = read(link, rules, &pattern).await?;
    readings.retain(|reading| subjects.iter().any(|subject| reading.key.counts(subject)));
    Ok(readings)
}

/// Drops every counter in Redis with its window. `heard_within`: how long other processes, if there are any, may take to
/// hear of it; until then they may bring back what they remember.
pub(super) async fn empty(link: &Link, heard_within: Option<Duration>) -> Result<(), Failure> {
    let keys = link.counters(":*").await?;
    if let Some(heard_within) = heard_within {
        let subjects: Vec<Subject> = keys.iter().filter_map(CounterKey::whose).collect();
        for batch in subjects.chunks(BATCH) {
            link.note_reset(batch).await?;
        }
        delete(link, &keys).await?;
        tokio::time::sleep(heard_within).await;
        return delete(link, &link.counters(":*").await?).await;
    }
    delete(link, &keys).await
}

async fn delete(link: &Link, keys: &[CounterKey]) -> Result<(), Failure> {
    for batch in keys.chunks(BATCH) {
        try_join_all(batch.iter().map(|key| link.delete(key))).await?;
    }
    Ok(())
}

async fn reset(link: &Link, rules: &Rules, subjects: &[Subject]) -> Result<usize, Failure> {
    link.note_reset(subjects).await?;
    let readings = read_subjects(link, rules, subjects).await?;
    try_join_all(readings.iter().map(|reading| link.clear(&reading.key))).await?;
    link.note_reset(subjects).await?;
    Ok(readings.len())
}
