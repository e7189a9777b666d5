//! The command line: parses arguments, runs one command, prints. One file per command.
//!
//! Exit codes: 0 done; 1 it failed while running (or `check --strict` found warnings); 2 the arguments or the
//! configuration are wrong.

mod audit;
mod check;
mod connections;
mod keys;
mod limits;
mod migrate;
mod openapi;
mod operator;
mod report;
mod serve;
mod shell;
mod table;
mod token;
mod user;

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::config::{ConfigErrors, MIGRATION_VARIABLES, Source, Variable, variables};

/// A product's auth API with rate limits built in.
///
/// Everything is configured by environment variables, from the process environment or one env file: --env-file, else
/// .env.$ENVIRONMENT when the process sets ENVIRONMENT to anything but development, else .env if there.
#[derive(Parser, Debug)]
#[command(name = "stile", version, after_long_help = reads_everything())]
struct Arguments {
    /// Read this env file and no other.
    #[arg(long, global = true, value_name = "PATH")]
    env_file: Option<PathBuf>,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Migrate the database, serve until SIGTERM, SIGINT or SIGHUP, drain (the default).
    #[command(after_long_help = reads_everything())]
    Serve,
    /// Run the migrations and exit.
    #[command(after_long_help = reads(|variable| MIGRATION_VARIABLES.contains(&variable.name)))]
    Migrate,
    /// Print the effective configuration, every limit, and what to know about them.
    #[command(after_long_help = reads_everything())]
    Check(check::Options),
    /// See and clear counters, in Redis or in the one process that counts in memory.
    #[command(subcommand, after_long_help = reads_everything())]
    Limits(limits::Command),
    /// See API tokens, and end one.
    #[command(subcommand, after_long_help = reads_everything())]
    Token(token::Command),
    /// Administer accounts.
    #[command(subcommand, after_long_help = reads_everything())]
    User(user::Command),
    /// Print security events, the newest first.
    #[command(after_long_help = reads_everything())]
    Audit(audit::Options),
    /// Make keys.
    #[command(subcommand, after_long_help = "It reads no environment variable.")]
    Keys(keys::Command),
    /// Print the OpenAPI 3.1 document of the HTTP API, as JSON.
    #[command(after_long_help = "It reads no environment variable.")]
    Openapi,
    /// Print what a shell needs to complete commands: `stile completions bash > /etc/bash_completion.d/stile`.
    #[command(after_long_help = "It reads no environment variable.")]
    Completions(shell::Completions),
    /// Write a manual page for each command: `stile man /usr/local/share/man/man1`.
    #[command(after_long_help = "It reads no environment variable.")]
    Man(shell::Man),
}

/// Parses the arguments of this process and runs what they say.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refused(&error),
    };
    // rustls picks its cryptography from the process; the only other choice would be found at the first connection.
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        return failure("the TLS library is set up already");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failure(&format!("the runtime does not start: {error}")),
    };
    let code = runtime.block_on(Box::pin(run(arguments)));
    // Dropping it would wait for blocking calls that nobody asks for any more: a name server that does not answer.
    runtime.shutdown_background();
    code
}

async fn run(arguments: Arguments) -> ExitCode {
    let env_file = arguments.env_file.as_deref();
    match arguments.command.unwrap_or(Command::Serve) {
        Command::Serve => Box::pin(serve::run(env_file)).await,
        Command::Migrate => migrate::run(env_file).await,
        Command::Check(options) => Box::pin(check::run(env_file, &options)).await,
        Command::Limits(command) => Box::pin(limits::run(env_file, &command)).await,
        Command::Token(command) => Box::pin(token::run(env_file, &command)).await,
        Command::User(command) => Box::pin(user::run(env_file, &command)).await,
        Command::Audit(options) => Box::pin(audit::run(env_file, &options)).await,
        Command::Keys(command) => keys::run(&command),
        Command::Openapi => openapi::run(),
        Command::Completions(options) => shell::completions(&options),
        Command::Man(options) => shell::man(&options),
    }
}

