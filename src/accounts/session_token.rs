//! The refresh token.

use crate::credentials::{SecretToken, TokenHash};

/// A refresh token: two secrets of 256 bits, joined by a dot.
///
/// All tokens of a session share the first half, the family, and each has a second half of its own. So a token
/// is known as one of its session however old it is, with one row a session; and since the family is secret
/// too, nobody can end a session by inventing "an old token" of it.
pub(super) struct RefreshToken {
    family: SecretToken,
    own: SecretToken,
}

impl RefreshToken {
    /// The first token of a new session.
    pub(super) fn generate() -> Self {
        Self {
            family: SecretToken::generate(),
            own: SecretToken::generate(),
        }
    }

    /// A new token of the same session.
    pub(super) fn successor(&self) -> Self {
        self.with_own(SecretToken::generate())
    }

    /// The token of the same session whose own half is `own`.
    pub(super) fn with_own(&self, own: SecretToken) -> Self {
        Self {
            family: self.family.clone(),
            own,
        }
    }

    /// Reads a token that a client sent; `None` if it cannot be one of ours.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (family, own) = text.split_once('.')?;
        Some(Self {
            family: SecretToken::parse(family)?,
            own: SecretToken::parse(own)?,
        })
    }

    /// The token itself, for the answer that carries it.
    pub(super) fn expose(&self) -> String {
        format!("{}.{}", self.family.expose(), self.own.expose())
    }

    /// What finds the session.
    pub(super) fn family_hash(&self) -> TokenHash {
        self.family.hash()
    }

    /// What tells whether it is the live one.
    pub(super) fn own_hash(&self) -> TokenHash {
        self.own.hash()
    }

    /// The half that changes: what the successor is sealed under, and what is sealed.
    pub(super) fn own(&self) -> &SecretToken {
        &self.own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_and_its_successor_is_of_the_same_family() {
        let token = RefreshToken::generate();
        let read = RefreshToken::parse(&token.expose()).unwrap();
        assert_eq!(
            (read.family_hash(), read.own_hash()),
            (token.family_hash(), token.own_hash())
        );
        let successor = token.successor();
        assert_eq!(successor.family_hash(), token.family_hash());
        assert_ne!(successor.own_hash(), token.own_hash());
    }

    /// REF-08
    #[test]
    fn another_kind_of_token_is_not_read() {
        let single = SecretToken::generate();
        let token = RefreshToken::generate().expose();
        let texts = [
            "",
            ".",
            "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIxIn0.c2ln",
            single.expose(),
            &token[1..],
            &format!("{token}."),
        ];
        for text in texts {
            assert!(RefreshToken::parse(text).is_none(), "{text}");
        }
    }
}
