//! A private PostgreSQL for one test binary: started from the installed programs on a free port, with a
//! fresh database for each test. It ends with the test process, however that ends.

#![allow(
    dead_code,
    clippy::disallowed_methods,
    reason = "shared by test binaries that each use a part of it; it may wait, its tests are on other threads"
)]

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::port::free_port;

const INSTALL: &str = "the tests need PostgreSQL: apt-get install postgresql";

/// Starts the server, and again at each line of standard input. Ends it and removes its folder when standard
/// input ends: the pipe's other end is held by the test process alone, so even SIGKILL to that one closes it.
/// A frozen server is thawed to hear it.
const SUPERVISE: &str = r#"
trap '' HUP # which the kernel sends when the tests are killed while the server is frozen
"$@" >"$LOG" 2>&1 &
server=$!
while read -r again; do
  wait "$server" 2>/dev/null
  "$@" >>"$LOG" 2>&1 &
  server=$!
done
kill -QUIT "$server" 2>/dev/null
kill -CONT "$server" 2>/dev/null
wait "$server" 2>/dev/null
rm -rf "$DIR"
"#;

/// A running server. One for each test binary: [`server`].
pub struct Server {
    port: u16,
    databases: AtomicU32,
    dir: PathBuf,
    supervisor: Child,
}

/// The server of this test binary, started at the first use.
pub fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(&[]))
}

impl Server {
    /// Starts a server of its own, with further settings (`name=value`): for tests that stop or freeze it.
    pub fn start(settings: &[&str]) -> Self {
        Self::launch(settings, &[])
    }

    /// Starts a server of its own that offers TLS with this certificate and key (PEM).
    pub fn start_with_tls(certificate: &str, key: &str) -> Self {
        let settings = [
            "ssl=on",
            "ssl_cert_file=../server.crt",
            "ssl_key_file=../server.key",
        ];
        Self::launch(&settings, &[("server.crt", certificate), ("server.key", key)])
    }

    /// `files` are put beside the data folder, for the server's eyes only.
    fn launch(settings: &[&str], files: &[(&str, &str)]) -> Self {
        let bin = bin_dir();
        let dir = tempfile::Builder::new()
            .prefix("stile-postgres-")
            .tempdir()
            .unwrap()
            .keep();
        for (name, text) in files {
            std::fs::write(dir.join(name), text).unwrap();
            std::fs::set_permissions(dir.join(name), std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let data = dir.join("data");
        let as_user = unprivileged(&dir);
        let initdb = command(&as_user, &bin.join("initdb"))
            .args([
                "--auth=trust",
                "--username=postgres",
                "--no-sync",
                "--no-instructions",
            ])
            .args(["--encoding=UTF8", "--locale=C", "-D"])
            .arg(&data)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("initdb does not start ({error}); {INSTALL}"));
        assert!(
            initdb.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&initdb.stderr)
        );
        let port = free_port();
        let mut server: Vec<String> = as_user;
        server.push(bin.join("postgres").display().to_string());
        server.extend(["-D".to_owned(), data.display().to_string()]);
        server.extend([
            "-k".to_owned(),
            dir.display().to_string(),
            "-p".to_owned(),
            port.to_string(),
        ]);
        let defaults = [
            "listen_addresses=127.0.0.1",
            "fsync=off",
            "synchronous_commit=off",
            "full_page_writes=off",
            "max_connections=300",
            "shared_buffers=64MB",
        ];
        for setting in defaults.iter().chain(settings) {
            server.extend(["-c".to_owned(), (*setting).to_owned()]);
        }
        let supervisor = Command::new("/bin/sh")
            .args(["-c", SUPERVISE, "sh"])
            .args(&server)
            .env("LOG", dir.join("log"))
            .env("DIR", &dir)
            .stdin(Stdio::piped())
            // Ctrl-C at the terminal goes to the tests; the supervisor then ends in its own order.
            .process_group(0)
            .spawn()
            .unwrap();
        let server = Self {
            port,
            databases: AtomicU32::new(0),
            dir: dir.clone(),
            supervisor,
        };
        server.wait_until_ready(&bin, &dir);
        server
    }

    /// URL of a fresh, empty database.
    pub fn fresh_database(&self) -> String {
        let name = format!("t{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.run(&format!("CREATE DATABASE {name} STRATEGY FILE_COPY"));
        self.url(&name)
    }

    /// URL of a database.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// What it has logged so far; with `log_statement=all` every statement.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap()
    }

