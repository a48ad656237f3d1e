//! What a guest writes to stdout and stderr becomes log lines with its group and the page that is being
//! called and what its request is known by. The components of a store share its streams, so a line of a library
//! bears its caller's name; where calls interleave, it bears all their names, since any may have written it.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};

use super::{
    allowance::Allowance,
    callers::{Callers, Names},
};
use crate::clock;

/// Bytes of a line that are kept; a longer line is logged in pieces.
const MAX_LINE: usize = 8 * 1024;

/// One of a store's two output streams. All writers share it, and with it the unfinished line.
#[derive(Clone)]
pub struct GuestOutput(Arc<Output>);

struct Output {
    group: Arc<str>,
    callers: Callers,
    stream: &'static str,
    allowance: Arc<Allowance>,
    unfinished: Mutex<Vec<u8>>,
}

impl GuestOutput {
    pub fn new(
        group: &Arc<str>,
        stream: &'static str,
        callers: &Callers,
        allowance: &Arc<Allowance>,
    ) -> Self {
        let (group, unfinished) = (group.clone(), Mutex::default());
        Self(Arc::new(Output {
            group,
            callers: callers.clone(),
            stream,
            allowance: allowance.clone(),
            unfinished,
        }))
    }
}

impl Output {
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
        if !may_be_logged(&self.group, &self.allowance, line.len()) {
            return;
        }
        let line = escaped(&String::from_utf8_lossy(line));
        let Names {
            components: component,
            requests: request,
            traces: trace,
        } = self.callers.names();
        let (group, stream) = (&*self.group, self.stream);
        tracing::info!(target: "guest", group, component, stream, request, trace, "{line}");
    }
}

/// True where so many bytes more may be logged of what the group's guests say, or cause to be said.
pub fn may_be_logged(group: &str, allowance: &Allowance, length: usize) -> bool {
    let unsaid = allowance.take(length, clock::now());
    if let Some(unsaid) = unsaid.filter(|unsaid| *unsaid > 0) {
        tracing::warn!(
            group,
            unsaid,
            "so many bytes were printed and not logged: see `output` in [groups.{group}.limits]"
        );
    }
    unsaid.is_some()
}

impl Drop for Output {
    /// The last words of a guest may have no line end.
    fn drop(&mut self) {
        let unfinished = self.unfinished.get_mut().unwrap_or_else(PoisonError::into_inner);
        let unfinished = std::mem::take(unfinished);
        if !unfinished.is_empty() {
            self.log(&unfinished);
        }
    }
}

/// Escaped, so that a guest cannot write terminal sequences or forge other lines. Quotes do neither.
fn escaped(line: &str) -> String {
    let mut escaped = String::with_capacity(line.len());
    for character in line.chars() {
        match character {
            '"' | '\'' => escaped.push(character),
            _ => escaped.extend(character.escape_debug()),
        }
    }
    escaped
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
        self.0.write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
