//! URLs that can carry a password: read without repeating them, shown without what is secret.

use url::Url;

/// `text` as a URL of one of `schemes`. The error never repeats any of it.
pub(super) fn parse(text: &str, schemes: &[&str]) -> Result<Url, String> {
    let wanted = || {
        schemes
            .iter()
            .map(|scheme| format!("{scheme}://"))
            .collect::<Vec<_>>()
            .join(" or ")
    };
    if !schemes.iter().any(|scheme| {
        text.strip_prefix(scheme)
            .is_some_and(|rest| rest.starts_with("://"))
    }) {
        return Err(format!("must start with {}", wanted()));
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("holds white space".to_owned());
    }
    let url = Url::parse(text).map_err(|_| {
        "no URL that can be read; in a password, percent-encode all but letters and digits".to_owned()
    })?;
    // A password with a bare `/`, `?` or `#` ends the host part early; what is left of it then looks like a path.
    let behind_host = [Some(url.path()), url.query(), url.fragment()];
    if url.fragment().is_some() || behind_host.into_iter().flatten().any(|part| part.contains('@')) {
        return Err(
            "has a `#` or an `@` behind the host; in a password, percent-encode all but letters and digits"
                .to_owned(),
        );
    }
    Ok(url)
}

/// As [`parse`], and a host is there.
pub(super) fn parse_with_host(text: &str, schemes: &[&str]) -> Result<Url, String> {
    let url = parse(text, schemes)?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err("names no host".to_owned());
    }
    Ok(url)
}

/// A parsed URL for people: no user, no password, no options.
pub(super) fn shown(url: &Url) -> String {
    let user = if url.username().is_empty() && url.password().is_none() {
        ""
    } else {
        "[redacted]@"
    };
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    let options = if url.query().is_some() { "?[redacted]" } else { "" };
    format!("{}://{user}{host}{port}{}{options}", url.scheme(), url.path())
}

/// Whether `text` is a URL with a password in it. PostgreSQL takes one among its options too.
pub(super) fn has_password(text: &str) -> bool {
    let among_options = |url: &Url| url.query_pairs().any(|(name, _)| name == "password");
    Url::parse(text).is_ok_and(|url| url.password().is_some() || among_options(&url))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// LGR-01.
    #[test]
    fn no_part_of_a_password_is_ever_shown() {
        for text in [
            "postgres://app:hunter2@db:5432/stile",
            "postgres://hunter2@db/stile?password=hunter2",
            "postgres://app:12/hunter2@db/stile",
            "postgres://app:12?hunter2@db/stile",
            "postgres://app:12#hunter2@db/stile",
            "postgres://app:hunter2@d b/stile",
            "postgres://app:hunter2@/stile",
            "postgres://app:hunter2@db:port/stile",
            "postgres//app:hunter2@db",
            "mysql://app:hunter2@db",
            "hunter2",
        ] {
            let told = match parse_with_host(text, &["postgres"]) {
                Ok(url) => shown(&url),
                Err(error) => error,
            };
            assert!(!told.contains("hunter2") && !told.contains("12"), "{told}");
        }
    }

    #[test]
    fn what_helps_to_recognise_a_server_is_shown() {
        let url = parse("rediss://default:x@cache.internal:6390/2", &["redis", "rediss"]).unwrap();
        assert_eq!(shown(&url), "rediss://[redacted]@cache.internal:6390/2");
    }
}
