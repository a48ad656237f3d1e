//! PEM files into what TLS is spoken with, or what is wrong with them: a certificate and its key for clients, the
//! authorities that other servers are trusted by. Knows no socket, and not when to read them again.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_rustls::rustls::{
    self, ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};

use crate::{
    diagnostic::Diagnostic,
    project::{Digest, TlsFiles},
};

/// Bytes of one file.
const MOST: u64 = 1 << 20;

/// The two files as they were read at one moment.
pub struct Pem {
    files: TlsFiles,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Pem {
    /// Errors: one of the files cannot be read.
    pub fn read(files: &TlsFiles) -> Result<Self, Diagnostic> {
        Ok(Self {
            certificate: read(&files.certificate)?,
            key: read(&files.key)?,
            files: files.clone(),
        })
    }

    /// Equal for equal content.
    pub fn digest(&self) -> Digest {
        Digest::of_parts([&*self.certificate, &*self.key])
    }

    /// How to serve by TLS with it: HTTP/2 where the client has it, else HTTP/1.1.
    /// Errors: the files hold no certificate or no key, or do not belong together.
    pub fn config(&self) -> Result<Arc<ServerConfig>, Diagnostic> {
        let TlsFiles { certificate, key } = &self.files;
        let chain: Result<Vec<CertificateDer<'static>>, pem::Error> =
            CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain.map_err(|error| invalid(certificate, &error))?;
        if chain.is_empty() {
            return Err(invalid(certificate, &pem::Error::NoItemsFound));
        }
        let private = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| invalid(key, &error))?;
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions();
        let config =
            builder.and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private));
        let mut config = config.map_err(|error| unfit(&self.files, &error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// What keeps a server from using these files, if anything does.
pub fn check(files: &TlsFiles) -> Option<Diagnostic> {
    Pem::read(files).and_then(|pem| pem.config()).err()
}

/// Where the authorities lie that are trusted in place of the public ones, as for most programs that speak TLS.
pub const AUTHORITIES: &str = "SSL_CERT_FILE";

/// How other servers are trusted where `SSL_CERT_FILE` is set: by the authorities in that file alone.
/// Errors: it cannot be read, or holds no certificate.
pub fn trust() -> Result<Option<ClientConfig>, Diagnostic> {
    let Some(path) = std::env::var_os(AUTHORITIES).filter(|path| !path.is_empty()) else {
        return Ok(None);
    };
    let path = PathBuf::from(path);
    let pem = read(&path).map_err(|unreadable| unreadable.help(AUTHORITIES_HELP))?;
    let certificates: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.map_err(|error| no_authorities(&path, &told(&error)))?;
    let mut roots = RootCertStore::empty();
    // Bundles of systems hold some that nobody can use any more.
    let (usable, _) = roots.add_parsable_certificates(certificates);
    if usable == 0 {
        return Err(no_authorities(&path, &told(&pem::Error::NoItemsFound)));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| no_authorities(&path, &error.to_string()))?;
    Ok(Some(builder.with_root_certificates(roots).with_no_client_auth()))
}

const AUTHORITIES_HELP: &str =
    "SSL_CERT_FILE names a PEM file of the authorities that are trusted; unset, the public ones are";

fn no_authorities(path: &Path, error: &str) -> Diagnostic {
    let message = format!(
        "{} holds no authority that can be trusted: {error}",
        path.display()
    );
    Diagnostic::new("authorities-invalid", message)
        .file(path)
        .help(AUTHORITIES_HELP)
}

fn read(path: &Path) -> Result<Vec<u8>, Diagnostic> {
    let unreadable = |error: io::Error| Diagnostic::io("certificate-unreadable", "read", path, &error);
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(unreadable(io::Error::other("it is not a regular file")));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MOST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MOST {
        return Err(unreadable(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(bytes)
}

fn invalid(path: &PathBuf, error: &pem::Error) -> Diagnostic {
    let message = format!("{} cannot be used for TLS: {}", path.display(), told(error));
    Diagnostic::new("certificate-invalid", message)
        .file(path)
        .help("[server.tls] names a certificate (BEGIN CERTIFICATE) and its key (BEGIN PRIVATE KEY), as PEM")
}

fn told(error: &pem::Error) -> String {
    match error {
        pem::Error::NoItemsFound => "it has no PEM section of the kind".to_owned(),
        error => error.to_string(),
    }
}

fn unfit(files: &TlsFiles, error: &rustls::Error) -> Diagnostic {
    let TlsFiles { certificate, key } = files;
    let what = match error {
        rustls::Error::InconsistentKeys(_) => "the key is not that of the certificate".to_owned(),
        error => error.to_string(),
    };
    let (certificate, key) = (certificate.display(), key.display());
    let message = format!("{certificate} and {key} cannot be used for TLS: {what}");
    Diagnostic::new("certificate-invalid", message)
        .file(&files.certificate)
        .help("the first certificate of the one file and the key in the other are made together")
}
