//! The walls of the house: imports point downward, and a few crates live in one room each.
//!
//! The rows are those that `src/lib.rs` shows in its documentation, so the picture cannot lie.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this is a test: the lints' own exception covers test functions, not what they call"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Crates and standard modules, and the only places that may name them. `Mailbox` is in the hands of `config` because
/// parsing `MAIL_FROM` is its work.
const FENCES: &[(&[&str], &[&str])] = &[
    (
        &[
            "axum",
            "axum_extra",
            "tower",
            "tower_http",
            "matchit",
            "hyper",
            "hyper_util",
            "tower_governor",
            "governor",
        ],
        // A collector is spoken to by hyper as well: there is no second room that speaks HTTP.
        &["src/http/", "src/app.rs", "src/telemetry/collector.rs"],
    ),
    (
        &[
            "opentelemetry",
            "opentelemetry_http",
            "opentelemetry_otlp",
            "opentelemetry_sdk",
            "tracing_opentelemetry",
        ],
        &["src/telemetry/"],
    ),
    (&["sqlx"], &["src/storage/"]),
    (&["redis"], &["src/rate_limit/store/redis"]),
    (&["lettre"], &["src/mail/"]),
    (
        &[
            "argon2",
            "bcrypt",
            "scrypt",
            "pbkdf2",
            "jsonwebtoken",
            "aws_lc_rs",
        ],
        &["src/credentials/"],
    ),
    (&["dotenvy", "std::env"], &["src/config/"]),
    (&["clap"], &["src/cli/"]),
    (&["tracing_subscriber"], &["src/telemetry/"]),
    (
        &[
            "SystemTime::now",
            "std::time::SystemTime::now",
            "OffsetDateTime::now_utc",
            "time::OffsetDateTime::now_utc",
        ],
        &["src/clock.rs"],
    ),
];

/// Single names that may pass a fence.
const GATES: &[(&str, &str)] = &[
    ("src/config/mail.rs", "lettre::message::Mailbox"),
    ("src/config/mail.rs", "lettre::Address::new"),
];

type Rows = BTreeMap<String, u32>;

/// The rooms with their rows, from the picture in `src/lib.rs`: `7  storage | rate_limit   each knows only itself`.
fn rows(lib: &str) -> Rows {
    let mut rows = Rows::new();
    for line in lib.lines().filter_map(|line| line.strip_prefix("//! ")) {
        let Some((number, rest)) = line.split_once("  ") else {
            continue;
        };
        let Ok(number) = number.parse() else { continue };
        let rooms = rest.split("  ").next().unwrap_or_default();
        rows.extend(rooms.split('|').map(|room| (room.trim().to_owned(), number)));
    }
    rows
}

/// `src/http/routes/auth.rs` and `src/http.rs` are in the room `http`.
fn room(path: &str) -> &str {
    let inside = path.trim_start_matches("src/");
    inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
}

/// What one file does against the plan.
fn violations(path: &str, text: &str, rows: &Rows) -> Vec<String> {
    let mut found = Vec::new();
    let own = room(path);
    let is_root_of_room = path == format!("src/{own}.rs") || path == format!("src/{own}/mod.rs");
    let code = without_comments(text);
    for used in paths(&code) {
        let of_crate = used
            .strip_prefix("crate::")
            .or_else(|| used.strip_prefix("stile::"));
        let of_crate = of_crate.or_else(|| {
            used.strip_prefix("super::")
                .filter(|_| is_root_of_room && own != "lib")
        });
        let target = of_crate
            .and_then(|rest| rest.split("::").next())
            .filter(|target| rows.contains_key(*target));
        if let Some(target) = target
            && own != "lib"
            && own != target
            && (own, target) != ("main", "cli")
            && rows.get(own) >= rows.get(target)
        {
            found.push(format!("{path}: {own} must not know {target} ({used})"));
        }
        for (names, homes) in FENCES {
            let fenced = names
                .iter()
                .any(|name| used == *name || used.starts_with(&format!("{name}::")));
            let at_home = homes.iter().any(|home| path.starts_with(home));
            let own_module = code.contains(&format!("mod {};", used.split("::").next().unwrap_or_default()));
            let gate = GATES.iter().any(|(file, name)| path == *file && used == *name);
            if fenced && !at_home && !own_module && !gate {
                found.push(format!("{path}: {used} belongs in {}", homes.join(", ")));
            }
        }
    }
    found
}

