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
    let from = reader.value("MAIL_FROM", default_sender(), Mailbox::to_string, |text| {
        let sender: Result<Mailbox, _> = text.parse();
        sender.map_err(|_| {
            format!(
                "`{}` is no sender such as `Name <name@example.com>`",
                printable(text)
            )
        })
    });
    let default_outbox = "data/outbox".to_owned();
    let outbox = reader.value("MAIL_OUTBOX_DIR", default_outbox, String::clone, |text| {
        Ok(text.to_owned())
    });
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
        None => TransportSettings::Folder(reader.source.path(&outbox)),
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
