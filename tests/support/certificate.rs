//! Certificates of a test's own, and a client that trusts one of them.

use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring, pki_types::CertificateDer,
};

use super::{Client, Tree, connect};

/// A certificate for 127.0.0.1 with its key.
pub struct Certificate(CertifiedKey<rcgen::KeyPair>);

impl Certificate {
    pub fn new() -> Self {
        Self(generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.cert.pem()
    }

    pub fn key(&self) -> String {
        self.0.signing_key.serialize_pem()
    }

    /// Where the manifest of [`MANIFEST`](Self::MANIFEST) has it.
    pub fn put(&self, tree: &Tree) {
        tree.put("tls/cert.pem", self.pem());
        tree.put("tls/key.pem", self.key());
    }

    pub const MANIFEST: &str = "[server.tls]\ncertificate = \"tls/cert.pem\"\nkey = \"tls/key.pem\"\n";

    /// How a client trusts this certificate alone.
    pub fn trusted(&self, protocols: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from(self.0.cert.der().to_vec()))
            .unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols
            .iter()
            .map(|protocol| protocol.as_bytes().to_vec())
            .collect();
        Arc::new(config)
    }

    /// A client of HTTP/1.1 by TLS. Errors: the server has another certificate.
    pub fn client(&self, authority: &str) -> std::io::Result<Client> {
        let name = "127.0.0.1".try_into().unwrap();
        let connection = ClientConnection::new(self.trusted(&["http/1.1"]), name).unwrap();
        let mut stream = StreamOwned::new(connection, connect(authority));
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        Ok(Client::over(stream, authority))
    }
}
