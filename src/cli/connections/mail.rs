//! The mail server: greeting, TLS, login, and whether it takes our sender. Nothing is sent.

use super::{Connection, Fault, Place, place, within_patience};
use crate::config::{Config, Verdict};
use crate::mail::{Mailer, Step, TransportSettings};

/// A folder is not asked: it is made with the first mail.
pub(super) async fn try_it(config: &Config) -> Option<Connection> {
    if let TransportSettings::Folder(_) = config.mail.transport {
        return None;
    }
    let attempt = within_patience(Box::pin(connect(config)), || fix(config, Step::Connect)).await;
    Some(Connection::new("mail", attempt))
}

async fn connect(config: &Config) -> Result<(&'static str, Vec<Verdict>), Fault> {
    let mailer = Mailer::new(config.mail.clone()).map_err(|error| Fault {
        detail: error.to_string(),
        fix: "SMTP_URL=smtps://USER:PASSWORD@HOST:465".to_owned(),
    })?;
    mailer.ping().await.map_err(|error| Fault {
        fix: fix(config, error.step),
        detail: error.to_string(),
    })?;
    let mut verdicts = Vec::new();
    if config.environment.is_production() && config.mail.from.email.domain() == "localhost" {
        verdicts.push(Verdict::warning(
            format!(
                "MAIL_FROM is {}: other servers refuse mail from there",
                config.mail.from
            ),
            "MAIL_FROM='Name <no-reply@example.com>'   (an address of your own domain)",
        ));
    }
    Ok(("ready", verdicts))
}

fn fix(config: &Config, step: Step) -> String {
    let Place { scheme, host, port } = place(config, "SMTP_URL");
    let is_tls = scheme == "smtps";
    let port = port.unwrap_or(if is_tls { 465 } else { 587 });
    match step {
        Step::Connect if is_tls => format!(
            "openssl s_client -connect {host}:{port}   (what listens there; for STARTTLS: SMTP_URL=smtp://…:587)"
        ),
        Step::Connect => format!(
            "openssl s_client -starttls smtp -connect {host}:{port}   (what listens there; for TLS from the first byte: SMTP_URL=smtps://…:465)"
        ),
        Step::Tls => format!(
            "SMTP_URL=smtps://USER:PASSWORD@{host}:465   (or TLS_CA_FILE=PATH, if an authority of your own has signed its certificate)"
        ),
        Step::Login => format!("SMTP_URL={scheme}://USER:PASSWORD@{host}:{port}   (both percent-encoded)"),
        Step::Sender => {
            "MAIL_FROM='Name <no-reply@example.com>'   (an address that this server lets you send from)"
                .to_owned()
        }
    }
}
