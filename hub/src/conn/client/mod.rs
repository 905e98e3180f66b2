//! A client's connection: requests side by side, answers in whatever order they come.

mod jobs;
mod listen;
mod output;
mod requests;
mod runs;
mod subscription;
mod writer;

use std::sync::Arc;

use nix::unistd::{Uid, User, geteuid};
use secmon_protocol::{
    codec::{self, CodecError},
    hub_event::Requester,
    limits::{MIN_CHUNK_COST, clip},
    message::{
        ErrorCode, Refusal,
        client::{ClientToHub, HubToClient, VERSION},
    },
};
use tokio::{
    io::join,
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

pub(crate) use self::listen::{Socket, bind, group, run};
use super::{
    Ending, Shared,
    wire::{self, Reader},
};
use crate::{
    access::Grants,
    actor::{Message, Wire, unix_now},
    core::{ClientId, MAX_CREDIT_PER_CLIENT, MAX_RUNS_PER_CLIENT},
};

/// What its runs have to tell a client and wait to be written: all the output that all of them may have in
/// flight, and as many messages about them. A client that lets more pile up does not read.
const QUEUE: usize = 2 * ((MAX_CREDIT_PER_CLIENT / MIN_CHUNK_COST) as usize + 4 * MAX_RUNS_PER_CLIENT);
/// Largest Hello; whoever says it may not even be allowed to.
pub(super) const MAX_HELLO: usize = 16 << 10;
/// Answers that wait to be written. They may be large, so that few do; a client that asks on without
/// reading is no longer listened to.
const ANSWERS: usize = 2;
/// Portions of events that wait to be written; behind them they wait in the log, which costs nothing.
const EVENTS: usize = 2;

/// Serves a client until its connection ends.
pub(super) async fn serve(stream: UnixStream, shared: &Arc<Shared>) -> Ending {
    let peer = match stream.peer_cred() {
        Ok(peer) => peer,
        Err(error) => return Ending::Bad(format!("cannot tell who it is: {error}")),
    };
    let (read, mut write) = stream.into_split();
    let mut reader = Reader::new(read);
    let first = tokio::select! {
        first = timeout(shared.first_message, reader.frame(MAX_HELLO)) => first,
        () = shared.stop.cancelled() => return Ending::stopping(),
    };
    let first = match first {
        Ok(Ok(frame)) => codec::decode::<ClientToHub>(&frame),
        Ok(Err(error)) => return error.into(),
        Err(_) => return Ending::Bad("it did not say Hello before the deadline".to_owned()),
    };
    let (agent, version) = match admit(first, Uid::from_raw(peer.uid()), geteuid()) {
        Ok(admitted) => admitted,
        Err(refusal) => {
            let reason = refusal.message.clone();
            let _ = wire::send(&mut write, &HubToClient::Reject(refusal)).await;
            return Ending::Bad(reason);
        }
    };
    let welcome = HubToClient::Welcome {
        version,
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        newest: shared.log.ring.newest(),
        clock: unix_now(),
    };
    if let Err(error) = wire::send(&mut write, &welcome).await {
        return error.into();
    }
    let requester = Requester {
        uid: peer.uid(),
        user: User::from_uid(Uid::from_raw(peer.uid())).ok().flatten().map(|user| user.name),
        pid: peer.pid(),
        agent,
    };
    converse(reader, write, requester, shared).await
}

async fn converse(
    mut reader: Reader<OwnedReadHalf, ClientToHub>,
    mut write: OwnedWriteHalf,
    by: Requester,
    shared: &Arc<Shared>,
) -> Ending {
    let grants = Arc::new(Grants::everything("root and the hub's own user"));
    let client = ClientId(shared.number());
    let (queue, waiting) = mpsc::channel(QUEUE);
    let (answers, answered) = mpsc::channel(ANSWERS);
    let (events, pending) = mpsc::channel(EVENTS);
    let kill = CancellationToken::new();
    let wire = Wire { queue, kill: kill.clone() };
    shared.actor.send(Message::ClientUp(client, wire)).await;
    let requests = requests::Requests::new(client, (by, grants), answers, events, shared.clone());
    let ending = tokio::select! {
        ending = Box::pin(requests.serve(&mut reader, &shared.finish)) => ending,
        ending = writer::run(&mut write, waiting, answered, pending) => ending,
        () = kill.cancelled() => Ending::Bad("it does not read what it is sent".to_owned()),
    };
    shared.actor.send(Message::ClientDown(client)).await;
    wire::goodbye(&mut join(reader.into_inner(), write)).await;
    ending
}

/// Lets a client in, with its name for itself and the version that the two will speak.
pub(super) fn admit(
    first: Result<ClientToHub, CodecError>,
    uid: Uid,
    own: Uid,
) -> Result<(String, u16), Refusal> {
    if !uid.is_root() && uid != own {
        let message = format!(
            "uid {uid} may not use this hub: it serves root and its own user (uid {own}); use sudo, or become that user"
        );
        return Err(Refusal::new(ErrorCode::NotPermitted, message));
    }
    let (version, agent) = match first {
        Ok(ClientToHub::Hello { version, agent }) => (version, agent),
        Ok(_) => return Err(Refusal::new(ErrorCode::Protocol, "the first message must be Hello")),
        Err(error) => return Err(Refusal::new(ErrorCode::Protocol, error.to_string())),
    };
    if version == 0 {
        let message = format!("version 0 is none; this hub speaks version {VERSION}");
        return Err(Refusal::new(ErrorCode::Version, message));
    }
    Ok((clip(&agent).to_owned(), version.min(VERSION)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_the_hubs_own_user_are_let_in() {
        let hello = |version| Ok(ClientToHub::Hello { version, agent: "x".into() });
        let (root, own, other) = (Uid::from_raw(0), Uid::from_raw(990), Uid::from_raw(1000));
        assert_eq!(admit(hello(7), root, own).unwrap().1, VERSION);
        admit(hello(1), own, own).unwrap();
        let refusal = admit(hello(1), other, own).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::NotPermitted);
        assert!(refusal.message.contains("uid 1000"), "{refusal}");
        assert_eq!(admit(hello(0), root, own).unwrap_err().code, ErrorCode::Version);
        let list = Ok(ClientToHub::List { request: secmon_protocol::ids::RequestId(1) });
        assert_eq!(admit(list, root, own).unwrap_err().code, ErrorCode::Protocol);
    }
}
