//! Proxies, browsers and cookies.

use url::{Host, Url};

use super::Verdicts;

pub(super) fn judge(verdicts: &mut Verdicts<'_>) {
    proxies(verdicts);
    if verdicts.config.http.auth_cookies {
        cookies(verdicts);
    }
    let config = verdicts.config;
    let origins = config.http.cors_origins.join(",");
    if config.environment.is_production() && origins.contains("http://") {
        verdicts.warn(
            "CORS_ORIGINS holds an http:// origin: whoever sits on its network can act as its users",
            format!("CORS_ORIGINS={}", origins.replace("http://", "https://")),
        );
    }
}

fn proxies(verdicts: &mut Verdicts<'_>) {
    let config = verdicts.config;
    let everybody = |network: &ipnet::IpNet| network.prefix_len() == 0;
    if config.http.trusted_proxies.iter().any(everybody) {
        verdicts.warn(
            "TRUSTED_PROXIES believes everybody: any client can choose the address he is counted under",
            "TRUSTED_PROXIES=10.0.0.7   (the address of your proxy)",
        );
    }
    let reachable = !config.listen.ip().to_canonical().is_loopback();
    if reachable && !config.environment.is_lenient() && verdicts.is_default("TRUSTED_PROXIES") {
        let host = config.listen.ip();
        verdicts.warn(
            format!("TRUSTED_PROXIES is its default, loopback, while HOST={host} is reached from other machines: if a proxy is in front, all its clients share one limit"),
            "TRUSTED_PROXIES=10.0.0.7   (the address of your proxy; empty if there is none)",
        );
    }
}

/// Cookies are SameSite=Lax: a browser sends none of them with a call from a page of another site.
fn cookies(verdicts: &mut Verdicts<'_>) {
    let config = verdicts.config;
    let http = &config.http;
    let origins = http.cors_origins.iter().map(|origin| ("CORS_ORIGINS", origin));
    let pages = std::iter::once(("FRONTEND_URL", &http.frontend_url)).chain(origins);
    let strangers: Vec<_> = pages
        .filter(|(_, page)| !same_site(&http.public_url, page))
        .collect();
    for (variable, page) in strangers {
        verdicts.warn(
            format!("AUTH_COOKIES is on, and {variable} names {page}, another site than PUBLIC_URL: browsers will not send the cookies from there"),
            format!("PUBLIC_URL={}   (or AUTH_COOKIES=false)", suggested(page)),
        );
    }
}

/// Scheme and registrable domain alike, ports are of no matter (schemeful same-site). The registrable domain is taken for
/// the last two labels: without the list of public suffixes, two sites under `co.uk` pass for one, and nothing is said.
fn same_site(one: &str, other: &str) -> bool {
    let (Ok(one), Ok(other)) = (Url::parse(one), Url::parse(other)) else {
        return true;
    };
    one.scheme() == other.scheme() && site(&one) == site(&other)
}

fn site(url: &Url) -> String {
    match url.host() {
        Some(Host::Domain(name)) => {
            let labels: Vec<&str> = name.trim_end_matches('.').split('.').collect();
            let last_two = labels.len().saturating_sub(2);
            labels.get(last_two..).unwrap_or_default().join(".")
        }
        Some(address) => address.to_string(),
        None => String::new(),
    }
}

/// Where the service could be reached on the site of `page`.
fn suggested(page: &str) -> String {
    let Ok(page) = Url::parse(page) else {
        return "https://auth.example.com".to_owned();
    };
    match page.host() {
        Some(Host::Domain(_)) if site(&page).contains('.') => {
            format!("{}://auth.{}", page.scheme(), site(&page))
        }
        _ => format!("{}://{}:PORT", page.scheme(), page.host_str().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_scheme_and_registrable_domain() {
        let auth = "https://auth.example.com";
        for same in ["https://example.com", "https://app.example.com:8443/x", auth] {
            assert!(same_site(auth, same), "{same}");
        }
        for other in [
            "http://app.example.com",
            "https://example.org",
            "https://notexample.com",
            "https://10.0.0.1",
        ] {
            assert!(!same_site(auth, other), "{other}");
        }
        assert!(same_site("http://localhost:8000", "http://localhost:3000"));
        assert!(!same_site("http://localhost:8000", "http://127.0.0.1:3000"));
        assert!(!same_site("http://10.0.0.1", "http://11.0.0.1"));
    }

    #[test]
    fn the_suggestion_is_on_the_site_of_the_page() {
        assert_eq!(suggested("https://app.example.org/x"), "https://auth.example.org");
        assert_eq!(suggested("http://localhost:3000"), "http://localhost:PORT");
    }
}
