//! Files with secrets that others on the machine may read, and secrets that can be guessed.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::Verdicts;
use crate::config::{Origin, Secrecy, Source, Variable, dsn, variables};
use crate::credentials;

/// Variables that name a file with a secret in it.
const KEY_FILES: [&str; 2] = ["JWT_SIGNING_KEY_FILE", "JWT_PREVIOUS_KEY_FILES"];

pub(super) fn judge(verdicts: &mut Verdicts<'_>, source: &Source) {
    let in_env_file = variables()
        .into_iter()
        .find(|variable| stands_in_file(source, variable));
    if let (Some(Variable { name, .. }), Some(path)) = (in_env_file, source.file()) {
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

/// Whether `variable` stands in the env file, and holds a secret there.
fn stands_in_file(source: &Source, variable: &Variable) -> bool {
    let Some((Ok(value), Origin::File(_))) = source.get(variable.name) else {
        return false;
    };
    match variable.secrecy {
        Secrecy::Open => false,
        // A Redis Cluster is several URLs.
        Secrecy::Url => value.split(',').any(|url| dsn::has_password(url.trim())),
        Secrecy::Secret => !value.trim().is_empty(),
    }
}

/// Others, not the group: a service's file is often `root:stile 0640`.
fn readable_by_others(path: PathBuf) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o004 != 0)
}
