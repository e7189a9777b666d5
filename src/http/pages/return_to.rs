//! Where a person goes on after signing in: to an address that asked for it, if that is one of ours.

use url::{Position, Url};

/// An address that a browser may be sent to: at one of the origins of `PUBLIC_URL`, `FRONTEND_URL` and
/// `CORS_ORIGINS` (OWASP Unvalidated Redirects and Forwards Cheat Sheet).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnTo(String);

impl ReturnTo {
    /// Reads what a link asked for. The WHATWG parser reads it as browsers do, so that `/\evil.example`, a tab in
    /// the scheme or a user name that looks like a host mean the same here and there. Anything else is `None`.
    #[must_use]
    pub fn parse<'a>(
        text: &str,
        public_url: &str,
        mut origins: impl Iterator<Item = &'a str>,
    ) -> Option<Self> {
        if text.is_empty() || text.len() > 2048 {
            return None;
        }
        let own = Url::parse(public_url).ok()?;
        let url = own.join(text).ok()?;
        let plain =
            matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none();
        let origin = url.origin();
        let known = |known: &str| Url::parse(known).is_ok_and(|known| known.origin() == origin);
        if !plain || !origins.any(known) {
            return None;
        }
        if origin != own.origin() {
            return Some(Self(url.into()));
        }
        // Without its origin, so that it holds under whatever name the browser knows this machine by. A path that
        // begins with two slashes would then name a host.
        let path = &url[Position::BeforePath..];
        (!path.starts_with("//")).then(|| Self(path.to_owned()))
    }

    /// As it stands in `Location`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<String> {
        let origins = [
            "https://auth.example.com",
            "https://app.example.com",
            "https://admin.example.com:8443",
        ];
        ReturnTo::parse(text, "https://auth.example.com", origins.into_iter()).map(|found| found.0)
    }

    #[test]
    fn our_own_places_are_good_and_lose_their_origin() {
        for (text, expected) in [
            ("/account", "/account"),
            ("/account?x=1#y", "/account?x=1#y"),
            ("account", "/account"),
            ("?x=1", "/?x=1"),
            ("https://auth.example.com/a/../b", "/b"),
            // So the parser of browsers reads it too.
            ("https:evil.example", "/evil.example"),
            ("https://AUTH.example.com:443/", "/"),
        ] {
            assert_eq!(parsed(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn configured_origins_are_good() {
        for text in ["https://app.example.com/x?y#z", "https://admin.example.com:8443/"] {
            assert_eq!(parsed(text).as_deref(), Some(text));
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "https://evil.example",
            "https://evil.example/https://app.example.com",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/\t/evil.example",
            "\t//evil.example",
            "///evil.example",
            "https:///evil.example",
            "https://app.example.com.evil.example",
            "https://app.example.com@evil.example",
            "https://user@app.example.com/",
            "https://user:pw@auth.example.com/",
            "http://app.example.com/",
            "https://app.example.com:444/",
            "https://auth.example.com//evil.example",
            "/.//evil.example",
            "https://auth.example.com/a/..//evil.example",
            "javascript:alert(1)",
            "data:text/html,x",
            "JaVaScRiPt:alert(1)",
            "\u{1}javascript:alert(1)",
            "ftp://app.example.com/",
            "https://evil.example\u{ff0f}@app.example.com",
        ] {
            assert_eq!(parsed(text), None, "{text:?}");
        }
        assert_eq!(parsed(&format!("/{}", "x".repeat(2048))), None);
    }
}
