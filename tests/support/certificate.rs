//! Certificates of a test's own, and a client that trusts one of them.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CertifiedKey, IsCa, KeyPair,
    generate_simple_self_signed,
};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::{Client, Tree, connect};

/// An authority that nobody knows but who is told.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for this host.
    pub fn certificate(&self, host: &str) -> Certificate {
        let signing_key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([host.to_owned()]).unwrap();
        let cert = params.signed_by(&signing_key, &self.0).unwrap();
        Certificate(CertifiedKey { cert, signing_key })
    }
}

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

    /// How a server speaks TLS with it.
    pub fn served(&self, protocols: &[&str]) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::from_pem_slice(self.key().as_bytes()).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let chain = vec![CertificateDer::from(self.0.cert.der().to_vec())];
        let mut config = builder
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = protocols
            .iter()
            .map(|protocol| protocol.as_bytes().to_vec())
            .collect();
        Arc::new(config)
    }

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
