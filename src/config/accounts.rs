//! Sessions, links and verification.

use std::time::Duration;

use super::reader::Reader;
use super::{Environment, days};
use crate::accounts::Settings;
use crate::mail::{self, Outbox, TransportSettings};

pub(super) fn read(
    reader: &mut Reader<'_>,
    environment: Environment,
    frontend_url: &str,
    mail: &mail::Settings,
    keeps_mail: bool,
) -> Settings {
    let idle: u64 = reader.whole("REFRESH_TOKEN_EXPIRE_DAYS", 30, 1..=3650);
    let absolute: u64 = reader.whole("SESSION_MAX_DAYS", 90, 1..=3650);
    let grace = reader.whole("REFRESH_REUSE_GRACE_SECONDS", 10, 0..=3600);
    let require_email_verification = reader.flag("REQUIRE_EMAIL_VERIFICATION", false);
    let reset: u64 = reader.whole("RESET_TOKEN_EXPIRE_MINUTES", 15, 1..=1440);
    let verify: u64 = reader.whole("VERIFY_TOKEN_EXPIRE_HOURS", 24, 1..=168);
    let audit_retention = days(reader.whole("AUDIT_RETENTION_DAYS", 90, 1..=36_500));
    let into_folder = matches!(mail.transport, TransportSettings::Folder(_));
    Settings {
        frontend_url: frontend_url.to_owned(),
        require_email_verification,
        session_idle_lifetime: days(idle),
        session_max_lifetime: days(absolute),
        refresh_reuse_grace: Duration::from_secs(grace),
        reset_token_lifetime: Duration::from_secs(reset * 60),
        verify_token_lifetime: Duration::from_secs(verify * 60 * 60),
        audit_retention,
        outbox: keeps_mail.then(Outbox::default),
        log_links: into_folder && environment == Environment::Development,
    }
}
