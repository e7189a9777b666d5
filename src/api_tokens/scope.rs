//! Scopes: what a token may do, in words of the product behind the gateway.

use std::fmt;

/// One scope: `^[a-z][a-z0-9_:.*-]{0,63}$`. Cannot break a header or a list.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Scope(String);

/// The scopes that a user may put on a token (`API_TOKEN_SCOPES`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AllowedScopes {
    /// Any that is one.
    Any,
    /// Those that one of these covers.
    Listed(Vec<Scope>),
}

impl Scope {
    /// Longest text.
    pub const LONGEST: usize = 64;

    /// Reads a scope; `None` if it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let starts_well = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_:.*-".contains(&byte);
        (starts_well && text.len() <= Self::LONGEST && text.bytes().all(plain)).then(|| Self(text.to_owned()))
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it lets through what needs `required`: compared whole, but `read:*` covers all that starts with `read:`.
    #[must_use]
    pub fn covers(&self, required: &str) -> bool {
        if self.0 == required {
            return true;
        }
        let prefix = self.0.strip_suffix('*').filter(|prefix| prefix.ends_with(':'));
        prefix.is_some_and(|prefix| {
            // What is no scope is none with a prefix either: `read:a write:a` asks for something else.
            required.len() > prefix.len() && required.starts_with(prefix) && Self::parse(required).is_some()
        })
    }

    /// `admin` and `admin:…` are for administrators.
    #[must_use]
    pub fn is_for_admins(&self) -> bool {
        self.0 == "admin" || self.0.starts_with("admin:")
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AllowedScopes {
    /// Whether `scope` may be put on a token. `read:*` may only where all that it covers may.
    #[must_use]
    pub fn allow(&self, scope: &Scope) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(listed) => listed.iter().any(|listed| listed.covers(scope.as_str())),
        }
    }
}

/// All of a column or a header: with spaces between them.
pub(super) fn read_list(text: &str) -> Vec<Scope> {
    text.split(' ').filter_map(Scope::parse).collect()
}

/// The same backwards.
pub(super) fn write_list(scopes: &[Scope]) -> String {
    let texts: Vec<&str> = scopes.iter().map(Scope::as_str).collect();
    texts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(text: &str) -> Scope {
        Scope::parse(text).unwrap_or_else(|| panic!("{text:?} is a scope"))
    }

    #[test]
    fn what_could_break_a_header_or_a_list_is_no_scope() {
        for good in ["a", "read:things", "read:*", "x_1.y-z:*", &"a".repeat(64)] {
            assert_eq!(scope(good).as_str(), good);
        }
        for bad in [
            "",
            " ",
            "a b",
            "a\r\nX-Auth-User-Id: 1",
            "A",
            "1a",
            ":a",
            "*",
            "a,b",
            "é",
            "a\0",
            &"a".repeat(65),
        ] {
            assert_eq!(Scope::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn scopes_are_compared_whole_but_for_a_trailing_star() {
        assert!(scope("read:things").covers("read:things"));
        assert!(!scope("read:things").covers("read:thing"));
        assert!(!scope("read").covers("read:things"));
        assert!(scope("read:*").covers("read:things"));
        assert!(scope("read:*").covers("read:a:b"));
        assert!(scope("read:*").covers("read:*"));
        for not in [
            "read",
            "read:",
            "reading",
            "write:things",
            "",
            "read:a write:a",
            "read:A",
            "read:a\n",
        ] {
            assert!(!scope("read:*").covers(not), "{not}");
        }
        assert!(!scope("read*").covers("reading"), "only `:*` covers");
        assert!(!scope("read:*:x").covers("read:a:x"), "only at the end");
        assert!(!scope("read:things").covers("read:*"));
    }

    #[test]
    fn a_listed_scope_allows_what_it_covers() {
        let listed = AllowedScopes::Listed(vec![scope("read:*"), scope("write:things")]);
        for good in ["read:a", "read:*", "write:things"] {
            assert!(listed.allow(&scope(good)), "{good}");
        }
        for bad in ["write:*", "write:other", "read", "admin"] {
            assert!(!listed.allow(&scope(bad)), "{bad}");
        }
    }

    #[test]
    fn admin_scopes_are_known() {
        assert!(scope("admin").is_for_admins() && scope("admin:*").is_for_admins());
        assert!(!scope("administration").is_for_admins() && !scope("read:admin").is_for_admins());
    }
}
