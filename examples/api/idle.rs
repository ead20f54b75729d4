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

    /// Looks at the time where something waits: TLS takes all that is written, and only then cannot get rid of it.
    fn waited<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_pending() {
            ready!(self.check(cx))?;
        }
        result
    }

    fn written(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if result.is_ready() {
            self.progress();
        }
        self.waited(cx, result)
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
        let result = Pin::new(&mut self.io).poll_flush(cx);
        self.waited(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.io).poll_shutdown(cx);
        self.waited(cx, result)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::timeout;

    use super::*;

    /// Takes all that is written, and never gets rid of it, as TLS does where the client reads nothing.
    struct Stuck;

    impl AsyncRead for Stuck {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Stuck {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    const LIMIT: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn what_is_taken_and_never_sent_ends_the_connection() {
        for shuts_down in [false, true] {
            let mut idle = Idle::new(Stuck, LIMIT, LIMIT);
            // It is known which HTTP the client speaks.
            idle.read(b"GET / HTTP/1.1\r\n\r\n");
            let start = Instant::now();
            let result = poll_fn(|cx| {
                let mut io = Pin::new(&mut idle);
                if shuts_down {
                    io.poll_shutdown(cx)
                } else {
                    // Written once; hyper asks for no more than a flush then.
                    if start.elapsed().is_zero() {
                        assert!(io.as_mut().poll_write(cx, b"HTTP/1.1 200 OK").is_ready());
                    }
                    io.poll_flush(cx)
                }
            });
            let result = timeout(2 * LIMIT, result).await.unwrap();
            assert_eq!(result.unwrap_err().kind(), ErrorKind::TimedOut);
            assert_eq!(start.elapsed(), LIMIT);
        }
    }
}
