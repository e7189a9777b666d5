//! What `stile check` says of a configuration: each mistake is found, says what to type, and what was typed mends it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;

use crate::process::{Ended, Stile};
use crate::{PRODUCTION, SECRET};

type Variables<'a> = &'a [(&'a str, &'a str)];

/// `stile check` of production with `changes`, in `directory`.
fn check_in(directory: &Path, changes: Variables<'_>, arguments: &[&str]) -> Ended {
    Stile::in_directory(directory)
        .set_all(PRODUCTION)
        .set_all(changes)
        .run(&[&["check"], arguments].concat())
}

fn check(changes: Variables<'_>, arguments: &[&str]) -> Ended {
    check_in(tempfile::tempdir().unwrap().path(), changes, arguments)
}

/// The warnings: text, and what to type.
pub fn warnings(ended: &Ended) -> Vec<(String, String)> {
    let report: Value = serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    let verdicts = report["verdicts"].as_array().unwrap();
    let warnings = verdicts.iter().filter(|verdict| verdict["level"] == "warning");
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{ended:?}")).to_owned();
    warnings
        .map(|verdict| (text(&verdict["text"]), text(&verdict["fix"])))
        .collect()
}

/// A mistake, what is said of it and what to type; and what was probably meant, of which nothing is said.
struct Mistake<'a> {
    made: Variables<'a>,
    said: &'a str,
    to_type: &'a str,
    meant: Variables<'a>,
}

/// A closure would do, but this reads as a table.
const fn mistake<'a>(
    made: Variables<'a>,
    said: &'a str,
    to_type: &'a str,
    meant: Variables<'a>,
) -> Mistake<'a> {
    Mistake {
        made,
        said,
        to_type,
        meant,
    }
}

