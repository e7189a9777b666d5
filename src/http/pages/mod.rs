//! The pages people see, on the same use cases, limits and events as the API.
//!
//! [`endpoints`] lists them; each stands in its file beside the rule that limits it. What a page
//! decides belongs into a use case; how it looks stands in `templates/` and `static/`. A new page: its address in [`is_page`], a route in its
//! file, a template; and a form that anybody may send, behind a limit, has its line in [`refused`], which shows it again.
//! Every form arrives as `form::Form`, which refuses what another site sent, so that no page can forget it.

mod account;
mod assets;
mod failure;
mod form;
mod mailed_link;
mod operator;
mod password_reset;
mod reply;
mod return_to;
mod routing;
mod sign_in;
mod sign_up;
mod verify_email;
mod visit;

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderValue;
use axum::response::Response;
use uuid::Uuid;

use self::assets::Assets;
use self::routing::Routes;
use self::visit::Visits;
use super::endpoints::Endpoints;
use super::{Http, Settings};
use crate::brand::Brand;
use crate::clock::Timestamp;

pub use self::failure::{page_of, refused};

/// What the pages share, made once.
pub struct Pages {
    brand: Brand,
    assets: Assets,
    /// The path of `PUBLIC_URL`, where every address of ours begins: empty, or `/auth`.
    base: String,
    policy: HeaderValue,
    /// A name for this process, made up when it starts.
    process: String,
    since: Timestamp,
}

impl Pages {
    /// The pages of `brand`.
    #[must_use]
    pub fn new(brand: &Brand, settings: &Settings, now: Timestamp) -> Self {
        let base = url::Url::parse(&settings.public_url)
            .map(|url| url.path().trim_end_matches('/').to_owned())
            .unwrap_or_default();
        Self {
            brand: brand.clone(),
            assets: Assets::new(brand),
            base,
            policy: policy(brand, settings),
            process: Uuid::now_v7().simple().to_string().split_off(28),
            since: now,
        }
    }
}

/// The pages' own Content-Security-Policy: nothing inline, nothing from elsewhere but the logo. Browsers hold
/// `form-action` against redirects too, so the places that a sign-in may lead to stand there.
fn policy(brand: &Brand, settings: &Settings) -> HeaderValue {
    let logo = brand.logo_url.as_deref().map(super::origin_of);
    let images: Vec<&str> = ["'self'"].into_iter().chain(logo).collect();
    let mut targets: Vec<&str> = ["'self'"].into_iter().chain(settings.cookie_origins()).collect();
    targets.dedup();
    let text = format!(
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src {}; form-action {}; \
         base-uri 'none'; frame-ancestors 'none'",
        images.join(" "),
        targets.join(" ")
    );
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(
        "default-src 'none'; frame-ancestors 'none'",
    ))
}

/// Whether an address is one of people's pages. What belongs to them is limited and refused like a page, also where
/// there is none.
#[must_use]
pub fn is_page(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    matches!(
        first,
        "" | "sign-in"
            | "sign-up"
            | "sign-out"
            | "forgot-password"
            | "reset-password"
            | "check-mail"
            | "verify-email"
            | "account"
            | "admin"
    )
}

/// All pages, each behind the stage that finds out who visits. Every one stands in one of these lists.
#[must_use]
pub fn endpoints(http: &Arc<Http>) -> Endpoints {
    let anybody = Routes::default()
        .page("/", front)
        .and(sign_in::routes())
        .and(sign_up::routes())
        .and(mailed_link::routes())
        .and(password_reset::routes())
        .and(verify_email::routes());
    let signed_in = sign_in::signed_in_routes()
        .and(account::routes())
        .and(operator::routes());
    // What the pages are made of: the same for everybody, and never limited.
    let files = assets::routes();
    let mut endpoints = anybody.0.behind(Visits::of_anybody(http));
    endpoints.extend(signed_in.0.behind(Visits::of_signed_in(http)));
    endpoints.extend(files.0);
    endpoints
}

/// The bare address leads to the account, and from there to the sign-in where nobody is signed in.
async fn front(State(http): State<Arc<Http>>) -> Response {
    reply::see_other(&http, "/account")
}
