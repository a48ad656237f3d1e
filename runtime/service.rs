//! What a service manager is told and asks (systemd's notify protocol): that the server is ready, that it lives,
//! that it reads everything anew on SIGHUP, and that it ends. Without one, SIGHUP alone is heard.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::orders::Orders;

/// Until `stop`.
pub async fn run(orders: Orders, stop: CancellationToken) {
    tell(&[NotifyState::Ready]);
    let hangups = signal(SignalKind::hangup());
    let Ok(mut hangups) = hangups.inspect_err(|error| tracing::warn!(%error, "SIGHUP is not heard")) else {
        return;
    };
    // Twice as often as is asked for, so that one may be late.
    let pause = sd_notify::watchdog_enabled().map(|limit| limit / 2);
    loop {
        tokio::select! {
            () = stop.cancelled() => return tell(&[NotifyState::Stopping]),
            _ = hangups.recv() => reload(&orders).await,
            () = after(pause) => {
                // A server whose control plane is gone is not alive.
                if orders.status().await.is_ok() {
                    tell(&[NotifyState::Watchdog]);
                }
            }
        }
    }
}

/// Serves what lies on disk now, the manifest included. What is refused is an event, as always.
async fn reload(orders: &Orders) {
    tracing::info!("SIGHUP: reading everything anew");
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "the clock cannot be read"),
    }
    // Of all groups, none is refused for being pinned.
    if let Err(error) = orders.swap(None).await {
        tracing::error!(%error, "nothing was read");
    }
    tell(&[NotifyState::Ready]);
}

async fn after(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}

fn tell(state: &[NotifyState<'_>]) {
    // Where nobody listens there is nothing to be told.
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager is not told");
    }
}
