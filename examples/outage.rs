//! Three stile processes share one Redis under a steady load, and Redis is frozen, killed and restarted empty.
//!
//! `cargo run --release --example outage` takes about a minute. It prints how many requests each process admitted in each
//! window, and exits 1 if `docs/RATE_LIMITS.md` promised otherwise: a request failed, a window of one client admitted more
//! than the limit, or a window that Redis counted from end to end admitted fewer.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use futures_util::future::join_all;

#[path = "../tests/support/port.rs"]
mod port;
#[path = "../tests/support/redis.rs"]
mod redis;

use redis::RedisServer;

const PROCESSES: usize = 3;
const LIMIT: usize = 50;
const WINDOW: Duration = Duration::from_secs(5);
/// Each of them is watched; the first one's windows are printed.
const CLIENTS: [&str; 3] = ["203.0.113.1", "203.0.113.2", "203.0.113.3"];
/// One request of each client to each process: 150 in a window, three times what is allowed.
const TICK: Duration = Duration::from_millis(100);

/// What happens, and when.
const PLAN: [(u64, Event); 5] = [
    (11_000, Event::Freeze),
    (22_500, Event::Thaw),
    (33_000, Event::Kill),
    (43_500, Event::RestartEmpty),
    (55_000, Event::End),
];

type Outcome<T> = Result<T, Box<dyn Error>>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Event {
    Freeze,
    Thaw,
    Kill,
    RestartEmpty,
    End,
}

impl Event {
    fn text(self) -> &'static str {
        match self {
            Self::Freeze => "Redis is frozen (SIGSTOP)",
            Self::Thaw => "Redis goes on",
            Self::Kill => "Redis is killed (SIGKILL)",
            Self::RestartEmpty => "Redis is started again, empty",
            Self::End => "the end",
        }
    }

    fn loses_redis(self) -> bool {
        matches!(self, Self::Freeze | Self::Kill)
    }
}

