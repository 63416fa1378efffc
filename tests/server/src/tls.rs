//! TLS with a certificate authority of our own.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// Name of the file with the authority's certificate (PEM), which clients must trust.
pub const CA_FILE: &str = "ca.pem";

/// For loopback names, and for `domain` and those below it; see [`server_config`].
pub(crate) fn acceptor(dir: &Path, domain: Option<&str>) -> io::Result<TlsAcceptor> {
    let names = domain
        .into_iter()
        .flat_map(|domain| [domain.to_owned(), format!("*.{domain}")]);
    Ok(TlsAcceptor::from(server_config(dir, names)?))
}

/// Makes an authority and a server's certificate for loopback names and these; writes the
/// authority's certificate to [`CA_FILE`] in `dir`.
pub(crate) fn server_config(
    dir: &Path,
    others: impl IntoIterator<Item = String>,
) -> io::Result<Arc<ServerConfig>> {
    std::fs::create_dir_all(dir)?;
    let ca_key = KeyPair::generate().map_err(io::Error::other)?;
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.distinguished_name
        // Of two authorities of one name a client would try the wrong one.
        .push(
            DnType::CommonName,
            format!("s3-test-server CA of {}", dir.display()),
        );
    let issuer = CertifiedIssuer::self_signed(ca, ca_key).map_err(io::Error::other)?;
    std::fs::write(dir.join(CA_FILE), issuer.pem())?;

    let mut names = vec![
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ];
    names.extend(others);
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let params = CertificateParams::new(names).map_err(io::Error::other)?;
    let certificate = params.signed_by(&key, &issuer).map_err(io::Error::other)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone(), issuer.der().clone()], key)
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
