//! Bodies of requests that were answered without being read to their end: a refusal, or a handler that wants none.
//!
//! What is left of a body stands before the next request. hyper skips what is there already and closes the connection over
//! the rest, but does not say so: a client that has sent all of it takes the connection for a living one and loses his next
//! request. So what is there is skipped here, before the answer is sent, and where more is to come the answer says that the
//! connection closes (RFC 9112, 9.6).

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header::EXPECT;
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

/// Most of a body that is skipped, in bytes: to open a new connection costs less than more of it.
const MOST_SKIPPED: u64 = 64 * 1024;

/// What may be left of a request's body.
pub(super) struct Unread {
    returned: oneshot::Receiver<Incoming>,
    /// What came back.
    rest: Option<Incoming>,
    skipped: u64,
    has_waited: bool,
    /// Its client sends it only if it is asked for (`Expect: 100-continue`), and reading is asking.
    is_asked_for: bool,
}

impl Unread {
    /// A request to be answered, and the body that may be left of it; `None` where it has none.
    pub(super) fn watch(request: hyper::Request<Incoming>) -> (Request, Option<Self>) {
        if request.body().is_end_stream() {
            return (request.map(|_| Body::empty()), None);
        }
        let (back, returned) = oneshot::channel();
        let unread = Self {
            returned,
            rest: None,
            skipped: 0,
            has_waited: false,
            is_asked_for: request.headers().contains_key(EXPECT),
        };
        let lend = |body| {
            Body::new(Lent {
                body: Some(body),
                back: Some(back),
            })
        };
        (request.map(lend), Some(unread))
    }

    /// To be polled when there is an answer: skips what has arrived, and tells whether there is more.
    pub(super) fn poll_rest(&mut self, task: &mut Context<'_>) -> Poll<bool> {
        let rest = match &mut self.rest {
            Some(rest) => rest,
            None => match self.returned.try_recv() {
                Ok(rest) => self.rest.insert(rest),
                // It was read to its end.
                Err(TryRecvError::Closed) => return Poll::Ready(false),
                // Whoever works on behind the answer still has it.
                Err(TryRecvError::Empty) => return Poll::Ready(true),
            },
        };
        if self.is_asked_for {
            return Poll::Ready(true);
        }
        while self.skipped.saturating_add(rest.size_hint().lower()) <= MOST_SKIPPED {
            match Pin::new(&mut *rest).poll_frame(task) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.skipped += frame.data_ref().map_or(0, |data| data.len() as u64);
                    self.has_waited = false;
                }
                Poll::Ready(Some(Err(_))) => break,
                Poll::Ready(None) => return Poll::Ready(false),
                Poll::Pending if self.has_waited => break,
                // hyper reads when it is polled again. What is not there then is not waited for.
                Poll::Pending => {
                    self.has_waited = true;
                    task.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(true)
    }
}

/// A body that comes back when it is dropped, unless it was read to its end.
struct Lent {
    /// `None` in its drop alone.
    body: Option<Incoming>,
    back: Option<oneshot::Sender<Incoming>>,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(task),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(HttpBody::size_hint).unwrap_or_default()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.is_end_stream()
            && let (Some(body), Some(back)) = (self.body.take(), self.back.take())
        {
            // Its client may have gone away meanwhile.
            let _ = back.send(body);
        }
    }
}
