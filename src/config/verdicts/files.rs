//! Files with secrets that others on the machine may read, and secrets that can be guessed.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::Verdicts;
use crate::config::{Origin, Source, dsn};
use crate::credentials;

/// Variables that name a file with a secret in it.
const KEY_FILES: [&str; 2] = ["JWT_SIGNING_KEY_FILE", "JWT_PREVIOUS_KEY_FILES"];

/// Variables that are a secret.
const SECRETS: [&str; 5] = [
    "JWT_SIGNING_KEY",
    "JWT_SECRET",
    "SECRET_KEY",
    "SECRET_KEY_PREVIOUS",
    "TEST_ENDPOINTS_KEY",
];

/// Variables that are a URL, which can carry a password.
const URLS: [&str; 3] = ["DATABASE_URL", "REDIS_URL", "SMTP_URL"];

pub(super) fn judge(verdicts: &mut Verdicts<'_>, source: &Source) {
    let in_env_file = SECRETS
        .into_iter()
        .chain(URLS)
        .find(|name| stands_in_file(source, name));
    if let (Some(name), Some(path)) = (in_env_file, source.file()) {
        let shown = path.display();
        if readable_by_others(source.path(&path.to_string_lossy())) {
            verdicts.warn(
                format!("{shown} holds {name} and may be read by every user of this machine"),
                format!("chmod o= {shown}"),
            );
        }
    }
    for name in KEY_FILES {
        let Some((Ok(paths), _)) = source.get(name) else {
            continue;
        };
        for path in paths.split(',').map(str::trim).filter(|path| !path.is_empty()) {
            if readable_by_others(source.path(path)) {
                verdicts.warn(
                    format!("the key in {path} ({name}) may be read by every user of this machine"),
                    format!("chmod o= {path}"),
                );
            }
        }
    }
    for name in ["JWT_SECRET", "SECRET_KEY"] {
        if let Some((Ok(secret), _)) = source.get(name)
            && credentials::can_be_guessed(&secret.into())
        {
            verdicts.warn(
                format!("{name} is made of words or patterns: whoever guesses it is the service"),
                format!("openssl rand -base64 48   (what it prints goes behind {name}=)"),
            );
        }
    }
    let same = |one: &str, other: &str| match (source.get(one), source.get(other)) {
        (Some((Ok(one), _)), Some((Ok(other), _))) => one == other,
        _ => false,
    };
    if same("JWT_SECRET", "SECRET_KEY") {
        verdicts.warn(
            "JWT_SECRET and SECRET_KEY are the same: who learns one has the other",
            "openssl rand -base64 48   (what it prints goes behind SECRET_KEY=)",
        );
    }
}

/// Whether `name` stands in the env file, and is a secret there.
fn stands_in_file(source: &Source, name: &str) -> bool {
    let Some((Ok(value), Origin::File(_))) = source.get(name) else {
        return false;
    };
    // A Redis Cluster is several URLs.
    let has_password = |url: &str| dsn::has_password(url.trim());
    !URLS.contains(&name) || value.split(',').any(has_password)
}

/// Others, not the group: a service's file is often `root:stile 0640`.
fn readable_by_others(path: PathBuf) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o004 != 0)
}
