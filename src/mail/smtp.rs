//! Mail by SMTP (RFC 5321), over TLS from the first byte or by STARTTLS (RFC 3207).
//!
//! Each mail has a connection of its own: mail is rare, a kept connection may have died unnoticed,
//! and an attempt that is given up must not leave one half way through a message. lettre bounds
//! none of its reads, so every step has a time limit here.

use std::error::Error as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::extension::ClientId;
use percent_encoding::percent_decode_str;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::letterhead::Letterhead;
use super::{Message, PingError, SendError, SettingsError, Step};
use crate::telemetry::unknown_host;

/// The longest that a server may take for one step: a silent one costs this once.
const STEP: Duration = Duration::from_secs(10);

/// How long the farewell may take. The mail is delivered by then.
const FAREWELL: Duration = Duration::from_secs(1);

/// Sends each mail over a connection of its own. Cheap to clone.
#[derive(Clone)]
pub struct Smtp(Arc<Server>);

struct Server {
    host: String,
    port: u16,
    security: Security,
    tls: TlsParameters,
    credentials: Option<Credentials>,
    name: ClientId,
    letterhead: Letterhead,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Security {
    /// `smtps://`
    TlsFromTheStart,
    /// `smtp://` where STARTTLS is demanded.
    StartTls,
    /// `smtp://`: STARTTLS where it is offered. Once begun it is verified like any other TLS.
    StartTlsIfOffered,
}

impl Smtp {
    pub(super) fn new(
        url: &SecretString,
        require_tls: bool,
        tls_ca_file: Option<&Path>,
        letterhead: Letterhead,
    ) -> Result<Self, SettingsError> {
        let url = Url::parse(url.expose_secret()).map_err(|_| SettingsError::Url("is not a URL"))?;
        let (security, default_port) = match (url.scheme(), require_tls) {
            ("smtps", _) => (Security::TlsFromTheStart, 465),
            ("smtp", true) => (Security::StartTls, 587),
            ("smtp", false) => (Security::StartTlsIfOffered, 587),
            _ => return Err(SettingsError::Url("must begin with smtp:// or smtps://")),
        };
        let host = url
            .host_str()
            .unwrap_or_default()
            .trim_matches(['[', ']'])
            .to_owned();
        if host.is_empty() {
            return Err(SettingsError::Url("names no host"));
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(SettingsError::Url("has something after host and port"));
        }
        Ok(Self(Arc::new(Server {
            port: url.port().unwrap_or(default_port),
            security,
            tls: tls_parameters(&host, tls_ca_file)?,
            credentials: credentials(&url)?,
            name: ClientId::default(),
            host,
            letterhead,
        })))
    }

    pub(super) async fn send(&self, message: &Message) -> Result<(), SendError> {
        let mail = message.compose(&self.0.letterhead)?;
        let opened = self.0.open().await;
        let mut connection = opened.map_err(|error| SendError::Temporary(error.text))?;
        let sender = Mail::new(mail.envelope().from().cloned(), Vec::new());
        step("MAIL FROM", connection.command(sender))
            .await
            .map_err(|failure| SendError::Temporary(failure.text))?;
        for recipient in mail.envelope().to() {
            step(
                "RCPT TO",
                connection.command(Rcpt::new(recipient.clone(), Vec::new())),
            )
            .await
            .map_err(Failure::of_the_mail)?;
        }
        step("DATA", connection.command(Data))
            .await
            .map_err(Failure::of_the_mail)?;
        step("the message", connection.message(&mail.formatted()))
            .await
            .map_err(Failure::of_the_mail)?;
        // Taken. Whatever happens to the farewell, another try would be a second mail.
        let _ = tokio::time::timeout(FAREWELL, connection.quit()).await;
        Ok(())
    }

