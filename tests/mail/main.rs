//! Mail over real SMTP conversations and into real folders.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../support/authority.rs"]
mod authority;
#[path = "../support/port.rs"]
mod port;
#[path = "../support/smtp.rs"]
mod smtp;

mod folder;
mod sending;
mod tls;

use std::path::PathBuf;
use std::time::Duration;

use stile::brand::Brand;
use stile::mail::{Mailer, Message, Settings, SettingsError, TransportSettings, templates};

const LINK: &str = "https://app.example/reset-password#token=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn reset_mail() -> Message {
    templates::reset_password("marker@user.example", LINK, Duration::from_mins(15))
}

fn mailer(transport: TransportSettings) -> Result<Mailer, SettingsError> {
    Mailer::new(Settings {
        transport,
        from: "stile <no-reply@stile.example>".parse().unwrap(),
        brand: Brand::default(),
    })
}

fn smtp_mailer(url: &str, require_tls: bool, tls_ca_file: Option<PathBuf>) -> Mailer {
    mailer(TransportSettings::Smtp {
        url: url.into(),
        require_tls,
        tls_ca_file,
    })
    .unwrap()
}
