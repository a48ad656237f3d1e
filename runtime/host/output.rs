//! What a guest writes to stdout and stderr becomes log lines with its group.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};

/// Bytes of a line that are kept; a longer line is logged in pieces.
const MAX_LINE: usize = 8 * 1024;

/// One of a store's two output streams. All writers share the unfinished line.
#[derive(Clone)]
pub struct GuestOutput {
    group: Arc<str>,
    stream: &'static str,
    unfinished: Arc<Mutex<Vec<u8>>>,
}

impl GuestOutput {
    pub fn new(group: &Arc<str>, stream: &'static str) -> Self {
        Self {
            group: group.clone(),
            stream,
            unfinished: Arc::default(),
        }
    }

    fn write(&self, bytes: &[u8]) {
        let mut unfinished = self.unfinished.lock().unwrap_or_else(PoisonError::into_inner);
        for &byte in bytes {
            if byte != b'\n' {
                unfinished.push(byte);
            }
            if byte == b'\n' || unfinished.len() == MAX_LINE {
                self.log(&std::mem::take(&mut *unfinished));
            }
        }
    }

    fn log(&self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        // Escaped, so that a guest cannot write terminal sequences or forge other lines.
        tracing::info!(target: "guest", group = &*self.group, stream = self.stream, "{}", line.escape_debug());
    }
}

impl IsTerminal for GuestOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestOutput {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for GuestOutput {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
