//! One connection: its requests, its time limits, its rest.
//!
//! hyper's own header timeout also runs while a kept-alive connection is idle, so it cannot tell the
//! 15 seconds that headers may take from the 75 that a connection may rest. Each connection here
//! carries one deadline that moves with what the connection is doing.
//!
//! hyper keeps two buffers of 8 KiB for as long as it serves a connection. Most connections rest most of the
//! time, so a resting one is taken back from hyper, and given to a new one when its client speaks again.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use super::stages::Answering;
use super::unread::Unread;

/// Headers must have arrived this long after their first byte, or after the connection was opened.
const HEADERS_WITHIN: Duration = Duration::from_secs(15);

/// A connection without a request is closed after this long.
const IDLE_FOR: Duration = Duration::from_secs(75);

/// A connection without a request gives its buffers back after this long.
const REST_AFTER: Duration = Duration::from_millis(50);

/// A client that has got its last answer may go on sending for so long,
const PARTING_FOR: Duration = Duration::from_secs(2);

/// and so much, in bytes.
const PARTING_BYTES: usize = 1024 * 1024;

/// Request line and headers together are refused from here on, in bytes. hyper reads in steps, so a head
/// of up to twice this size may still pass.
const MOST_HEAD_BYTES: usize = 32 * 1024;

/// Whoever answers what comes by a connection: the front, or the router of the metrics.
pub trait Answers: Clone + Send + Sync + 'static {
    /// Answers a request that came from `peer`.
    fn answer(&self, request: Request, peer: SocketAddr) -> Answering;
}

/// A stream between two requests, with what has been read of the next one.
struct Resting {
    stream: TcpStream,
    begun: Bytes,
}

/// Serves a connection to its end. After `stop` no request is begun on a connection that has had one.
pub async fn serve(stream: TcpStream, peer: SocketAddr, who: impl Answers, stop: CancellationToken) {
    // Answers are small and whole; waiting to fill a packet would only delay them.
    let _ = stream.set_nodelay(true);
    let opened = Instant::now();
    // Whoever has just connected believes to be welcome, so a stop does not close on him.
    if !speaks(&stream, HEADERS_WITHIN, &CancellationToken::new()).await {
        return;
    }
    let mut resting = Resting {
        stream,
        begun: Bytes::new(),
    };
    let mut headers_until = opened + HEADERS_WITHIN;
    while let Some(rested) = Box::pin(exchange(resting, headers_until, peer, &who, &stop)).await {
        if rested.begun.is_empty()
            && !speaks(&rested.stream, IDLE_FOR.saturating_sub(REST_AFTER), &stop).await
        {
            return;
        }
        resting = rested;
        headers_until = Instant::now() + HEADERS_WITHIN;
    }
}

/// Waits for the client's next byte, which stays unread. False when none came in time, or never will.
async fn speaks(stream: &TcpStream, patience: Duration, stop: &CancellationToken) -> bool {
    let mut byte = [0];
    tokio::select! {
        biased;
        peeked = stream.peek(&mut byte) => matches!(peeked, Ok(1..)),
        () = stop.cancelled() => false,
        () = tokio::time::sleep(patience) => false,
    }
}

/// Requests one after the other, until the client pauses. `None` when the connection is over.
async fn exchange(
    resting: Resting,
    headers_until: Instant,
    peer: SocketAddr,
    who: &impl Answers,
    stop: &CancellationToken,
) -> Option<Resting> {
    let activity = Arc::new(Activity::default());
    let service = hyper::service::service_fn({
        let activity = Arc::clone(&activity);
        move |request: hyper::Request<Incoming>| {
            activity.enter(ANSWERING);
            let (request, unread) = Unread::watch(request);
            InFlight {
                answering: who.answer(request, peer),
                answer: None,
                unread,
                activity: Arc::clone(&activity),
            }
        }
    });
    let io = TokioIo::new(Watched {
        resting,
        activity: Arc::clone(&activity),
    });
    let mut serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(MOST_HEAD_BYTES)
        .serve_connection(io, service);
    let mut sleep = pin!(tokio::time::sleep_until(headers_until));
    let mut alarm = Alarm::new(headers_until);
    let (mut pausing, mut stopping) = (false, false);
    loop {
        tokio::select! {
            // What the client has already sent is read before the alarm or a shutdown is looked at.
            biased;
            // An error here is the client's: it went away, or what it sent was no HTTP.
            ended = poll_fn(|task| serving.poll_without_shutdown(task)) => {
                let parts = serving.into_parts();
                let Watched { resting, .. } = parts.io.into_inner();
                if !pausing || ended.is_err() {
                    Box::pin(part(resting.stream)).await;
                    return None;
                }
                // A copy, for even an empty part would keep the whole buffer.
                let begun = Bytes::copy_from_slice(&parts.read_buf);
                return Some(Resting { begun, ..resting });
            }
            () = poll_fn(|task| alarm.poll(sleep.as_mut(), task, &activity)) => {
                // hyper lets go of an idle connection at once. If it does not, it waits for the rest of a body
                // that nobody wants, and what follows on that stream could be taken for a request.
                if pausing || !activity.is_idle() {
                    return None;
                }
                pausing = true;
                Pin::new(&mut serving).graceful_shutdown();
            }
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                Pin::new(&mut serving).graceful_shutdown();
            }
        }
    }
}

