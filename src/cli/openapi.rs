//! `stile openapi`: prints what the HTTP API is. It needs no configuration, no database and no network.

use std::process::ExitCode;

pub(super) fn run() -> ExitCode {
    match serde_json::to_string_pretty(&crate::http::openapi()) {
        Ok(document) => super::print(&format!("{document}\n")),
        Err(error) => super::failure(&format!("the document cannot be written: {error}")),
    }
}
