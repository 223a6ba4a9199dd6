//! TLS with the certificate and key of two files, which are read again when they change.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::SystemTime;

use anyhow::Context as _;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};

/// Where they are, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by those that lead to a root.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

type Stamp = [(SystemTime, u64); 2];

/// The certificate in use.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    provider: Arc<CryptoProvider>,
    current: Arc<Current>,
    /// Of the files as they were read last, well or not.
    stamp: RwLock<Option<Stamp>>,
}

#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone())
    }
}

impl Tls {
    /// Reads both files.
    ///
    /// # Errors
    /// A file that cannot be read or is not PEM; a key that is not the certificate's.
    pub fn load(files: TlsFiles) -> anyhow::Result<Self> {
        let provider = Arc::new(ring::default_provider());
        let stamp = RwLock::new(stamp(&files));
        let current = Arc::new(Current(RwLock::new(Arc::new(read(&files, &provider)?))));
        Ok(Self { files, provider, current, stamp })
    }

    /// Reads the files again if they have changed; says whether they had. What cannot be read changes nothing: the two files are
    /// often written one after the other, and are looked at again then.
    ///
    /// # Errors
    /// As for [`Tls::load`], once for each change.
    pub fn refresh(&self) -> anyhow::Result<bool> {
        let now = stamp(&self.files);
        let mut known = self.stamp.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if now == *known {
            return Ok(false);
        }
        *known = now;
        let fresh = Arc::new(read(&self.files, &self.provider)?);
        *self.current.0.write().unwrap_or_else(std::sync::PoisonError::into_inner) = fresh;
        Ok(true)
    }

    /// What the listener needs: TLS 1.2 and 1.3, no certificates of clients.
    ///
    /// # Errors
    /// None in practice: the provider has both versions.
    pub fn server_config(&self) -> anyhow::Result<ServerConfig> {
        let versions =
            ServerConfig::builder_with_provider(self.provider.clone()).with_protocol_versions(&[&TLS13, &TLS12])?;
        Ok(versions.with_no_client_auth().with_cert_resolver(self.current.clone()))
    }
}

fn stamp(files: &TlsFiles) -> Option<Stamp> {
    let of = |path| fs::metadata(path).and_then(|file| Ok((file.modified()?, file.len()))).ok();
    Some([of(&files.cert)?, of(&files.key)?])
}

fn read(files: &TlsFiles, provider: &CryptoProvider) -> anyhow::Result<CertifiedKey> {
    let (cert, key) = (files.cert.display(), files.key.display());
    let chain = CertificateDer::pem_file_iter(&files.cert).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.with_context(|| format!("tls_cert: {cert} holds no certificate in PEM"))?;
    anyhow::ensure!(!chain.is_empty(), "tls_cert: {cert} holds no certificate in PEM");
    let private = PrivateKeyDer::from_pem_file(&files.key);
    let private = private.with_context(|| format!("tls_key: {key} holds no private key in PEM"))?;
    CertifiedKey::from_der(chain, private, provider).with_context(|| format!("tls_key: {key} is not the key of {cert}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls");

    fn files(cert: &str, key: &str) -> TlsFiles {
        TlsFiles { cert: format!("{DATA}/{cert}").into(), key: format!("{DATA}/{key}").into() }
    }

    #[test]
    fn what_is_no_certificate_or_not_its_key_is_an_error_that_names_the_file() {
        let wrong = |cert: &str, key: &str| format!("{:#}", Tls::load(files(cert, key)).unwrap_err());
        assert!(wrong("missing.pem", "one.key").starts_with("tls_cert: "));
        assert!(wrong("one.key", "one.key").contains("no certificate"));
        assert!(wrong("one.pem", "one.pem").contains("no private key"));
        assert!(wrong("one.pem", "two.key").contains("is not the key of"), "{}", wrong("one.pem", "two.key"));
    }

    #[test]
    fn a_new_certificate_is_taken_once_its_key_is_there_too() {
        let folder = tempfile::tempdir().unwrap();
        let files = TlsFiles { cert: folder.path().join("c.pem"), key: folder.path().join("c.key") };
        let copy = |from: &str, to: &PathBuf| assert!(fs::copy(format!("{DATA}/{from}"), to).unwrap() > 0);
        copy("one.pem", &files.cert);
        copy("one.key", &files.key);
        let tls = Tls::load(files.clone()).unwrap();
        let chain = || tls.current.0.read().unwrap().cert.clone();
        let first = chain();
        assert!(!tls.refresh().unwrap());
        // Times may be equal within a tick of the file system's clock.
        let newer = |path: &PathBuf, s: u64| {
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_modified(SystemTime::now() + std::time::Duration::from_secs(s)).unwrap();
        };
        copy("two.pem", &files.cert);
        newer(&files.cert, 10);
        assert!(tls.refresh().is_err());
        assert!(chain() == first && !tls.refresh().unwrap());
        copy("two.key", &files.key);
        newer(&files.key, 20);
        assert!(tls.refresh().unwrap() && chain() != first);
    }
}
