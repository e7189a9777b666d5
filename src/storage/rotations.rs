//! Rotations of refresh tokens: the write that comes most often.
//!
//! A commit of SQLite waits for the disk, and the next for the one before it. Whoever gets the one writer therefore carries
//! out the rotations of all who wait for it, and commits once. PostgreSQL's server does the same for its connections.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::connection::{Connection, Transaction};
use super::database::Database;
use super::error::StorageError;
use super::known_clients::{self, ClientNote};
use super::sessions::{self, Rotation};

/// Most rotations in one transaction: others want the writer too.
const MOST: usize = 64;

/// Rotations that wait for SQLite's writer.
#[derive(Clone, Debug, Default)]
pub struct Rotations(Arc<Mutex<Vec<Waiting>>>);

#[derive(Debug)]
struct Waiting {
    rotation: Rotation,
    done: oneshot::Sender<Result<bool, StorageError>>,
}

/// Puts the successor in the live token's place; `false` if the presented token is no longer the live one or
/// the session is over: of any number at once one wins. Its client is noted in the same commit, the loser's is not.
/// After an error nothing has happened, unless it was the commit that failed.
pub async fn rotate_session(database: &Database, rotation: Rotation) -> Result<bool, StorageError> {
    let Database::Sqlite { rotations, .. } = database else {
        return rotate_one(database.write_idempotent().await?, &rotation).await;
    };
    let successor = rotation.successor_hash.clone();
    let (done, mut answer) = oneshot::channel();
    rotations.lock().push(Waiting { rotation, done });
    loop {
        tokio::select! {
            biased;
            answer = &mut answer => return answer.unwrap_or_else(|_| Err(StorageError::given_up())),
            writer = database.write() => match writer {
                Ok(writer) => rotations.carry_out(writer).await,
                Err(error) if rotations.take_back(&successor) => return Err(error),
                // Somebody is at it: what he says is true.
                Err(_) => {}
            },
        }
    }
}

impl Rotations {
    async fn carry_out(&self, writer: Connection) {
        let batch = self.next();
        let rotated = match &*batch {
            [] => return,
            [one] => rotate_one(writer, &one.rotation)
                .await
                .map(|rotated| vec![rotated]),
            several => rotate_all(writer, several).await,
        };
        for (place, waiting) in batch.into_iter().enumerate() {
            let answer = match &rotated {
                Ok(rotated) => rotated.get(place).copied().ok_or_else(StorageError::given_up),
                Err(error) => Err(error.clone()),
            };
            // Nobody may be there any more, as with any answer.
            let _ = waiting.done.send(answer);
        }
    }

    /// Answers whether it still waited.
    fn take_back(&self, successor: &str) -> bool {
        let mut waiting = self.lock();
        let before = waiting.len();
        waiting.retain(|waiting| waiting.rotation.successor_hash != successor);
        waiting.len() < before
    }

    fn next(&self) -> Vec<Waiting> {
        let mut waiting = self.lock();
        // Whoever has gone meanwhile wants nothing any more.
        waiting.retain(|waiting| !waiting.done.is_closed());
        let most = waiting.len().min(MOST);
        waiting.drain(..most).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn rotate_one(mut on: Connection, rotation: &Rotation) -> Result<bool, StorageError> {
    let Some(note) = &rotation.client else {
        return sessions::rotate(&mut on, rotation).await;
    };
    let mut transaction = Transaction::begin(on).await?;
    // The client first, because it locks its user: whoever deletes a user locks him before his sessions.
    let rotated = match remember(&mut transaction, rotation, note).await {
        Ok(()) => sessions::rotate(&mut transaction, rotation).await?,
        // The user is gone, and his sessions with him.
        Err(error) if error.is_foreign_key_violation() => false,
        Err(error) => return Err(error),
    };
    if rotated {
        transaction.commit().await?;
    } else {
        transaction.rollback().await?;
    }
    Ok(rotated)
}

/// On SQLite, where nobody else writes meanwhile.
async fn rotate_all(writer: Connection, batch: &[Waiting]) -> Result<Vec<bool>, StorageError> {
    let mut transaction = Transaction::begin(writer).await?;
    let mut rotated = Vec::with_capacity(batch.len());
    for Waiting { rotation, .. } in batch {
        let is_rotated = sessions::rotate(&mut transaction, rotation).await?;
        if let Some(note) = rotation.client.as_ref().filter(|_| is_rotated) {
            remember(&mut transaction, rotation, note).await?;
        }
        rotated.push(is_rotated);
    }
    transaction.commit().await?;
    Ok(rotated)
}

async fn remember(on: &mut Connection, rotation: &Rotation, note: &ClientNote) -> Result<(), StorageError> {
    known_clients::remember_client(on, rotation.user_id, &note.client, rotation.now, note.most).await
}
