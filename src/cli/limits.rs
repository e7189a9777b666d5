//! `stile limits`: what is counted, and of whom; and freeing somebody.

use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;

use ipnet::IpNet;
use serde::Serialize;
use serde_json::json;

use super::operator::{self, Beside, Reach, Refusal};
use super::table::table;
use crate::accounts::{Email, counted_as};
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::rate_limit::operator::{Counters, OperatorError};
use crate::rate_limit::socket::SocketError;
use crate::rate_limit::store::Reading;
use crate::rate_limit::{Client, Rules, Subject, Window};
use crate::storage;

const SUBJECT: &str =
    "An IP address, an account's e-mail address, an API token's id, or what `stile limits list` prints";

#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    /// Print every counter that counts anything.
    #[command(after_long_help = super::reads_everything())]
    List {
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Print the counters of one client, account or API token.
    #[command(after_long_help = super::reads_everything())]
    Show {
        #[arg(help = SUBJECT)]
        subject: String,
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Empty the counters of one client, account or API token, in every process within two seconds.
    #[command(after_long_help = super::reads_everything())]
    Reset {
        #[arg(help = SUBJECT)]
        subject: String,
        /// Print JSON: how many counters were emptied.
        #[arg(long)]
        json: bool,
    },
}

impl From<OperatorError> for Refusal {
    fn from(error: OperatorError) -> Self {
        let text = error.to_string();
        Self::Failure(match error {
            // The path is that of a server in this folder, with this environment.
            OperatorError::Process(SocketError::Nobody(_)) => {
                format!(
                    "{text}. Run this in the folder of the server, with its environment (REDIS_URL, if it has one)"
                )
            }
            _ => text,
        })
    }
}

pub(super) async fn run(env_file: Option<&Path>, command: &Command) -> ExitCode {
    match operator::configured(env_file) {
        Ok(config) => {
            let code = Box::pin(answer(config, command)).await;
            operator::conclude(code)
        }
        Err(code) => code,
    }
}

async fn answer(config: Config, command: &Command) -> Result<ExitCode, Refusal> {
    let connect = || Counters::connect(&config.rate_limit, &config.operator_socket);
    match command {
        Command::List { json } => {
            let readings = connect().await?.all().await?;
            Ok(super::print(&printed(&config, readings, *json)))
        }
        Command::Show { subject, json } => {
            let subjects = subjects(&config, subject).await?;
            let readings = connect().await?.of(&subjects).await?;
            Ok(super::print(&printed(&config, readings, *json)))
        }
        Command::Reset { subject, json } => {
            let subjects = subjects(&config, subject).await?;
            let counters = connect().await?;
            forget_days(&config, &subjects).await?;
            let emptied = counters.reset(&subjects).await?;
            // Told at once: a database that is away is waited for.
            let code = super::print(&match emptied {
                _ if *json => format!("{:#}\n", json!({ "emptied": emptied })),
                0 => format!("nothing was counted of {subject}\n"),
                1 => format!("1 counter of {subject} was emptied\n"),
                count => format!("{count} counters of {subject} were emptied\n"),
            });
            record(config, subject, &subjects).await;
            Ok(code)
        }
    }
}

/// Writes down who was set free, where there is a database with the schema of this program. It was done all the same
/// where there is none.
async fn record(config: Config, subject: &str, subjects: &[Subject]) {
    let recorded = async {
        let Some(database) = operator::database(&config).await? else {
            return Ok(());
        };
        let beside = Beside::connect_as_it_is(config, database, Reach::Database).await?;
        let recorded = if let Ok(email) = Email::parse(subject) {
            beside.accounts.record_cleared_account(&beside.by, &email).await
        } else {
            for subject in subjects {
                beside.accounts.record_cleared(&beside.by, subject);
            }
            Ok(())
        };
        beside.close().await;
        recorded.map_err(|error| Refusal::database(&error))
    };
    if let Err(Refusal::Argument(why) | Refusal::Failure(why)) = recorded.await {
        super::say_error(&format!("it is not in the audit log: {why}"));
    }
}

/// Who is meant, as the limiter knows him.
async fn subjects(config: &Config, text: &str) -> Result<Vec<Subject>, Refusal> {
    let client = |address: IpAddr| {
        vec![Subject::Client(Client::of(
            address,
            config.rate_limit.ipv6_prefix,
        ))]
    };
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(client(address));
    }
    if let Ok(network) = text.parse::<IpNet>() {
        let subjects = client(network.network());
        // An IPv4 address is counted alone; of IPv6, networks of one length are.
        let whole = matches!(network, IpNet::V4(network) if network.prefix_len() == 32);
        if whole
            || subjects
                .iter()
                .any(|subject| subject.to_string() == network.trunc().to_string())
        {
            return Ok(subjects);
        }
        let prefix = config.rate_limit.ipv6_prefix;
        return Err(Refusal::Argument(format!(
            "`{text}` is no client: IPv4 addresses are counted alone, IPv6 by networks of /{prefix}"
        )));
    }
    if let Ok(token) = text.parse() {
        return Ok(vec![Subject::Token(token)]);
    }
    // `unknown`, and the workers of E2E suites.
    if let Some(client) = Client::from_name(text) {
        return Ok(vec![Subject::Client(client)]);
    }
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(vec![Subject::Account(text.to_ascii_lowercase())]);
    }
    match Email::parse(text) {
        Ok(email) => account(config, &email).await,
        Err(_) => Err(Refusal::Argument(format!(
            "`{}` is no IP address, no e-mail address, no API token's id and no account's key",
            text.escape_default()
        ))),
    }
}

