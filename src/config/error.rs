//! What is wrong with a configuration: one entry a fault, each naming its variable.
//!
//! No text made here may hold a secret: sections write messages about a secret variable without its value.

use std::fmt;

/// One fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    /// The variable at fault; `None` when a whole file cannot be read.
    pub variable: Option<String>,
    /// What is wrong and what would be right, without a secret.
    pub message: String,
}

impl ConfigError {
    pub(super) fn of(variable: &str, message: impl Into<String>) -> Self {
        Self {
            variable: Some(printable(variable)),
            message: message.into(),
        }
    }

    pub(super) fn general(message: impl Into<String>) -> Self {
        Self {
            variable: None,
            message: message.into(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.variable {
            Some(variable) => write!(f, "{variable}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// Every fault that was found, in one go: nobody likes to correct them one start at a time. Never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigErrors(pub(super) Vec<ConfigError>);

impl ConfigErrors {
    /// The faults, in the order of the variables' table.
    #[must_use]
    pub fn as_slice(&self) -> &[ConfigError] {
        &self.0
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

/// One line a fault.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// `text` on one line and of bounded length, whatever it holds: for names and values that somebody else wrote.
pub(super) fn printable(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}
