//! A connection's socket that is patient with its client, but not without end: one that takes nothing of
//! what is written for as long as the limit breaks off, and one that is closed while its client still
//! sends is read for a moment, or the client would lose the answer with the connection.
//! Knows no HTTP.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;
use crate::clock::{self, Sleep};

/// What is read and thrown away of a client that still sends while its connection closes.
const LEFTOVERS: usize = 4 << 20;
/// How long that goes on.
const FAREWELL: Duration = Duration::from_secs(2);

pub struct Patient<S> {
    stream: S,
    activity: Arc<Activity>,
    limit: Duration,
    /// Runs while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    closing: Closing,
}

enum Closing {
    No,
    /// All is written; what still comes is thrown away.
    Hearing {
        left: usize,
        until: Option<Pin<Box<Sleep>>>,
    },
    Done,
}

impl<S> Patient<S> {
    pub fn new(stream: S, activity: Arc<Activity>, limit: Duration) -> Self {
        Self {
            stream,
            activity,
            limit,
            stalled: None,
            closing: Closing::No,
        }
    }

    /// Passes on what a write came to, unless the client has taken nothing for too long.
    fn patiently<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let limit = self.limit;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(clock::sleep(limit)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> Patient<S> {
    /// Reads what its client still sends, for a moment.
    fn hear(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [0; 4096];
        while let Closing::Hearing { left, until } = &mut self.closing {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() && *left > 0 => {
                    *left = left.saturating_sub(buffer.filled().len());
                    until.get_or_insert_with(|| Box::pin(clock::sleep(FAREWELL)));
                }
                Poll::Ready(_) => self.closing = Closing::Done,
                Poll::Pending => {
                    // Most have nothing more to say, and are not waited for.
                    if until.is_some() || self.activity.is_left_unread() {
                        let until = until.get_or_insert_with(|| Box::pin(clock::sleep(FAREWELL)));
                        ready!(until.as_mut().poll(context));
                    }
                    self.closing = Closing::Done;
                }
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.activity.heard();
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.patiently(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.patiently(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        // A socket that has nothing to flush has taken nothing.
        if flushed.is_ready() {
            flushed
        } else {
            self.patiently(flushed, context)
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Closing::No = self.closing {
            let shut = Pin::new(&mut self.stream).poll_shutdown(context);
            ready!(self.patiently(shut, context))?;
            self.closing = Closing::Hearing {
                left: LEFTOVERS,
                until: None,
            };
        }
        self.hear(context).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const LIMIT: Duration = Duration::from_millis(20);

    fn patient(room: usize) -> (Patient<DuplexStream>, DuplexStream) {
        let (server, client) = duplex(room);
        let activity = Arc::new(Activity::new(Instant::now()));
        (Patient::new(server, activity, LIMIT), client)
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (mut server, client) = patient(8);
        let began = Instant::now();
        let error = server.write_all(&[0; 100]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= LIMIT);
        drop(client);
    }

    #[tokio::test]
    async fn each_byte_that_is_taken_gives_it_time_anew() {
        let (mut server, mut client) = patient(8);
        server.limit = Duration::from_secs(1000);
        server.write_all(&[0; 8]).await.unwrap();
        assert!(futures::poll!(std::pin::pin!(server.write(&[0]))).is_pending());
        assert!(server.stalled.is_some());
        client.read_exact(&mut [0]).await.unwrap();
        server.write_all(&[0]).await.unwrap();
        assert!(server.stalled.is_none());
    }

    #[tokio::test]
    async fn a_client_that_still_sends_is_heard_for_a_moment() {
        let (mut server, mut client) = patient(8);
        client.write_all(b"more").await.unwrap();
        let closing = tokio::spawn(async move { server.shutdown().await });
        client.write_all(&[0; 100]).await.expect("all of it is read");
        drop(client);
        closing.await.unwrap().unwrap();

        let (mut server, client) = patient(8);
        server.activity.leave_unread();
        let mut closing = std::pin::pin!(server.shutdown());
        assert!(
            futures::poll!(closing.as_mut()).is_pending(),
            "it has not said all"
        );
        drop(client);
        closing.await.unwrap();

        let (mut server, _client) = patient(8);
        let closing = std::pin::pin!(server.shutdown());
        assert!(
            futures::poll!(closing).is_ready(),
            "nobody waits for one that is silent"
        );
    }
}
