//! Mail by SMTP.
use super::{Message, SendError, SettingsError};
use lettre::message::Mailbox;
use secrecy::SecretString;
use std::path::Path;

/// Sends each mail over a connection of its own.
#[derive(Clone)]
pub struct Smtp;

impl Smtp {
    pub(super) fn new(
        _url: &SecretString,
        _require_tls: bool,
        _tls_ca_file: Option<&Path>,
        _from: Mailbox,
    ) -> Result<Self, SettingsError> {
        todo!()
    }
    pub(super) async fn send(&self, _message: &Message) -> Result<(), SendError> {
        todo!()
    }
    pub(super) async fn ping(&self) -> Result<(), SendError> {
        todo!()
    }
}