    /// Freezes the server and all its backends: sockets stay open, nothing answers.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    /// Ends the server: `INT` is its fast shutdown, `QUIT` its immediate one, `KILL` takes all of its processes.
    /// Returns when nothing of it is left.
    pub fn stop(&self, signal: &str) {
        let mut pids = vec![self.postmaster()];
        pids.extend(self.backends());
        let told = if signal == "KILL" { &pids[..] } else { &pids[..1] };
        for pid in told {
            // A backend may have ended by itself.
            let _ = Command::new("kill")
                .args([&format!("-{signal}"), pid])
                .stderr(Stdio::null())
                .status()
                .unwrap();
        }
        let started = Instant::now();
        while pids.iter().any(|pid| is_running(pid)) {
            assert!(
                started.elapsed() < Duration::from_secs(30),
                "PostgreSQL does not end"
            );
            #[expect(clippy::disallowed_methods, reason = "a blocking stop, as the start below")]
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts a stopped server again, on its data and its port; does not wait until it answers.
    pub fn start_again(&self) {
        let mut stdin = self.supervisor.stdin.as_ref().unwrap();
        stdin.write_all(b"again\n").unwrap();
    }

    /// Waits until the server answers.
    pub fn wait(&self) {
        self.wait_until_ready(&bin_dir(), &self.dir);
    }

    /// Process ids of the server and its backends.
    pub fn pids(&self) -> Vec<String> {
        [self.backends(), vec![self.postmaster()]].concat()
    }

    fn postmaster(&self) -> String {
        let pid_file = std::fs::read_to_string(self.dir.join("data/postmaster.pid")).unwrap();
        pid_file.lines().next().unwrap().to_owned()
    }

    fn backends(&self) -> Vec<String> {
        let children = Command::new("ps")
            .args(["-o", "pid=", "--ppid", &self.postmaster()])
            .output()
            .unwrap()
            .stdout;
        let children = String::from_utf8(children).unwrap();
        children.split_whitespace().map(str::to_owned).collect()
    }

    /// Sends a signal to the postmaster, and then to its children: a stopped one makes no new ones meanwhile.
    fn signal(&self, signal: &str) {
        let kill = |pid: &str| {
            Command::new("kill")
                .args([signal, pid])
                .stderr(Stdio::null())
                .status()
        };
        assert!(kill(&self.postmaster()).unwrap().success());
        for pid in self.backends() {
            // It may have ended by itself.
            let _ = kill(&pid).unwrap();
        }
    }

    /// Runs one statement by `psql`.
    pub fn run(&self, sql: &str) {
        let output = self.psql(&bin_dir(), sql);
        assert!(
            output.status.success(),
            "{sql}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn psql(&self, bin: &Path, sql: &str) -> std::process::Output {
        Command::new(bin.join("psql"))
            .args([
                "-X",
                "-q",
                "-v",
                "ON_ERROR_STOP=1",
                "-d",
                &self.url("postgres"),
                "-c",
                sql,
            ])
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("psql does not start ({error}); {INSTALL}"))
    }

    fn wait_until_ready(&self, bin: &Path, dir: &Path) {
        let started = Instant::now();
        while !self.psql(bin, "SELECT 1").status.success() {
            let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
            assert!(
                started.elapsed() < Duration::from_secs(30),
                "PostgreSQL does not come up: {log}"
            );
            // Once a test binary, before any test of it runs: there is no async worker to hold up.
            #[expect(clippy::disallowed_methods, reason = "a blocking start, as the initdb above")]
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Neither gone nor a zombie that its parent has yet to notice.
fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.split_whitespace().next());
    !matches!(state, None | Some("Z"))
}

/// `pg_config --bindir`, the newest of Debian's folders, or PATH.
fn bin_dir() -> PathBuf {
    let configured = Command::new("pg_config")
        .arg("--bindir")
        .output()
        .ok()
        .filter(|output| output.status.success())
        .map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let debian = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut versions: Vec<PathBuf> = debian.map(|entry| entry.path().join("bin")).collect();
    versions.sort_by_key(|bin| {
        let version = bin
            .parent()
            .and_then(Path::file_name)
            .and_then(|name| name.to_str());
        version
            .and_then(|version| version.parse::<u32>().ok())
            .unwrap_or(0)
    });
    versions.reverse();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<PathBuf> = std::env::split_paths(&path).collect();
    configured
        .into_iter()
        .chain(versions)
        .chain(on_path)
        .find(|bin| bin.join("initdb").exists() && bin.join("postgres").exists())
        .unwrap_or_else(|| panic!("{INSTALL}"))
}

/// What to put before a command so that it runs as a user PostgreSQL accepts: it refuses root.
fn unprivileged(dir: &Path) -> Vec<String> {
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    if !is_root {
        return Vec::new();
    }
    let chown = Command::new("chown")
        .args(["-R", "postgres:postgres"])
        .arg(dir)
        .status()
        .unwrap();
    assert!(chown.success(), "there is no user `postgres`; {INSTALL}");
    let words = [
        "setpriv",
        "--reuid=postgres",
        "--regid=postgres",
        "--clear-groups",
    ];
    words.map(str::to_owned).to_vec()
}

fn command(before: &[String], program: &Path) -> Command {
    match before.split_first() {
        None => Command::new(program),
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(program).current_dir("/");
            command
        }
    }
}

impl Drop for Server {
    /// For a server of its own; that of [`server`] ends with the process.
    fn drop(&mut self) {
        if let Some(mut stdin) = self.supervisor.stdin.take() {
            stdin.flush().ok();
        }
        self.supervisor.wait().ok();
    }
}
