//! Where values come from: the process environment, and at most one file. Knows no variable but `ENVIRONMENT`.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, ConfigErrors, printable};

/// Where the value of a variable was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The process environment.
    Process,
    /// The env file.
    File(PathBuf),
    /// Set nowhere: the program's own.
    Default,
    /// Set nowhere: computed from other variables.
    Derived,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process => f.write_str("process environment"),
            Self::File(path) => write!(f, "{}", printable(&path.to_string_lossy())),
            Self::Default => f.write_str("default"),
            Self::Derived => f.write_str("derived"),
        }
    }
}

/// Everything that a configuration is made of. Values are secret: there is no `Debug`.
pub struct Source {
    process: BTreeMap<String, OsString>,
    file: Option<EnvFile>,
    directory: PathBuf,
    pub(super) may_write: bool,
}

struct EnvFile {
    path: PathBuf,
    values: BTreeMap<String, String>,
}

impl Source {
    /// The environment of this process, and its env file in the current directory.
    ///
    /// `env_file` is `--env-file`: that file and no other, and it must exist.
    pub fn from_process(env_file: Option<&Path>) -> Result<Self, ConfigErrors> {
        Self::gather(std::env::vars_os(), PathBuf::new(), env_file)
    }

    /// As [`Source::from_process`], with an environment of the caller's and `directory` as the current one:
    /// relative paths of the configuration start there.
    ///
    /// # Errors
    /// The file cannot be read or parsed, names a variable twice, or is of another `ENVIRONMENT`.
    pub fn new<N: Into<String>, V: Into<String>>(
        process: impl IntoIterator<Item = (N, V)>,
        directory: impl Into<PathBuf>,
        env_file: Option<&Path>,
    ) -> Result<Self, ConfigErrors> {
        let process = process
            .into_iter()
            .map(|(name, value)| (name.into().into(), value.into().into()));
        Self::gather(process, directory.into(), env_file)
    }

    /// A source from which a configuration is made without leaving a trace: no signing key is written.
    #[must_use]
    pub fn look_only(mut self) -> Self {
        self.may_write = false;
        self
    }

    fn gather(
        process: impl Iterator<Item = (OsString, OsString)>,
        directory: PathBuf,
        env_file: Option<&Path>,
    ) -> Result<Self, ConfigErrors> {
        // A name that is not even Unicode is none of ours.
        let process: BTreeMap<_, _> = process
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .collect();
        let environment = process.get("ENVIRONMENT").and_then(|value| value.to_str());
        let (path, required) = match (env_file, environment) {
            (Some(path), _) => (Some(path.to_path_buf()), true),
            (None, None | Some("development")) => (Some(PathBuf::from(".env")), false),
            (None, Some(name @ ("test" | "staging" | "production"))) => {
                (Some(format!(".env.{name}").into()), false)
            }
            // No such environment: `Config` refuses it, and no path is made of it.
            (None, Some(_)) => (None, false),
        };
        let file = match path {
            Some(path) => EnvFile::read(&directory, path, required)?,
            None => None,
        };
        if let (Some(ours), Some(file)) = (environment, &file)
            && let Some(theirs) = file.values.get("ENVIRONMENT")
            && theirs != ours
        {
            return Err(ConfigError::of(
                "ENVIRONMENT",
                format!(
                    "the process says `{}`, {} says `{}`; files of two environments are never mixed",
                    printable(ours),
                    printable(&file.path.to_string_lossy()),
                    printable(theirs)
                ),
            )
            .into());
        }
        Ok(Self {
            process,
            file,
            directory,
            may_write: true,
        })
    }

    /// The value of `name`, and where it stands; the process environment wins. `Err` is a value that is not Unicode.
    pub(super) fn get(&self, name: &str) -> Option<(Result<&str, NotUnicode>, Origin)> {
        if let Some(value) = self.process.get(name) {
            return Some((value.to_str().ok_or(NotUnicode), Origin::Process));
        }
        let file = self.file.as_ref()?;
        file.values
            .get(name)
            .map(|value| (Ok(value.as_str()), Origin::File(file.path.clone())))
    }

