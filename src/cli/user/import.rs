//! `stile user import FILE.jsonl`: line by line, in batches, past what is refused.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Read as _};
use std::path::Path;
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::json;

use crate::accounts::{ImportRow, Imported, RowError};
use crate::cli;
use crate::cli::operator::{Beside, Reach, Refusal};
use crate::clock::Clock;
use crate::config::Config;

/// What `--help` says of the file.
pub(super) const FORMAT: &str = "\
A line is {\"email\",\"password_hash\",\"full_name\"?,\"is_verified\"?,\"created_at\"?}: argon2, bcrypt, scrypt or pbkdf2 in PHC
or modular form, or as Django or Werkzeug write it; true or false; RFC 3339. Owners log in with the passwords they have, and
are hashed anew then. What is refused is told line by line, and the rest goes in: exit code 1. An address that has an account
already is skipped.
";

/// Rows in one transaction: short enough that a login behind it does not notice.
const BATCH: usize = 200;

/// The longest line that is read, in bytes.
const LONGEST: u64 = 64 * 1024;

/// A line that is not imported.
#[derive(Serialize)]
struct Refused {
    line: u64,
    field: Option<&'static str>,
    message: String,
}

/// What became of the file.
#[derive(Default)]
struct Outcome {
    imported: Imported,
    refused: Vec<Refused>,
}

pub(super) async fn run(config: Config, path: &Path, as_json: bool) -> Result<ExitCode, Refusal> {
    // A file that cannot be read makes no database.
    let name = path.display();
    let unreadable = |error: io::Error| Refusal::Argument(format!("{name}: {error}"));
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(Refusal::Argument(format!("{name}: is a folder")));
    }
    let database = super::database(&config).await?;
    let beside = Beside::connect(config, database, Reach::Database).await?;
    let bar = progress(metadata.len());
    let outcome = import(&beside, file, &bar, &name.to_string()).await;
    bar.finish_and_clear();
    beside.close().await;
    let Outcome { imported, refused } = outcome?;
    let Imported { added, skipped } = imported;
    let printed = cli::print(&if as_json {
        format!(
            "{:#}\n",
            json!({ "imported": added, "skipped": skipped, "refused": refused })
        )
    } else {
        format!(
            "{added} imported, {skipped} skipped because they were there already, {} refused\n",
            refused.len()
        )
    });
    Ok(if refused.is_empty() {
        printed
    } else {
        ExitCode::FAILURE
    })
}

async fn import(beside: &Beside, file: File, bar: &ProgressBar, name: &str) -> Result<Outcome, Refusal> {
    let mut reader = BufReader::new(file);
    let mut outcome = Outcome::default();
    let (mut rows, mut line, mut number) = (Vec::with_capacity(BATCH), Vec::new(), 0);
    loop {
        let read = next_line(&mut reader, &mut line);
        let read = read.map_err(|error| Refusal::Failure(format!("{name}: {error}")))?;
        if read == 0 || rows.len() == BATCH {
            let Imported { added, skipped } = write(beside, &rows).await?;
            outcome.imported.added += added;
            outcome.imported.skipped += skipped;
            rows.clear();
        }
        if read == 0 {
            return Ok(outcome);
        }
        bar.inc(read);
        number += 1;
        match parse(&line, read, number) {
            None => {}
            Some(Ok(row)) => rows.push(row),
            Some(Err(error)) => {
                bar.suspend(|| cli::say_error(&format!("{name}:{number}: {error}")));
                outcome.refused.push(Refused {
                    line: number,
                    field: error.field,
                    message: error.message,
                });
            }
        }
    }
}

async fn write(beside: &Beside, rows: &[ImportRow]) -> Result<Imported, Refusal> {
    if rows.is_empty() {
        return Ok(Imported::default());
    }
    let written = beside.accounts.import_users(&beside.by, rows).await;
    written.map_err(|error| {
        Refusal::Failure(format!(
            "the database: {error}; what was imported so far stays, and running this again goes on from there"
        ))
    })
}

/// Reads a line without its end; of one that is too long, its beginning. How many bytes it took; 0 at the end.
fn next_line(reader: &mut BufReader<File>, line: &mut Vec<u8>) -> io::Result<u64> {
    line.clear();
    let mut taken = reader.by_ref().take(LONGEST + 1).read_until(b'\n', line)? as u64;
    if taken > LONGEST && line.last() != Some(&b'\n') {
        taken += reader.skip_until(b'\n')? as u64;
    }
    Ok(taken)
}

/// `None`: an empty line. `length`: of the whole line, of which a part may have been read.
fn parse(line: &[u8], length: u64, number: u64) -> Option<Result<ImportRow, RowError>> {
    // Some programs write a mark before the first line of UTF-8.
    let line = line
        .strip_prefix(b"\xef\xbb\xbf")
        .filter(|_| number == 1)
        .unwrap_or(line);
    let line = line.trim_ascii();
    if line.is_empty() {
        return None;
    }
    if length > LONGEST {
        return Some(Err(RowError {
            field: None,
            message: "longer than 64 KiB".to_owned(),
        }));
    }
    Some(ImportRow::parse(line, Clock::system().now()))
}

/// Shown on a terminal alone.
fn progress(bytes: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {percent}% of {total_bytes}, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(bytes).with_style(style)
}
