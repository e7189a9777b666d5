//! Mail as files.
use super::{Message, SendError};
use lettre::message::Mailbox;
use std::path::PathBuf;

/// Writes each mail as one `.eml` file.
#[derive(Clone)]
pub struct Folder;

impl Folder {
    pub(super) fn new(_path: PathBuf, _from: Mailbox) -> Self {
        todo!()
    }
    pub(super) async fn send(&self, _message: &Message) -> Result<(), SendError> {
        todo!()
    }
    pub(super) async fn ping(&self) -> Result<(), SendError> {
        todo!()
    }
}