    /// Every name that is set, with where it stands.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, Origin)> {
        let of_file = self.file.iter().flat_map(|file| {
            file.values
                .keys()
                .map(|name| (name.as_str(), Origin::File(file.path.clone())))
        });
        of_file.chain(self.process.keys().map(|name| (name.as_str(), Origin::Process)))
    }

    /// The env file that was read.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_ref().map(|file| file.path.as_path())
    }

    /// `path` as seen from the source's directory.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.directory.join(path)
    }
}

/// The value holds bytes that are no text.
#[derive(Debug)]
pub(super) struct NotUnicode;

impl EnvFile {
    fn read(directory: &Path, path: PathBuf, required: bool) -> Result<Option<Self>, ConfigErrors> {
        let name = printable(&path.to_string_lossy());
        let text = match std::fs::read(directory.join(&path)) {
            Ok(bytes) => String::from_utf8(bytes)
                .map_err(|_| ConfigError::general(format!("{name}: not a text in UTF-8")))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => return Ok(None),
            Err(error) => {
                return Err(ConfigError::general(format!("{name}: cannot be read: {}", error.kind())).into());
            }
        };
        let values = parse(&text)
            .map_err(|faults| ConfigErrors(faults.into_iter().map(|fault| fault.in_file(&name)).collect()))?;
        Ok(Some(Self { path, values }))
    }
}

/// A line that cannot stand.
struct Fault {
    variable: Option<String>,
    line: usize,
    message: String,
}

impl Fault {
    fn in_file(self, file: &str) -> ConfigError {
        let message = format!("{file} line {}: {}", self.line, self.message);
        match self.variable {
            Some(name) => ConfigError::of(&name, message),
            None => ConfigError::general(message),
        }
    }
}

/// What the file says, by dotenvy's rules but one: a `$` is a `$`.
///
/// dotenvy replaces `$NAME` by the value of another variable, and by nothing when there is none, so a password
/// with a dollar would silently become another one. Hence dotenvy is given a stand-in for each `$`.
fn parse(text: &str) -> Result<BTreeMap<String, String>, Vec<Fault>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut values = BTreeMap::new();
    let mut lines: BTreeMap<String, usize> = BTreeMap::new();
    let mut faults = Vec::new();

    let dollar = Dollar::absent_from(text);
    let hidden = dollar.hide(text);
    let read = Cell::new(0);
    let mut entries = dotenvy::from_read_iter(LineByLine {
        rest: hidden.as_bytes(),
        read: &read,
    });
    loop {
        let before = read.get();
        let Some(entry) = entries.next() else { break };
        let (line, name) = first_entry_after(text, before);
        match entry {
            Ok((name, value)) => match lines.insert(name.clone(), line) {
                None => drop(values.insert(name, dollar.restore(&value))),
                Some(earlier) => faults.push(Fault {
                    variable: Some(name),
                    line,
                    message: format!("set already in line {earlier}; once is enough"),
                }),
            },
            // The error repeats the line, which may be a secret: it is dropped.
            Err(_) => faults.push(Fault {
                variable: name.map(ToOwned::to_owned),
                line,
                message: "not a NAME=value; a value with spaces, quotes, # or \\ stands in single quotes"
                    .to_owned(),
            }),
        }
    }
    if faults.is_empty() {
        Ok(values)
    } else {
        Err(faults)
    }
}

/// The number of the first line after line `before` that is neither blank nor a comment, and the name it sets.
fn first_entry_after(text: &str, before: usize) -> (usize, Option<&str>) {
    let entry = text.lines().enumerate().skip(before).find(|(_, line)| {
        let line = line.trim_start();
        !line.is_empty() && !line.starts_with('#')
    });
    entry.map_or((before + 1, None), |(index, line)| {
        let line = line.trim_start();
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let name = line.split_once('=').map(|(name, _)| name.trim_end());
        // Anything else in front of a `=` is more likely a piece of a secret than a name.
        let is_name = |name: &&str| {
            name.chars()
                .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        };
        (index + 1, name.filter(is_name))
    })
}

