//! The certificate that new connections are served with, and its follower: when the files have other
//! content, and it is good, the next connection gets it. What is bad changes nothing and is said once.
//! Knows not what is said over a connection.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

use crate::{
    certificate::Pem,
    clock,
    diagnostic::Diagnostic,
    project::{Digest, TlsFiles},
};

/// How often the files are read.
const LOOK: Duration = Duration::from_millis(500);

/// TLS as it is served at the moment. Cheap to clone.
#[derive(Clone)]
pub struct Tls(Arc<ArcSwap<ServerConfig>>);

/// Follows the files of a certificate.
pub struct Follower {
    tls: Tls,
    files: TlsFiles,
    /// What was read last, and has to be read once more to count: two files are not replaced at once.
    seen: Digest,
    /// What was served or refused last.
    judged: Digest,
}

/// What the files hold: a certificate, or a reason why they cannot be read.
type Found = Result<Pem, Diagnostic>;

impl Tls {
    /// Errors: what is wrong with the files.
    pub fn new(files: &TlsFiles) -> Result<(Self, Follower), Diagnostic> {
        let pem = Pem::read(files)?;
        let tls = Self(Arc::new(ArcSwap::new(pem.config()?)));
        let follower = Follower {
            tls: tls.clone(),
            files: files.clone(),
            seen: pem.digest(),
            judged: pem.digest(),
        };
        Ok((tls, follower))
    }

    pub fn acceptor(&self) -> TlsAcceptor {
        self.0.load_full().into()
    }
}

impl Follower {
    /// Follows the files for as long as it is polled.
    pub async fn run(mut self) {
        loop {
            let files = self.files.clone();
            // A disk that hangs must not hold up the connections.
            if let Ok(found) = tokio::task::spawn_blocking(move || Pem::read(&files)).await {
                self.judge(found);
            }
            clock::sleep(LOOK).await;
        }
    }

    fn judge(&mut self, found: Found) {
        let digest = match &found {
            Ok(pem) => pem.digest(),
            Err(diagnostic) => Digest::of(diagnostic.to_string().as_bytes()),
        };
        let at_rest = std::mem::replace(&mut self.seen, digest) == digest;
        if !at_rest || digest == self.judged {
            return;
        }
        self.judged = digest;
        match found.and_then(|pem| pem.config()) {
            Ok(config) => {
                self.tls.0.store(config);
                let certificate = self.files.certificate.display();
                tracing::info!(%certificate, "new connections are served with a new certificate");
            }
            Err(diagnostic) => {
                tracing::error!("the certificate that was read before is served on: {diagnostic}");
            }
        }
    }
}
