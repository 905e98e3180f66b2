//! TLS for the port on which nodes come: 1.3 only, aws-lc-rs, both conversations told apart by ALPN.
//!
//! A client certificate is optional here, for a joining node has none; that one is needed to speak as a
//! node, and that it is still in the registry, is checked where the node says Hello. A session that is resumed
//! brings the certificate that its first handshake showed, and goes the same way.

use std::sync::Arc;

use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, NoServerSessionStorage, WebPkiClientVerifier},
    version::TLS13,
};
use secmon_protocol::message::{join, node};

use crate::{HubError, ca::Ca, tickets::Tickets};

/// Tickets for each handshake. One is used up by each attempt, so that a node whose attempt failed still has
/// another.
const TICKETS: usize = 2;

/// The server's side of TLS, for each of the conversations.
pub(crate) struct Tls {
    node: Arc<ServerConfig>,
    /// Everybody else: they come once, and get nothing to come again with.
    join: Arc<ServerConfig>,
}

impl Tls {
    /// `year` is the current one.
    ///
    /// # Errors
    /// The CA's certificate or the library's settings are refused.
    pub(crate) fn new(ca: &Ca, year: i32, tickets: Arc<Tickets>) -> Result<Self, HubError> {
        let mut join = server_config(ca, year)?;
        join.alpn_protocols = vec![join::ALPN.to_vec()];
        let mut node = join.clone();
        node.alpn_protocols = vec![node::ALPN.to_vec()];
        node.ticketer = tickets;
        node.send_tls13_tickets = TICKETS;
        Ok(Self { node: Arc::new(node), join: Arc::new(join) })
    }

    /// The side that a peer asks for.
    pub(crate) fn side(&self, hello: &ClientHello<'_>) -> Arc<ServerConfig> {
        let node = hello.alpn().is_some_and(|mut offered| offered.any(|alpn| alpn == node::ALPN));
        if node { self.node.clone() } else { self.join.clone() }
    }
}

/// What both have in common: nothing is resumed, and nothing can be sent before the handshake is done.
fn server_config(ca: &Ca, year: i32) -> Result<ServerConfig, HubError> {
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
    // No memory for the sessions of strangers.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    // What comes before the handshake is done could be sent again by anybody who saw it.
    config.max_early_data_size = 0;
    Ok(config)
}
