//! A person's name.

/// A name as it is stored: trimmed, not empty, bounded, without control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullName(String);
