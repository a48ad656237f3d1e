//! What the system tells the program to do.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// SIGTERM and SIGINT: the first lets what runs finish, the second does not.
pub struct Signals {
    pub first: CancellationToken,
    pub second: CancellationToken,
}

impl Signals {
    pub fn listen() -> std::io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (first, second) = (CancellationToken::new(), CancellationToken::new());
        let tokens = [first.clone(), second.clone()];
        tokio::spawn(async move {
            for token in tokens {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                token.cancel();
            }
        });
        Ok(Self { first, second })
    }
}
