//! The signing key that development and test make for themselves.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};

use crate::credentials::SigningKeys;

/// The key at `path`; made there first if need be, readable by its owner alone.
///
/// Two processes that start together get the same key: it is written beside and then linked to its name, which
/// succeeds for one of them and shows nobody half a file.
pub(super) fn read_or_make(path: &Path) -> io::Result<SecretString> {
    match read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        done => return done,
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let draft = path.with_extension(format!("{}.new", uuid::Uuid::now_v7()));
    let linked =
        write_private(&draft, &SigningKeys::generate_pem()).and_then(|()| fs::hard_link(&draft, path));
    let removed = fs::remove_file(&draft);
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => removed?,
    }
    read(path)
}

/// The key at `path`, or one that is forgotten again.
pub(super) fn read_or_imagine(path: &Path) -> io::Result<SecretString> {
    match read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(SigningKeys::generate_pem()),
        done => done,
    }
}

fn read(path: &Path) -> io::Result<SecretString> {
    fs::read_to_string(path).map(SecretString::from)
}

fn write_private(path: &Path, pem: &SecretString) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(pem.expose_secret().as_bytes())?;
    file.sync_all()
}
