//! Connections that get nowhere: hyper's own timeouts begin with a request, and end with the head of its answer.

use std::{
    io::{self, ErrorKind},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// What a client of HTTP/2 that asks no HTTP/1 first says: RFC 9113, section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Ends a connection with an error where nothing goes either way for too long.
///
/// Until it is known which HTTP the client speaks there is a time for all of it, which a byte now and then does not lengthen.
pub(crate) struct Idle<I> {
    io: I,
    limit: Duration,
    timer: Pin<Box<Sleep>>,
    /// How much of the preface the client has sent; nothing once it is known what it speaks.
    preface: Option<usize>,
}

impl<I> Idle<I> {
    /// Waits so long for the first bytes, and then for the next ones.
    pub(crate) fn new(io: I, first: Duration, limit: Duration) -> Self {
        Self {
            io,
            limit,
            timer: Box::pin(sleep(first)),
            preface: Some(0),
        }
    }

    /// Looks whether the time is over.
    fn check(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
    }

    fn read(&mut self, bytes: &[u8]) {
        if let Some(known) = self.preface {
            let rest = PREFACE.get(known..).unwrap_or_default();
            if bytes.len() < rest.len() && rest.starts_with(bytes) {
                self.preface = Some(known.saturating_add(bytes.len()));
                return;
            }
            self.preface = None;
        }
        self.progress();
    }

    fn progress(&mut self) {
        if self.preface.is_none()
            && let Some(end) = Instant::now().checked_add(self.limit)
        {
            self.timer.as_mut().reset(end);
        }
    }

    fn written(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match result {
            Poll::Pending => {
                ready!(self.check(cx))?;
                Poll::Pending
            }
            Poll::Ready(result) => {
                self.progress();
                Poll::Ready(result)
            }
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Idle<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if Pin::new(&mut self.io).poll_read(cx, buf)?.is_pending() {
            ready!(self.check(cx))?;
            return Poll::Pending;
        }
        self.read(buf.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Idle<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, buf);
        self.written(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.written(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
