//! TLS for the port on which nodes come: 1.3 only, aws-lc-rs, both conversations told apart by ALPN.
//!
//! A client certificate is optional here, for a joining node has none; that one is needed to speak as a
//! node, and that it is still in the registry, is checked where the node says Hello.

use std::sync::Arc;

use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    version::TLS13,
};
use secmon_protocol::message::{join, node};

use crate::{HubError, ca::Ca};

/// The server's side of TLS. `year` is the current one.
///
/// # Errors
/// The CA's certificate or the library's settings are refused.
pub(crate) fn server_config(ca: &Ca, year: i32) -> Result<Arc<ServerConfig>, HubError> {
    let broken = |error: &dyn std::error::Error| HubError::Tls(error.to_string());
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(ca.certificate().clone()).map_err(|error| broken(&error))?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|error| broken(&error))?;
    let (chain, key) = ca.server(year)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| broken(&error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| broken(&error))?;
    // No session is resumed. A full handshake costs the hub a tenth of a millisecond more than a resumed one; for
    // that no ticket key is kept, which would have to survive on disk what forward secrecy is meant to survive,
    // and no memory for the sessions of strangers. Every connection shows its certificate.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![node::ALPN.to_vec(), join::ALPN.to_vec()];
    Ok(Arc::new(config))
}
