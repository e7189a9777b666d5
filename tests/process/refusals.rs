//! Configurations that do not start: exit code 2, a line a fault, no secret.

use crate::process::{Ended, Stile};
use crate::{PRODUCTION, SECRET};

fn serve(variables: &[(&str, &str)]) -> Ended {
    let directory = tempfile::tempdir().unwrap();
    Stile::in_directory(directory.path())
        .set_all(variables)
        .run(&["serve"])
}

/// It ends with 2 and names `variable`; a server that started would not end at all.
fn is_refused(ended: &Ended, variable: &str) {
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert_eq!(ended.out, "", "nothing was logged: it never came to that");
    let line = format!("stile: {variable}: ");
    assert!(
        ended.err.lines().any(|err| err.starts_with(&line)),
        "{variable}: {ended:?}"
    );
}

/// CFG-01, limits.md 14 and 15.
#[test]
fn a_bad_limit_does_not_start() {
    for limit in [
        "5/0 minute",
        "0/minute",
        "-1/minute",
        "5.5/minute",
        "5/min",
        "5/week",
        "5/minute;",
        "",
        "99999999999/second",
        "5/minute evil",
        "５/minute",
        "abc",
        "-1",
        "99999999999999999999",
    ] {
        is_refused(&serve(&[("RATE_LIMIT_LOGIN", limit)]), "RATE_LIMIT_LOGIN");
    }
    is_refused(&serve(&[("RATE_LIMIT_GLOBAL", "abc")]), "RATE_LIMIT_GLOBAL");
    is_refused(
        &serve(&[("RATE_LIMIT_MAIL_ACCOUNT", "abc")]),
        "RATE_LIMIT_MAIL_ACCOUNT",
    );
}

/// CFG-01.
#[test]
fn misspelt_empty_and_out_of_range_variables_do_not_start() {
    for (name, value) in [
        ("RATE_LIMIT_LOGN", "5/minute"),
        ("rate_limit_login", "5/minute"),
        ("TRUSTED_PROXY", "10.0.0.0/8"),
        ("PORT", "65536"),
        ("DATABASE_URL", ""),
        ("ACCESS_TOKEN_EXPIRE_MINUTES", "61"),
    ] {
        is_refused(&serve(&[(name, value)]), name);
    }
}

/// JWT-08: empty, a placeholder, too short, and what stands in the example.
#[test]
fn production_with_a_weak_secret_does_not_start() {
    let example = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/.env.example")).unwrap();
    let of_example = example
        .lines()
        .find_map(|line| line.strip_prefix("# JWT_SECRET="))
        .unwrap();
    for secret in ["", "changeme", "Tz7qLw0xRk3mVb9p", of_example] {
        for command in ["serve", "check"] {
            let directory = tempfile::tempdir().unwrap();
            let stile = Stile::in_directory(directory.path())
                .set_all(PRODUCTION)
                .set("JWT_SECRET", secret);
            let ended = stile.run(&[command]);
            is_refused(&ended, "JWT_SECRET");
            assert!(secret.is_empty() || !ended.err.contains(secret), "{ended:?}");
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let mut without = Stile::in_directory(directory.path());
    for (name, value) in PRODUCTION.iter().filter(|(name, _)| *name != "JWT_SECRET") {
        without = without.set(name, *value);
    }
    is_refused(&without.run(&["serve"]), "JWT_SIGNING_KEY_FILE");
    assert_eq!(
        std::fs::read_dir(directory.path()).unwrap().count(),
        0,
        "no key is made in production"
    );
}

/// CFG-02.
#[test]
fn production_with_a_developers_settings_does_not_start() {
    for (name, value, blamed) in [
        ("DATABASE_URL", "sqlite://data/stile.db", "DATABASE_URL"),
        ("PUBLIC_URL", "http://auth.example.org", "PUBLIC_URL"),
        ("CORS_ORIGINS", "*", "CORS_ORIGINS"),
        ("CORS_ORIGINS", "https://a.example,*", "CORS_ORIGINS"),
        ("SMTP_URL", "", "SMTP_URL"),
        ("ENABLE_TEST_ENDPOINTS", "true", "ENABLE_TEST_ENDPOINTS"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let ended = Stile::in_directory(directory.path())
            .set_all(PRODUCTION)
            .set(name, value)
            .run(&[]);
        is_refused(&ended, blamed);
        assert!(
            !ended.err.contains("s3cr3t") && !ended.err.contains(SECRET),
            "{ended:?}"
        );
    }
}

/// LGR-01.
#[test]
fn an_address_that_cannot_be_read_is_not_repeated() {
    for name in ["DATABASE_URL", "REDIS_URL", "SMTP_URL"] {
        for value in [
            "hunter2",
            "postgres://u:hunter2@h:port/d",
            "redis://:hunter2@h/x/y",
            "smtp://u:hunter2#@h",
        ] {
            let ended = serve(&[(name, value)]);
            is_refused(&ended, name);
            assert!(!ended.err.contains("hunter2"), "{ended:?}");
        }
    }
}

#[test]
fn an_open_address_without_an_environment_does_not_start() {
    is_refused(&serve(&[("HOST", "0.0.0.0")]), "HOST");
}

#[test]
fn a_file_of_another_environment_does_not_start() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(".env.test"), "ENVIRONMENT=production\n").unwrap();
    let ended = Stile::in_directory(directory.path())
        .set("ENVIRONMENT", "test")
        .run(&["serve"]);
    is_refused(&ended, "ENVIRONMENT");
}

#[test]
fn wrong_arguments_end_with_2() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in [&["serfe"][..], &["check", "--strikt"], &["keys"], &["--env-file"]] {
        assert_eq!(
            Stile::in_directory(directory.path()).run(arguments).code,
            Some(2),
            "{arguments:?}"
        );
    }
    let ended = Stile::in_directory(directory.path()).run(&["check", "--env-file", "missing"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("missing"), "{ended:?}");
}
