//! Keys: the one that signs access tokens, and the secret key.

use std::path::Path;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::error::printable;
use super::reader::Reader;
use super::source::Origin;
use super::{Environment, key_file};
use crate::credentials::{PasswordPolicy, SecretKeys, Settings, SigningKeyError, SigningKeys};

/// The three ways to give a signing key; exactly one is taken.
const WAYS: [&str; 3] = ["JWT_SIGNING_KEY_FILE", "JWT_SIGNING_KEY", "JWT_SECRET"];

/// Where a key made in development and test lies.
const MADE_KEY: &str = "data/signing_key.pem";

/// No key file is larger; the rest of a wrong file is not read.
const LARGEST_KEY_FILE: u64 = 64 * 1024;

/// The settings, and whether `JWT_ISSUER` is its default. `None` after a fault.
pub(super) fn read(
    reader: &mut Reader<'_>,
    environment: Environment,
    public_url: &str,
) -> Option<(Settings, bool)> {
    let password_policy = PasswordPolicy {
        min_length: reader.whole("PASSWORD_MIN_LENGTH", 8, 8..=64),
        min_score: reader.whole("PASSWORD_MIN_SCORE", 3, 0..=4),
    };
    let issuer = reader.text("JWT_ISSUER");
    let issuer_is_default = issuer.is_none();
    let (issuer, origin) = match issuer {
        Some((text, origin)) => (text.to_owned(), origin),
        None => (public_url.to_owned(), Origin::Derived),
    };
    reader.record("JWT_ISSUER", issuer.clone(), origin);
    let audience = reader.value("JWT_AUDIENCE", "stile".to_owned(), String::clone, |text| {
        Ok(text.to_owned())
    });
    let minutes: u64 = reader.whole("ACCESS_TOKEN_EXPIRE_MINUTES", 15, 1..=60);

    let previous = previous_keys(reader);
    let signing_keys = signing_keys(reader, environment, previous.as_deref());
    let secret_keys = secret_keys(reader, signing_keys.as_ref(), previous.as_deref());
    let settings = Settings {
        password_policy,
        pool: crate::credentials::PoolSettings::default(),
        signing_keys: signing_keys?,
        secret_keys: secret_keys?,
        issuer,
        audience,
        access_token_lifetime: Duration::from_secs(minutes * 60),
    };
    Some((settings, issuer_is_default))
}

/// `previous`: the keys of `JWT_PREVIOUS_KEY_FILES`, `None` after a fault.
fn signing_keys(
    reader: &mut Reader<'_>,
    environment: Environment,
    previous: Option<&[SecretString]>,
) -> Option<SigningKeys> {
    let given: Vec<&'static str> = WAYS
        .into_iter()
        .filter(|name| reader.source.get(name).is_some())
        .collect();
    for name in WAYS.iter().filter(|name| !given.contains(name)) {
        let value = if given.is_empty() && *name == WAYS[0] && environment.is_lenient() {
            MADE_KEY
        } else {
            "unset"
        };
        reader.record(name, value, Origin::Default);
    }
    match given.as_slice() {
        [] if environment.is_lenient() => made_key(reader, previous?),
        [] => {
            let ways = WAYS.join(", ");
            reader.refuse(WAYS[0], format!("{environment} needs a signing key: set exactly one of {ways} (`stile keys generate` makes one)"));
            None
        }
        [name] => {
            let (text, origin) = reader.text(name)?;
            reader.record(name, text, origin);
            match *name {
                "JWT_SECRET" => hs256(reader, text, previous?),
                "JWT_SIGNING_KEY" => {
                    let pem = SecretString::from(text.replace("\\n", "\n"));
                    from_pem(reader, name, &pem, previous?)
                }
                _ => {
                    let path = reader.source.path(text);
                    match read_key(&path, text) {
                        Ok(pem) => from_pem(reader, name, &pem, previous?),
                        Err(message) => {
                            reader.refuse(name, message);
                            None
                        }
                    }
                }
            }
        }
        [first, others @ ..] => {
            for name in others {
                reader.refuse(
                    name,
                    format!("{first} is set too; exactly one signing key is taken"),
                );
            }
            None
        }
    }
}

