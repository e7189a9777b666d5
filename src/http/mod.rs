//! HTTP: the only room that knows axum.

use ipnet::IpNet;

/// What `config` hands this room.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `PUBLIC_URL`, without a trailing slash: the start of a problem's `type`.
    pub public_url: String,
    /// `FRONTEND_URL`, without a trailing slash: an origin that may send cookies.
    pub frontend_url: String,
    /// `CORS_ORIGINS`: exact origins.
    pub cors_origins: Vec<String>,
    /// `AUTH_COOKIES`.
    pub auth_cookies: bool,
    /// `TRUSTED_PROXIES`: networks whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// `RATE_LIMIT_BURST`: requests at once per client in the local stage; `None` while limiting is off.
    pub burst: Option<u32>,
    /// Production: HSTS is sent, health tells no version.
    pub production: bool,
}