/// Hands out one line a read, so that the buffering reader inside dotenvy never runs ahead of its parser and
/// `read` tells at which line it stands.
struct LineByLine<'a> {
    rest: &'a [u8],
    read: &'a Cell<usize>,
}

impl Read for LineByLine<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let line = self
            .rest
            .split_inclusive(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        let mut piece = line.get(..line.len().min(buffer.len())).unwrap_or_default();
        let taken = piece.read(buffer)?;
        if taken == line.len() && taken > 0 {
            self.read.set(self.read.get() + 1);
        }
        self.rest = self.rest.get(taken..).unwrap_or_default();
        Ok(taken)
    }
}

/// A character that stands for `$` while dotenvy reads.
struct Dollar(char);

impl Dollar {
    /// Of Unicode's private use area, which has more characters than a file of sane size.
    fn absent_from(text: &str) -> Self {
        Self(
            ('\u{e000}'..='\u{f8ff}')
                .find(|c| !text.contains(*c))
                .unwrap_or('\u{e000}'),
        )
    }

    /// `\$` is the one escape that concerns a dollar; its backslash is doubled, as no other escape is known to dotenvy.
    fn hide(&self, text: &str) -> String {
        text.replace("\\$", &format!("\\\\{}", self.0))
            .replace('$', &self.0.to_string())
    }

    /// Two backslashes are left only inside single quotes, where nothing is an escape.
    fn restore(&self, value: &str) -> String {
        value
            .replace(&format!("\\\\{}", self.0), "\\$")
            .replace(&format!("\\{}", self.0), "$")
            .replace(self.0, "$")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> BTreeMap<String, String> {
        parse(text)
            .map_err(|faults| faults.into_iter().map(|fault| fault.in_file("f").to_string()))
            .map_err(Vec::from_iter)
            .unwrap()
    }

    fn faults(text: &str) -> Vec<String> {
        parse(text)
            .unwrap_err()
            .into_iter()
            .map(|fault| fault.in_file("f").to_string())
            .collect()
    }

    #[test]
    fn a_dollar_is_a_dollar() {
        let values = values("A=x$HOME$$y\nB=\"${HOME}\"\nC='$A'\nD=\"a\\$b\"\nE='a\\$b'\nF=$\n");
        let expected = [
            ("A", "x$HOME$$y"),
            ("B", "${HOME}"),
            ("C", "$A"),
            ("D", "a$b"),
            ("E", "a\\$b"),
            ("F", "$"),
        ];
        assert_eq!(
            values,
            expected
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into()
        );
    }

    #[test]
    fn quotes_comments_exports_and_windows_line_ends_are_understood() {
        let values = values("\u{feff}# first\r\nexport A=1 # one\r\n\r\nB=\"x # y\"\r\nC='a\nb'\r\nD=");
        let expected = [("A", "1"), ("B", "x # y"), ("C", "a\nb"), ("D", "")];
        assert_eq!(
            values,
            expected
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into()
        );
    }

    /// CFG-01.
    #[test]
    fn a_variable_set_twice_is_refused_with_both_lines() {
        assert_eq!(
            faults("\nA=1\n# between\nB='x\ny'\nA=2\n"),
            ["A: f line 6: set already in line 2; once is enough"]
        );
    }

    #[test]
    fn a_broken_line_is_named_and_not_repeated() {
        let faults = faults("A=1\n\n# x\nSMTP_URL=hunter2 hunter3\nhunter4\nhunter5=\"\n");
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(faults[0].starts_with("SMTP_URL: f line 4: "), "{faults:?}");
        assert!(faults[1].starts_with("f line 5: "), "{faults:?}");
        assert!(faults[2].starts_with("f line 6: "), "{faults:?}");
        assert!(!faults.concat().contains("hunter"), "{faults:?}");
    }
}
