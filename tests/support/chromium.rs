//! The browser that journeys and examples run in.

use std::path::PathBuf;

/// The one that `CHROMIUM_PATH` names, or Debian's.
pub fn path() -> PathBuf {
    let named = std::env::var_os("CHROMIUM_PATH").map(PathBuf::from);
    let path = named.unwrap_or_else(|| "/usr/bin/chromium".into());
    assert!(
        path.exists(),
        "the tests need a browser, which scripts/test brings: apt-get install chromium, or CHROMIUM_PATH"
    );
    path
}
