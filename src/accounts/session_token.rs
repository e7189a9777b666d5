//! The refresh token.
