//! A person's name.

use crate::field::{FieldError, is_no_writing};

/// A name as it is stored: trimmed, not empty, bounded, without characters that are no writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullName(String);

/// Why a text is no name. Never repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FullNameError {
    /// Longer than [`FullName::LONGEST`].
    #[error("The name is longer than 200 characters.")]
    TooLong,
    /// Control characters, line ends, text direction overrides or what Unicode calls no character.
    #[error("The name has characters that cannot be part of a name.")]
    Malformed,
}

impl FullName {
    /// Most code points.
    pub const LONGEST: usize = 200;

    /// Reads a name; `None` for one of nothing but spaces.
    pub fn parse(text: &str) -> Result<Option<Self>, FullNameError> {
        // NUL and its kind are refused here, alike on both engines: PostgreSQL would refuse it, SQLite would not.
        if text.chars().any(is_no_writing) {
            return Err(FullNameError::Malformed);
        }
        let text = text.trim();
        if text.chars().nth(Self::LONGEST).is_some() {
            return Err(FullNameError::TooLong);
        }
        Ok((!text.is_empty()).then(|| Self(text.to_owned())))
    }

    /// [`FullName::parse`] of a field that may be absent.
    pub(super) fn of_field(text: Option<&str>) -> Result<Option<Self>, FieldError> {
        text.map_or(Ok(None), Self::parse).map_err(|error| {
            let code = match error {
                FullNameError::TooLong => "too_long",
                FullNameError::Malformed => "invalid_characters",
            };
            FieldError::new("/full_name", code, error.to_string())
        })
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_trimmed_and_spaces_alone_are_none() {
        assert_eq!(
            FullName::parse("  Ada Lovelace ").unwrap().unwrap().as_str(),
            "Ada Lovelace"
        );
        assert_eq!(FullName::parse(" \u{3000} ").unwrap(), None);
        for name in ["O'Brien", "Ада", "李小龍", "👩\u{200d}👧", "Łukasz-Żak <x>"] {
            assert_eq!(FullName::parse(name).unwrap().unwrap().as_str(), name);
        }
    }

    /// REG-11
    #[test]
    fn what_is_no_writing_is_refused() {
        for name in [
            "a\u{0}b",
            "a\nb",
            "a\tb",
            "\u{7f}",
            "\u{85}",
            "a\u{ffff}",
            "\u{1fffe}",
            "\u{fdd0}",
            "a\u{202e}b",
            "x\r\n",
        ] {
            assert_eq!(FullName::parse(name), Err(FullNameError::Malformed), "{name:?}");
        }
    }

    #[test]
    fn a_name_has_at_most_200_characters() {
        assert!(FullName::parse(&"😀".repeat(200)).is_ok());
        assert_eq!(FullName::parse(&"a".repeat(201)), Err(FullNameError::TooLong));
    }
}
