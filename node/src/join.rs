//! Joining a hub: a token and a fresh key in, papers out.

use std::time::Duration;

use bytes::Bytes;
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use secmon_protocol::{
    message::{
        ErrorCode, Refusal,
        join::{HubToJoin, Join, JoinToHub},
    },
    token::JoinToken,
};
use tokio::time::timeout;

use crate::{
    AGENT,
    identity::Identity,
    link::dial::{LinkError, Reader, Writer, dial},
    tls,
};

/// How long the hub may take to answer.
const ANSWER: Duration = Duration::from_secs(15);

/// Why joining failed.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// None of the token's addresses could be reached.
    #[error("cannot reach the hub: {}; check that it runs and that its port is open from here, \
             or set hub.advertise on the hub and make a new token", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Unreachable(Vec<LinkError>),
    /// The hub does not take the token.
    #[error("the hub does not accept this token: {0}")]
    Refused(Refusal),
    /// Somebody else answers at the token's address.
    #[error(
        "{address} is not the hub that made this token (its CA has another fingerprint); \
             make a new token on the hub that you mean"
    )]
    WrongHub {
        /// The address.
        address: String,
    },
    /// No key could be made.
    #[error("cannot make a key: {0}")]
    Key(#[from] rcgen::Error),
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// What the hub sent back is not a node's papers.
    #[error("the hub's answer makes no sense: {0}")]
    Answer(&'static str),
}

impl JoinError {
    /// Whether the hub was there and said no.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(Refusal { code, .. }) if *code != ErrorCode::Internal)
    }
}

/// Spends `token` at the first of its addresses that answers.
///
/// # Errors
/// See [`JoinError`]; a token is spent only if the hub has made the papers.
pub async fn join(token: &JoinToken) -> Result<Identity, JoinError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    // The hub takes the key from the request and nothing else: names are its business.
    params.distinguished_name = DistinguishedName::new();
    let csr = params.serialize_request(&key)?;
    let request = Join {
        secret: token.secret.clone(),
        csr: Bytes::copy_from_slice(csr.der()),
        agent: AGENT.to_owned(),
    };
    let mut failures = Vec::new();
    for address in &token.addresses {
        match ask(address, token, request.clone()).await {
            Ok(HubToJoin::Joined(papers)) => {
                if !papers
                    .ca_set
                    .iter()
                    .any(|ca| tls::fingerprint(&CertificateDer::from(&**ca)) == token.ca_fingerprint)
                {
                    return Err(JoinError::Answer("the CA of the token is not among the ones to trust"));
                }
                return Ok(Identity {
                    node: papers.node,
                    name: papers.name,
                    addresses: token.addresses.clone(),
                    certificate: CertificateDer::from(papers.certificate.to_vec()),
                    key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
                    ca_set: papers.ca_set.iter().map(|ca| CertificateDer::from(ca.to_vec())).collect(),
                });
            }
            Ok(HubToJoin::Reject(refusal)) => return Err(JoinError::Refused(refusal)),
            Ok(HubToJoin::Fragment(_)) => return Err(JoinError::Answer("a fragment")),
            // At a private address may be another site's hub; the right one may follow.
            Err(error) => failures.push(error),
        }
    }
    let wrong = failures.iter().find_map(|failure| match failure {
        LinkError::WrongHub { address } => Some(address.clone()),
        _ => None,
    });
    Err(wrong.map_or(JoinError::Unreachable(failures), |address| JoinError::WrongHub { address }))
}

async fn ask(address: &str, token: &JoinToken, request: Join) -> Result<HubToJoin, LinkError> {
    let stream = dial(address, tls::for_joining(token.ca_fingerprint)?).await?;
    let (read, write) = tokio::io::split(stream);
    let talk = async {
        Writer::new(write).send(&JoinToHub::Join(request), ANSWER).await?;
        Reader::new(read).next(ANSWER).await
    };
    timeout(ANSWER, talk).await.unwrap_or(Err(LinkError::Silent(ANSWER)))
}
