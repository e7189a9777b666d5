//! The env files of the repository, and README: what they say must be what the program reads.

use std::fs;
use std::path::Path;

use stile::config::{Config, Source, Verdict, variables};
use stile::rate_limit::Rule;

use crate::{SECRET, shown, within};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The configuration of an env file of the repository, as somebody gets it who adds only what is secret.
fn shipped(file: &str, secrets: &[(&str, &str)]) -> Config {
    within(repository(), secrets, Some(file)).unwrap_or_else(|errors| panic!("{file}: {errors}"))
}

/// The table of contract section 2.
fn has_limits(config: &Config, expected: [&str; 10]) {
    let columns = [
        Rule::Registration,
        Rule::Login,
        Rule::Refresh,
        Rule::PasswordReset,
        Rule::ResetVerify,
        Rule::ResetConfirm,
        Rule::Global,
        Rule::LoginAccount,
        Rule::MailAccount,
        Rule::ResendVerification,
    ];
    for (rule, limit) in columns.into_iter().zip(expected) {
        assert_eq!(
            config.rate_limit.rules.get(rule).to_string(),
            limit,
            "{}",
            rule.variable()
        );
        assert_ne!(
            stile::config::Origin::Default,
            origin_of(config, rule),
            "{} is written down",
            rule.variable()
        );
    }
}

fn origin_of(config: &Config, rule: Rule) -> stile::config::Origin {
    config
        .effective
        .iter()
        .find(|effective| effective.name == rule.variable())
        .unwrap()
        .origin
        .clone()
}

#[test]
fn the_example_is_for_development_with_lenient_limits_switched_off() {
    let config = shipped(".env.example", &[]);
    assert_eq!(config.environment.name(), "development");
    assert!(!config.rate_limit.enabled);
    has_limits(
        &config,
        [
            "1000/hour",
            "1000/minute",
            "1000/minute",
            "1000/hour",
            "1000/minute",
            "1000/minute",
            "10000/minute",
            "1000/hour",
            "1000/hour",
            "1000/hour",
        ],
    );
    assert_eq!(config.warnings().count(), 0);
}

#[test]
fn staging_needs_no_more_than_a_signing_key() {
    let config = shipped(".env.staging", &[("JWT_SECRET", SECRET)]);
    assert_eq!(config.environment.name(), "staging");
    assert!(config.rate_limit.enabled);
    has_limits(
        &config,
        [
            "50/hour",
            "100/minute",
            "100/minute",
            "50/hour",
            "100/minute",
            "100/minute",
            "600/minute",
            "500/hour",
            "50/hour",
            "50/hour",
        ],
    );
}

#[test]
fn production_needs_no_more_than_its_secrets() {
    let config = shipped(
        ".env.production",
        &[
            ("JWT_SECRET", SECRET),
            ("DATABASE_URL", "postgres://stile:x@db/stile"),
            ("SMTP_URL", "smtps://x:y@smtp"),
            ("REDIS_URL", "redis://cache"),
        ],
    );
    assert_eq!(config.environment.name(), "production");
    assert!(config.rate_limit.enabled);
    has_limits(
        &config,
        [
            "3/hour",
            "5/minute",
            "10/minute",
            "3/hour",
            "10/minute",
            "5/minute",
            "60/minute",
            "50/hour",
            "5/hour",
            "3/hour",
        ],
    );
    assert_eq!(config.warnings().collect::<Vec<_>>(), Vec::<&Verdict>::new());
}

#[test]
fn no_env_file_holds_a_secret() {
    for file in [".env.example", ".env.staging", ".env.production"] {
        let text = fs::read_to_string(repository().join(file)).unwrap();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("x"), &text).unwrap();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split('=').next().unwrap();
            let secret = variables()
                .iter()
                .any(|variable| variable.name == name && variable.secrecy != stile::config::Secrecy::Open);
            assert!(!secret, "{file} sets {name}");
        }
    }
}

#[test]
fn every_variable_stands_in_the_example() {
    let example = fs::read_to_string(repository().join(".env.example")).unwrap();
    for variable in variables() {
        let name = variable.name;
        let stands = example.lines().any(|line| {
            line.strip_prefix("# ")
                .unwrap_or(line)
                .starts_with(&format!("{name}="))
        });
        assert!(stands, "{name} is missing in .env.example");
    }
}

/// What is commented out shows the default, and a line somebody uncomments must be good.
#[test]
fn every_commented_line_of_the_example_may_be_uncommented() {
    let example = fs::read_to_string(repository().join(".env.example")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let plain = Config::from_source(
        &Source::new([("PORT", "8000")], directory.path(), None)
            .unwrap()
            .look_only(),
    )
    .unwrap();
    for variable in variables() {
        let name = variable.name;
        let Some(line) = example
            .lines()
            .find(|line| line.starts_with(&format!("# {name}=")))
        else {
            continue;
        };
        if matches!(
            name,
            "JWT_SIGNING_KEY" | "JWT_SIGNING_KEY_FILE" | "JWT_SECRET" | "SECRET_KEY"
        ) {
            continue;
        }
        fs::write(directory.path().join("x"), line.trim_start_matches("# ")).unwrap();
        let config =
            within(directory.path(), &[], Some("x")).unwrap_or_else(|errors| panic!("{line}: {errors}"));
        if !matches!(name, "RATE_LIMIT_BURST" | "RATE_LIMIT_FLEET_SIZE") {
            assert_eq!(
                shown(&config, name),
                shown(&plain, name),
                "{name}: the example shows another default"
            );
        }
    }
}

/// JWT-08: the placeholder of the example does not start production.
#[test]
fn the_examples_secrets_are_refused() {
    let example = fs::read_to_string(repository().join(".env.example")).unwrap();
    for name in ["JWT_SECRET", "SECRET_KEY"] {
        let value = example
            .lines()
            .find_map(|line| line.strip_prefix(&format!("# {name}=")))
            .unwrap();
        let result = crate::of(&[(name, value)]);
        let errors = result.err().unwrap().to_string();
        assert!(errors.starts_with(name) && !errors.contains(value), "{errors}");
    }
}

#[test]
fn every_variable_stands_in_the_readme() {
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    for variable in variables() {
        assert!(
            readme.contains(&format!("`{}`", variable.name)),
            "README names no `{}`",
            variable.name
        );
    }
}
