//! Misspelt variables: a limit that nobody reads is a limit that does not hold, so a name that was
//! probably meant for this program stops it.
//!
//! The process environment is full of other programs' variables, so closeness is judged there with care:
//! `HOSTNAME`, `LOGNAME` or `PGPORT` are nobody's typing error.

use super::error::{ConfigError, printable};
use super::source::{Origin, Source};

/// All rules have this prefix, and nothing else has.
const OUR_PREFIX: &str = "RATE_LIMIT_";

/// Shorter names (`HOST`, `PORT`) have innocent neighbours in every process environment.
const SHORTEST_DISTINCTIVE: usize = 8;

/// Unknown names that were probably meant for this program.
pub(super) fn misspelt(source: &Source, known: &[&str]) -> Vec<ConfigError> {
    source
        .names()
        .filter(|(name, _)| !known.contains(name))
        .filter_map(|(name, origin)| {
            let of_file = matches!(origin, Origin::File(_));
            let meant = nearest(name, known, of_file);
            if meant.is_none() && !folded(name).starts_with(OUR_PREFIX) {
                return None;
            }
            let name = printable(name);
            let advice = meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
            Some(ConfigError::of(
                &name,
                format!("no variable of this program (found in {origin}){advice}"),
            ))
        })
        .collect()
}

/// The known name that `name` was probably meant to be.
fn nearest<'a>(name: &str, known: &[&'a str], of_file: bool) -> Option<&'a str> {
    let folded = folded(name);
    known
        .iter()
        .filter(|known| of_file || known.len() >= SHORTEST_DISTINCTIVE)
        .map(|known| (strsim::osa_distance(&folded, known), *known))
        .filter(|(distance, known)| {
            // Beyond one slip, the first letter is hardly ever the wrong one: HTTP_URL is not SMTP_URL.
            let same_start = folded.chars().next() == known.chars().next();
            *distance <= slips(known) && (*distance <= 1 || same_start)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
        .or_else(|| {
            folded
                .starts_with(OUR_PREFIX)
                .then(|| likeliest_rule(&folded, known))
                .flatten()
        })
}

/// How many slips make another name of `known`: one in five letters, at most three.
fn slips(known: &str) -> usize {
    (known.len() / 5).clamp(1, 3)
}

/// For a name with our prefix: the most similar known one, if it is similar at all.
fn likeliest_rule<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let end = name.strip_prefix(OUR_PREFIX)?;
    known
        .iter()
        .filter_map(|known| Some((strsim::jaro_winkler(end, known.strip_prefix(OUR_PREFIX)?), *known)))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, known)| known)
}

/// Names are case-sensitive, so another case is a slip of its own; so is a hyphen or a dot.
fn folded(name: &str) -> String {
    name.to_ascii_uppercase().replace(['-', '.'], "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::variables;

    fn meant(name: &str, of_file: bool) -> Option<&'static str> {
        let known: Vec<&'static str> = variables().iter().map(|variable| variable.name).collect();
        assert!(!known.contains(&name), "{name} is a variable");
        nearest(name, &known, of_file)
    }

    /// CFG-01.
    #[test]
    fn a_slip_of_the_pen_is_recognised_wherever_it_stands() {
        for (slip, right) in [
            ("RATE_LIMIT_LOGN", "RATE_LIMIT_LOGIN"),
            ("RATE_LIMIT_LOGINS", "RATE_LIMIT_LOGIN"),
            ("rate_limit_login", "RATE_LIMIT_LOGIN"),
            ("RATELIMIT_LOGIN", "RATE_LIMIT_LOGIN"),
            ("RATE_LIMIT_PASSWORD_RESETS", "RATE_LIMIT_PASSWORD_RESET"),
            ("ENABLE_RATE_LIMIT", "ENABLE_RATE_LIMITING"),
            ("ENABLE_RATE_LIMITTING", "ENABLE_RATE_LIMITING"),
            ("TRUSTED_PROXY", "TRUSTED_PROXIES"),
            ("DATABSE_URL", "DATABASE_URL"),
            ("DATABASE_URI", "DATABASE_URL"),
            ("REDIS_URI", "REDIS_URL"),
            ("CORS_ORIGIN", "CORS_ORIGINS"),
            ("JWT_SECERT", "JWT_SECRET"),
            ("SECRET-KEY", "SECRET_KEY"),
            ("AUTH_COOKIE", "AUTH_COOKIES"),
        ] {
            assert_eq!(
                meant(slip, false),
                Some(right),
                "{slip} in the process environment"
            );
            assert_eq!(meant(slip, true), Some(right), "{slip} in a file");
        }
    }

    #[test]
    fn short_names_are_watched_in_a_file_only() {
        for (slip, right) in [("HOSTS", "HOST"), ("port", "PORT"), ("POTR", "PORT")] {
            assert_eq!(meant(slip, true), Some(right));
            assert_eq!(meant(slip, false), None, "{slip}");
        }
    }

    #[test]
    fn other_programs_variables_stop_nobody() {
        for name in [
            "HOSTNAME",
            "LOGNAME",
            "HOME",
            "PATH",
            "PWD",
            "USER",
            "SHELL",
            "TERM",
            "LANG",
            "MAIL",
            "EDITOR",
            "PGHOST",
            "PGPORT",
            "REDIS_HOST",
            "REDIS_PORT",
            "SMTP_HOST",
            "SMTP_PORT",
            "HTTP_URL",
            "SSL_CERT_FILE",
            "TLS_CERT_FILE",
            "TLS_KEY_FILE",
            "RUST_BACKTRACE",
            "RUST_LOG_STYLE",
            "CARGO_HOME",
            "DATABASE_HOST",
            "DATABASE_NAME",
            "POSTGRES_PASSWORD",
            "POSTGRES_USER",
            "DB_HOST",
            "LOG_LEVEL",
            "MAIL_HOST",
            "SESSION_MANAGER",
            "KUBERNETES_PORT",
            "STILE_PORT",
            "JWT_KEY",
            "http_proxy",
            "NO_PROXY",
            "PUBLIC_IP",
            "DISPLAY",
            "SSH_CONNECTION",
            "OTEL_METRICS_EXPORTER",
            "OTEL_LOGS_EXPORTER",
            "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT",
            "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT",
            "OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_CLIENT_KEY",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
            "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
            "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
            "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
            "OTEL_EXPORTER_OTLP_LOGS_COMPRESSION",
            "OTEL_PROPAGATORS",
            "XDG_SESSION_ID",
        ] {
            assert_eq!(meant(name, false), None, "{name}");
            assert_eq!(meant(name, true), None, "{name} in a file");
        }
    }
}
