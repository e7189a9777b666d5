//! What the program tells of itself: events as lines on standard output, numbers ([`metrics`]), and spans for a collector
//! ([`traces`]). Knows no variable and no room; nothing is logged anywhere else.
//!
//! JSON is one object a line with UTC time and the event's fields at the top. Text is for people and holds no line
//! break or terminal escape that came with a user's text.

mod collector;
mod json;
pub mod metrics;
pub mod traces;

use std::fmt;
use std::io;
use std::str::FromStr;

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

use crate::clock::Clock;
use json::JsonLines;

pub use traces::Traces;

/// The one failure to connect that the standard library has no public kind for, in words of ours: its text begins so
/// whichever driver it comes from.
#[must_use]
pub fn unknown_host(error: &dyn fmt::Display) -> Option<&'static str> {
    let is_so = error
        .to_string()
        .starts_with("failed to lookup address information");
    is_so.then_some("the name of the host is not known")
}

/// What `config` hands this room.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `LOG_FORMAT`.
    pub format: Format,
    /// `RUST_LOG`.
    pub filter: Filter,
}

/// How a line looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// What is logged: directives such as `info` or `stile=debug`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filter(String);

/// Why a text is no filter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("is no filter such as `info` or `stile=debug`")]
pub struct FilterError;

impl Default for Filter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        match EnvFilter::builder().parse(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err(FilterError),
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Filter {
    /// More than operators want day by day: `debug` or `trace` somewhere.
    #[must_use]
    pub fn is_verbose(&self) -> bool {
        self.layer()
            .max_level_hint()
            .is_none_or(|level| level > LevelFilter::INFO)
    }

    fn layer(&self) -> EnvFilter {
        EnvFilter::builder().parse_lossy(&self.0)
    }
}

/// Logging could not be set up: something else in this process did so before.
#[derive(Debug, thiserror::Error)]
#[error("logging is set up already")]
pub struct InstallError;

/// From now on events of this process go to standard output, and spans to `traces` where a collector is named.
pub fn install(settings: &Settings, traces: Option<&Traces>) -> Result<(), InstallError> {
    let subscriber = subscriber(settings, io::stdout);
    // Not one with an optional layer: even where it is none, it would have every span and every silent event of every
    // library made and asked about, a tenth of the work of a cheap request.
    let installed = match traces {
        Some(traces) => tracing::subscriber::set_global_default(subscriber.with(traces.layer())),
        None => tracing::subscriber::set_global_default(subscriber),
    };
    installed.map_err(|_| InstallError)
}

/// Events into a writer of the caller's.
pub fn subscriber<W>(
    settings: &Settings,
    writer: W,
) -> impl Subscriber + for<'s> LookupSpan<'s> + Send + Sync + use<W>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = match settings.format {
        Format::Json => json(writer).boxed(),
        Format::Text => text(writer).boxed(),
    };
    // A filter of this layer and not of all: what is logged says nothing of what is traced.
    let filter = settings
        .filter
        .layer()
        .and(filter_fn(may_speak).with_max_level_hint(LevelFilter::TRACE));
    tracing_subscriber::registry().with(layer.with_filter(filter))
}

/// Below `info`, libraries write down whole conversations: an SMTP login, the mail with its link, HTTP headers. None
/// of that may reach a log, whatever `RUST_LOG` says, so only this program itself is heard there.
fn may_speak(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    // Spans are for traces; lines do not show them.
    metadata.is_event()
        && (*metadata.level() <= Level::INFO || target == "stile" || target.starts_with("stile::"))
}

fn json<S, W>(writer: W) -> impl Layer<S> + Send + Sync
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer()
        .event_format(JsonLines(Clock::system()))
        .with_writer(writer)
}

fn text<S, W>(writer: W) -> impl Layer<S> + Send + Sync
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    use tracing_subscriber::field::MakeExt as _;

    let fields = debug_fn(|writer: &mut Writer<'_>, field, value| {
        let value = on_one_line(&format!("{value:?}"));
        match field.name() {
            "message" => write!(writer, "{value}"),
            name => write!(writer, "{name}={value}"),
        }
    });
    tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_target(false)
        .fmt_fields(fields.delimited(" "))
        .with_writer(writer)
}

/// `text` without characters that move a terminal's cursor, change its colours or hide what follows.
fn on_one_line(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .fold(String::with_capacity(text.len()), |mut line, c| {
            if hidden(c) {
                line.extend(c.escape_unicode());
            } else {
                line.push(c);
            }
            line
        })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, filter: &str, events: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let settings = Settings {
            format,
            filter: filter.parse().unwrap(),
        };
        tracing::subscriber::with_default(subscriber(&settings, move || writer.clone()), events);
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    const HOSTILE: &str = "a\n2026-11-22T00:00:00Z  INFO forged\r\u{1b}[2J\u{202e}b";

    /// LGR-03, contract section 5.
    #[test]
    fn a_json_line_is_one_object_with_utc_time_and_the_fields_at_the_top() {
        let log = logged(Format::Json, "info", || {
            tracing::info!(event = "login_failure", user_id = 7, client_ip = %"10.0.0.1", reason = HOSTILE, "said");
        });
        assert_eq!(log.lines().count(), 1, "{log}");
        let line: serde_json::Value = serde_json::from_str(&log).unwrap();
        assert_eq!(line["event"], "login_failure");
        assert_eq!(line["user_id"], 7);
        assert_eq!(line["client_ip"], "10.0.0.1");
        assert_eq!(line["reason"], HOSTILE);
        assert_eq!(line["message"], "said");
        assert_eq!(line["level"], "INFO");
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{log}");
    }

    /// LGR-01: a user's text cannot forge a line or steer a terminal.
    #[test]
    fn a_text_line_holds_no_character_that_a_user_could_abuse() {
        let log = logged(Format::Text, "info", || {
            tracing::info!(quoted = HOSTILE, shown = %HOSTILE, debugged = ?HOSTILE, "message {HOSTILE}");
        });
        assert_eq!(log.lines().count(), 1, "{log}");
        let line = log.trim_end_matches('\n');
        assert!(
            !line.chars().any(|c| c.is_control() || c == '\u{202e}'),
            "{line:?}"
        );
        assert!(line.contains("quoted=") && line.contains("shown="), "{line:?}");
    }

    /// LGR-01: even at `trace`, no library's account of a conversation is logged.
    #[test]
    fn libraries_are_not_heard_below_info() {
        let log = logged(Format::Text, "trace", || {
            tracing::trace!(target: "lettre", "AUTH PLAIN hunter2");
            tracing::debug!(target: "stilett", "hunter2");
            tracing::info!(target: "lettre", "hello");
            tracing::trace!(target: "stile::telemetry", "own");
        });
        assert!(!log.contains("hunter2"), "{log}");
        assert!(log.contains("hello") && log.contains("own"), "{log}");
    }

    #[test]
    fn a_filter_is_read_strictly() {
        assert!(
            "stile=debug,info"
                .parse::<Filter>()
                .is_ok_and(|filter| filter.is_verbose())
        );
        assert!("warn".parse::<Filter>().is_ok_and(|filter| !filter.is_verbose()));
        assert_eq!("stile=loud".parse::<Filter>(), Err(FilterError));
    }
}
