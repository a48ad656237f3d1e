//! What the system tells the program to do.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// SIGTERM and SIGINT, and SIGHUP where it is listened to: the first lets what runs finish, the second does not.
pub struct Signals {
    pub first: CancellationToken,
    pub second: CancellationToken,
}

impl Signals {
    pub fn listen() -> std::io::Result<Self> {
        Self::listen_to(&[SignalKind::terminate(), SignalKind::interrupt()])
    }

    /// A terminal that is closed ends it too: what was started is not left behind.
    pub fn listen_with_hangup() -> std::io::Result<Self> {
        Self::listen_to(&[
            SignalKind::terminate(),
            SignalKind::interrupt(),
            SignalKind::hangup(),
        ])
    }

    fn listen_to(kinds: &[SignalKind]) -> std::io::Result<Self> {
        let mut signals = kinds
            .iter()
            .map(|kind| signal(*kind))
            .collect::<Result<Vec<_>, _>>()?;
        let (first, second) = (CancellationToken::new(), CancellationToken::new());
        let tokens = [first.clone(), second.clone()];
        tokio::spawn(async move {
            for token in tokens {
                let any = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
                futures::future::select_all(any).await;
                token.cancel();
            }
        });
        Ok(Self { first, second })
    }
}
