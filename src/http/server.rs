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

/// After the system refused a connection (no file descriptor left), the next try waits this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(250);

/// Serves until `stop`, then finishes what is in flight. Returns when every connection is closed;
/// the caller decides how long he waits for that.
///
/// `most_connections` are served at once; further ones wait in the kernel's queue.
pub async fn serve(
    listener: TcpListener,
    who: impl Answers,
    most_connections: usize,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(most_connections));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, address, place)) => {
                let connection = connection::serve(stream, address, who.clone(), stop.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Whoever is already in the kernel's queue believes to be connected, so he is served too.
    while let Some(Ok((stream, address))) = listener.accept().now_or_never() {
        connections.spawn(connection::serve(stream, address, who.clone(), stop.clone()));
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
