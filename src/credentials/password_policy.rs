//! What a new password must meet.

/// What a new password must meet.
#[derive(Clone, Copy, Debug)]
pub struct PasswordPolicy {
    /// Fewest code points, 8 to 64.
    pub min_length: usize,
    /// Least zxcvbn score, 0 to 4.
    pub min_score: u8,
}

/// Why a new password was refused. Never repeats it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PasswordRefusal {
    /// `too_short`, `too_long`, `too_weak` or `invalid_character`.
    pub code: &'static str,
    /// A sentence for the user.
    pub message: String,
}
