//! Mail: what is written and how it leaves.
//!
//! The only room that knows lettre. Knows no account and no queue: whoever calls [`Mailer::send`]
//! decides when, how often, and what happens after a failure. A new mail is a function in
//! [`templates`], a new way out is a variant of [`Mailer`].

use std::path::PathBuf;

use lettre::message::Mailbox;
use secrecy::SecretString;

mod folder;
mod letterhead;
mod message;
mod outbox;
mod smtp;
pub mod templates;

use crate::brand::Brand;
use letterhead::Letterhead;

pub use message::Message;
pub use outbox::{Outbox, SentMail};

/// What `config` hands this room.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where mail goes.
    pub transport: TransportSettings,
    /// `MAIL_FROM`.
    pub from: Mailbox,
    /// `BRAND_NAME`, `BRAND_LOGO_URL`, `BRAND_COLOR`.
    pub brand: Brand,
}

/// Where mail goes.
#[derive(Clone, Debug)]
pub enum TransportSettings {
    /// One `.eml` file a mail in this folder (`MAIL_OUTBOX_DIR`).
    Folder(PathBuf),
    /// `SMTP_URL`.
    Smtp {
        /// `smtps://` (TLS from the first byte) or `smtp://` (STARTTLS). Secret: can carry a password.
        url: SecretString,
        /// Refuse to send where the server offers no STARTTLS (production).
        require_tls: bool,
        /// `TLS_CA_FILE`: authorities trusted besides the built-in roots.
        tls_ca_file: Option<PathBuf>,
    },
}

/// Why a [`Mailer`] cannot be made from its settings. Never repeats a URL.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// `SMTP_URL` is no `smtp://` or `smtps://` URL with a host.
    #[error("the SMTP URL {0}")]
    Url(&'static str),
    /// `TLS_CA_FILE` cannot be read or holds no certificate.
    #[error("the file of certificate authorities {0}")]
    Authorities(String),
}

/// Why a mail did not leave. The text holds no address, no secret and nothing that a server said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Worth another try: the server is away, busy or wrongly set up.
    #[error("{0}")]
    Temporary(String),
    /// Another try would end the same: this recipient or this message is refused.
    #[error("{0}")]
    Permanent(String),
}

/// Why no mail could leave. The text holds no address, no secret and nothing that a server said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct PingError {
    /// What failed, for whoever says what to do.
    pub step: Step,
    text: String,
}

/// The steps towards a mail, as an operator can mend them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nobody is there, or nobody who speaks SMTP; or the folder cannot be written.
    Connect,
    /// No TLS where it is demanded, or a certificate that is not trusted.
    Tls,
    /// The login is refused.
    Login,
    /// `MAIL_FROM` is refused.
    Sender,
}

/// A way out for mail. Cheap to clone.
#[derive(Clone)]
pub enum Mailer {
    /// Files, for development and tests.
    Folder(folder::Folder),
    /// A real server.
    Smtp(smtp::Smtp),
}

impl Mailer {
    /// Reads the settings and the file of authorities; connects to nothing.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        let letterhead = Letterhead {
            from: settings.from,
            brand: settings.brand,
        };
        match settings.transport {
            TransportSettings::Folder(path) => Ok(Self::Folder(folder::Folder::new(path, letterhead))),
            TransportSettings::Smtp {
                url,
                require_tls,
                tls_ca_file,
            } => smtp::Smtp::new(&url, require_tls, tls_ca_file.as_deref(), letterhead).map(Self::Smtp),
        }
    }

    /// Hands one mail over. `Ok` means that the server has taken it, or that the file is there.
    pub async fn send(&self, message: &Message) -> Result<(), SendError> {
        match self {
            Self::Folder(folder) => folder.send(message).await,
            Self::Smtp(smtp) => smtp.send(message).await,
        }
    }

    /// Whether mail could leave now: the folder can be written; the server greets, accepts the login and the sender.
    pub async fn ping(&self) -> Result<(), PingError> {
        match self {
            Self::Folder(folder) => folder.ping().await.map_err(|error| PingError {
                step: Step::Connect,
                text: error.to_string(),
            }),
            Self::Smtp(smtp) => smtp.ping().await,
        }
    }
}
