//! The socket through which an operator reaches a process that counts in memory: one line asks, one line answers.
//!
//! A Unix socket beside the data, mode 0600: whoever may write the database may empty counters. A lock beside it says who
//! serves it, so that a second process on the same folder takes nothing from the first, and a socket that a killed
//! process left is replaced.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::charge::Subject;
use super::key::CounterKey;
use super::limiter::Limiter;
use super::store::Reading;

/// Longest question: an account with all of its clients.
const LONGEST_QUESTION: u64 = 64 * 1024;
/// Longest that one side waits for the other.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
enum Question {
    All,
    Of(Vec<String>),
    Reset(Vec<String>),
}

/// Counters by their names; those of a reset as they were before.
#[derive(Serialize, Deserialize, Debug)]
struct Answer(Vec<(String, u32, i64)>);

/// Why the process behind the socket does not answer.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// There is no process.
    #[error("no stile that counts in memory is running here: nobody listens at {0}")]
    Nobody(PathBuf),
    /// There is something else.
    #[error("{0} does not answer as a stile of this version does")]
    Strange(PathBuf),
}

/// A socket that is served for as long as this lives.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// Held until the end, and by it others know that somebody serves.
    _lock: File,
}

impl Socket {
    /// Opens the socket at `path`; `None` where another process serves it.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.with_extension("sock.lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
            Err(std::fs::TryLockError::Error(error)) => return Err(error),
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Made under another name, so that nobody comes in before the mode is set.
        let unready = path.with_extension("sock.new");
        let _ = std::fs::remove_file(&unready);
        let listener = UnixListener::bind(&unready)?;
        std::fs::set_permissions(&unready, Permissions::from_mode(0o600))?;
        std::fs::rename(&unready, path)?;
        Ok(Some(Self {
            listener,
            path: path.to_path_buf(),
            _lock: lock,
        }))
    }

    /// Answers one operator after the other.
    pub async fn serve(self, limiter: Limiter) {
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                // Out of descriptors, most likely.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            // Who asks no whole question in time is left; the next one comes.
            let _ = tokio::time::timeout(PATIENCE, answer(stream, &limiter)).await;
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn answer(mut stream: UnixStream, limiter: &Limiter) -> io::Result<()> {
    let (from, mut to) = stream.split();
    let mut line = String::new();
    BufReader::new(from.take(LONGEST_QUESTION))
        .read_line(&mut line)
        .await?;
    let question = serde_json::from_str(&line)?;
    let subjects = |tags: Vec<String>| -> Vec<Subject> {
        tags.iter().filter_map(|tag| Subject::from_tag(tag)).collect()
    };
    let readings = match question {
        Question::All => limiter.counters(None).await,
        Question::Of(tags) => limiter.counters(Some(&subjects(tags))).await,
        Question::Reset(tags) => {
            let subjects = subjects(tags);
            let before = limiter.counters(Some(&subjects)).await;
            limiter.reset(&subjects);
            before
        }
    };
    let prefix = &limiter.settings().key_prefix;
    let named = |reading: &Reading| (reading.key.name(prefix), reading.count, reading.resets_at);
    let mut text = serde_json::to_string(&Answer(readings.iter().map(named).collect()))?;
    text.push('\n');
    to.write_all(text.as_bytes()).await
}

/// The operator's end.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    prefix: String,
}

impl Client {
    pub(super) fn new(path: &Path, prefix: &str) -> Self {
        Self {
            path: path.to_path_buf(),
            prefix: prefix.to_owned(),
        }
    }

    pub(super) async fn all(&self) -> Result<Vec<Reading>, SocketError> {
        self.ask(&Question::All).await
    }

    pub(super) async fn of(&self, subjects: &[Subject]) -> Result<Vec<Reading>, SocketError> {
        self.ask(&Question::Of(tags(subjects))).await
    }

    pub(super) async fn reset(&self, subjects: &[Subject]) -> Result<usize, SocketError> {
        Ok(self.ask(&Question::Reset(tags(subjects))).await?.len())
    }

    async fn ask(&self, question: &Question) -> Result<Vec<Reading>, SocketError> {
        let stream = UnixStream::connect(&self.path)
            .await
            .map_err(|_| SocketError::Nobody(self.path.clone()))?;
        let answer = tokio::time::timeout(PATIENCE, exchange(stream, question)).await;
        let strange = || SocketError::Strange(self.path.clone());
        let Answer(named) = answer.ok().and_then(Result::ok).ok_or_else(strange)?;
        named
            .into_iter()
            .map(|(name, count, resets_at)| {
                let key = CounterKey::from_name(&self.prefix, &name)?;
                Some(Reading {
                    key,
                    count,
                    resets_at,
                })
            })
            .collect::<Option<_>>()
            .ok_or_else(strange)
    }
}

fn tags(subjects: &[Subject]) -> Vec<String> {
    subjects.iter().map(Subject::tag).collect()
}

async fn exchange(mut stream: UnixStream, question: &Question) -> io::Result<Answer> {
    let mut text = serde_json::to_string(question)?;
    text.push('\n');
    stream.write_all(text.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(serde_json::from_str(&answer)?)
}
