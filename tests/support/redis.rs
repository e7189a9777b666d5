//! A Redis of a test's own, started from the installed `redis-server` on a free port of the loopback.
//!
//! `RedisServer::start()` answers once it is ready. It dies with the value, and also when the test process is killed:
//! `setpriv --pdeathsig` has the kernel kill it when the thread that started it ends, so all are started from one thread
//! that lives as long as the process. Each server has a temporary folder that is removed with the value.
//!
//! Used from several test binaries by `#[path]`; needs nothing but the standard library and tokio.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, mpsc};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::port::free_port;

/// A running (or frozen, or stopped) Redis.
#[derive(Debug)]
pub struct RedisServer {
    child: Option<Child>,
    port: u16,
    folder: PathBuf,
    arguments: Vec<String>,
    password: Option<String>,
}

impl RedisServer {
    /// Starts a server that keeps nothing on disk.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts a server with more arguments, as on the command line: `["--maxmemory", "2mb"]`. `{port}` and `{folder}`
    /// in them stand for its own.
    pub async fn start_with(arguments: &[&str]) -> Self {
        let mut server = Self::stopped(arguments);
        server.restart().await;
        server
    }

    /// Picks a free port and starts nothing yet: a Redis that is absent.
    pub fn stopped(arguments: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "stile-redis-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let password = arguments
            .iter()
            .position(|word| *word == "--requirepass")
            .map(|at| arguments[at + 1].to_owned());
        let arguments = arguments.iter().map(|word| (*word).to_owned()).collect();
        Self {
            child: None,
            port: free_port(),
            folder,
            arguments,
            password,
        }
    }

    /// `redis://127.0.0.1:PORT`, with the password of `--requirepass`.
    pub fn url(&self) -> String {
        match &self.password {
            Some(password) => format!("redis://:{password}@127.0.0.1:{}", self.port),
            None => format!("redis://127.0.0.1:{}", self.port),
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Process id of the running server.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    /// Starts the server on its port, again if it ran before; empty, as it keeps nothing on disk unless told to.
    pub async fn restart(&mut self) {
        self.kill();
        let mut command = Command::new("setpriv");
        command
            .args([
                "--pdeathsig",
                "KILL",
                "redis-server",
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .args([
                "--daemonize",
                "no",
                "--loglevel",
                "warning",
                "--port",
                &self.port.to_string(),
                "--dir",
            ])
            .arg(&self.folder)
            .args(self.arguments.iter().map(|word| self.filled(word)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A Ctrl-C at the terminal goes to the test, which ends the servers itself.
            .process_group(0);
        let child = spawn_for_the_life_of_the_process(command);
        self.child = Some(child.unwrap_or_else(|error| {
            panic!("cannot start redis-server ({error}): apt-get install -y redis-server util-linux")
        }));
        self.wait_until_ready().await;
    }

    fn filled(&self, word: &str) -> String {
        word.replace("{port}", &self.port.to_string())
            .replace("{folder}", &self.folder.to_string_lossy())
    }

    /// Starts it again with other arguments.
    pub async fn restart_with(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(|word| (*word).to_owned()).collect();
        self.restart().await;
    }

    async fn wait_until_ready(&mut self) {
        for _ in 0..4000 {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().unwrap()) {
                panic!("redis-server ended at once ({status}): apt-get install -y redis-server util-linux");
            }
            if self.answers().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("redis-server did not answer on port {}", self.port);
    }

    /// Whether it answers at all, be it with an error. A TLS-only server is ready when it accepts.
    async fn answers(&self) -> bool {
        if self.arguments.iter().any(|word| word == "--tls-port") {
            return TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok();
        }
        self.try_command(&["PING"]).await.is_some()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops it without ending it: connections stay open and nothing answers.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets a frozen server go on; it then works off what was sent to it meanwhile.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args([signal, &self.pid().to_string()])
            .status()
            .unwrap();
        assert!(status.success(), "kill {signal}");
    }

    /// Removes every key.
    pub async fn empty(&self) {
        assert_eq!(self.command(&["FLUSHALL"]).await, "OK");
    }

    /// One command, and its answer as `redis-cli` would print it: `(nil)` for nothing, elements on lines.
    pub async fn command(&self, words: &[&str]) -> String {
        let answer = self.try_command(words).await;
        answer.unwrap_or_else(|| panic!("no answer to {words:?} from Redis on port {}", self.port))
    }

    async fn try_command(&self, words: &[&str]) -> Option<String> {
        let stream = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))
            .await
            .ok()?;
        let mut stream = tokio::io::BufReader::new(stream);
        if let Some(password) = &self.password {
            stream.write_all(&encode(&["AUTH", password])).await.ok()?;
            read(&mut stream).await?;
        }
        stream.write_all(&encode(words)).await.ok()?;
        read(&mut stream).await
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A conversation with a server, for what one command on a connection of its own cannot do.
pub struct Session(tokio::io::BufReader<tokio::net::TcpStream>);

impl Session {
    pub async fn open(port: u16) -> Self {
        let stream = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
        Self(tokio::io::BufReader::new(stream.unwrap()))
    }

    /// One command and its answer, as [`RedisServer::command`] gives it.
    pub async fn command(&mut self, words: &[&str]) -> String {
        self.0.write_all(&encode(words)).await.unwrap();
        read(&mut self.0).await.expect("an answer")
    }
}

/// Starts `command` from a thread that ends with the process, so that `--pdeathsig` means the death of the process.
fn spawn_for_the_life_of_the_process(command: Command) -> std::io::Result<Child> {
    type Order = (Command, mpsc::Sender<std::io::Result<Child>>);
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in inbox {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (answer, result) = mpsc::channel();
    spawner.lock().unwrap().send((command, answer)).unwrap();
    result.recv().unwrap()
}

fn encode(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}

/// Reads one RESP2 value.
async fn read(stream: &mut tokio::io::BufReader<tokio::net::TcpStream>) -> Option<String> {
    use tokio::io::AsyncBufReadExt;
    let mut line = String::new();
    if stream.read_line(&mut line).await.ok()? == 0 {
        return None;
    }
    let line = line.trim_end();
    let rest = line.get(1..)?;
    match line.as_bytes().first()? {
        b'$' => match rest.parse::<usize>() {
            Ok(length) => {
                let mut bytes = vec![0; length + 2];
                stream.read_exact(&mut bytes).await.ok()?;
                bytes.truncate(length);
                String::from_utf8(bytes).ok()
            }
            Err(_) => Some("(nil)".to_owned()),
        },
        b'*' => {
            let mut elements = Vec::new();
            for _ in 0..rest.parse().unwrap_or(0) {
                elements.push(Box::pin(read(stream)).await?);
            }
            Some(elements.join("\n"))
        }
        _ => Some(rest.to_owned()),
    }
}
