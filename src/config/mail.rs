//! Mail.

use std::path::PathBuf;

use lettre::message::Mailbox;
use secrecy::SecretString;

use super::error::printable;
use super::reader::Reader;
use super::{Environment, dsn};
use crate::brand::Brand;
use crate::mail::{Settings, TransportSettings};

pub(super) fn read(
    reader: &mut Reader<'_>,
    environment: Environment,
    tls_ca_file: Option<PathBuf>,
    brand: Brand,
) -> Settings {
    let source = reader.source;
    let from = reader.value("MAIL_FROM", default_sender(), Mailbox::to_string, |text| {
        let sender = text.parse().map_err(|_| ());
        sender.map_err(|()| {
            format!(
                "`{}` is no sender such as `Name <name@example.com>`",
                printable(text)
            )
        })
    });
    let outbox = reader.value(
        "MAIL_OUTBOX_DIR",
        PathBuf::from("data/outbox"),
        |path| path.display().to_string(),
        |text| Ok(PathBuf::from(text)),
    );
    let outbox = outbox
        .to_str()
        .map_or_else(|| outbox.clone(), |path| source.path(path));
    let server = reader.optional(
        "SMTP_URL",
        |(_, shown): &(SecretString, String)| shown.clone(),
        |text| {
            let url = dsn::parse_with_host(text, &["smtp", "smtps"])?;
            if url.query().is_some() {
                return Err("takes no options: smtps:// is TLS, smtp:// is STARTTLS".to_owned());
            }
            Ok((SecretString::from(text), dsn::shown(&url)))
        },
    );
    if server.is_none() && !reader.refused("SMTP_URL") && environment.is_production() {
        reader.refuse(
            "SMTP_URL",
            "production needs a mail server: smtps://… or smtp://…",
        );
    }
    let transport = match server {
        None => TransportSettings::Folder(outbox),
        Some((url, _)) => TransportSettings::Smtp {
            url,
            require_tls: environment.is_production(),
            tls_ca_file,
        },
    };
    Settings {
        transport,
        from,
        brand,
    }
}

fn default_sender() -> Mailbox {
    let address = lettre::Address::new("no-reply", "localhost");
    #[expect(clippy::expect_used, reason = "a constant that a test reads")]
    Mailbox::new(
        Some("stile".to_owned()),
        address.expect("no-reply@localhost is an address"),
    )
}
