//! Connections that are kept open and lent out.
//!
//! sqlx has a pool of its own, which asks the server whether a connection still lives before each use and again after it: two
//! round trips beside the one of a short query, and for SQLite a wakeup of its thread. This one lends what was used last (its
//! memory is warm), asks only where the borrower wants it asked ([`Pool::proven`]), and never gets a connection back that failed.
//! Each thread that serves has an event loop of its own, and a socket is heard by the one it was opened on: whoever borrows it
//! elsewhere is woken by way of two threads. So each gets its own back, and another's only where no further one may be opened.
//! Knows no engine.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::ConnectOptions as _;
use tokio::runtime::{Handle, Id};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use super::error::comes_up;

/// The longest that a connection is given to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// How many connections there are, and how long they stay.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Most that are open at once. At least 1.
    pub(super) most: u32,
    /// The longest that somebody waits for one, to be opened or to be given back.
    pub(super) patience: Duration,
    /// Closed when it has not been lent for so long.
    pub(super) rest: Duration,
    /// Closed when it has been open for so long, so that what a server keeps for it does not grow for ever.
    pub(super) life: Duration,
    /// Whether they are sockets of the event loop on which they were opened.
    pub(super) are_at_home: bool,
}

/// A pool of connections of one engine. Cheap to clone.
#[derive(Debug)]
pub struct Pool<C: sqlx::Connection>(Arc<Shared<C>>);

#[derive(Debug)]
struct Shared<C: sqlx::Connection> {
    options: C::Options,
    terms: Terms,
    /// One for each connection that may be lent. Who waits is served in the order of his coming.
    permits: Arc<Semaphore>,
    /// The one that was used last is the last.
    resting: Mutex<Vec<Resting<C>>>,
    /// A clone is in each connection that is open or being opened.
    open: Arc<()>,
}

#[derive(Debug)]
struct Open<C> {
    link: C,
    /// The event loop that hears it.
    home: Option<Id>,
    since: Instant,
    _counted: Arc<()>,
}

#[derive(Debug)]
struct Resting<C> {
    open: Open<C>,
    since: Instant,
}

/// What there is for a borrower.
enum Offer<C> {
    Resting(Open<C>),
    /// To open another.
    Room(Arc<()>),
}

/// A connection that is lent. Dropped, it is given back.
#[derive(Debug)]
pub(super) struct Lent<C: sqlx::Connection> {
    /// `None` in its drop alone.
    open: Option<Open<C>>,
    pool: Pool<C>,
    is_fit: bool,
    _permit: OwnedSemaphorePermit,
}

impl<C: sqlx::Connection> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C: sqlx::Connection> Pool<C> {
    /// Opens nothing yet.
    pub(super) fn new(options: C::Options, terms: Terms) -> Self {
        Self(Arc::new(Shared {
            options,
            terms,
            permits: Arc::new(Semaphore::new(terms.most as usize)),
            resting: Mutex::default(),
            open: Arc::default(),
        }))
    }

    /// The connection that was used last, or a new one. Its server may have cut it since.
    pub(super) async fn lend(&self) -> Result<Lent<C>, sqlx::Error> {
        self.in_time(async {
            let permit = self.permit().await?;
            let (open, _) = self.next().await?;
            Ok(self.lent(open, permit))
        })
        .await
    }

