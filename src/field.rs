//! One field of a request that breaks a rule.

use serde::Serialize;
use utoipa::ToSchema;

/// A field of the request body that broke a rule, as the `errors` of a 422 show it (contract, 3.6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// JSON pointer to the field: `/email`.
    pub pointer: String,
    /// Stable word for programs: `too_long`.
    pub code: &'static str,
    /// Sentence for people. Never repeats the value.
    pub message: String,
}

impl FieldError {
    /// An error of the field at `pointer`.
    #[must_use]
    pub fn new(pointer: &str, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            pointer: pointer.to_owned(),
            code,
            message: message.into(),
        }
    }
}

/// Control characters, line ends, text direction overrides, and what Unicode calls no character: no part of a name.
#[must_use]
pub fn is_no_writing(character: char) -> bool {
    is_no_text(character)
        || character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// U+0000, at which many systems cut a text and which PostgreSQL cannot store, and what Unicode calls no character: no part
/// of any text.
#[must_use]
pub fn is_no_text(character: char) -> bool {
    let code = u32::from(character);
    // U+FDD0 to U+FDEF and the last two of each plane are noncharacters.
    code == 0 || matches!(code, 0xfdd0..=0xfdef) || code & 0xfffe == 0xfffe
}