async fn account(config: &Config, email: &Email) -> Result<Vec<Subject>, Refusal> {
    let database = operator::database(config).await?;
    let keys = &config.credentials.secret_keys;
    let subjects = counted_as(database.as_ref(), keys, email).await;
    if let Some(database) = database {
        database.close().await;
    }
    subjects.map_err(|error| Refusal::database(&error))
}

/// What a token used of its day is written down in the database too, and would be taken up again from there.
async fn forget_days(config: &Config, subjects: &[Subject]) -> Result<(), Refusal> {
    for subject in subjects {
        let Subject::Token(token) = subject else { continue };
        let Some(database) = operator::database(config).await? else {
            continue;
        };
        let forgotten = async {
            let mut on = database.write().await?;
            storage::forget_api_token_day(&mut on, *token).await
        };
        let forgotten = forgotten.await;
        database.close().await;
        forgotten.map_err(|error| Refusal::database(&error))?;
    }
    Ok(())
}

/// One counter.
#[derive(Serialize)]
struct Line {
    rule: &'static str,
    subject: String,
    count: u32,
    /// Unknown where the limit has no such window any more.
    limit: Option<u32>,
    window_seconds: Option<u32>,
    strategy: &'static str,
    resets_at: Timestamp,
    resets_in_seconds: u64,
}

fn printed(config: &Config, mut readings: Vec<Reading>, as_json: bool) -> String {
    // The fullest first: those are looked for.
    let rules = &config.rate_limit.rules;
    readings.sort_by_cached_key(|reading| {
        let name = reading.key.name("");
        (std::cmp::Reverse(reading.fullness(rules)), name)
    });
    let now = Clock::system().now();
    let lines: Vec<Line> = readings.iter().map(|reading| line(reading, rules, now)).collect();
    if as_json {
        return format!("{:#}\n", json!(lines));
    }
    if lines.is_empty() {
        return "nothing is counted\n".to_owned();
    }
    let rows: Vec<[String; 5]> = lines
        .into_iter()
        .map(|line| {
            let unknown = || "?".to_owned();
            [
                line.rule.to_owned(),
                line.subject,
                format!(
                    "{}/{}",
                    line.count,
                    line.limit.map_or_else(unknown, |limit| limit.to_string())
                ),
                line.window_seconds
                    .map_or_else(unknown, |seconds| format!("{seconds} s")),
                format!("{} s", line.resets_in_seconds),
            ]
        })
        .collect();
    table(["LIMIT", "SUBJECT", "COUNT", "WINDOW", "ENDS IN"], &rows)
}

fn line(reading: &Reading, rules: &Rules, now: Timestamp) -> Line {
    let window = reading.limit(rules);
    let resets_at = Timestamp::from_millis(reading.resets_at);
    Line {
        rule: reading.key.rule().name(),
        subject: reading.key.subject().to_string(),
        count: reading.count,
        limit: window.map(Window::count),
        window_seconds: reading.window_seconds(rules),
        strategy: if reading.key.is_exact() { "exact" } else { "fixed" },
        resets_at,
        resets_in_seconds: resets_at.since(now).as_secs(),
    }
}
