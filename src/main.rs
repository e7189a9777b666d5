//! The binary: see [`stile::cli`].

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::process::ExitCode;

fn main() -> ExitCode {
    stile::cli::main()
}