/// Closes a connection whose client may still be sending: a body that nobody wanted to read. The system would reset it, and
/// the answer could be lost before the client has read it (RFC 9112, 9.6), so the rest is read first, up to a point.
async fn part(mut stream: TcpStream) {
    let parting = async {
        stream.shutdown().await?;
        let (mut unwanted, mut left) = ([0; 4096], PARTING_BYTES);
        loop {
            let read = stream.read(&mut unwanted).await?;
            left = left.saturating_sub(read);
            if read == 0 || left == 0 {
                return io::Result::Ok(());
            }
        }
    };
    // However it ends, the connection is over.
    let _ = tokio::time::timeout(PARTING_FOR, parting).await;
}

/// Until when a connection may do what it is doing.
struct Alarm {
    /// The change of activity that it was set for.
    seen: u32,
    deadline: Option<Instant>,
}

impl Alarm {
    fn new(headers_until: Instant) -> Self {
        Self {
            seen: 0,
            deadline: Some(headers_until),
        }
    }

    /// Ready when the time is over. To be polled after each step of the connection: a change is noticed, and its deadline
    /// set, here, so that the clock is asked once for each request.
    fn poll(&mut self, mut sleep: Pin<&mut Sleep>, task: &mut Context<'_>, activity: &Activity) -> Poll<()> {
        let changes = activity.changes.load(Ordering::Relaxed);
        if changes != self.seen {
            self.seen = changes;
            self.deadline = activity.allowed().map(|allowed| Instant::now() + allowed);
        }
        // Only an earlier deadline moves the timer at once. A later one, or none, is looked up when it rings: no work for
        // each request.
        if let Some(deadline) = self.deadline.filter(|deadline| *deadline < sleep.deadline()) {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(task));
            let now = Instant::now();
            match self.deadline {
                Some(deadline) if deadline <= now => return Poll::Ready(()),
                later => sleep.as_mut().reset(later.unwrap_or(now + IDLE_FOR)),
            }
        }
    }
}

/// What a connection is doing. Only its own task writes it.
#[derive(Default)]
struct Activity {
    phase: AtomicU8,
    /// How often the phase has changed.
    changes: AtomicU32,
}

const READING_HEADERS: u8 = 0;
const ANSWERING: u8 = 1;
const SENDING: u8 = 2;
const IDLE: u8 = 3;

impl Activity {
    fn enter(&self, phase: u8) {
        self.phase.store(phase, Ordering::Relaxed);
        let changes = self.changes.load(Ordering::Relaxed);
        self.changes.store(changes.wrapping_add(1), Ordering::Relaxed);
    }

    /// How long the present phase may take.
    fn allowed(&self) -> Option<Duration> {
        match self.phase.load(Ordering::Relaxed) {
            READING_HEADERS => Some(HEADERS_WITHIN),
            // The handler's own limits hold.
            ANSWERING => None,
            // Who does not read his answer has as long as who does not ask.
            SENDING => Some(IDLE_FOR),
            _ => Some(REST_AFTER),
        }
    }

    fn is_idle(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == IDLE
    }

    fn bytes_arrived(&self) {
        if self.is_idle() {
            self.enter(READING_HEADERS);
        }
    }

    fn all_sent(&self) {
        if self.phase.load(Ordering::Relaxed) == SENDING {
            self.enter(IDLE);
        }
    }
}

/// A request being answered; dropped when its answer is ready to be sent, or when its client went away.
struct InFlight {
    answering: Answering,
    answer: Option<Response>,
    unread: Option<Unread>,
    activity: Arc<Activity>,
}

impl Future for InFlight {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let flight = &mut *self;
        let answer = match flight.answer.take() {
            Some(answer) => answer,
            None => ready!(flight.answering.as_mut().poll(task))?,
        };
        let Some(unread) = &mut flight.unread else {
            return Poll::Ready(Ok(answer));
        };
        let answer = flight.answer.insert(answer);
        if ready!(unread.poll_rest(task)) {
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(CONNECTION, close);
        }
        Poll::Ready(Ok(std::mem::take(answer)))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.activity.enter(SENDING);
    }
}

/// A stream that tells when bytes arrive and when all are sent.
struct Watched {
    resting: Resting,
    activity: Arc<Activity>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let begun = &mut self.resting.begun;
        if !begun.is_empty() {
            let part = begun.len().min(buffer.remaining());
            buffer.put_slice(&begun.split_to(part));
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.resting.stream).poll_read(task, buffer);
        if buffer.filled().len() > before {
            self.activity.bytes_arrived();
        }
        polled
    }
}

/// Without vectored writes, so that hyper copies an answer behind its head: answers are small, and to hand the system two pieces
/// costs more.
impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.resting.stream).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.resting.stream).poll_flush(task);
        if flushed.is_ready() {
            self.activity.all_sent();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.resting.stream).poll_shutdown(task)
    }
}
