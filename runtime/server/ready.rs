//! Tells balancers whether requests are to be sent here: a path that the host itself answers, whatever the method. A
//! server that is told to end says so for a while before it takes no more. Knows not what is served.

use http::{Response, StatusCode};
use tokio_util::sync::CancellationToken;

use super::answer;
use crate::{clock, host::body::Body, project::ReadySpec};

pub struct Ready {
    spec: ReadySpec,
    told: CancellationToken,
}

impl Ready {
    /// `told`: cancelled, the server is to end.
    pub fn new(spec: ReadySpec, told: CancellationToken) -> Self {
        Self { spec, told }
    }

    /// Returns when the server was told to end, and balancers had the time to hear of it.
    pub async fn noticed(&self) {
        self.told.cancelled().await;
        clock::sleep(self.spec.notice).await;
    }

    /// What is said at this path; `None` where it is another.
    pub(super) fn answer(&self, path: &str) -> Option<Response<Body>> {
        let status = match self.told.is_cancelled() {
            true => StatusCode::SERVICE_UNAVAILABLE,
            false => StatusCode::OK,
        };
        (path == self.spec.path).then(|| answer::of_host(status))
    }
}
