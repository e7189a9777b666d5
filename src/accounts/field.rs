//! One field of a request that breaks a rule.

use serde::Serialize;

/// A field of the request body that broke a rule, as the `errors` of a 422 show it (contract, 3.6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
