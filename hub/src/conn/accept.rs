//! The port for nodes: takes connections, and has each make its handshake and say its first message within
//! one deadline, in a task of its own.

use std::{io, sync::Arc, time::Duration};

use rustls::{ServerConfig, pki_types::CertificateDer};
use secmon_protocol::message::{join::ALPN as JOIN, node::ALPN as NODE};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, sleep, timeout_at},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    Ending, Shared, join,
    node::{self, Greeted},
    places::{PER_SOURCE, Places},
    report::{Door, Peer},
};

/// Most connections that have not said their first message yet. Further ones wait in the system's own
/// queue, so that strangers cannot fill the hub's memory.
const HALF_OPEN: usize = 512;
/// The pause after the system refused a connection, for want of descriptors perhaps.
const PAUSE: Duration = Duration::from_millis(100);
/// The first byte of every TLS connection: a record of content type handshake, RFC 8446 §5.1.
const TLS_HANDSHAKE: u8 = 22;

/// Takes connections until the hub stops.
pub(crate) async fn run(listener: TcpListener, tls: Arc<ServerConfig>, shared: Arc<Shared>) {
    let half_open = Arc::new(Semaphore::new(HALF_OPEN));
    let places = Arc::new(Places::default());
    let acceptor = TlsAcceptor::from(tls);
    loop {
        let Ok(permit) = half_open.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, address)) => {
                let Some(place) = places.take(address.ip()) else {
                    shared.report.ended(Peer::Stranger, &address.to_string(), &crowded());
                    continue;
                };
                let (acceptor, shared) = (acceptor.clone(), shared.clone());
                let tasks = shared.tasks.clone();
                tasks.spawn(async move {
                    let opened = tokio::select! {
                        opened = Box::pin(open(stream, acceptor, &shared)) => opened,
                        () = shared.stop.cancelled() => Err(Ending::stopping()),
                    };
                    drop((permit, place));
                    let (peer, ending) = match opened {
                        Ok(node) => (Peer::Node, Box::pin(node::serve(node, address, &shared)).await),
                        Err(ending) => (Peer::Stranger, ending),
                    };
                    shared.report.ended(peer, &address.to_string(), &ending);
                });
            }
            Err(error) => {
                shared.report.refused(Door::Port, &error);
                sleep(PAUSE).await;
            }
        }
    }
}

fn crowded() -> Ending {
    Ending::Bad(format!(
        "{PER_SOURCE} connections from its address have not said their first message yet, and no more may"
    ))
}

/// Goes with a peer as far as a node's Hello; with everybody else, to the end.
async fn open(stream: TcpStream, acceptor: TlsAcceptor, shared: &Arc<Shared>) -> Result<Greeted, Ending> {
    let deadline = Instant::now() + shared.first_message;
    let late = |_| Ending::Bad("it said nothing, or not enough, before the deadline".to_owned());
    let stream = timeout_at(deadline, handshake(stream, acceptor)).await.map_err(late)??;
    let connection = stream.get_ref().1;
    let papers: Option<CertificateDer<'static>> = connection
        .peer_certificates()
        .and_then(|chain| chain.first())
        .map(|first| first.clone().into_owned());
    match connection.alpn_protocol() {
        Some(alpn) if alpn == JOIN => {
            Err(timeout_at(deadline, join::serve(stream, shared)).await.unwrap_or_else(late))
        }
        Some(alpn) if alpn == NODE => {
            timeout_at(deadline, node::greet(stream, papers)).await.map_err(late)?
        }
        _ => Err(Ending::Bad("it did not say by ALPN what it wants to speak".to_owned())),
    }
}

async fn handshake(stream: TcpStream, acceptor: TlsAcceptor) -> Result<TlsStream<TcpStream>, Ending> {
    let failed = |error: io::Error| Ending::Bad(format!("the TLS handshake failed: {error}"));
    let mut start = [0; 8];
    match stream.peek(&mut start).await.map_err(failed)? {
        0 => return Err(Ending::Bad("it closed the connection without a word".to_owned())),
        _ if start[0] == TLS_HANDSHAKE => {}
        seen => return Err(Ending::Bad(not_tls(&start[..seen]).to_owned())),
    }
    // Small messages leave at once; a peer that vanished is found by the heartbeat.
    stream.set_nodelay(true).map_err(failed)?;
    acceptor.accept(stream).await.map_err(failed)
}

fn not_tls(start: &[u8]) -> &'static str {
    const METHODS: [&[u8]; 8] = [b"GET ", b"POST", b"HEAD", b"PUT ", b"OPTI", b"CONN", b"DELE", b"PRI "];
    if METHODS.iter().any(|method| start.starts_with(method)) {
        "it speaks plain HTTP, not TLS; this port is for secmon nodes"
    } else {
        "it does not speak TLS"
    }
}