fn main() -> ExitCode {
    // The servers are this program too: an example is built without the binary.
    if std::env::args().nth(1).as_deref() == Some("serve") {
        return stile::cli::main();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(demonstrate()))
    {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the demonstration failed: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn demonstrate() -> Outcome<bool> {
    let mut redis = RedisServer::start().await;
    let fleet: Vec<Server> = (0..PROCESSES)
        .map(|_| Server::start(&redis.url()))
        .collect::<Outcome<_>>()?;
    let http = reqwest::Client::builder()
        .timeout(Duration::from_secs(5))
        .build()?;
    println!(
        "{PROCESSES} processes, one Redis, limit {LIMIT} per client in {} s; {} clients, each asking each process {} times a window",
        WINDOW.as_secs(),
        CLIENTS.len(),
        WINDOW.as_millis() / TICK.as_millis(),
    );
    // Each hears of the others with its beat, every second.
    tokio::time::sleep(Duration::from_secs(3)).await;

    let mut record = Record::default();
    let began = Instant::now();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for (at_ms, event) in PLAN {
        while began.elapsed() < Duration::from_millis(at_ms) {
            tick.tick().await;
            let asked = fleet.iter().enumerate().flat_map(|(process, server)| {
                let http = &http;
                CLIENTS
                    .iter()
                    .enumerate()
                    .map(move |(client, address)| ask(http, process, &server.address, client, address))
            });
            for answer in join_all(asked).await {
                record.note(began.elapsed(), answer);
            }
        }
        record.turn(began.elapsed(), event);
        match event {
            Event::Freeze => redis.freeze(),
            Event::Thaw => redis.thaw(),
            Event::Kill => redis.kill(),
            Event::RestartEmpty => redis.restart().await,
            Event::End => {}
        }
    }
    Ok(record.report())
}

struct Answer {
    process: usize,
    client: usize,
    /// Whether it was admitted, and when its window ends (Unix seconds); else what went wrong.
    decided: Result<(bool, i64), String>,
    took: Duration,
}

async fn ask(http: &reqwest::Client, process: usize, server: &str, client: usize, address: &str) -> Answer {
    let began = Instant::now();
    let request = http
        .get(format!("http://{server}/api/v1/health"))
        .header("X-Forwarded-For", address);
    let decided = match request.send().await {
        Err(error) => Err(error.to_string()),
        Ok(answer) => {
            let reset = answer.headers().get("x-ratelimit-reset");
            let reset = reset.and_then(|value| value.to_str().ok()?.parse().ok());
            match (answer.status().as_u16(), reset) {
                (200, Some(reset)) => Ok((true, reset)),
                (429, Some(reset)) => Ok((false, reset)),
                (status, _) => Err(format!("status {status}")),
            }
        }
    };
    Answer {
        process,
        client,
        decided,
        took: began.elapsed(),
    }
}

/// What one process admitted of one client in one window.
struct Window {
    resets_at: i64,
    began: Duration,
    admitted: usize,
    /// When Redis was lost in the middle of it: admitted until then.
    before_loss: Option<usize>,
    /// Redis was away for a part of it, or came back in it.
    disturbed: bool,
}

#[derive(Default)]
struct Record {
    windows: BTreeMap<(usize, usize), Vec<Window>>,
    failures: Vec<String>,
    events: Vec<(Duration, Event)>,
    slowest: BTreeMap<usize, (Duration, usize)>,
    answers: usize,
    lost: bool,
}

impl Record {
    fn note(&mut self, at: Duration, answer: Answer) {
        self.answers += 1;
        let (slowest, waited) = self.slowest.entry(self.events.len()).or_default();
        *slowest = answer.took.max(*slowest);
        *waited += usize::from(answer.took >= Duration::from_millis(45));
        let (admitted, resets_at) = match answer.decided {
            Ok(decided) => decided,
            Err(failure) => {
                return self
                    .failures
                    .push(format!("{:.1} s: {failure}", at.as_secs_f64()));
            }
        };
        let windows = self.windows.entry((answer.client, answer.process)).or_default();
        // Ends are told in whole seconds, and two processes merge into the end of one of them: less is no new window.
        let is_new = windows.last().is_none_or(|last| resets_at - last.resets_at > 2);
        if is_new {
            windows.push(Window {
                resets_at,
                began: at,
                admitted: 0,
                before_loss: None,
                disturbed: false,
            });
        }
        if let Some(window) = windows.last_mut() {
            window.resets_at = resets_at.max(window.resets_at);
            window.admitted += usize::from(admitted);
            window.disturbed |= self.lost;
        }
    }

    fn turn(&mut self, at: Duration, event: Event) {
        self.events.push((at, event));
        self.lost = event.loses_redis() || self.lost && event == Event::End;
        for window in self.windows.values_mut().filter_map(|windows| windows.last_mut()) {
            window.disturbed |= event != Event::End;
            if event.loses_redis() {
                window.before_loss = Some(window.admitted);
            }
        }
    }

    /// Prints all of it; whether every promise was kept.
    fn report(&self) -> bool {
        let mut broken = Vec::new();
        for (client, address) in CLIENTS.iter().enumerate() {
            let rows = self.rows(client);
            let last = rows.len().saturating_sub(1);
            let mut events = self.events.iter().peekable();
            if client == 0 {
                println!("\n  from   P1   P2   P3   sum  limit");
            }
            for (place, row) in rows.iter().enumerate() {
                // The end came before each process had been asked in it.
                if place == last && row.len() < PROCESSES {
                    continue;
                }
                let began = row.iter().map(|window| window.began).min().unwrap_or_default();
                let sum: usize = row.iter().map(|window| window.admitted).sum();
                // The last one was cut short.
                let short = place != last && sum < LIMIT && row.iter().all(|window| !window.disturbed);
                let bad = sum > allowed(row) || short;
                if bad {
                    broken.push(format!(
                        "client {address}, window from {:.1} s: {sum} of {LIMIT}",
                        began.as_secs_f64()
                    ));
                }
                if client == 0 {
                    while let Some((at, event)) = events.next_if(|(at, _)| *at < began) {
                        println!("{:>5.1} s  -- {}", at.as_secs_f64(), event.text());
                    }
                    let mut each = String::new();
                    for window in row {
                        let _ = write!(each, "{:>5}", window.admitted);
                    }
                    let remark = match (bad, row.iter().any(|window| window.disturbed)) {
                        (true, _) => "BROKEN",
                        (false, true) => "in memory, for a part of it at least",
                        (false, false) => "",
                    };
                    println!(
                        "{:>5.1} s{each} {sum:>5} {LIMIT:>6}  {remark}",
                        began.as_secs_f64()
                    );
                }
            }
        }
        println!("\n{} requests, {} failed", self.answers, self.failures.len());
        let phases = ["counted in Redis", "frozen", "back", "killed", "back, empty"];
        for (phase, (slowest, waited)) in &self.slowest {
            println!(
                "{:<17} slowest answer {:>6.1} ms, {waited} over 45 ms",
                phases.get(*phase).unwrap_or(&""),
                slowest.as_secs_f64() * 1000.0
            );
        }
        broken.extend(self.failures.iter().take(10).cloned());
        if self.windows.len() != PROCESSES * CLIENTS.len() {
            broken.push("not every process answered every client".to_owned());
        }
        for broken in &broken {
            println!("BROKEN: {broken}");
        }
        if broken.is_empty() {
            println!(
                "kept for all {} clients: no window over its limit, no request failed",
                CLIENTS.len()
            );
        }
        broken.is_empty()
    }

    /// The windows of one client: those of all processes that end together.
    fn rows(&self, client: usize) -> Vec<Vec<&Window>> {
        let of = |process| self.windows.get(&(client, process)).into_iter().flatten();
        let mut rows: Vec<Vec<&Window>> = of(0).map(|window| vec![window]).collect();
        for process in 1..PROCESSES {
            for window in of(process) {
                let row = rows.iter_mut().filter(|row| row.len() == process).find(|row| {
                    row.iter()
                        .any(|other| (other.resets_at - window.resets_at).abs() <= 2)
                });
                match row {
                    Some(row) => row.push(window),
                    None => rows.push(vec![window]),
                }
            }
        }
        rows.sort_by_key(|row| row.iter().map(|window| window.began).min());
        rows
    }
}

/// The most that the promise allows: the limit; where Redis was lost in the middle of a window, a process that had already
/// admitted more than its share keeps what it had.
fn allowed(row: &[&Window]) -> usize {
    let share = LIMIT.div_ceil(PROCESSES);
    let over = row
        .iter()
        .filter_map(|window| window.before_loss)
        .map(|before| before.saturating_sub(share))
        .sum::<usize>();
    LIMIT + over
}

/// A process of the fleet; ended when dropped.
struct Server {
    child: Child,
    address: String,
    _directory: tempfile::TempDir,
}

impl Server {
    fn start(redis_url: &str) -> Outcome<Self> {
        let directory = tempfile::tempdir()?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("serve")
            .env_clear()
            .envs([
                ("ENVIRONMENT", "test"),
                ("PORT", "0"),
                ("LOG_FORMAT", "json"),
                ("RATE_LIMIT_BURST", "1000000"),
                (
                    "RATE_LIMIT_GLOBAL",
                    &format!("{LIMIT}/{} seconds", WINDOW.as_secs()),
                ),
                ("REDIS_URL", redis_url),
            ])
            .current_dir(directory.path())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        let address = loop {
            let line = lines.next().ok_or("a server ended before it listened")??;
            let line: serde_json::Value = serde_json::from_str(&line)?;
            if let Some(address) = find(&line, "address") {
                break address;
            }
        };
        // Later lines are read, so that the server never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self {
            child,
            address,
            _directory: directory,
        })
    }
}

/// The text under `name`, at the top or in the event's fields.
fn find(line: &serde_json::Value, name: &str) -> Option<String> {
    let found = line.get(name).or_else(|| line.get("fields")?.get(name))?;
    found.as_str().map(str::to_owned)
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