/// Issue 5 item 6. One line for each verdict that needs no connection and no file.
#[rustfmt::skip] // a table: one mistake, two lines
const MISTAKES: &[Mistake<'_>] = &[
    mistake(&[("ENABLE_RATE_LIMITING", "false")], "limiting is off", "ENABLE_RATE_LIMITING=true",
        &[("ENABLE_RATE_LIMITING", "true")]),
    mistake(&[("RATE_LIMIT_LOGIN", "off")], "RATE_LIMIT_LOGIN is off", "RATE_LIMIT_LOGIN=5/minute",
        &[("RATE_LIMIT_LOGIN", "5/minute")]),
    mistake(&[("RATE_LIMIT_LOGIN", "1000/minute")], "200 times as much", "RATE_LIMIT_LOGIN=5/minute",
        &[("RATE_LIMIT_LOGIN", "40/minute")]),
    mistake(&[("RATE_LIMIT_PASSWORD_RESET", "3/second")], "RATE_LIMIT_PASSWORD_RESET lets", "RATE_LIMIT_PASSWORD_RESET=3/hour",
        &[("RATE_LIMIT_PASSWORD_RESET", "3/second;20/hour")]),
    mistake(&[("RATE_LIMIT_REFRESH", "1/minute")], "10 times tighter", "RATE_LIMIT_REFRESH=10/minute",
        &[("RATE_LIMIT_REFRESH", "2/minute")]),
    mistake(&[("RATE_LIMIT_GLOBAL", "60/minute;mode=shadow")], "shadow mode", "RATE_LIMIT_GLOBAL=60/minute",
        &[("RATE_LIMIT_REGISTRATION", "deny")]),
    mistake(&[("RATE_LIMIT_BURST", "5")], "RATE_LIMIT_BURST=5 is tighter", "RATE_LIMIT_BURST=120",
        &[("RATE_LIMIT_BURST", "60")]),
    mistake(&[("RATE_LIMIT_MEMORY_KEYS", "500")], "RATE_LIMIT_MEMORY_KEYS=500", "RATE_LIMIT_MEMORY_KEYS=200000",
        &[("RATE_LIMIT_MEMORY_KEYS", "20000")]),
    mistake(&[("RATE_LIMIT_ALLOWLIST", "0.0.0.0/0")], "nobody is limited", "RATE_LIMIT_ALLOWLIST=",
        &[("RATE_LIMIT_ALLOWLIST", "10.0.0.0/8")]),
    mistake(&[("REDIS_COMMAND_TIMEOUT_MS", "1")], "is short", "REDIS_COMMAND_TIMEOUT_MS=50",
        &[("REDIS_COMMAND_TIMEOUT_MS", "5")]),
    mistake(&[("REDIS_COMMAND_TIMEOUT_MS", "5000")], "is long", "REDIS_COMMAND_TIMEOUT_MS=50",
        &[("REDIS_COMMAND_TIMEOUT_MS", "500")]),
    mistake(&[("REDIS_URL", "")], "several need REDIS_URL", "REDIS_URL=redis://HOST:6379",
        &[("REDIS_URL", ""), ("RATE_LIMIT_FLEET_SIZE", "1")]),
    mistake(&[("REDIS_URL", ""), ("RATE_LIMIT_FLEET_SIZE", "3")], "without Redis", "REDIS_URL=redis://HOST:6379",
        &[("RATE_LIMIT_FLEET_SIZE", "3")]),
    mistake(&[("HOST", "0.0.0.0")], "TRUSTED_PROXIES is its default", "TRUSTED_PROXIES=10.0.0.7",
        &[("HOST", "0.0.0.0"), ("TRUSTED_PROXIES", "10.0.0.7")]),
    mistake(&[("HOST", "::")], "TRUSTED_PROXIES is its default", "TRUSTED_PROXIES=10.0.0.7",
        &[("HOST", "::"), ("TRUSTED_PROXIES", "")]),
    mistake(&[("TRUSTED_PROXIES", "::/0")], "believes everybody", "TRUSTED_PROXIES=10.0.0.7",
        &[("TRUSTED_PROXIES", "10.0.0.0/8")]),
    mistake(&[("AUTH_COOKIES", "true"), ("FRONTEND_URL", "https://app.example.net")], "FRONTEND_URL names https://app.example.net", "PUBLIC_URL=https://auth.example.net",
        &[("AUTH_COOKIES", "true"), ("FRONTEND_URL", "https://app.example.org")]),
    mistake(&[("AUTH_COOKIES", "true"), ("CORS_ORIGINS", "https://app.example.net")], "CORS_ORIGINS names", "PUBLIC_URL=https://auth.example.net",
        &[("CORS_ORIGINS", "https://app.example.net")]),
    mistake(&[("CORS_ORIGINS", "https://a.example.org,http://app.example.org")], "http:// origin", "CORS_ORIGINS=https://a.example.org,https://app.example.org",
        &[("CORS_ORIGINS", "https://app.example.org")]),
    mistake(&[("DATABASE_URL", "sqlite://x.db"), ("ALLOW_SQLITE", "true")], "SQLite", "DATABASE_URL=postgres://",
        &[("ALLOW_SQLITE", "true")]),
    mistake(&[("API_TOKEN_SCOPES", "any")], "API_TOKEN_SCOPES", "API_TOKEN_SCOPES=read:*,write:*",
        &[("API_TOKEN_SCOPES", "read:*")]),
    mistake(&[("RUST_LOG", "debug")], "RUST_LOG", "RUST_LOG=info",
        &[("RUST_LOG", "warn")]),
    mistake(&[("REFRESH_TOKEN_EXPIRE_DAYS", "100")], "REFRESH_TOKEN_EXPIRE_DAYS is longer", "REFRESH_TOKEN_EXPIRE_DAYS=90",
        &[("REFRESH_TOKEN_EXPIRE_DAYS", "90")]),
    mistake(&[("JWT_SECRET", "password-password1-password2-password3")], "JWT_SECRET is made of words", "openssl rand -base64 48",
        &[("JWT_SECRET", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]),
    mistake(&[("SECRET_KEY", SECRET)], "the same", "openssl rand -base64 48",
        &[("SECRET_KEY", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]),
];

#[test]
fn each_mistake_is_found_with_what_to_type_and_what_was_meant_is_not() {
    for Mistake {
        made,
        said,
        to_type,
        meant,
    } in MISTAKES
    {
        let ended = check(made, &["--json", "--strict"]);
        assert_eq!(ended.code, Some(1), "{made:?}: {ended:?}");
        let found = warnings(&ended);
        let [(text, fix)] = found.as_slice() else {
            panic!("{made:?}: {found:?}")
        };
        assert!(
            text.contains(said) && fix.starts_with(to_type),
            "{made:?}: {text}\n{fix}"
        );
        assert!(!ended.out.contains(SECRET), "{made:?}");

        let ended = check(meant, &["--json", "--strict"]);
        assert_eq!((warnings(&ended), ended.code), (Vec::new(), Some(0)), "{meant:?}");
    }
}

/// In the table for people what to type stands below what is said.
#[test]
fn what_to_type_stands_below_the_warning() {
    let ended = check(&[("ENABLE_RATE_LIMITING", "false")], &[]);
    assert_eq!(ended.code, Some(0));
    let expected = "warning  limiting is off: fine for E2E, not for production\n         type: ENABLE_RATE_LIMITING=true\n";
    assert!(ended.out.contains(expected), "{}", ended.out);
}

/// A fix that is a line of the env file, typed as it stands, is taken by the program, and mends the fault.
#[test]
fn what_to_type_mends_the_fault_when_it_is_typed() {
    for Mistake { made, .. } in MISTAKES {
        for (_, fix) in warnings(&check(made, &["--json"])) {
            let line = fix.split("   (").next().unwrap();
            let Some((name, value)) = line
                .split_once('=')
                .filter(|(name, _)| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'))
            else {
                continue;
            };
            let value = value
                .replace("HOST", "db.example.org")
                .replace("USER", "u")
                .replace("PASSWORD", "p");
            let mended = [*made, &[(name, value.as_str())]].concat();
            let ended = check(&mended, &["--json", "--strict"]);
            assert_eq!(
                (warnings(&ended), ended.code),
                (Vec::new(), Some(0)),
                "{mended:?}"
            );
        }
    }
}

/// What is right for a developer or a suite is no mistake.
#[test]
fn development_test_and_staging_as_shipped_are_warned_of_nothing() {
    let lenient = [
        ("ENABLE_RATE_LIMITING", "false"),
        ("RATE_LIMIT_LOGIN", "1000000/second"),
        ("RATE_LIMIT_MEMORY_KEYS", "10"),
        ("HOST", "0.0.0.0"),
    ];
    for environment in ["development", "test"] {
        let ended = Stile::in_directory(tempfile::tempdir().unwrap().path())
            .set("ENVIRONMENT", environment)
            .set_all(&lenient)
            .run(&["check", "--json", "--strict"]);
        assert_eq!(
            (warnings(&ended), ended.code),
            (Vec::new(), Some(0)),
            "{environment}"
        );
    }
    let ended = Stile::in_directory(Path::new(env!("CARGO_MANIFEST_DIR")))
        .set("JWT_SECRET", SECRET)
        .run(&["check", "--json", "--strict", "--env-file", ".env.staging"]);
    assert_eq!((warnings(&ended), ended.code), (Vec::new(), Some(0)));
}

fn private(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A secret in a file that every user of the machine may read, be it the env file, a key or an earlier key.
#[test]
fn a_file_with_a_secret_that_others_may_read_is_found_and_the_command_mends_it() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let key = || {
        Stile::in_directory(directory.path())
            .run(&["keys", "generate"])
            .out
    };
    private(&at("new.pem"), &key(), 0o644);
    private(&at("old.pem"), &key(), 0o604);
    private(
        &at(".env.production"),
        "DATABASE_URL=postgres://u:hunter2@h/d\nPORT=9000\n",
        0o644,
    );
    let check = || {
        let mut stile = Stile::in_directory(directory.path());
        for (name, value) in PRODUCTION {
            if !matches!(*name, "JWT_SECRET" | "DATABASE_URL") {
                stile = stile.set(name, *value);
            }
        }
        stile
            .set("JWT_SIGNING_KEY_FILE", "new.pem")
            .set("JWT_PREVIOUS_KEY_FILES", "old.pem")
            .run(&["check", "--json", "--strict"])
    };
    let ended = check();
    let fixes: Vec<String> = warnings(&ended).into_iter().map(|(_, fix)| fix).collect();
    assert_eq!(
        fixes,
        ["chmod o= .env.production", "chmod o= new.pem", "chmod o= old.pem"]
    );
    assert!(!ended.out.contains("hunter2"), "{}", ended.out);
    for fix in fixes {
        let typed = std::process::Command::new("sh")
            .args(["-c", &fix])
            .current_dir(directory.path())
            .status()
            .unwrap();
        assert!(typed.success(), "{fix}");
    }
    let ended = check();
    assert_eq!((warnings(&ended), ended.code), (Vec::new(), Some(0)), "{ended:?}");
    // No secret in it, or one that the process environment overrides: everybody may read it.
    private(&at(".env.production"), "DATABASE_URL=postgres://h/d\n", 0o644);
    assert_eq!(warnings(&check()), Vec::new());
    for secret in [
        "OTEL_EXPORTER_OTLP_HEADERS=x-key=hunter2",
        "DATABASE_URL=postgres://h/d?password=hunter2",
    ] {
        let database = "DATABASE_URL=postgres://h/d\n";
        let database = if secret.starts_with("DATABASE_URL") {
            ""
        } else {
            database
        };
        private(&at(".env.production"), &format!("{database}{secret}\n"), 0o644);
        let found = warnings(&check());
        assert_eq!(found.len(), 1, "{secret}: {found:?}");
        assert_eq!(found[0].1, "chmod o= .env.production");
    }
}

/// The same remarks stand in the log at start, each with what to type.
#[test]
fn the_warnings_stand_in_the_log_at_start() {
    let directory = tempfile::tempdir().unwrap();
    let process = Stile::in_directory(directory.path())
        .set_all(&[
            ("ENVIRONMENT", "staging"),
            ("JWT_SECRET", SECRET),
            ("ENABLE_RATE_LIMITING", "false"),
        ])
        .starting();
    let lines = process.out.all();
    let warned: Vec<_> = lines.iter().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warned.len(), 1, "{lines:?}");
    let line: Value = serde_json::from_str(warned[0]).unwrap();
    assert_eq!(line["to_type"], "ENABLE_RATE_LIMITING=true", "{line}");
}
