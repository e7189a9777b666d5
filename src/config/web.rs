//! What browsers, proxies and links see.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{Ipv4Addr, Ipv6Addr};
use url::Url;

use super::Environment;
use super::error::printable;
use super::limits::network;
use super::reader::Reader;
use super::source::Origin;

pub(super) struct Web {
    pub(super) public_url: String,
    pub(super) frontend_url: String,
    pub(super) cors_origins: Vec<String>,
    pub(super) auth_cookies: bool,
    pub(super) docs: bool,
    pub(super) trusted_proxies: Vec<IpNet>,
    pub(super) defaulted: Defaulted,
}

/// What nobody set, and therefore follows the port that the listener gets.
#[derive(Clone, Copy)]
pub(super) struct Defaulted {
    pub(super) public_url: bool,
    pub(super) frontend_url: bool,
    pub(super) issuer: bool,
}

pub(super) fn read(reader: &mut Reader<'_>, environment: Environment, port: u16) -> Web {
    let set = |reader: &Reader<'_>, name| reader.source.get(name).is_some();
    let defaulted = Defaulted {
        public_url: !set(reader, "PUBLIC_URL"),
        frontend_url: !set(reader, "FRONTEND_URL"),
        issuer: false,
    };
    let public_url = reader.value("PUBLIC_URL", default_public_url(port), String::clone, web_url);
    let frontend_url = if defaulted.frontend_url {
        reader.record("FRONTEND_URL", public_url.clone(), Origin::Derived);
        public_url.clone()
    } else {
        reader.value("FRONTEND_URL", public_url.clone(), String::clone, web_url)
    };
    if environment.is_production() {
        require_https(reader, "PUBLIC_URL", &public_url);
        if !defaulted.frontend_url {
            // Links with reset tokens start with it (OWASP Forgot Password Cheat Sheet: HTTPS only).
            require_https(reader, "FRONTEND_URL", &frontend_url);
        }
    }
    let development = environment == Environment::Development;
    let origins = if development {
        vec!["http://localhost:3000".to_owned()]
    } else {
        Vec::new()
    };
    Web {
        public_url,
        frontend_url,
        cors_origins: reader.list("CORS_ORIGINS", origins, origin),
        auth_cookies: reader.flag("AUTH_COOKIES", false),
        docs: reader.flag("ENABLE_DOCS", !environment.is_production()),
        trusted_proxies: reader.list("TRUSTED_PROXIES", default_proxies(environment), network),
        defaulted,
    }
}

pub(super) fn default_public_url(port: u16) -> String {
    format!("http://localhost:{port}")
}

fn require_https(reader: &mut Reader<'_>, name: &str, url: &str) {
    if !url.starts_with("https://") && !reader.refused(name) {
        reader.refuse(name, "production needs an https:// address here");
    }
}

/// A base that paths are appended to, without a trailing slash. Errors do not repeat it: it might carry a password.
fn web_url(text: &str) -> Result<String, String> {
    let wrong = || "must be http:// or https:// with a host and nothing behind the path".to_owned();
    let url = Url::parse(text).map_err(|_| wrong())?;
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none()
        && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    if !plain || !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(wrong());
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// An origin exactly as browsers send it (RFC 6454 6.2), or the header would never match.
fn origin(text: &str) -> Result<String, String> {
    if text.contains('*') {
        return Err("`*` would let every site act with a visitor's cookies; name each origin".to_owned());
    }
    let exact = Url::parse(text)
        .ok()
        .filter(|url| {
            matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none()
        })
        .map(|url| url.origin().ascii_serialization());
    match exact {
        Some(exact) if exact == text => Ok(exact),
        Some(exact) => Err(format!(
            "`{}` is not as browsers send it; write {exact}",
            printable(text)
        )),
        None => {
            Err("an origin is http:// or https:// and a host, such as https://app.example.com".to_owned())
        }
    }
}

/// Loopback, and in development and test the private ranges too (RFC 1918, RFC 4193): compose networks are there.
fn default_proxies(environment: Environment) -> Vec<IpNet> {
    let four = |a, b, prefix| Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), prefix).into();
    let six = |address: Ipv6Addr, prefix| Ipv6Net::new_assert(address, prefix).into();
    let mut networks = vec![four(127, 0, 8), six(Ipv6Addr::LOCALHOST, 128)];
    if environment.is_lenient() {
        networks.extend([
            four(10, 0, 8),
            four(172, 16, 12),
            four(192, 168, 16),
            six(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
        ]);
    }
    networks
}