/// Arguments that cannot be understood, in one line; or the help that was asked for.
fn refused(error: &clap::Error) -> ExitCode {
    let is_help = matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if is_help {
        let _ = error.print();
        return ExitCode::from(u8::from(error.use_stderr()) * 2);
    }
    let text = error.to_string();
    let what = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty());
    let what = what.collect::<Vec<_>>().join(" ");
    let what = what.strip_prefix("error: ").unwrap_or(&what);
    say_error(&format!("{what} (see --help)"));
    ExitCode::from(2)
}

/// A configuration made by `make`, or the exit code after its faults were printed, a line each.
fn configured<C>(
    env_file: Option<&Path>,
    make: impl FnOnce(&Source) -> Result<C, ConfigErrors>,
) -> Result<C, ExitCode> {
    Source::from_process(env_file)
        .and_then(|source| make(&source))
        .map_err(|errors| {
            complain(&errors);
            ExitCode::from(2)
        })
}

/// Each fault on a line of standard error.
fn complain(errors: &ConfigErrors) {
    for error in errors.as_slice() {
        say_error(&error.to_string());
    }
}

fn failure(message: &str) -> ExitCode {
    say_error(message);
    ExitCode::FAILURE
}

/// A line on standard error. Where even that is closed, there is nobody left to tell.
fn say_error(message: &str) {
    let _ = writeln!(io::stderr(), "stile: {message}");
}

/// A part of a long text on standard output; breaks off when nobody reads on, or nothing can be written.
fn print_part(text: &str) -> ControlFlow<ExitCode> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ControlFlow::Break(ExitCode::SUCCESS),
        Err(error) => ControlFlow::Break(failure(&format!("cannot write: {error}"))),
    }
}

/// `text` on standard output. A reader that left (`stile check | head`) is no failure.
fn print(text: &str) -> ExitCode {
    match print_part(text) {
        ControlFlow::Continue(()) => ExitCode::SUCCESS,
        ControlFlow::Break(code) => code,
    }
}

fn reads_everything() -> String {
    reads(|_| true)
}

/// The part of a `--help` that names variables.
fn reads(wanted: impl Fn(&Variable) -> bool) -> String {
    let now: Vec<_> = variables().into_iter().filter(wanted).collect();
    let mut text = String::from("Environment variables it reads:\n");
    let width = now.iter().map(|variable| variable.name.len()).max().unwrap_or(0);
    for Variable {
        name,
        meaning,
        default,
        ..
    } in &now
    {
        let _ = writeln!(text, "  {name:width$}  {meaning} [{default}]");
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn an_env_file_may_stand_before_or_behind_the_command() {
        for arguments in [
            ["stile", "--env-file", "x", "check"],
            ["stile", "check", "--env-file", "x"],
        ] {
            let parsed = Arguments::try_parse_from(arguments).unwrap();
            assert_eq!(parsed.env_file.as_deref(), Some(Path::new("x")));
        }
    }

    #[test]
    fn every_commands_help_names_the_variables_it_reads() {
        let help = |command: &[&str]| {
            let arguments = ["stile"].iter().chain(command).chain(&["--help"]);
            Arguments::try_parse_from(arguments).unwrap_err().to_string()
        };
        let commands: [&[&str]; 18] = [
            &[],
            &["serve"],
            &["check"],
            &["limits", "list"],
            &["limits", "show"],
            &["limits", "reset"],
            &["token", "list"],
            &["token", "revoke"],
            &["user", "create"],
            &["user", "list"],
            &["user", "show"],
            &["user", "activate"],
            &["user", "deactivate"],
            &["user", "set-role"],
            &["user", "set-password-link"],
            &["user", "delete"],
            &["user", "import"],
            &["audit"],
        ];
        for command in commands {
            for variable in variables() {
                assert!(
                    help(command).contains(variable.name),
                    "{command:?} {}",
                    variable.name
                );
            }
        }
        let migrate = help(&["migrate"]);
        assert!(
            migrate.contains("DATABASE_URL") && !migrate.contains("JWT_SECRET"),
            "{migrate}"
        );
        for command in [&["keys", "generate"][..], &["openapi"]] {
            assert!(help(command).contains("no environment variable"));
        }
    }
}
