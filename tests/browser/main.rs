//! The pages in a real Chromium: whole journeys (`journeys.mjs`), each against a stile of its own.

#[path = "../support/chromium.rs"]
mod chromium;
#[path = "../support/process.rs"]
mod process;

use std::path::{Path, PathBuf};
use std::process::Command;

use process::Stile;

/// What `scripts/test` installs.
fn modules() -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_stile")).ancestors().nth(2).unwrap();
    let installed = target.join("browser");
    assert!(
        installed.join("node_modules/axe-core").exists(),
        "the tests need what tests/browser/package.json names; scripts/test installs it, and so does, in {},\n\
         mkdir -p browser && cp ../tests/browser/package*.json browser && npm ci --prefix browser",
        target.display()
    );
    installed
}

fn journey(name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let stile = Stile::in_directory(folder.path())
        .set("RATE_LIMIT_LOGIN", "3/12 seconds")
        .set("RATE_LIMIT_REGISTRATION", "10/hour")
        .start();
    let ended = Command::new("node")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/journeys.mjs"))
        .arg(name)
        .env(
            "STILE_URL",
            format!("http://localhost:{}", stile.address().port()),
        )
        .env("STILE_FOLDER", folder.path())
        .env("STILE_BIN", env!("CARGO_BIN_EXE_stile"))
        .env("MODULES", modules())
        .env("CHROMIUM_PATH", chromium::path())
        .env("NO_PROXY", "localhost")
        .output()
        .unwrap_or_else(|error| panic!("the tests need Node.js 20, which scripts/test brings: {error}"));
    let said = String::from_utf8_lossy(&ended.stdout) + String::from_utf8_lossy(&ended.stderr);
    assert!(
        ended.status.success() && said.contains("done: "),
        "{name}\n{said}\nstile said:\n{}",
        stile.out.text()
    );
}

#[test]
fn from_sign_up_to_the_deleted_account_in_light_and_dark_and_on_360_pixels() {
    journey("sign-up to deleted account");
}

#[test]
fn a_password_is_reset_by_the_link_in_the_mail() {
    journey("reset by mail");
}

#[test]
fn a_limited_sign_in_counts_down_and_opens_again() {
    journey("a limited sign-in and its countdown");
}

#[test]
fn signing_out_everywhere_reaches_the_other_browser() {
    journey("two browsers and sign out everywhere");
}

#[test]
fn an_operator_sees_users_limits_and_the_limiter_live() {
    journey("the operator");
}

#[test]
fn sign_up_sign_in_and_reset_work_without_script() {
    journey("without script");
}
