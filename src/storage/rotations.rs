//! Rotations of refresh tokens: the write that comes most often.
//!
//! A commit of SQLite waits for the disk, and the next for the one before it. Whoever gets the one writer therefore carries
//! out the rotations of all who wait for it, and commits once. PostgreSQL's server does the same for its connections.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::connection::{Connection, Transaction};
use super::database::Database;
use super::error::StorageError;
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
/// the session is over: of any number at once one wins. After an error it has not happened, unless it was the commit
/// that failed.
pub async fn rotate_session(database: &Database, rotation: Rotation) -> Result<bool, StorageError> {
    let Database::Sqlite { rotations, .. } = database else {
        return sessions::rotate(&mut database.write().await?, &rotation).await;
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
            [one] => rotate_one(writer, &one.rotation).await,
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

async fn rotate_one(mut writer: Connection, rotation: &Rotation) -> Result<Vec<bool>, StorageError> {
    Ok(vec![sessions::rotate(&mut writer, rotation).await?])
}

async fn rotate_all(writer: Connection, batch: &[Waiting]) -> Result<Vec<bool>, StorageError> {
    let mut transaction = Transaction::begin(writer).await?;
    let mut rotated = Vec::with_capacity(batch.len());
    for waiting in batch {
        rotated.push(sessions::rotate(&mut transaction, &waiting.rotation).await?);
    }
    transaction.commit().await?;
    Ok(rotated)
}
