//! One repository of an OCI registry, spoken to by oci-client, as whom the user is logged in.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use oci_client::{
    Client, Reference,
    client::{ClientConfig, ClientProtocol},
    errors::OciDistributionError,
    manifest::{OciImageManifest, OciManifest},
    secrets::RegistryAuth,
};
use tokio::sync::watch;

use super::{
    artifact::{Config, Layer, Release},
    component,
    credentials::credential,
    error::{diagnostic, is_unauthorized},
};
use crate::{clock, diagnostic::Diagnostic};

/// To connect.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// Without a byte of an answer.
const READ_TIME: Duration = Duration::from_secs(30);

/// Whoever has something to serve meanwhile waits no longer for a registry that says nothing.
pub const PATIENCE: Duration = Duration::from_secs(5);

pub struct Registry {
    session: Arc<Session>,
    pub reference: Reference,
}

/// A registry, spoken to as somebody.
struct Session {
    login: Mutex<Login>,
    /// Told of each answer, and of each piece of one.
    heard: watch::Sender<()>,
}

/// The client keeps what it was let in by, whatever becomes of it.
#[derive(Clone)]
struct Login {
    client: Client,
    auth: RegistryAuth,
}

impl Login {
    /// Errors: where credentials are kept cannot be understood.
    fn new(host: &str) -> Result<Self, Diagnostic> {
        let auth = credential(host)?;
        let protocol = match is_loopback(host) {
            true => ClientProtocol::Http,
            false => ClientProtocol::Https,
        };
        let config = ClientConfig {
            protocol,
            connect_timeout: Some(CONNECT_TIME),
            read_timeout: Some(READ_TIME),
            user_agent: concat!("wasmhost/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let client = Client::new(config);
        Ok(Self { client, auth })
    }
}

/// `registry.example.com/site:prod`, also with `oci://` before it.
/// Errors: it is no reference.
pub fn reference(text: &str) -> Result<Reference, Diagnostic> {
    let name = text.strip_prefix("oci://").unwrap_or(text);
    name.parse().map_err(|error: oci_client::ParseError| {
        let message = format!("{text:?} names no release: {error}");
        let help = "write REGISTRY/REPOSITORY:TAG, as in registry.example.com/site:prod";
        Diagnostic::new("reference-invalid", message).help(help)
    })
}

impl Registry {
    /// Errors: where credentials are kept cannot be understood.
    pub fn new(reference: Reference) -> Result<Self, Diagnostic> {
        // Where the program has one already, that one is right too.
        let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
        let login = Login::new(reference.resolve_registry())?;
        let session = Session {
            login: Mutex::new(login),
            heard: watch::Sender::default(),
        };
        Ok(Self {
            session: Arc::new(session),
            reference,
        })
    }

    /// Returns when nothing was heard of it for so long.
    pub async fn silence(&self, limit: Duration) {
        let mut heard = self.session.heard.subscribe();
        while clock::timeout(limit, heard.changed()).await.is_ok() {}
    }

    /// Whoever asks is at work itself: that is no silence.
    pub fn note_work(&self) {
        self.session.heard.send_replace(());
    }

    /// What is to be said of a silence.
    pub fn silent(&self, limit: Duration) -> Diagnostic {
        let (host, limit) = (
            self.reference.resolve_registry(),
            humantime::format_duration(limit),
        );
        let message = format!(
            "cannot pull {}: {host} has said nothing for {limit}",
            self.reference
        );
        Diagnostic::new("registry-failed", message).machine()
    }

    /// The same repository's release with this digest.
    pub fn at(&self, digest: &str) -> Self {
        Self {
            session: self.session.clone(),
            reference: self.reference.clone_with_digest(digest.to_owned()),
        }
    }

    /// The digest that the reference stands for now.
    pub async fn digest(&self) -> Result<String, Diagnostic> {
        let Login { client, auth } = self.login().clone();
        let digest = client.fetch_manifest_digest(&self.reference, &auth).await;
        self.heard("pull", digest)
    }

    /// What the reference stands for now, and its digest.
    pub async fn release(&self) -> Result<(Release, String), Diagnostic> {
        match self.manifest().await? {
            (OciManifest::Image(manifest), digest) => Ok((Release::read(&manifest)?, digest)),
            (OciManifest::ImageIndex(_), _) => {
                let message = format!("{} is an index of images, not a release", self.reference);
                Err(Diagnostic::new("release-unusable", message).help("name what `wasmhost push` has pushed"))
            }
        }
    }

    /// The component that the reference stands for now, and its digest.
    pub async fn component(&self) -> Result<(Layer, String), Diagnostic> {
        match self.manifest().await? {
            (OciManifest::Image(manifest), digest) => {
                Ok((component::layer(&self.reference, &manifest)?, digest))
            }
            (OciManifest::ImageIndex(_), _) => {
                Err(component::unusable(&self.reference, "it is an index of images"))
            }
        }
    }

    async fn manifest(&self) -> Result<(OciManifest, String), Diagnostic> {
        let Login { client, auth } = self.login().clone();
        let pulled = client.pull_manifest(&self.reference, &auth).await;
        self.heard("pull", pulled)
    }

    /// The bytes of a layer: what its digest says, or an error.
    pub async fn layer(&self, layer: &Layer) -> Result<Vec<u8>, Diagnostic> {
        let mut bytes = Bounded {
            bytes: Vec::new(),
            most: layer.size,
            heard: &self.session.heard,
        };
        let descriptor = layer.descriptor("");
        let client = self.login().client.clone();
        let pulled = client.pull_blob(&self.reference, &descriptor, &mut bytes).await;
        self.heard("pull", pulled)?;
        Ok(bytes.bytes)
    }

    /// The config of a release.
    pub async fn config(&self, release: &Release) -> Result<Config, Diagnostic> {
        let bytes = self.layer(&release.config).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            let message = format!("the release cannot be served: its config: {error}");
            Diagnostic::new("release-unusable", message)
        })
    }

