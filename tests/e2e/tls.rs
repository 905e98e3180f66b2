//! A TLS client that the product did not make: it trusts anybody and says what a test tells it to.

use std::{io, net::SocketAddr, net::TcpStream, path::Path, sync::Arc};

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs::default_provider},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};
use secmon_protocol::message::node::SERVER_NAME;
use secmon_testkit::wait::DEADLINE;

/// A connection after its handshake.
pub(crate) type Stream = StreamOwned<ClientConnection, TcpStream>;

/// A certificate chain and its key.
pub(crate) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Connects, with the ALPN protocol and the client certificate given, and completes the handshake.
///
/// With TLS 1.3 the server may still refuse the client's certificate afterwards: then the first read fails.
pub(crate) fn connect(address: SocketAddr, alpn: &[u8], identity: Option<Identity>) -> io::Result<Stream> {
    let provider = Arc::new(default_provider());
    let verifier = Arc::new(TrustAnybody(Arc::clone(&provider)));
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        Some((chain, key)) => {
            builder.with_client_auth_cert(chain, key).expect("the key fits the certificate")
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    let name = ServerName::try_from(SERVER_NAME).expect("a valid name");
    let mut session = ClientConnection::new(Arc::new(config), name).expect("a valid configuration");
    let mut tcp = TcpStream::connect(address)?;
    tcp.set_read_timeout(Some(DEADLINE))?;
    while session.is_handshaking() {
        session.complete_io(&mut tcp)?;
    }
    Ok(StreamOwned::new(session, tcp))
}

/// The papers of a node that has joined, from its state folder.
pub(crate) fn identity(state: &Path) -> Identity {
    let chain =
        CertificateDer::pem_file_iter(state.join("node/node.crt")).expect("the node keeps its certificate");
    let key = PrivateKeyDer::from_pem_file(state.join("node/node.key")).expect("the node keeps its key");
    (chain.map(|certificate| certificate.expect("a certificate in PEM")).collect(), key)
}

#[derive(Debug)]
struct TrustAnybody(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
