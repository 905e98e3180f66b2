//! The places where it listens: takes connections, and has each served in a task of its own.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream, UnixStream},
    time::{sleep, timeout},
};
use tracing::{debug, info, warn};

use super::{
    connection::{self, Shared},
    patient::Patient,
    places::From,
    unix::Socket,
};
use crate::access::Peer;

/// What the system's own queue may hold before a connection is accepted.
const BACKLOG: u32 = 4096;
/// The pause after the system refused a connection, for want of descriptors perhaps.
const PAUSE: Duration = Duration::from_millis(100);
/// How often it is said that there is no place.
const SAY: Duration = Duration::from_secs(60);

/// A place where it listens.
#[derive(Debug)]
pub(super) enum Door {
    Tcp(TcpListener),
    Unix(Socket),
}

impl Door {
    /// Opens a port.
    ///
    /// # Errors
    /// In words.
    pub(super) fn tcp(address: SocketAddr) -> Result<Self, String> {
        let bound = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            // As a restarted bridge needs it: the old one's connections linger (TIME_WAIT).
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(BACKLOG)
        };
        bound().map(Self::Tcp).map_err(|error: io::Error| {
            let hint = match error.kind() {
                io::ErrorKind::AddrInUse => "; another program has the port, choose another with --listen",
                io::ErrorKind::PermissionDenied => {
                    "; ports below 1024 need the capability CAP_NET_BIND_SERVICE, choose another with --listen"
                }
                _ => "",
            };
            format!("cannot listen on {address}: {error}{hint}")
        })
    }

    /// Makes a socket.
    ///
    /// # Errors
    /// In words.
    pub(super) fn unix(path: &Path, mode: u32, group: Option<u32>) -> Result<Self, String> {
        Socket::bind(path, mode, group).map(Self::Unix)
    }

    /// Its address, of TCP.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// Says where it is.
    pub(super) fn says(&self, tls: bool) {
        match self {
            Self::Tcp(_) => {
                let address = self.address().map(|address| address.to_string()).unwrap_or_default();
                info!(address, tls, "listening");
            }
            Self::Unix(socket) => info!(socket = %socket.path().display(), "listening"),
        }
    }
}

/// Takes connections until the bridge stops.
pub(super) async fn run(door: Door, shared: Arc<Shared>) {
    let mut said = None;
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            accepted = async {
                match &door {
                    Door::Tcp(listener) => listener.accept().await.map(|(stream, from)| enter_tcp(stream, from, &shared)),
                    Door::Unix(socket) => socket.listener().accept().await.map(|(stream, _)| enter_unix(stream, &shared)),
                }
            } => accepted,
        };
        let error = match accepted {
            Ok(true) => continue,
            Ok(false) => None,
            Err(error) => Some(error),
        };
        // Many may come; it is said now and then.
        if said.is_none_or(|said: Instant| said.elapsed() >= SAY) {
            said = Some(Instant::now());
            match &error {
                Some(error) => warn!(%error, "connections are refused by the system"),
                None => warn!("connections are turned away: there are as many as limits allow"),
            }
        }
        if error.is_some() {
            sleep(PAUSE).await;
        }
    }
}

/// Whether there is a place.
fn enter_tcp(stream: TcpStream, from: SocketAddr, shared: &Arc<Shared>) -> bool {
    let remote = from.ip().to_canonical();
    if shared.tls.is_none() && !remote.is_loopback() && !shared.places.trusts(remote) {
        debug!(%remote, "a connection in the clear that is from no named proxy was closed");
        return true;
    }
    let Some(place) = shared.places.take(From::Address(remote)) else { return false };
    let Ok(local) = stream.local_addr() else { return true };
    // Small answers are to go at once; a stream of events is nothing else.
    let _ = stream.set_nodelay(true);
    let stream = Patient::new(stream, shared.deadlines.stuck, Some(place));
    let task = shared.clone();
    shared.tasks.spawn(async move {
        let Some(tls) = &task.tls else {
            let peer = Peer::Tcp { remote, local: local.ip(), tls: false };
            return connection::serve(stream, peer, &task).await;
        };
        let handshake = timeout(task.deadlines.handshake, tls.acceptor().accept(stream));
        match task.stop.run_until_cancelled(handshake).await {
            Some(Ok(Ok(stream))) => {
                let peer = Peer::Tcp { remote, local: local.ip(), tls: true };
                connection::serve(stream, peer, &task).await;
            }
            Some(Ok(Err(error))) => debug!(%remote, %error, "a handshake failed"),
            Some(Err(_)) => debug!(%remote, "a handshake took too long"),
            None => {}
        }
    });
    true
}

/// Whether there is a place.
fn enter_unix(stream: UnixStream, shared: &Arc<Shared>) -> bool {
    // SO_PEERCRED, unix(7): it is there from the connection on.
    let Ok(cred) = stream.peer_cred() else { return true };
    let Some(place) = shared.places.take(From::User(cred.uid())) else { return false };
    let task = shared.clone();
    shared.tasks.spawn(async move {
        // Looking up a name may wait for whatever nsswitch.conf(5) names.
        let users = task.users.clone();
        let known = tokio::task::spawn_blocking(move || users.peer(&stream).map(|peer| (stream, peer))).await;
        match known {
            Ok(Ok((stream, (uid, principal)))) => {
                let stream = Patient::new(stream, task.deadlines.stuck, Some(place));
                connection::serve(stream, Peer::User { uid, principal }, &task).await;
            }
            Ok(Err(error)) => warn!(%error, "the kernel does not say who came by the socket"),
            Err(_) => {}
        }
    });
    true
}
