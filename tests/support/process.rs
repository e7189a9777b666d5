//! The real binary, as an operator starts it: a clean environment, a folder of its own, ended with the test.
//!
//! ```ignore
//! let stile = Stile::in_directory(folder.path()).set("ENVIRONMENT", "test").start();
//! reqwest::get(stile.url("/health")).await…
//! stile.signal("TERM");
//! assert!(stile.wait_for_end(Duration::from_secs(30)).success());
//! ```

#![allow(
    dead_code,
    reason = "each test binary that includes this file uses a part of it"
)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// No start, no command and no end takes longer, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// What is to be started.
#[derive(Clone)]
pub struct Stile {
    directory: PathBuf,
    variables: BTreeMap<String, String>,
    arguments: Vec<String>,
    wrapper: Vec<String>,
}

/// What a command that has ended leaves.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Stile {
    /// In this folder, with nothing in its environment.
    pub fn in_directory(directory: &Path) -> Self {
        Self {
            directory: directory.to_path_buf(),
            variables: BTreeMap::new(),
            arguments: Vec::new(),
            wrapper: Vec::new(),
        }
    }

    /// It may hold this many file descriptors and no more, as under `ulimit -n`.
    pub fn descriptors(self, most: u32) -> Self {
        self.through(&["/usr/bin/prlimit", &format!("--nofile={most}:{most}"), "--"])
    }

    /// One more variable.
    pub fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.insert(name.to_owned(), value.into());
        self
    }

    /// What a variable is set to.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// Its folder.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// More variables.
    pub fn set_all(self, variables: &[(&str, &str)]) -> Self {
        variables
            .iter()
            .fold(self, |stile, (name, value)| stile.set(name, *value))
    }

    /// The command and its arguments.
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        self
    }

    /// By way of these words: a command that ends in `exec` of what follows, so that the process id is its own.
    pub fn through(mut self, words: &[&str]) -> Self {
        self.wrapper = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Runs a command to its end.
    pub fn run(self, arguments: &[&str]) -> Ended {
        let process = self.arguments(arguments).spawn();
        let status = process.wait_for_end(PATIENCE);
        Ended {
            code: status.code(),
            out: process.out.text(),
            err: process.err.text(),
        }
    }

    /// Starts a server on a free port and waits until it is ready.
    pub fn start(self) -> Process {
        let process = self.starting();
        process.wait_until_ready();
        process
    }

    /// Starts a server on a free port and waits until it listens.
    pub fn starting(mut self) -> Process {
        self.variables
            .entry("PORT".to_owned())
            .or_insert_with(|| "0".to_owned());
        let mut process = self.spawn();
        process.address = Some(process.wait_for_address());
        process
    }

    /// Starts it and waits for nothing.
    pub fn spawn(self) -> Process {
        let stile = env!("CARGO_BIN_EXE_stile").to_owned();
        let words: Vec<&String> = self
            .wrapper
            .iter()
            .chain([&stile])
            .chain(&self.arguments)
            .collect();
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .env_clear()
            .envs(&self.variables)
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (out, err) = (Lines::default(), Lines::default());
        let readers = vec![
            out.follow(child.stdout.take().unwrap()),
            err.follow(child.stderr.take().unwrap()),
        ];
        Process {
            child: Mutex::new(child),
            out,
            err,
            readers: Mutex::new(readers),
            address: None,
        }
    }
}

/// A running stile. It is killed when this is dropped.
pub struct Process {
    child: Mutex<Child>,
    /// Standard output, line by line: the log.
    pub out: Lines,
    /// Standard error, line by line.
    pub err: Lines,
    readers: Mutex<Vec<JoinHandle<()>>>,
    address: Option<SocketAddr>,
}

impl Process {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address.expect("a server was started")
    }

    /// `path` on this server.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.lock().unwrap().id()
    }

    /// Sends `TERM`, `INT`, `STOP`, `CONT`, `KILL`…
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([format!("-{name}"), self.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success(), "kill -{name}");
    }

    /// How it ended; all of its output is there then.
    pub fn wait_for_end(&self, patience: Duration) -> ExitStatus {
        let until = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.lock().unwrap().try_wait().unwrap() {
                for reader in self.readers.lock().unwrap().drain(..) {
                    reader.join().unwrap();
                }
                return status;
            }
            assert!(
                Instant::now() < until,
                "still running after {patience:?}\n{}\n{}",
                self.out.text(),
                self.err.text()
            );
            pause();
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.child.lock().unwrap().try_wait().unwrap().is_some()
    }

    fn wait_for_address(&self) -> SocketAddr {
        let line = self
            .out
            .wait_for(|line| line.contains("listening"), || self.has_ended());
        let Some(line) = line else {
            panic!(
                "it ended before it listened\n{}\n{}",
                self.out.text(),
                self.err.text()
            )
        };
        // `"address":"127.0.0.1:1234"` in JSON, `address=127.0.0.1:1234` in text.
        let behind = line.split("address").nth(1).unwrap();
        let address = behind
            .trim_start_matches(['"', ':', '='])
            .split(['"', ' ', ',', '}'])
            .next()
            .unwrap();
        address.parse().unwrap_or_else(|_| panic!("no address in {line}"))
    }

    /// Waits until `/readyz` answers 200.
    pub fn wait_until_ready(&self) {
        let until = Instant::now() + PATIENCE;
        while status_of(self.address(), "/readyz") != Some(200) {
            assert!(
                !self.has_ended(),
                "it ended\n{}\n{}",
                self.out.text(),
                self.err.text()
            );
            assert!(Instant::now() < until, "not ready\n{}", self.out.text());
            pause();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let child = self
            .child
            .get_mut()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// The status of a plain GET, or `None` while nobody answers. Needs no runtime, so plain tests can ask.
pub fn status_of(address: SocketAddr, path: &str) -> Option<u16> {
    use std::io::Write as _;

    let mut stream = std::net::TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

/// What a stream has said so far.
#[derive(Clone, Default)]
pub struct Lines(Arc<(Mutex<Vec<String>>, Condvar)>);

impl Lines {
    fn follow(&self, stream: impl Read + Send + 'static) -> JoinHandle<()> {
        let lines = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                lines.0.0.lock().unwrap().push(line);
                lines.0.1.notify_all();
            }
        })
    }

    /// All lines so far.
    pub fn all(&self) -> Vec<String> {
        self.0.0.lock().unwrap().clone()
    }

    /// All lines so far as one text.
    pub fn text(&self) -> String {
        self.all().join("\n")
    }

    /// How many lines so far hold `what`.
    pub fn count(&self, what: &str) -> usize {
        self.all().iter().filter(|line| line.contains(what)).count()
    }

    /// The first line that `wanted` accepts, said or yet to be said; `None` when the process ended without it.
    pub fn wait_for(&self, wanted: impl Fn(&str) -> bool, ended: impl Fn() -> bool) -> Option<String> {
        let until = Instant::now() + PATIENCE;
        let mut lines = self.0.0.lock().unwrap();
        let mut last_look = false;
        loop {
            if let Some(line) = lines.iter().find(|line| wanted(line)) {
                return Some(line.clone());
            }
            if last_look {
                return None;
            }
            assert!(
                Instant::now() < until,
                "the line never came:\n{}",
                lines.join("\n")
            );
            last_look = ended();
            lines = self.0.1.wait_timeout(lines, Duration::from_millis(50)).unwrap().0;
        }
    }
}

fn pause() {
    #[expect(
        clippy::disallowed_methods,
        reason = "no async worker waits here, and another process sets the pace"
    )]
    std::thread::sleep(Duration::from_millis(5));
}
