//! The configuration as a value: from variables and an env file to `Config`, or to faults that name their variable.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this is a test: the lints' own exception covers test functions, not what they call"
)]

mod env_files;
mod faults;
mod keys;
mod sources;
mod values;

use std::path::Path;

use stile::config::{Config, ConfigErrors, Source};

/// 48 random bytes in base64: a good secret.
pub(crate) const SECRET: &str = "q2nD0LxTfR8aPzWvYh3mKsEu7oJc5BgVt1XiZ9yCwN4bHkQeMrSdAl6FpUjG0O+/";

/// What production needs besides its limits.
pub(crate) const PRODUCTION: &[(&str, &str)] = &[
    ("ENVIRONMENT", "production"),
    ("JWT_SECRET", SECRET),
    ("DATABASE_URL", "postgres://stile:s3cr3t@db.internal/stile"),
    ("REDIS_URL", "rediss://:s3cr3t@cache.internal:6380/0"),
    ("SMTP_URL", "smtps://mailer:s3cr3t@smtp.internal"),
    ("PUBLIC_URL", "https://auth.example.org"),
    ("API_TOKEN_SCOPES", "read:*,write:*"),
];

/// The configuration of a process with these variables in an empty directory.
pub(crate) fn of(variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let directory = tempfile::tempdir().unwrap();
    within(directory.path(), variables, None)
}

/// The same in `directory`, with `--env-file`. Nothing is written.
pub(crate) fn within(
    directory: &Path,
    variables: &[(&str, &str)],
    env_file: Option<&str>,
) -> Result<Config, ConfigErrors> {
    let source = Source::new(variables.iter().copied(), directory, env_file.map(Path::new))?;
    Config::from_source(&source.look_only())
}

/// `base` with `changes` on top; a change to `-` takes the variable away.
pub(crate) fn with<'a>(
    base: &[(&'a str, &'a str)],
    changes: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    let replaced = |name: &str| changes.iter().any(|(other, _)| *other == name);
    let kept = base.iter().filter(|(name, _)| !replaced(name));
    kept.chain(changes.iter().filter(|(_, value)| *value != "-"))
        .copied()
        .collect()
}

/// The names of the variables that were found faulty.
pub(crate) fn blamed(result: Result<Config, ConfigErrors>) -> Vec<String> {
    match result {
        Ok(_) => Vec::new(),
        Err(errors) => {
            let mut names: Vec<_> = errors
                .as_slice()
                .iter()
                .map(|error| error.variable.clone().unwrap_or_default())
                .collect();
            names.dedup();
            names
        }
    }
}

/// What `name` came to, as `stile check` shows it.
pub(crate) fn shown(config: &Config, name: &str) -> String {
    config
        .effective
        .iter()
        .find(|effective| effective.name == name)
        .unwrap()
        .value
        .clone()
}

/// Where `name` came from, as `stile check` shows it.
pub(crate) fn origin(config: &Config, name: &str) -> String {
    config
        .effective
        .iter()
        .find(|effective| effective.name == name)
        .unwrap()
        .origin
        .to_string()
}