    /// All but a mail: whether the server greets, encrypts, lets us in, and takes our sender.
    pub(super) async fn ping(&self) -> Result<(), PingError> {
        let mut connection = self.0.open().await?;
        let sender = Mail::new(Some(self.0.letterhead.from.email.clone()), Vec::new());
        step("MAIL FROM", connection.command(sender))
            .await
            .map_err(|failure| failure.at(Step::Sender))?;
        let _ = tokio::time::timeout(FAREWELL, connection.command(Rset)).await;
        let _ = tokio::time::timeout(FAREWELL, connection.quit()).await;
        Ok(())
    }
}

impl Server {
    /// A connection that is greeted, encrypted as demanded, and logged in. How it fails is for an operator to mend, so a
    /// mail is tried again however the server puts it.
    async fn open(&self) -> Result<AsyncSmtpConnection, PingError> {
        let tls = (self.security == Security::TlsFromTheStart).then(|| self.tls.clone());
        let address = (self.host.as_str(), self.port);
        let connect = AsyncSmtpConnection::connect_tokio1(address, Some(STEP), &self.name, tls, None);
        let connected = step("connecting", connect).await;
        let mut connection = connected.map_err(|failure| {
            let is_tls = failure.text.contains("TLS: ");
            failure.at(if is_tls { Step::Tls } else { Step::Connect })
        })?;
        if self.security != Security::TlsFromTheStart {
            if connection.can_starttls() {
                let upgrade = connection.starttls(self.tls.clone(), &self.name);
                let upgraded = step("STARTTLS", upgrade).await;
                upgraded.map_err(|failure| failure.at(Step::Tls))?;
            } else if self.security == Security::StartTls {
                return Err(PingError {
                    step: Step::Tls,
                    text: "the mail server offers no STARTTLS, which is demanded".to_owned(),
                });
            }
        }
        if let Some(credentials) = &self.credentials {
            let login = connection.auth(&[Mechanism::Plain, Mechanism::Login], credentials);
            let logged_in = step("AUTH", login).await;
            logged_in.map_err(|failure| failure.at(Step::Login))?;
        }
        Ok(connection)
    }
}

/// A step that failed. Says nothing that the server said: servers repeat addresses.
struct Failure {
    text: String,
    refused_for_good: bool,
}

impl Failure {
    /// Of a step that an operator can mend: address, certificate, login, sender.
    fn at(self, step: Step) -> PingError {
        PingError {
            step,
            text: self.text,
        }
    }

    /// Of a step that concerns this recipient and this message: a 5xx is final (RFC 5321 4.2.1).
    fn of_the_mail(self) -> SendError {
        if self.refused_for_good {
            SendError::Permanent(self.text)
        } else {
            SendError::Temporary(self.text)
        }
    }
}

async fn step<T>(
    name: &str,
    action: impl Future<Output = Result<T, lettre::transport::smtp::Error>>,
) -> Result<T, Failure> {
    let what = match tokio::time::timeout(STEP, action).await {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => {
            let text = format!("the mail server failed at {name}: {}", reason(&error));
            return Err(Failure {
                text,
                refused_for_good: error.is_permanent(),
            });
        }
        Err(_) => format!(
            "the mail server gave no answer to {name} within {} s",
            STEP.as_secs()
        ),
    };
    Err(Failure {
        text: what,
        refused_for_good: false,
    })
}

/// The cause, from the kinds of error alone.
fn reason(error: &lettre::transport::smtp::Error) -> String {
    if let Some(code) = error.status() {
        return format!("it answered {code}");
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            let tls = io
                .get_ref()
                .and_then(|inner| inner.downcast_ref::<rustls::Error>());
            return match (tls, unknown_host(io)) {
                (Some(tls), _) => format!("TLS: {tls}"),
                (None, Some(why)) => why.to_owned(),
                (None, None) => io.kind().to_string(),
            };
        }
        source = cause.source();
    }
    if error.is_client() {
        "it lacks what is needed".to_owned()
    } else {
        "its answer is not SMTP".to_owned()
    }
}

/// The built-in roots and those of the file; never without verification.
fn tls_parameters(host: &str, tls_ca_file: Option<&Path>) -> Result<TlsParameters, SettingsError> {
    let unusable = |why: &str| SettingsError::Authorities(why.to_owned());
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(path) = tls_ca_file {
        let pem =
            std::fs::read(path).map_err(|error| unusable(&format!("cannot be read: {}", error.kind())))?;
        if !CertificateDer::pem_slice_iter(&pem).any(|certificate| certificate.is_ok()) {
            return Err(unusable("holds no PEM certificate"));
        }
        let certificates = Certificate::from_pem(&pem).map_err(|_| unusable("holds a damaged PEM block"))?;
        builder = builder.add_root_certificate(certificates);
    }
    builder
        .build_rustls()
        .map_err(|_| unusable("holds a certificate that cannot be read"))
}

fn credentials(url: &Url) -> Result<Option<Credentials>, SettingsError> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let decoded = |text| match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(SettingsError::Url("has a login that is not UTF-8")),
    };
    Ok(Some(Credentials::new(
        decoded(url.username())?,
        decoded(url.password().unwrap_or_default())?,
    )))
}