fn hs256(reader: &mut Reader<'_>, secret: &str, previous: &[SecretString]) -> Option<SigningKeys> {
    if !previous.is_empty() {
        reader.refuse(
            "JWT_PREVIOUS_KEY_FILES",
            "goes with a PEM signing key, not with JWT_SECRET",
        );
    }
    SigningKeys::from_secret(&SecretString::from(secret))
        .map_err(|error| reader.refuse("JWT_SECRET", error.to_string()))
        .ok()
}

fn from_pem(
    reader: &mut Reader<'_>,
    name: &'static str,
    current: &SecretString,
    previous: &[SecretString],
) -> Option<SigningKeys> {
    let fault = |error: &SigningKeyError| error.to_string();
    match SigningKeys::from_pem(current, previous) {
        Ok(keys) => Some(keys),
        Err(error) => {
            // Which of them it is shows when the current one is read alone.
            let culprit = SigningKeys::from_pem(current, &[]).map_or(name, |_| "JWT_PREVIOUS_KEY_FILES");
            reader.refuse(culprit, fault(&error));
            None
        }
    }
}

fn made_key(reader: &mut Reader<'_>, previous: &[SecretString]) -> Option<SigningKeys> {
    let path = reader.source.path(MADE_KEY);
    let pem = if reader.source.may_write {
        key_file::read_or_make(&path)
    } else {
        key_file::read_or_imagine(&path)
    };
    match pem {
        Ok(pem) => from_pem(reader, WAYS[0], &pem, previous),
        Err(error) => {
            reader.refuse(
                WAYS[0],
                format!("the key in {MADE_KEY} cannot be read or made: {error}"),
            );
            None
        }
    }
}

/// `JWT_PREVIOUS_KEY_FILES`; `None` after a fault.
fn previous_keys(reader: &mut Reader<'_>) -> Option<Vec<SecretString>> {
    let paths = reader.list("JWT_PREVIOUS_KEY_FILES", Vec::new(), |path| Ok(path.to_owned()));
    let mut keys = Vec::with_capacity(paths.len());
    for path in &paths {
        match read_key(&reader.source.path(path), path) {
            Ok(pem) => keys.push(pem),
            Err(message) => {
                reader.refuse("JWT_PREVIOUS_KEY_FILES", message);
                return None;
            }
        }
    }
    Some(keys)
}

fn read_key(path: &Path, shown: &str) -> Result<SecretString, String> {
    let shown = printable(shown);
    let large = std::fs::metadata(path).is_ok_and(|file| file.len() > LARGEST_KEY_FILE);
    if large {
        return Err(format!("`{shown}` is too large for a key"));
    }
    std::fs::read_to_string(path)
        .map(SecretString::from)
        .map_err(|error| format!("`{shown}` cannot be read: {}", error.kind()))
}

fn secret_keys(
    reader: &mut Reader<'_>,
    signing_keys: Option<&SigningKeys>,
    previous_keys: Option<&[SecretString]>,
) -> Option<SecretKeys> {
    let is_derived = reader.source.get("SECRET_KEY").is_none();
    let mut previous = secret(reader, "SECRET_KEY_PREVIOUS");
    if previous.is_none() {
        // While a signing key is rotated, what is derived from it goes along: what one process sealed, another opens.
        let key = previous_keys.and_then(<[_]>::first).filter(|_| is_derived);
        previous = key
            .and_then(|pem| SigningKeys::from_pem(pem, &[]).ok())
            .map(|keys| keys.default_secret_key());
        match previous {
            Some(_) => reader.record(
                "SECRET_KEY_PREVIOUS",
                "HKDF-SHA256 of the first previous signing key",
                Origin::Derived,
            ),
            None => reader.record("SECRET_KEY_PREVIOUS", "unset", Origin::Default),
        }
    }
    let current = if is_derived {
        reader.record("SECRET_KEY", "HKDF-SHA256 of the signing key", Origin::Derived);
        signing_keys?.default_secret_key()
    } else {
        secret(reader, "SECRET_KEY")?
    };
    SecretKeys::new(current, previous)
        .map_err(|error| reader.refuse("SECRET_KEY", error.to_string()))
        .ok()
}

/// A secret that is good on its own, or `None`: not set, or a fault.
fn secret(reader: &mut Reader<'_>, name: &'static str) -> Option<SecretString> {
    let (text, origin) = reader.text(name)?;
    let secret = SecretString::from(text);
    if let Err(error) = SecretKeys::new(secret.clone(), None) {
        reader.refuse(name, error.to_string());
        return None;
    }
    reader.record(name, secret.expose_secret(), origin);
    Some(secret)
}
