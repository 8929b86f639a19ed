//! Where the body of a response ends when its guest has ended and cannot finish it any more.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Frame};
use wasmtime_wasi_http::Error;

/// What the body of a guest's response knows of the guest. It may be read by another thread than the guest's.
#[derive(Clone, Default)]
pub(super) struct Ending(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    guest: Guest,
    has_body: bool,
    is_over: bool,
    is_cut: bool,
    waker: Option<Waker>,
}

/// How a guest ends.
#[derive(Clone, Copy, Default)]
pub(super) enum Guest {
    #[default]
    Running,
    /// A body that it has not finished ends with what was written, as with a server that drops its instance.
    Returned,
    /// A body that it has not finished breaks off.
    Failed,
}

impl Ending {
    /// The same body, which ends at the latest when the guest does.
    pub(super) fn of(&self, body: UnsyncBoxBody<Bytes, Error>) -> UnsyncBoxBody<Bytes, Error> {
        self.lock().has_body = true;
        let ending = self.clone();
        EndingBody { body, ending }.boxed_unsync()
    }

    /// The guest will not write any more.
    pub(super) fn guest_has(&self, ended: Guest) {
        let mut state = self.lock();
        state.guest = ended;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// Whether there is a response.
    pub(super) fn has_body(&self) -> bool {
        self.lock().has_body
    }

    /// Whether somebody has taken all of the body, to the end that the guest gave it.
    pub(super) fn is_over(&self) -> bool {
        self.lock().is_over
    }

    /// Whether the guest's end was the body's.
    pub(super) fn is_cut(&self) -> bool {
        self.lock().is_cut
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct EndingBody {
    body: UnsyncBoxBody<Bytes, Error>,
    ending: Ending,
}

impl Body for EndingBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Self { body, ending } = &mut *self;
        // Held during the poll, so that the guest's end is either seen here or wakes this task.
        let mut state = ending.lock();
        // Otherwise tokio may have a body wait that has more to give.
        let frame = pin!(tokio::task::unconstrained(poll_fn(
            |context| Pin::new(&mut *body).poll_frame(context)
        )));
        let frame = frame.poll(context);
        if frame.is_ready() {
            state.is_over |= matches!(frame, Poll::Ready(None));
            return frame;
        }
        match state.guest {
            Guest::Running => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
            Guest::Returned => {
                state.is_cut = true;
                Poll::Ready(None)
            }
            Guest::Failed => {
                state.is_cut = true;
                Poll::Ready(Some(Err(Error::HttpResponseIncomplete)))
            }
        }
    }
}
