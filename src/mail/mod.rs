//! Mail: what is written and how it leaves.

use std::path::PathBuf;

use lettre::message::Mailbox;
use secrecy::SecretString;

/// What `config` hands this room.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where mail goes.
    pub transport: TransportSettings,
    /// `MAIL_FROM`.
    pub from: Mailbox,
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
