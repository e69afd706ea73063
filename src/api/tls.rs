//! TLS: the certificate that is offered, and its renewal under a running server.
//!
//! TLS 1.2 and 1.3 by rustls with ring; HTTP/2 and HTTP/1.1 by ALPN, since clients of AWS's SDK for
//! JavaScript speak HTTP/2 whatever was agreed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use crate::keys::FileVersion;
use crate::limits;

#[derive(Debug, Error)]
pub enum TlsError {
    #[error("cannot read `{}`: {cause}", path.display())]
    Io { path: PathBuf, cause: io::Error },
    #[error("`{}` has {bytes} bytes, the limit is {limit}", path.display())]
    TooLong { path: PathBuf, bytes: u64, limit: u64 },
    #[error("`{}` is not PEM: {cause}", path.display())]
    Pem { path: PathBuf, cause: pem::Error },
    #[error("`{}` holds no certificate", .0.display())]
    NoCertificate(PathBuf),
    #[error("`{}` holds no private key", .0.display())]
    NoKey(PathBuf),
    #[error(
        "the certificate `{}` and the key `{}` cannot be used: {cause}", certificate.display(),
        key.display()
    )]
    Unusable { certificate: PathBuf, key: PathBuf, cause: rustls::Error },
}

/// Where the certificate is.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// PEM: the server's own certificate first, then the chain above it.
    pub certificate: PathBuf,
    /// PEM: PKCS #8, PKCS #1 or SEC 1, not encrypted.
    pub key: PathBuf,
}

/// What the listener needs to greet a client.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    /// Of the files that were read first.
    first_version: [FileVersion; 2],
    config: watch::Sender<Arc<ServerConfig>>,
}

impl Tls {
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let first_version = files.version();
        let config = watch::Sender::new(files.read()?);
        Ok(Self { files, first_version, config })
    }

    /// With the certificate as it is now.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.config.borrow()).into()
    }

    /// Offers a new certificate to new connections when the files change; never ends. Files that
    /// do not fit each other, as in the middle of a renewal, change nothing.
    pub(super) async fn follow(&self) {
        let mut version = self.first_version.clone();
        loop {
            sleep(limits::RELOAD_INTERVAL).await;
            let now = self.files.version();
            if now == version {
                continue;
            }
            version = now;
            let files = self.files.clone();
            match spawn_blocking(move || files.read()).await {
                Ok(Ok(config)) => {
                    self.config.send_replace(config);
                    tracing::info!("read the certificate again");
                }
                Ok(Err(error)) => tracing::error!(%error, "the certificate stays as it was"),
                Err(error) => tracing::error!(%error, "reading the certificate panicked"),
            }
        }
    }
}

impl TlsFiles {
    fn version(&self) -> [FileVersion; 2] {
        [FileVersion::of(&self.certificate), FileVersion::of(&self.key)]
    }

    fn read(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let bad = |path: &Path| {
            let path = path.to_owned();
            |cause| TlsError::Pem { path, cause }
        };
        let certificates: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(&read(&self.certificate)?)
                .collect::<Result<_, _>>()
                .map_err(bad(&self.certificate))?;
        if certificates.is_empty() {
            return Err(TlsError::NoCertificate(self.certificate.clone()));
        }
        let key =
            PrivateKeyDer::from_pem_slice(&read(&self.key)?).map_err(|cause| match cause {
                pem::Error::NoItemsFound => TlsError::NoKey(self.key.clone()),
                cause => bad(&self.key)(cause),
            })?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key));
        let mut config = config.map_err(|cause| TlsError::Unusable {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            cause,
        })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |cause| TlsError::Io { path: path.to_owned(), cause };
    let bytes = fs::metadata(path).map_err(failed)?.len();
    let limit = limits::TLS_PEM_BYTES_MAX;
    if bytes > limit {
        return Err(TlsError::TooLong { path: path.to_owned(), bytes, limit });
    }
    fs::read(path).map_err(failed)
}
