//! Mail as files, for development and tests: one `.eml` a mail.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::AsyncWriteExt as _;
use uuid::Uuid;

use super::letterhead::Letterhead;
use super::{Message, SendError};

/// Writes each mail as one file whose name sorts by time. A file appears whole or not at all.
#[derive(Clone, Debug)]
pub struct Folder {
    path: Arc<Path>,
    letterhead: Letterhead,
}

impl Folder {
    pub(super) fn new(path: PathBuf, letterhead: Letterhead) -> Self {
        Self {
            path: path.into(),
            letterhead,
        }
    }

    pub(super) async fn send(&self, message: &Message) -> Result<(), SendError> {
        let mail = message.compose(&self.letterhead)?.formatted();
        let name = Uuid::now_v7();
        // A dot file, so that whoever lists `*.eml` never sees half a mail.
        let (unfinished, finished) = (
            self.path.join(format!(".{name}.part")),
            self.path.join(format!("{name}.eml")),
        );
        tokio::fs::create_dir_all(&self.path)
            .await
            .map_err(|error| failed(&error))?;
        write(&unfinished, &mail).await.map_err(|error| failed(&error))?;
        tokio::fs::rename(&unfinished, &finished)
            .await
            .map_err(|error| failed(&error))
    }

    pub(super) async fn ping(&self) -> Result<(), SendError> {
        let probe = self.path.join(format!(".{}.part", Uuid::now_v7()));
        tokio::fs::create_dir_all(&self.path)
            .await
            .map_err(|error| failed(&error))?;
        tokio::fs::write(&probe, b"")
            .await
            .map_err(|error| failed(&error))?;
        tokio::fs::remove_file(&probe)
            .await
            .map_err(|error| failed(&error))
    }
}

/// For the owner alone: a mail holds a link that sets a password.
async fn write(path: &Path, mail: &[u8]) -> std::io::Result<()> {
    let mut file = tokio::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .await?;
    file.write_all(mail).await?;
    file.flush().await
}

fn failed(error: &std::io::Error) -> SendError {
    SendError::Temporary(format!("the outbox folder cannot be written: {}", error.kind()))
}
