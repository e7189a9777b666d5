//! Connections: accepting, serving, timing out, draining.
//!
//! hyper's own header timeout also runs while a kept-alive connection is idle, so it cannot tell the
//! 15 seconds that headers may take from the 75 that a connection may rest. Each connection here
//! carries one deadline that moves with what the connection is doing.

use std::convert::Infallible;
use std::future::{Future as _, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::http::Peer;

/// Headers must have arrived this long after their first byte, or after the connection was opened.
const HEADERS_WITHIN: Duration = Duration::from_secs(15);

/// A connection without a request is closed after this long.
const IDLE_FOR: Duration = Duration::from_secs(75);

/// Request line and headers together are refused from here on, in bytes. hyper reads in steps, so a head
/// of up to twice this size may still pass.
const MOST_HEAD_BYTES: usize = 32 * 1024;

/// After the system refused a connection (no file descriptor left), the next try waits this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(250);

/// Serves until `stop`, then finishes what is in flight. Returns when every connection is closed;
/// the caller decides how long he waits for that.
///
/// `most_connections` are served at once; further ones wait in the kernel's queue.
pub async fn serve(listener: TcpListener, router: Router, most_connections: usize, stop: CancellationToken) {
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
                let connection = connection(stream, address, router.clone(), stop.clone());
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
        connections.spawn(connection(stream, address, router.clone(), stop.clone()));
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

async fn connection(stream: TcpStream, address: SocketAddr, router: Router, stop: CancellationToken) {
    // Answers are small and whole; waiting to fill a packet would only delay them.
    let _ = stream.set_nodelay(true);
    let activity = Arc::new(Activity::new());
    let service = hyper::service::service_fn({
        let activity = Arc::clone(&activity);
        move |request| answer(request, address, router.clone(), InFlight::begin(&activity))
    });
    let io = TokioIo::new(Watched {
        stream,
        activity: Arc::clone(&activity),
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(MOST_HEAD_BYTES)
        .serve_connection(io, service);
    let mut serving = pin!(serving);
    let mut alarm = pin!(tokio::time::sleep_until(activity.deadline()));
    let mut stopping = false;
    loop {
        tokio::select! {
            // What the client has already sent is read before the alarm or a shutdown is looked at.
            biased;
            // An error here is the client's: it went away, or what it sent was no HTTP.
            _ = serving.as_mut() => return,
            () = expired(alarm.as_mut(), &activity) => return,
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Waits for the deadline, wherever it moves meanwhile. It moves only while the connection is served, and
/// this is polled right after that, so an earlier deadline is seen at once.
async fn expired(mut alarm: Pin<&mut Sleep>, activity: &Activity) {
    poll_fn(|task| {
        loop {
            let deadline = activity.deadline();
            // A later deadline is looked up when the alarm rings: no work for each request.
            if deadline < alarm.deadline() {
                alarm.as_mut().reset(deadline);
            }
            std::task::ready!(alarm.as_mut().poll(task));
            let deadline = activity.deadline();
            if deadline <= Instant::now() {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(deadline);
        }
    })
    .await;
}

async fn answer(
    request: Request<Incoming>,
    address: SocketAddr,
    router: Router,
    in_flight: InFlight,
) -> Result<Response, Infallible> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(Peer(address));
    let response = router.oneshot(request).await;
    drop(in_flight);
    response
}

/// What a connection is doing, and until when it may.
struct Activity {
    opened: Instant,
    phase: AtomicU8,
    /// Milliseconds after `opened`.
    deadline: AtomicU64,
}

const READING_HEADERS: u8 = 0;
const ANSWERING: u8 = 1;
const IDLE: u8 = 2;

impl Activity {
    fn new() -> Self {
        let headers = AtomicU64::new(millis(HEADERS_WITHIN));
        Self {
            opened: Instant::now(),
            phase: AtomicU8::new(READING_HEADERS),
            deadline: headers,
        }
    }

    fn enter(&self, phase: u8, allowed: Duration) {
        self.deadline
            .store(millis(self.opened.elapsed() + allowed), Ordering::Relaxed);
        self.phase.store(phase, Ordering::Release);
    }

    /// While a request is answered the handler's own limits hold, so the alarm only looks again later.
    fn deadline(&self) -> Instant {
        if self.phase.load(Ordering::Acquire) == ANSWERING {
            return Instant::now() + IDLE_FOR;
        }
        self.opened + Duration::from_millis(self.deadline.load(Ordering::Relaxed))
    }

    fn bytes_arrived(&self) {
        if self.phase.load(Ordering::Acquire) == IDLE {
            self.enter(READING_HEADERS, HEADERS_WITHIN);
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A request being answered; dropped when it is, or when its client went away.
struct InFlight(Arc<Activity>);

impl InFlight {
    fn begin(activity: &Arc<Activity>) -> Self {
        activity.phase.store(ANSWERING, Ordering::Release);
        Self(Arc::clone(activity))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.enter(IDLE, IDLE_FOR);
    }
}

/// A stream that tells when bytes arrive.
struct Watched {
    stream: TcpStream,
    activity: Arc<Activity>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(task, buffer);
        if buffer.filled().len() > before {
            self.activity.bytes_arrived();
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(task, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(task, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }
}
