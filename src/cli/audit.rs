//! `stile audit`: the record of security events.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::operator::{self, Beside, Reach, Refusal, User};
use super::table::{List, table};
use crate::accounts::{AuditEntry, AuditQuery, Whose};
use crate::audit::EventKind;
use crate::clock::{Clock, Timestamp};
use crate::config::Config;

/// Events read at once.
const PAGE: u32 = 1000;

#[derive(clap::Args, Debug)]
pub(super) struct Options {
    /// From when on: a moment (2026-11-22T02:49:16Z) or how long ago (90s, 30m, 24h, 7d, 2w).
    #[arg(long, default_value = "24h", value_name = "WHEN", value_parser = moment)]
    since: Timestamp,
    /// Until when; now if it is not given.
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    until: Option<Timestamp>,
    /// Done by or to this user: an e-mail address, also of an account that is gone or never was, or an id.
    #[arg(long)]
    user: Option<String>,
    /// Only this event, such as `login_failure`.
    #[arg(long, value_parser = event)]
    event: Option<EventKind>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(env_file: Option<&Path>, options: &Options) -> ExitCode {
    let config = match operator::configured(env_file) {
        Ok(config) => config,
        Err(code) => return code,
    };
    operator::conclude(print(config, options).await)
}

async fn print(config: Config, options: &Options) -> Result<ExitCode, Refusal> {
    let user = options.user.as_deref().map(User::parse).transpose()?;
    let query = AuditQuery {
        since: options.since,
        until: options.until.unwrap_or_else(|| Clock::system().now()),
        event: options.event,
        whose: user.map(|user| match user {
            User::Id(id) => Whose::User(id),
            User::Email(email) => Whose::Address(email),
        }),
    };
    let mut list = List::new(options.json, "there are no events");
    let Some(database) = operator::database(&config).await? else {
        return Ok(super::print(&list.part::<AuditEntry>(&[], true, rows)));
    };
    let beside = Beside::connect(config, database, Reach::Database).await?;
    // Page by page: a log can be long.
    let page = async |request| beside.accounts.audit_log(&beside.by, &query, request).await;
    let printed = list.print_pages(PAGE, rows, page).await;
    beside.close().await;
    printed
}

fn rows(entries: &[AuditEntry]) -> String {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let cells = |entry: &AuditEntry| {
        [
            entry.at.to_string(),
            entry.event.clone(),
            entry.outcome.clone(),
            or_none(&entry.reason),
            entry
                .user_id
                .clone()
                .or_else(|| entry.account.clone())
                .unwrap_or_else(|| "-".to_owned()),
            or_none(&entry.target_id),
            or_none(&entry.client_ip),
            or_none(&entry.request_id),
            entry.occurrences.to_string(),
        ]
    };
    let rows: Vec<_> = entries.iter().map(cells).collect();
    table(
        [
            "AT", "EVENT", "OUTCOME", "REASON", "USER", "DONE TO", "CLIENT", "REQUEST", "TIMES",
        ],
        &rows,
    )
}

/// A moment, or a span before now.
fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(moment) = text.parse() {
        return Ok(moment);
    }
    let unit = text.chars().last().unwrap_or_default();
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        'w' => 7 * 24 * 60 * 60,
        _ => 0,
    };
    let digits = text.strip_suffix(unit).unwrap_or_default();
    let count = Some(digits)
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse::<u64>().ok());
    let span = count
        .and_then(|count| count.checked_mul(seconds))
        .filter(|_| seconds > 0);
    match span {
        Some(span) => Ok(Clock::system().now().minus(Duration::from_secs(span))),
        None => Err("no moment such as 2026-11-22T02:49:16Z and no span such as 24h or 7d".to_owned()),
    }
}

fn event(text: &str) -> Result<EventKind, String> {
    text.parse().map_err(|_| {
        let all: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
        format!("no such event; there are {}", all.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_out_or_counted_back_from_now() {
        let now = Clock::system().now();
        for (text, seconds) in [
            ("90s", 90),
            ("30m", 1800),
            ("24h", 86_400),
            ("7d", 604_800),
            ("2w", 1_209_600),
        ] {
            let span = now.since(moment(text).unwrap()).as_secs();
            assert!(span.abs_diff(seconds) <= 60, "{text}: {span}");
        }
        assert!(moment("2026-11-22T02:49:16+01:00").is_ok());
        for text in [
            "",
            "h",
            "1",
            "-1h",
            "1.5h",
            "1y",
            "yesterday",
            "99999999999999999999d",
            "18446744073709551615w",
            "１h",
        ] {
            assert!(moment(text).is_err(), "{text}");
        }
    }
}