    /// A connection that has just answered, or is new.
    pub(super) async fn proven(&self) -> Result<Lent<C>, sqlx::Error> {
        self.in_time(async {
            let permit = self.permit().await?;
            let open = self.answering().await?;
            Ok(self.lent(open, permit))
        })
        .await
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
        let done = timeout(self.0.terms.patience, work).await;
        done.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, sqlx::Error> {
        let permit = Arc::clone(&self.0.permits).acquire_owned().await;
        permit.map_err(|_| sqlx::Error::PoolClosed)
    }

    fn lent(&self, open: Open<C>, permit: OwnedSemaphorePermit) -> Lent<C> {
        Lent {
            open: Some(open),
            pool: self.clone(),
            is_fit: true,
            _permit: permit,
        }
    }

    async fn answering(&self) -> Result<Open<C>, sqlx::Error> {
        loop {
            let (mut open, is_new) = self.next().await?;
            // One that does not answer is cut, or waited for in vain: the time is the borrower's, and ends.
            if is_new || Box::pin(open.link.ping()).await.is_ok() {
                return Ok(open);
            }
        }
    }

    /// The next to be lent, and whether it is new.
    async fn next(&self) -> Result<(Open<C>, bool), sqlx::Error> {
        let room = match self.offer() {
            Offer::Resting(open) => return Ok((open, false)),
            Offer::Room(room) => room,
        };
        match self.open(room).await {
            Ok(open) => Ok((open, true)),
            // The server may have no room for more: one of another home then.
            Err(error) => {
                let resting = self.0.resting().pop();
                resting.map(|resting| (resting.open, false)).ok_or(error)
            }
        }
    }

    fn offer(&self) -> Offer<C> {
        let here = self.here();
        let mut resting = self.0.resting();
        let at_home = resting.iter().rposition(|resting| resting.open.home == here);
        let is_full = self.0.open() >= self.0.terms.most as usize;
        let last = resting.len().checked_sub(1).filter(|_| is_full);
        match at_home.or(last) {
            Some(place) => Offer::Resting(resting.remove(place).open),
            None => Offer::Room(Arc::clone(&self.0.open)),
        }
    }

    fn here(&self) -> Option<Id> {
        self.0.terms.are_at_home.then(|| Handle::current().id())
    }

    /// A new one. A server that is coming up is waited for.
    async fn open(&self, room: Arc<()>) -> Result<Open<C>, sqlx::Error> {
        let mut pause = Duration::from_millis(10);
        loop {
            match Box::pin(self.0.options.connect()).await {
                Ok(link) => {
                    return Ok(Open {
                        link,
                        home: self.here(),
                        since: Instant::now(),
                        _counted: room,
                    });
                }
                Err(error) if comes_up(&error) => sleep(pause).await,
                Err(error) => return Err(error),
            }
            pause = (2 * pause).min(self.0.terms.patience / 5);
        }
    }

    /// Connections that are open or being opened, and those of them that rest.
    pub(super) fn count(&self) -> (usize, usize) {
        let resting = self.0.resting().len();
        (self.0.open(), resting)
    }

    /// Most that may be open.
    pub(super) fn most(&self) -> u32 {
        self.0.terms.most
    }

    /// Closes all, after those that are lent have been given back. Nobody gets one afterwards.
    pub(super) async fn close(&self) {
        let _all = self.0.permits.acquire_many(self.0.terms.most).await;
        self.0.permits.close();
        let resting = std::mem::take(&mut *self.0.resting());
        for resting in resting {
            let _ = timeout(GOODBYE, resting.open.link.close()).await;
        }
    }
}

impl<C: sqlx::Connection> Shared<C> {
    fn resting(&self) -> MutexGuard<'_, Vec<Resting<C>>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> usize {
        Arc::strong_count(&self.open) - 1
    }

    /// Lets it rest, unless it is old; whoever is too much is answered, to be closed.
    fn take_back(&self, open: Open<C>) -> Option<Open<C>> {
        if open.since.elapsed() > self.terms.life {
            return Some(open);
        }
        let now = Instant::now();
        let mut resting = self.resting();
        resting.push(Resting { open, since: now });
        // The first has rested longest. One at a time is enough: each that is given back looks.
        let is_forgotten = resting
            .first()
            .is_some_and(|first| now - first.since > self.terms.rest);
        is_forgotten.then(|| resting.remove(0).open)
    }
}

impl<C: sqlx::Connection> Lent<C> {
    /// The connection.
    #[expect(clippy::expect_used, reason = "it is there until this is dropped")]
    pub(super) fn link(&mut self) -> &mut C {
        &mut self.open.as_mut().expect("lent").link
    }

    /// Puts a connection that answers in the place of this one, which is closed.
    pub(super) async fn replace(&mut self) -> Result<(), sqlx::Error> {
        let fresh = self.pool.in_time(self.pool.answering()).await?;
        if let Some(open) = self.open.replace(fresh) {
            close(open);
        }
        Ok(())
    }

    /// It is to be closed, not given back.
    pub(super) fn condemn(&mut self) {
        self.is_fit = false;
    }
}

/// The place is free for the next when the connection is back: the permit is dropped after this.
impl<C: sqlx::Connection> Drop for Lent<C> {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else { return };
        let unwanted = if self.is_fit {
            self.pool.0.take_back(open)
        } else {
            Some(open)
        };
        if let Some(open) = unwanted {
            close(open);
        }
    }
}

/// Says goodbye to the server, in the background.
fn close<C: sqlx::Connection>(open: Open<C>) {
    // Without a runtime there is nobody to say it; the server sees the connection end.
    if let Ok(runtime) = Handle::try_current() {
        let goodbye = open.link.close();
        runtime.spawn(async move { timeout(GOODBYE, goodbye).await });
    }
}

#[cfg(test)]
mod tests;
