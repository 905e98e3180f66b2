//! The node's side of TLS: 1.3 only, aws-lc-rs with its post-quantum hybrid key exchange, and no trust in
//! anybody but the hub's own CA.

use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs as provider},
    pki_types::{CertificateDer, ServerName, UnixTime},
    version::TLS13,
};
use secmon_protocol::message::{join, node};

use crate::identity::Identity;

/// TLS could not be set up from what is in the state folder.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up TLS: {0}")]
pub struct TlsError(#[from] rustls::Error);

/// The name in the hub's certificate.
///
/// # Errors
/// Never: the name is a constant; the caller's error path takes it all the same.
pub(crate) fn server_name() -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(node::SERVER_NAME)
        .map_err(|_| TlsError(rustls::Error::General("the hub's name is not a DNS name".into())))
}

/// For a node that has its papers. One for all connections: it keeps the tickets with which the next one is resumed.
///
/// # Errors
/// The papers do not fit each other.
pub(crate) fn for_node(identity: &Identity) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    for ca in &identity.ca_set {
        roots.add(ca.clone())?;
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![identity.certificate.clone()], identity.key.clone_key())?;
    config.alpn_protocols = vec![node::ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// For a node that has only a token: whoever answers must show the CA of this fingerprint, and a
/// certificate of that CA.
///
/// # Errors
/// rustls cannot be set up.
pub(crate) fn for_joining(ca_fingerprint: [u8; 32]) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(provider::default_provider());
    let verifier = Arc::new(PinnedCa { ca_fingerprint, provider: Arc::clone(&provider) });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![join::ALPN.to_vec()];
    // It joins once.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// SHA-256 of a certificate.
#[must_use]
pub(crate) fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, certificate).as_ref());
    out
}

/// Whether a handshake failed because the other side is not the hub that was expected.
#[must_use]
pub(crate) fn is_wrong_hub(error: &std::io::Error) -> bool {
    matches!(
        error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()),
        Some(rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer
                | CertificateError::BadSignature
                | CertificateError::NotValidForName
        ))
    )
}

/// Finds the pinned CA in the chain and lets webpki do the rest with it as the only root.
#[derive(Debug)]
struct PinnedCa {
    ca_fingerprint: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedCa {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let ca = intermediates
            .iter()
            .find(|certificate| fingerprint(certificate) == self.ca_fingerprint)
            .ok_or(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|e| rustls::Error::General(e.to_string()))?
            .verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
