//! One repository of an OCI registry, spoken to by oci-client, as whom the user is logged in.

use std::time::Duration;

use bytes::Bytes;
use oci_client::{
    Client, Reference,
    client::{ClientConfig, ClientProtocol},
    errors::OciDistributionError,
    manifest::{OciImageManifest, OciManifest},
    secrets::RegistryAuth,
};

use super::{
    artifact::{Config, Layer, Release},
    component,
    credentials::credential,
    error::diagnostic,
};
use crate::diagnostic::Diagnostic;

/// To connect.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// Without a byte of an answer.
const READ_TIME: Duration = Duration::from_secs(30);

pub struct Registry {
    client: Client,
    auth: RegistryAuth,
    pub reference: Reference,
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
        let host = reference.resolve_registry();
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
        let auth = credential(host)?;
        Ok(Self {
            client: Client::new(config),
            auth,
            reference,
        })
    }

    /// The same repository's release with this digest.
    pub fn at(&self, digest: &str) -> Self {
        Self {
            client: self.client.clone(),
            auth: self.auth.clone(),
            reference: self.reference.clone_with_digest(digest.to_owned()),
        }
    }

    /// The digest that the reference stands for now.
    pub async fn digest(&self) -> Result<String, Diagnostic> {
        let digest = self
            .client
            .fetch_manifest_digest(&self.reference, &self.auth)
            .await;
        digest.map_err(|error| self.failed("pull", &error))
    }

    /// What the reference stands for now, and its digest.
    pub async fn release(&self) -> Result<(Release, String), Diagnostic> {
        let pulled = self.client.pull_manifest(&self.reference, &self.auth).await;
        match pulled.map_err(|error| self.failed("pull", &error))? {
            (OciManifest::Image(manifest), digest) => Ok((Release::read(&manifest)?, digest)),
            (OciManifest::ImageIndex(_), _) => {
                let message = format!("{} is an index of images, not a release", self.reference);
                Err(Diagnostic::new("release-unusable", message).help("name what `wasmhost push` has pushed"))
            }
        }
    }

    /// The component that the reference stands for now, and its digest.
    pub async fn component(&self) -> Result<(Layer, String), Diagnostic> {
        let pulled = self.client.pull_manifest(&self.reference, &self.auth).await;
        match pulled.map_err(|error| self.failed("pull", &error))? {
            (OciManifest::Image(manifest), digest) => {
                Ok((component::layer(&self.reference, &manifest)?, digest))
            }
            (OciManifest::ImageIndex(_), _) => {
                Err(component::unusable(&self.reference, "it is an index of images"))
            }
        }
    }

    /// The bytes of a layer: what its digest says, or an error.
    pub async fn layer(&self, layer: &Layer) -> Result<Vec<u8>, Diagnostic> {
        let mut bytes = Bounded {
            bytes: Vec::new(),
            most: layer.size,
        };
        let descriptor = layer.descriptor("");
        let pulled = self
            .client
            .pull_blob(&self.reference, &descriptor, &mut bytes)
            .await;
        pulled.map_err(|error| self.failed("pull", &error))?;
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
        let failed = |error: OciDistributionError| self.failed("push", &error);
        let host = self.reference.resolve_registry();
        self.client.store_auth_if_needed(host, &self.auth).await;
        // Who may push and not read is asked to push it all.
        if matches!(
            self.client.blob_exists(&self.reference, &layer.digest).await,
            Ok(true)
        ) {
            return Ok(false);
        }
        let pushed = self.client.push_blob(&self.reference, bytes, &layer.digest).await;
        pushed.map_err(failed)?;
        Ok(true)
    }

    pub async fn push_manifest(&self, manifest: OciImageManifest) -> Result<(), Diagnostic> {
        let manifest = OciManifest::Image(manifest);
        let pushed = self.client.push_manifest(&self.reference, &manifest).await;
        pushed.map(drop).map_err(|error| self.failed("push", &error))
    }

    fn failed(&self, doing: &str, error: &OciDistributionError) -> Diagnostic {
        diagnostic(&self.reference, doing, error)
    }
}

/// A registry of this machine is spoken to without TLS, as other tools do.
fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || name == "[::1]" || name.starts_with("127.")
}

/// No more than was announced: a registry must not fill the memory.
struct Bounded {
    bytes: Vec<u8>,
    most: u64,
}

impl tokio::io::AsyncWrite for Bounded {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
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