fn without_comments(text: &str) -> String {
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Every path of more than one segment in `code`, groups in braces written out.
fn paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(start) = rest.find(|c: char| c.is_alphabetic() || c == '_') {
        rest = read_path("", &rest[start..], &mut found);
    }
    found
}

/// Reads the path at the start of `text`, which stands behind `prefix`; returns what follows it.
fn read_path<'t>(prefix: &str, text: &'t str, found: &mut Vec<String>) -> &'t str {
    let end = text
        .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
        .unwrap_or(text.len());
    let (path, rest) = text.split_at(end);
    let full = format!("{prefix}{path}");
    match rest.strip_prefix('{') {
        Some(mut group) if path.ends_with("::") => loop {
            group = group.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
            match group.chars().next() {
                None => return group,
                Some('}') => return &group[1..],
                Some(c) if c.is_alphanumeric() || c == '_' => group = read_path(&full, group, found),
                Some(c) => group = &group[c.len_utf8()..],
            }
        },
        _ => {
            let full = full.trim_end_matches(':').trim_end_matches("::self");
            if full.contains("::") || !prefix.is_empty() {
                found.push(full.to_owned());
            }
            rest
        }
    }
}

fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

fn house() -> (Rows, Vec<(String, String)>) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&source, &mut files);
    (rows(&fs::read_to_string(source.join("lib.rs")).unwrap()), files)
}

#[test]
fn imports_point_downward_and_fences_hold() {
    let (rows, files) = house();
    assert!(files.len() > 40, "the sources were found");
    let found: Vec<_> = files
        .iter()
        .flat_map(|(path, text)| violations(path, text, &rows))
        .collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn every_room_stands_in_the_picture() {
    let (rows, files) = house();
    for (path, _) in &files {
        assert!(
            room(path) == "lib" || rows.contains_key(room(path)),
            "{path} is in no room of src/lib.rs"
        );
    }
}

/// A checker that finds nothing proves nothing: each wall gets a hole, and the hole must be seen.
#[test]
fn a_hole_in_a_wall_is_seen() {
    let (rows, _) = house();
    for (path, text) in [
        ("src/storage/users.rs", "use crate::accounts::User;"),
        (
            "src/storage/users.rs",
            "use crate::{clock::Timestamp, rate_limit::{Client, Rule}};",
        ),
        (
            "src/rate_limit/limiter.rs",
            "fn f() { crate::credentials::now() }",
        ),
        ("src/rate_limit/mod.rs", "use super::storage::Database;"),
        ("src/clock.rs", "use crate::telemetry;"),
        ("src/http/mod.rs", "use crate::config::Config;"),
        ("src/accounts/login.rs", "use axum::Json;"),
        ("src/accounts/login.rs", "use ::sqlx::query;"),
        ("src/http/routes/auth.rs", "let x = sqlx::query(sql);"),
        ("src/rate_limit/limiter.rs", "use redis::{AsyncCommands, Client};"),
        ("src/accounts/delivery.rs", "use lettre::Message;"),
        ("src/config/mail.rs", "use lettre::{Message, message::Mailbox};"),
        ("src/storage/database.rs", "use std::{env, fs};"),
        ("src/http/mod.rs", "let path = std::env::current_dir();"),
        ("src/accounts/login.rs", "let now = std::time::SystemTime::now();"),
        ("src/accounts/login.rs", "let now = SystemTime::now();"),
        ("src/accounts/login.rs", "argon2::hash(password)"),
    ] {
        assert!(!violations(path, text, &rows).is_empty(), "{path}: {text}");
    }
}

#[test]
fn what_is_allowed_is_not_called_a_hole() {
    let (rows, _) = house();
    for (path, text) in [
        (
            "src/accounts/login.rs",
            "use crate::storage::{self, users};\nuse super::Accounts;",
        ),
        ("src/accounts/login.rs", "// never axum::Json, never crate::http"),
        (
            "src/http/routes/auth.rs",
            "use axum::Router; use crate::accounts::Accounts;",
        ),
        ("src/rate_limit/store/redis.rs", "use redis::Script;"),
        (
            "src/rate_limit/store/mod.rs",
            "mod redis;\npub use redis::RedisStore;",
        ),
        ("src/config/mail.rs", "use lettre::message::Mailbox;"),
        ("src/config/source.rs", "std::env::vars_os()"),
        ("src/clock.rs", "SystemTime::now()"),
    ] {
        assert_eq!(
            violations(path, text, &rows),
            Vec::<String>::new(),
            "{path}: {text}"
        );
    }
}
