//! The listener: accepting, refusing more than there is room for, draining. What happens on a connection is
//! `connection.rs`'s.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{self, Answers};
use super::event_loops::EventLoops;

/// After the system refused a connection (no file descriptor left), the next try waits this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(250);

/// Serves until `stop`, then finishes what is in flight. Returns when every connection is closed;
/// the caller decides how long he waits for that.
///
/// `most_connections` are served at once, on `event_loops`; further ones wait in the kernel's queue.
pub async fn serve(
    listener: TcpListener,
    who: impl Answers,
    event_loops: Arc<EventLoops>,
    most_connections: usize,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(most_connections));
    let connections = TaskTracker::new();
    let begin = |stream: TcpStream, address, place: Option<Place>| {
        // From here on this loop would be woken for it in vain.
        let Ok(stream) = stream.into_std() else { return };
        let (seat, who, stop) = (event_loops.seat(), who.clone(), stop.clone());
        let runtime = seat.runtime.clone();
        let connection = async move {
            if let Ok(stream) = TcpStream::from_std(stream) {
                connection::serve(stream, address, who, stop).await;
            }
            drop((place, seat));
        };
        connections.spawn_on(connection, &runtime);
    };
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, address, place)) => begin(stream, address, Some(place)),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Whoever is already in the kernel's queue believes to be connected, so he is served too.
    while let Some(Ok((stream, address))) = listener.accept().now_or_never() {
        begin(stream, address, None);
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

type Place = tokio::sync::OwnedSemaphorePermit;

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, Place)> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    Ok((stream, address, place))
}

/// The other end went away before it was accepted; the next connection may be fine.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}
