//! A client's connection: requests side by side, answers in whatever order they come.

mod jobs;
mod listen;
mod output;
mod requests;
mod runs;
mod subscription;
mod writer;

use std::sync::{Arc, Once};

use secmon_protocol::{
    codec::{self, CodecError},
    hub_event::Requester,
    limits::{MAX_FRAME, MIN_CHUNK_COST, clip},
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
    task::spawn_blocking,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub(crate) use self::listen::{Socket, bind, group, run};
use super::{
    Ending, Shared,
    wire::{self, Reader},
};
use crate::{
    access::{self, Access, Grants, Peer},
    actor::{Budget, Message, lane, unix_now},
    core::{ClientId, Denial, MAX_CREDIT_PER_CLIENT, MAX_RUNS_PER_CLIENT},
};

/// What its runs have to tell a client and wait to be written: all the output that all of them may have in
/// flight, and as many messages about them. A client that lets more pile up does not read.
const QUEUE: usize = 2 * ((MAX_CREDIT_PER_CLIENT / MIN_CHUNK_COST) as usize + 4 * MAX_RUNS_PER_CLIENT);
/// Bytes of output among them: twice what a client that grants as it reads can have coming, for its next runs may begin
/// before it has read the last ones.
const UNREAD: usize = 2 * MAX_CREDIT_PER_CLIENT as usize;
/// The same of all connections of one user, but of root and the hub's own.
const UNREAD_OF_USER: usize = 4 * UNREAD;
/// Largest Hello; whoever says it may not even be allowed to.
pub(super) const MAX_HELLO: usize = 16 << 10;
/// Largest request, in fragments or not: the longest are runs with their arguments, of less than 100 KiB. What is not whole
/// yet is held for each connection, of which one user has many.
const MAX_REQUEST: usize = MAX_FRAME;
/// Answers that wait to be written. They may be large, so that few do; a client that asks on without
/// reading is no longer listened to.
const ANSWERS: usize = 2;
/// Portions of events that wait to be written; behind them they wait in the log, which costs nothing.
const EVENTS: usize = 2;

/// Serves a client until its connection ends.
pub(super) async fn serve(stream: UnixStream, shared: &Arc<Shared>) -> Ending {
    let cred = match stream.peer_cred() {
        Ok(cred) => cred,
        Err(error) => return Ending::Bad(format!("cannot tell who it is: {error}")),
    };
    let (uid, gid) = (cred.uid(), cred.gid());
    let (groups, failed) = access::peer_groups(&stream, gid);
    if let Some(error) = failed {
        static ONCE: Once = Once::new();
        ONCE.call_once(
            || warn!(%error, "the kernel does not tell the groups of clients: rules see their own one alone"),
        );
    }
    // Names may come from a directory on the network.
    let user = spawn_blocking(move || access::user(uid)).await.ok().flatten();
    let peer = Peer { uid, user, gid, groups };
    let (read, mut write) = stream.into_split();
    let mut reader = Reader::at_most(read, MAX_REQUEST);
    let first = tokio::select! {
        first = timeout(shared.first_message, reader.frame(MAX_HELLO)) => first,
        () = shared.stop.cancelled() => return Ending::stopping(),
    };
    let first = match first {
        Ok(Ok(frame)) => codec::decode::<ClientToHub>(&frame),
        Ok(Err(error)) => return error.into(),
        Err(_) => return Ending::Bad("it did not say Hello before the deadline".to_owned()),
    };
    let agent = match &first {
        Ok(ClientToHub::Hello { agent, .. }) => clip(agent).to_owned(),
        _ => String::new(),
    };
    let by = Requester { uid: peer.uid, user: peer.user.clone(), pid: cred.pid(), agent };
    let (grants, version) = match admit(first, &peer, &shared.access) {
        Ok(admitted) => admitted,
        Err(refusal) => {
            let reason = refusal.message.clone();
            if refusal.code == ErrorCode::NotPermitted {
                let (request, reason) = ("connect".to_owned(), shared.access.why_not());
                let denial = Denial { by, request, node: None, reason };
                shared.actor.send(Message::Denied(Box::new(denial))).await;
            }
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
    converse(reader, write, (peer, by, Arc::new(grants)), shared).await
}

async fn converse(
    mut reader: Reader<OwnedReadHalf, ClientToHub>,
    mut write: OwnedWriteHalf,
    who: (Peer, Requester, Arc<Grants>),
    shared: &Arc<Shared>,
) -> Ending {
    let client = ClientId(shared.number());
    let (answers, answered) = mpsc::channel(ANSWERS);
    let (events, pending) = mpsc::channel(EVENTS);
    let kill = CancellationToken::new();
    let mut budgets = vec![Budget::of(UNREAD)];
    if !shared.access.is_built_in(who.0.uid) {
        budgets.push(shared.unread.budget(who.0.uid, UNREAD_OF_USER));
    }
    let (wire, waiting) = lane(QUEUE, budgets, kill.clone());
    shared.actor.send(Message::ClientUp(client, wire)).await;
    let requests = requests::Requests::new(client, who, answers, events, shared.clone());
    let ending = tokio::select! {
        ending = Box::pin(requests.serve(&mut reader, &shared.finish)) => ending,
        ending = writer::run(&mut write, waiting, answered, pending) => ending,
        () = kill.cancelled() => Ending::Bad("it does not read what it is sent".to_owned()),
    };
    shared.actor.send(Message::ClientDown(client)).await;
    wire::goodbye(&mut join(reader.into_inner(), write)).await;
    ending
}

/// Lets a client in, with what it may do and the version that the two will speak.
pub(super) fn admit(
    first: Result<ClientToHub, CodecError>,
    peer: &Peer,
    access: &Access,
) -> Result<(Grants, u16), Refusal> {
    let grants = access.grants(peer)?;
    let version = match first {
        Ok(ClientToHub::Hello { version, .. }) => version,
        Ok(_) => return Err(Refusal::new(ErrorCode::Protocol, "the first message must be Hello")),
        Err(error) => return Err(Refusal::new(ErrorCode::Protocol, error.to_string())),
    };
    if version == 0 {
        let message = format!("version 0 is none; this hub speaks version {VERSION}");
        return Err(Refusal::new(ErrorCode::Version, message));
    }
    Ok((grants, version.min(VERSION)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_rules_only_root_and_the_hubs_own_user_are_let_in() {
        let hello = |version| Ok(ClientToHub::Hello { version, agent: "x".into() });
        let access = Access::resolve(&[]).unwrap();
        let own = nix::unistd::geteuid().as_raw();
        let of = |uid| Peer { uid, user: None, gid: 7, groups: [7].into() };
        let (root, own, other) = (of(0), of(own), of(own + 1000));
        assert_eq!(admit(hello(7), &root, &access).unwrap().1, VERSION);
        admit(hello(1), &own, &access).unwrap();
        let refusal = admit(hello(1), &other, &access).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::NotPermitted);
        assert!(refusal.message.contains(&format!("uid {}", other.uid)), "{refusal}");
        assert_eq!(admit(hello(0), &root, &access).unwrap_err().code, ErrorCode::Version);
        let list = Ok(ClientToHub::List { request: secmon_protocol::ids::RequestId(1) });
        assert_eq!(admit(list, &root, &access).unwrap_err().code, ErrorCode::Protocol);
    }
}
