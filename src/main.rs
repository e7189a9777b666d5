//! The binary: see [`stile::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    stile::cli::main()
}
