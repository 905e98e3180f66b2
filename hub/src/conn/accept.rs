//! The port for nodes: takes connections, and has each make its handshake and say its first message within
//! one deadline, in a task of its own.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::{pki_types::CertificateDer, server::Acceptor};
use secmon_protocol::message::{join::ALPN as JOIN, node::ALPN as NODE};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout_at},
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use super::{
    Ending, Shared, join,
    node::{self, Greeted},
    places::{Arrival, Places, Source},
    report::{Door, Peer},
    tcp::Tcp,
};
use crate::{descriptors, tls::Tls};

/// Most connections that make their handshake or have not said their first message yet. Each may take a
/// handshake's memory, so that this is what strangers can cost; a handshake takes milliseconds, so that thousands
/// a second get through.
const PLACES: usize = 512;
/// Most connections that wait for a place: one file and a few hundred bytes each, and nothing of them is read. One
/// source may have half of them, which is more nodes than usually share an address.
const WAITING: usize = 16_384;
/// The part of all files that may be open which those who wait may take, where that is fewer.
const FILES: usize = 2;
/// How often those are sent away who have waited too long.
const SWEEP: Duration = Duration::from_millis(500);
/// What the system's own queue may hold before a connection is accepted; the system has a bound of its own
/// (net.core.somaxconn), and this is not to be less.
const BACKLOG: u32 = 65_535;
/// The pause after the system refused a connection, for want of descriptors perhaps.
const PAUSE: Duration = Duration::from_millis(100);
/// The first byte of every TLS connection: a record of content type handshake, RFC 8446 §5.1.
const TLS_HANDSHAKE: u8 = 22;

type Waiting = (TcpStream, SocketAddr);

/// Opens the port.
///
/// # Errors
/// The system's: the address is not this machine's, or somebody has the port.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As a restarted hub needs it: the old one's connections linger (TIME_WAIT).
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Takes connections until the hub stops.
pub(crate) async fn run(listener: TcpListener, tls: Tls, shared: Arc<Shared>) {
    let waiting = descriptors::limit().map_or(WAITING, |limit| WAITING.min(limit / FILES));
    let mut places = Places::new(PLACES, waiting);
    // As many as can ever be given back at once.
    let (back, mut given_back) = mpsc::channel(PLACES);
    let entrance = Entrance { tls: Arc::new(tls), shared: shared.clone(), back };
    let began = Instant::now();
    // Sent away in time to come again by its own deadline, and not served in vain after that.
    let patience = shared.first_message.mul_f64(0.8);
    let mut sweep = interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            source = given_back.recv() => {
                source.into_iter().for_each(|source| places.leave(source));
                while let Some((source, waiting)) = places.next() {
                    entrance.enter(source, waiting);
                }
                continue;
            }
            _ = sweep.tick(), if !places.nobody_waits() => {
                let before = began.elapsed().checked_sub(patience).unwrap_or_default();
                for (_, address) in places.overdue(before) {
                    shared.report.ended(Peer::Stranger, &address.to_string(), &crowded("waited too long"));
                }
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let source = Source::from(address.ip());
                match places.arrive(began.elapsed(), source, (stream, address)) {
                    Arrival::Enter(waiting) => entrance.enter(source, waiting),
                    Arrival::Waits => {}
                    Arrival::Full((_, address)) => {
                        let ending = crowded("may not even wait");
                        shared.report.ended(Peer::Stranger, &address.to_string(), &ending);
                    }
                }
            }
            Err(error) => {
                shared.report.refused(Door::Port, &error);
                sleep(PAUSE).await;
            }
        }
    }
}

/// Where those go who have a place.
struct Entrance {
    tls: Arc<Tls>,
    shared: Arc<Shared>,
    back: mpsc::Sender<Source>,
}

/// A place; given back when dropped.
struct Place {
    source: Source,
    back: mpsc::Sender<Source>,
}

impl Drop for Place {
    fn drop(&mut self) {
        // There is room for every place, and who takes them back is gone only when the hub stops.
        let _ = self.back.try_send(self.source);
    }
}

impl Entrance {
    fn enter(&self, source: Source, (stream, address): Waiting) {
        let place = Place { source, back: self.back.clone() };
        let (tls, shared) = (self.tls.clone(), self.shared.clone());
        let tasks = shared.tasks.clone();
        tasks.spawn(async move {
            let opened = tokio::select! {
                opened = Box::pin(open(stream, &tls, &shared)) => opened,
                () = shared.stop.cancelled() => Err(Ending::stopping()),
            };
            drop(place);
            let (peer, ending) = match opened {
                Ok(node) => (Peer::Node, Box::pin(node::serve(node, address, &shared)).await),
                Err(ending) => (Peer::Stranger, ending),
            };
            shared.report.ended(peer, &address.to_string(), &ending);
        });
    }
}

fn crowded(what: &str) -> Ending {
    Ending::Bad(format!("it {what}: too many from its address have not said their first message yet"))
}

/// Goes with a peer as far as a node's Hello; with everybody else, to the end.
async fn open(stream: TcpStream, tls: &Tls, shared: &Arc<Shared>) -> Result<Greeted, Ending> {
    let deadline = Instant::now() + shared.first_message;
    let late = |_| Ending::Bad("it said nothing, or not enough, before the deadline".to_owned());
    let stream = timeout_at(deadline, handshake(stream, tls)).await.map_err(late)??;
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

async fn handshake(stream: TcpStream, tls: &Tls) -> Result<TlsStream<Tcp>, Ending> {
    let failed = |error: io::Error| Ending::Bad(format!("the TLS handshake failed: {error}"));
    let mut start = [0; 8];
    match stream.peek(&mut start).await.map_err(failed)? {
        0 => return Err(Ending::Bad("it closed the connection without a word".to_owned())),
        _ if start[0] == TLS_HANDSHAKE => {}
        seen => return Err(Ending::Bad(not_tls(&start[..seen]).to_owned())),
    }
    // Small messages leave at once; a peer that vanished is found by the heartbeat.
    stream.set_nodelay(true).map_err(failed)?;
    let asked = LazyConfigAcceptor::new(Acceptor::default(), Tcp::new(stream)).await.map_err(failed)?;
    let side = tls.side(&asked.client_hello());
    asked.into_stream(side).await.map_err(failed)
}

fn not_tls(start: &[u8]) -> &'static str {
    const METHODS: [&[u8]; 8] = [b"GET ", b"POST", b"HEAD", b"PUT ", b"OPTI", b"CONN", b"DELE", b"PRI "];
    if METHODS.iter().any(|method| start.starts_with(method)) {
        "it speaks plain HTTP, not TLS; this port is for secmon nodes"
    } else {
        "it does not speak TLS"
    }
}
