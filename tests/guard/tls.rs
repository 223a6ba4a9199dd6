//! TLS: handshakes, versions, a new certificate, and clients that do not speak it.

use std::path::PathBuf;
use std::sync::Arc;

use mentor::guard::TlsFiles;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::scene::{LITTLE, Scene, read_answer};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls");

fn file(name: &str) -> PathBuf {
    format!("{DATA}/{name}").into()
}

fn scene() -> Scene {
    Scene::start_with(|settings| settings.tls = Some(TlsFiles { cert: file("one.pem"), key: file("one.key") }))
}

/// Connects with one version of TLS, trusting one certificate.
async fn connect(
    scene: &Scene,
    version: &'static SupportedProtocolVersion,
    trusted: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file(trusted)).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, scene.dial().await).await
}

#[actix::test]
async fn requests_go_over_tls_1_2_and_1_3_and_browsers_are_told_to_stay() {
    let scene = scene();
    for version in [&TLS12, &TLS13] {
        let mut stream = connect(&scene, version, "one.pem").await.unwrap();
        let own = format!("origin: https://{}", scene.address);
        let answer = scene.ask_on(&mut stream, "POST /api/chat", &[&own], r#"{"message":"what is a heap?"}"#).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.head.contains("strict-transport-security: max-age="), "{answer:?}");
    }
    let plain = format!("origin: http://{}", scene.address);
    let mut stream = connect(&scene, &TLS13, "one.pem").await.unwrap();
    let answer = scene.ask_on(&mut stream, "POST /api/chat", &[&plain], "{}").await;
    assert_eq!(answer.status, 403, "a page without TLS is another site");
    scene.stop().await;
}

#[actix::test]
async fn who_does_not_speak_tls_or_is_slow_gets_nothing_and_others_go_on() {
    let scene = Scene::start_with(|settings| {
        settings.tls = Some(TlsFiles { cert: file("one.pem"), key: file("one.key") });
        settings.patience.handshake = LITTLE;
    });
    let plain = scene.ask("GET /livez", &[], "").await;
    assert!(plain.status == 0 && !plain.head.contains("http"), "{plain:?}");
    let mut silent = scene.dial().await;
    silent.write_all(&[22, 3, 1]).await.unwrap();
    assert_eq!(read_answer(&mut silent).await.status, 0);
    assert!(connect(&scene, &TLS13, "two.pem").await.is_err(), "another certificate is trusted");
    let mut stream = connect(&scene, &TLS13, "one.pem").await.unwrap();
    assert_eq!(scene.ask_on(&mut stream, "GET /livez", &[], "").await.status, 200);
    scene.stop().await;
}

#[actix::test]
async fn a_new_certificate_is_taken_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let files = TlsFiles { cert: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
    let put = |name: &str| {
        for (kind, to) in [("pem", &files.cert), ("key", &files.key)] {
            // In place of the old file, as programs that renew certificates do it.
            let fresh = folder.path().join("fresh");
            std::fs::copy(file(&format!("{name}.{kind}")), &fresh).unwrap();
            let time = std::time::SystemTime::now() + std::time::Duration::from_secs(u64::from(name == "two"));
            std::fs::File::options().write(true).open(&fresh).unwrap().set_modified(time).unwrap();
            std::fs::rename(&fresh, to).unwrap();
        }
    };
    put("one");
    let scene = Scene::start_with(|settings| settings.tls = Some(files.clone()));
    connect(&scene, &TLS13, "one.pem").await.unwrap();
    put("two");
    scene.guard.refresh();
    connect(&scene, &TLS13, "two.pem").await.unwrap();
    assert!(connect(&scene, &TLS13, "one.pem").await.is_err());
    scene.stop().await;
}
