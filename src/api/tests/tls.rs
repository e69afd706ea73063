//! TLS as clients meet it: both versions of HTTP, a renewed certificate, a handshake that stops.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion, version};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::api::tests::{TestServer, ask, client};
use crate::api::{DrainOptions, Tls, TlsError, TlsFiles};
use crate::pipeline::testing::saying;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tls").join(name)
}

fn golden_files() -> TlsFiles {
    TlsFiles { certificate: golden("certificate.pem"), key: golden("key.pem") }
}

async fn start(files: TlsFiles, handshake: Duration) -> TestServer {
    let drain = DrainOptions { grace: Duration::ZERO, timeout: Duration::from_secs(1) };
    let tls = Tls::load(files).unwrap();
    let change = |app: crate::api::App| app.with_first_request_timeout(handshake);
    TestServer::start_changed(saying("</think>ok"), drain, Some(tls), change).await
}

async fn connect(
    address: SocketAddr,
    alpn: &str,
    version: &'static SupportedProtocolVersion,
    trusted: &Path,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(trusted).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

async fn http1(stream: TlsStream<TcpStream>) -> StatusCode {
    let (mut sender, connection) = conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = client::request("POST", "/model/toy/converse", &ask(""));
    let response = sender.send_request(request).await.unwrap();
    let status = response.status();
    assert!(!response.into_body().collect().await.unwrap().to_bytes().is_empty());
    status
}

#[tokio::test]
async fn both_versions_of_http_are_agreed_on_over_both_of_tls() {
    let server = start(golden_files(), Duration::from_secs(10)).await;
    let trusted = golden("certificate.pem");
    for version in [&version::TLS12, &version::TLS13] {
        let stream = connect(server.address, "http/1.1", version, &trusted).await.unwrap();
        let (_, session) = stream.get_ref();
        assert_eq!(session.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert_eq!(session.protocol_version(), Some(version.version));
        assert_eq!(http1(stream).await, 200);
    }
    assert_ne!(version::TLS12.version, ProtocolVersion::TLSv1_3);
    let stream = connect(server.address, "h2", &version::TLS13, &trusted).await.unwrap();
    let io = TokioIo::new(stream);
    let (mut sender, connection) =
        conn::http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let uri = "https://localhost/model/toy/converse-stream";
    let response = sender.send_request(client::request("POST", uri, &ask(""))).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(!response.into_body().collect().await.unwrap().to_bytes().is_empty());
}

#[tokio::test]
async fn a_renewed_certificate_is_offered_to_new_connections() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    for name in ["certificate.pem", "key.pem"] {
        std::fs::copy(golden(name), path(name)).unwrap();
    }
    let files = TlsFiles { certificate: path("certificate.pem"), key: path("key.pem") };
    let server = start(files, Duration::from_secs(10)).await;
    let try_with =
        async |trusted: &Path| connect(server.address, "http/1.1", &version::TLS13, trusted).await;
    let old = try_with(&golden("certificate.pem")).await.unwrap();
    // Half a renewal changes nothing.
    std::fs::write(path("certificate.pem"), "-----BEGIN CERTIFICATE-----\nnonsense").unwrap();
    sleep(Duration::from_millis(1_500)).await;
    assert!(try_with(&golden("certificate.pem")).await.is_ok());
    for name in ["certificate.pem", "key.pem"] {
        std::fs::copy(golden(&format!("renewed-{name}")), path(name)).unwrap();
    }
    let started_at = Instant::now();
    while try_with(&path("certificate.pem")).await.is_err() {
        assert!(started_at.elapsed() < Duration::from_secs(10));
        sleep(Duration::from_millis(50)).await;
    }
    assert!(try_with(&golden("certificate.pem")).await.is_err());
    // A connection that was there goes on.
    assert_eq!(http1(old).await, 200);
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_handshake_is_dropped() {
    let server = start(golden_files(), Duration::from_millis(200)).await;
    for start in [&b""[..], &[0x16, 0x03, 0x01], b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(start).await.unwrap();
        let mut answer = Vec::new();
        let closed = timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
        assert!(closed.is_ok(), "{start:?} keeps its connection");
        assert!(!answer.starts_with(b"HTTP"), "no HTTP in the clear");
    }
}

#[test]
fn files_that_are_no_certificate_are_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let load = |certificate: &Path, key: &Path| {
        let files = TlsFiles { certificate: certificate.to_owned(), key: key.to_owned() };
        Tls::load(files).unwrap_err()
    };
    let (certificate, key) = (golden("certificate.pem"), golden("key.pem"));
    assert!(matches!(load(&empty, &key), TlsError::NoCertificate(_)));
    assert!(matches!(load(&certificate, &empty), TlsError::NoKey(_)));
    assert!(matches!(load(&certificate, &certificate), TlsError::NoKey(_)));
    assert!(matches!(load(&certificate, &folder.path().join("absent")), TlsError::Io { .. }));
    let error = load(&certificate, &golden("renewed-key.pem"));
    assert!(matches!(error, TlsError::Unusable { .. }), "{error}");
    assert!(error.to_string().contains("golden/tls/certificate.pem"), "{error}");
}
