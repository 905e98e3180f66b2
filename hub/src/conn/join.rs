//! A node that joins: one question, one answer.

use std::sync::Arc;

use bytes::Bytes;
use secmon_protocol::{
    codec,
    limits::clip,
    message::{
        ErrorCode, Refusal,
        join::{HubToJoin, Join, JoinToHub, Joined},
    },
    token::SECRET_LEN,
};
use tokio_rustls::server::TlsStream;
use tracing::info;

use super::{
    Ending, Shared,
    tcp::Tcp,
    wire::{self, Reader},
};
use crate::{
    actor::{Message, unix_now},
    ca::fingerprint,
    hub::year,
};

/// Largest request; the peer has shown nothing yet, so that it gets no more memory than it needs.
pub(super) const MAX_REQUEST: usize = 16 << 10;

/// Answers a request to join and ends the connection.
pub(super) async fn serve(mut stream: TlsStream<Tcp>, shared: &Arc<Shared>) -> Ending {
    let mut reader = Reader::<_, JoinToHub>::new(&mut stream);
    let request = match reader.frame(MAX_REQUEST).await {
        Ok(frame) => codec::decode::<JoinToHub>(&frame),
        Err(error) => return error.into(),
    };
    let answer = match request {
        Ok(JoinToHub::Join(join)) => decide(join, shared).await,
        Ok(JoinToHub::Fragment(_)) => {
            Err(Refusal::new(ErrorCode::Protocol, "a Join was expected, in one frame"))
        }
        Err(error) => Err(Refusal::new(ErrorCode::Protocol, error.to_string())),
    };
    let (message, ending) = match answer {
        Ok(joined) => {
            let ending = Ending::Usual(format!("{} has joined", joined.name));
            (HubToJoin::Joined(joined), ending)
        }
        Err(refusal) => {
            let ending = Ending::Bad(format!("it was not let in: {}", refusal.message));
            (HubToJoin::Reject(refusal), ending)
        }
    };
    if let Err(error) = wire::send(&mut stream, &message).await {
        return Ending::Bad(format!("{}; the answer did not get through: {error}", ending.reason()));
    }
    wire::goodbye(&mut stream).await;
    ending
}

async fn decide(join: Join, shared: &Arc<Shared>) -> Result<Joined, Refusal> {
    if join.secret.len() != SECRET_LEN {
        return Err(Refusal::new(ErrorCode::TokenUnknown, "this join token is damaged; copy its whole line"));
    }
    let secret = fingerprint(&join.secret);
    let admitted = shared.actor.ask(|reply| Message::Admit(secret, reply)).await?;
    let certificate = shared
        .ca
        .sign(&join.csr, admitted.node, year(unix_now()))
        .map_err(|error| Refusal::new(ErrorCode::Protocol, error.to_string()))?;
    let papers = fingerprint(&certificate);
    let agent = clip(&join.agent).to_owned();
    // The token may have been spent by another since it was asked about: only this answer counts.
    let joined = shared.actor.ask(|reply| Message::Join(secret, papers, agent, reply)).await?;
    if joined != admitted {
        return Err(Refusal::new(ErrorCode::Internal, "the name was given away meanwhile; try again"));
    }
    info!(node = %joined.name, id = %joined.node, "a node has joined");
    Ok(Joined {
        node: joined.node,
        name: joined.name,
        certificate: Bytes::copy_from_slice(&certificate),
        ca_set: vec![Bytes::copy_from_slice(shared.ca.certificate())],
    })
}
