//! Stored password hashes of every accepted kind.

/// Why a stored hash would not be accepted at import.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedHash {
    /// No known kind, or damaged.
    #[error("not a password hash of a known kind (argon2, bcrypt, scrypt, pbkdf2)")]
    Unknown,
    /// Costs more to verify than is accepted.
    #[error(
        "it costs more to verify than is accepted (argon2 64 MiB t=10, bcrypt 14, scrypt 64 MiB, pbkdf2 2,000,000)"
    )]
    TooCostly,
}

/// Whether an import may store this hash.
pub fn accept(_stored: &str) -> Result<(), RefusedHash> {
    todo!()
}
