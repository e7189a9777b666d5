//! `stile keys`: makes keys and stores nothing.

use std::process::ExitCode;

use secrecy::ExposeSecret as _;

use crate::credentials::SigningKeys;

#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    /// Print a new Ed25519 signing key in PEM, for `JWT_SIGNING_KEY_FILE`.
    #[command(after_long_help = "It reads no environment variable.")]
    Generate,
}

pub(super) fn run(command: &Command) -> ExitCode {
    match command {
        Command::Generate => super::print(SigningKeys::generate_pem().expose_secret()),
    }
}