    /// Puts a layer there, if it is not. Returns whether it was not.
    pub async fn push_layer(&self, layer: &Layer, bytes: Bytes) -> Result<bool, Diagnostic> {
        let Login { client, auth } = self.login().clone();
        let host = self.reference.resolve_registry();
        client.store_auth_if_needed(host, &auth).await;
        // Who may push and not read is asked to push it all.
        if matches!(client.blob_exists(&self.reference, &layer.digest).await, Ok(true)) {
            return Ok(false);
        }
        let pushed = client.push_blob(&self.reference, bytes, &layer.digest).await;
        self.heard("push", pushed)?;
        Ok(true)
    }

    pub async fn push_manifest(&self, manifest: OciImageManifest) -> Result<(), Diagnostic> {
        let manifest = OciManifest::Image(manifest);
        let client = self.login().client.clone();
        let pushed = client.push_manifest(&self.reference, &manifest).await;
        self.heard("push", pushed).map(drop)
    }

    fn login(&self) -> MutexGuard<'_, Login> {
        self.session.login.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it answered, as its user can act on it. Who was not let in asks as whom the user is logged in by then, the
    /// next time.
    fn heard<T>(&self, doing: &str, answer: Result<T, OciDistributionError>) -> Result<T, Diagnostic> {
        let answer = answer.map_err(|error| {
            if is_unauthorized(&error)
                && let Ok(login) = Login::new(self.reference.resolve_registry())
            {
                *self.login() = login;
            }
            diagnostic(&self.reference, doing, &error)
        });
        self.note_work();
        answer
    }
}

/// A registry of this machine is spoken to without TLS, as other tools do.
fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || name == "[::1]" || name.starts_with("127.")
}

/// No more than was announced: a registry must not fill the memory.
struct Bounded<'h> {
    bytes: Vec<u8>,
    most: u64,
    heard: &'h watch::Sender<()>,
}

impl tokio::io::AsyncWrite for Bounded<'_> {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        self.heard.send_replace(());
        let length = (self.bytes.len() + bytes.len()) as u64;
        std::task::Poll::Ready(if length > self.most {
            Err(std::io::Error::other("a layer is larger than its manifest says"))
        } else {
            self.bytes.extend_from_slice(bytes);
            Ok(bytes.len())
        })
    }

    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_a_name_in_a_registry() {
        let site = reference("oci://127.0.0.1:5000/shop/site:prod").unwrap();
        assert_eq!(
            (site.resolve_registry(), site.repository(), site.tag()),
            ("127.0.0.1:5000", "shop/site", Some("prod"))
        );
        assert!(
            reference("127.0.0.1:5000/SITE")
                .unwrap_err()
                .help
                .unwrap()
                .contains("REGISTRY/REPOSITORY:TAG")
        );
        assert!(is_loopback("localhost:5000") && is_loopback("127.0.0.1") && is_loopback("[::1]:5000"));
        assert!(!is_loopback("localhost.example.com"));
    }
}
