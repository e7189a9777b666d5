//! `stile completions` and `stile man`: made from the arguments as they are, so they never lag behind.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Arguments;

#[derive(clap::Args, Debug)]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

#[derive(clap::Args, Debug)]
pub(super) struct Man {
    /// The folder; it is made.
    directory: PathBuf,
}

pub(super) fn completions(options: &Completions) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Arguments::command(), "stile", &mut script);
    super::print(&String::from_utf8_lossy(&script))
}

pub(super) fn man(options: &Man) -> ExitCode {
    let directory = &options.directory;
    let written = fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(Arguments::command(), directory));
    match written {
        Ok(()) => super::print(&format!("the manual pages are in {}\n", directory.display())),
        Err(error) => super::failure(&format!("{}: {error}", directory.display())),
    }
}
