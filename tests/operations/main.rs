//! What those who run stile are given: `ops/` and `docs/OPERATIONS.md`, held against the program.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this is a test: the lints' own exception covers test functions, not what they call"
)]

#[path = "../support/process.rs"]
mod process;

mod files;
mod links;
mod page;
mod setting_up;

use std::path::{Path, PathBuf};

/// A file of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Its text.
fn text_of(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
