//! The threads that serve connections.
//!
//! Each has an event loop of its own and keeps the connections that it is given, from the first byte to the last: what is
//! awaited there wakes the thread that answers. One scheduler for all threads wakes one of them for what has arrived, which wakes
//! another to take half of it off its hands; a request that needs nothing but counters is answered before that pays. Work that
//! belongs to no connection has the runtime of the process.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The threads. Dropped, they end, with all that is still going on in them.
#[derive(Debug)]
pub struct EventLoops {
    loops: Vec<EventLoop>,
    _end: DropGuard,
}

#[derive(Debug)]
struct EventLoop {
    runtime: Handle,
    /// A clone is in each connection.
    connections: Arc<()>,
}

/// The place of a connection in an event loop, free when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    /// Where its tasks run.
    pub(super) runtime: Handle,
    _counted: Arc<()>,
}

impl EventLoops {
    /// One for each core. The error is the operating system's refusal of a thread.
    pub fn start() -> io::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let end = CancellationToken::new();
        let loops = (0..cores).map(|number| EventLoop::start(number, end.clone()));
        Ok(Self {
            loops: loops.collect::<io::Result<_>>()?,
            _end: end.drop_guard(),
        })
    }

    /// A place where there are fewest connections.
    pub(super) fn seat(&self) -> Seat {
        let emptiest = self
            .loops
            .iter()
            .min_by_key(|event_loop| Arc::strong_count(&event_loop.connections));
        match emptiest {
            Some(EventLoop { runtime, connections }) => Seat {
                runtime: runtime.clone(),
                _counted: Arc::clone(connections),
            },
            // There is at least one.
            None => Seat {
                runtime: Handle::current(),
                _counted: Arc::default(),
            },
        }
    }
}

impl EventLoop {
    fn start(number: usize, end: CancellationToken) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        thread::Builder::new()
            .name(format!("front-{number}"))
            .spawn(move || {
                runtime.block_on(end.cancelled());
                // Dropping it would wait for blocking calls that nobody asks for any more.
                runtime.shutdown_background();
            })?;
        Ok(Self {
            runtime: handle,
            connections: Arc::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_connection_goes_where_there_are_fewest() {
        let event_loops = EventLoops::start().unwrap();
        let cores = event_loops.loops.len();
        let of = |seats: &[Seat]| seats.iter().map(|seat| seat.runtime.id()).collect::<Vec<_>>();
        let mut seats: Vec<Seat> = (0..cores).map(|_| event_loops.seat()).collect();
        for runtime in of(&seats) {
            assert_eq!(of(&seats).iter().filter(|id| **id == runtime).count(), 1);
        }
        let left = seats.remove(0).runtime;
        assert_eq!(event_loops.seat().runtime.id(), left.id());
    }

    #[tokio::test]
    async fn they_end_with_all_that_goes_on_in_them() {
        let event_loops = EventLoops::start().unwrap();
        let endless = event_loops.seat().runtime.spawn(std::future::pending::<()>());
        drop(event_loops);
        let ended = tokio::time::timeout(Duration::from_secs(30), endless).await;
        assert!(ended.unwrap().unwrap_err().is_cancelled());
    }
}
