//! The hub as a whole: put together in order, run, and taken down in order.

use std::{fs, fs::File, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use secmon_protocol::{
    ids::{LogId, NodeId, NodeName},
    message::{ErrorCode, Refusal, client::TokenText},
    time::UnixNanos,
    token::{JoinToken, SECRET_LEN},
};
use tokio::{
    net::TcpListener,
    task::JoinHandle,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    HubConfig, HubError,
    access::{Access, warn_of_closed_doors},
    actor::{Actor, Message, unix_now},
    addresses,
    ca::{Ca, fingerprint},
    conn::{Shared, accept, client},
    core::{Core, Enrolling},
    descriptors, files,
    log::Log,
    ring::{RING_BYTES, Ring},
    store::{Keeping, LogReader, Opening, Store, StoreThread},
    tickets::Tickets,
    tls::Tls,
};

/// How long everything gets to end once the hub stops …
const DRAIN: Duration = Duration::from_secs(5);
/// … and of that the nodes, whose last records are what the clients then get.
const DRAIN_NODES: Duration = Duration::from_secs(2);
/// Where the kernel names this boot, random(4).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Seconds of a mean Gregorian year.
const YEAR_SECS: i64 = 31_556_952;
/// The year of this release: no hub runs earlier, whatever its clock says.
const RELEASE_YEAR: i32 = 2026;

/// A token that was just made.
#[derive(Debug)]
pub struct Enrolment {
    /// The token as text, to be shown once.
    pub token: TokenText,
    /// When it expires.
    pub expires: UnixNanos,
    /// The hub's addresses in it.
    pub addresses: Vec<String>,
}

/// A hub that is ready: its port and its socket are open.
pub struct Hub {
    shared: Arc<Shared>,
    listener: TcpListener,
    socket: client::Socket,
    tls: Tls,
    tickets: Arc<Tickets>,
    actor: JoinHandle<Result<StoreThread, HubError>>,
    stop_actor: CancellationToken,
    /// Locked for as long as the hub lives.
    lock: File,
}

/// Starts a hub: checks the configuration whole, makes what is missing on the first start, and opens the
/// port and the socket. Nothing is served before [`Hub::run`].
///
/// # Errors
/// See [`HubError`].
pub async fn start(config: HubConfig) -> Result<Hub, HubError> {
    config.check()?;
    let group = config.socket.group.as_ref().map(client::group).transpose()?;
    let access = Access::resolve(&config.access)?;
    let year = year(unix_now());
    descriptors::raise();
    let lock = files::open_state_dir(&config.state_dir)?;
    let ca = Ca::open(&config.state_dir, year)?;
    let tickets = Tickets::open(&config.state_dir, ca.fingerprint());
    let tls = Tls::new(&ca, year, tickets.clone())?;
    let listen = config.hub.listen;
    let listener = accept::bind(listen).map_err(|source| HubError::Listen { address: listen, source })?;
    let address = listener.local_addr().map_err(|source| HubError::Listen { address: listen, source })?;
    let socket = client::bind(&config.socket_path, config.socket.mode, group)?;
    warn_of_closed_doors(&access, socket.path());
    if access.is_nobodys() {
        warn!(
            "the hub runs as nobody, and users of other user namespaces look the same: give it a user of its own"
        );
    }
    // Each opening is a start of the log's; one that fails for want of a port is none.
    let store = Store::open(&config.state_dir, keeping(&config), &opening())?;
    let (kept, holes, gone) = (store.load()?, store.holes()?, store.gone());
    let reader = LogReader::start(&config.state_dir)?;

    let heartbeat = config.hub.heartbeat();
    let store = StoreThread::start(store)
        .map_err(|source| HubError::file("start the thread that writes", &config.state_dir, source))?;
    let core = Core::new(kept, heartbeat, config.jobs.limits());
    let ring = Arc::new(Ring::new(core.newest(), RING_BYTES));
    let (actor, handle) = Actor::new(core, store, ring.clone(), gone);
    handle.send(Message::Begun).await;
    let log = Log::new(ring, reader, holes, config.log);
    let stop_actor = CancellationToken::new();
    let actor = tokio::spawn(actor.run(stop_actor.clone()));
    let shared = Shared::new(handle, log, (ca, access), (config.hub, address), CancellationToken::new());
    info!(address = %address, socket = %socket.path().display(), "listening");
    Ok(Hub { shared: Arc::new(shared), listener, socket, tls, tickets, actor, stop_actor, lock })
}

impl Hub {
    /// Where nodes find it, with the port that it really has.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Where clients find it.
    #[must_use]
    pub fn socket(&self) -> &Path {
        self.socket.path()
    }

    /// Makes a token, as `secmon enroll` does; `valid` of zero means the default of an hour. Works before
    /// and while the hub runs.
    ///
    /// # Errors
    /// The name is taken and `replace` was not asked for, a limit, or the state cannot be written.
    pub async fn enroll(&self, name: NodeName, valid: Duration, replace: bool) -> Result<Enrolment, Refusal> {
        enroll(&self.shared, name, valid, replace).await
    }

    /// Whether a node of that name has joined.
    ///
    /// # Errors
    /// The hub is stopping.
    pub async fn knows(&self, name: &NodeName) -> Result<bool, Refusal> {
        self.shared.actor.knows(name).await
    }

    /// Serves until `cancel`. Then nobody new is let in, what nodes have sent is written, clients get all of
    /// that within a deadline, and the socket goes.
    ///
    /// # Errors
    /// What is stored makes no sense any more.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), HubError> {
        let Self { shared, listener, socket, tls, tickets, mut actor, stop_actor, lock } = self;
        shared.tasks.spawn(tickets.keep(shared.stop.clone()));
        shared.tasks.spawn(accept::run(listener, tls, shared.clone()));
        shared.tasks.spawn(client::run(socket, shared.clone()));
        let failed = tokio::select! {
            () = cancel.cancelled() => None,
            ended = &mut actor => Some(ended),
        };
        shared.stop.cancel();
        shared.tasks.close();
        let stopped = Instant::now();
        if timeout_at(stopped + DRAIN_NODES, shared.tasks.wait()).await.is_err() {
            warn!(connections = shared.tasks.len(), "nodes did not end in time and were cut");
        }
        stop_actor.cancel();
        let ended = match failed {
            Some(ended) => ended,
            None => actor.await,
        };
        // Nothing is added to the log any more: clients are done once they have it all.
        shared.finish.cancel();
        shared.clients.close();
        if timeout_at(stopped + DRAIN, shared.clients.wait()).await.is_err() {
            let clients = shared.clients.len();
            warn!(clients, "clients did not read all that there was in time and were cut; it is in the log");
        }
        if let Err(error) = ended.unwrap_or(Err(HubError::Stopped))?.close().await {
            warn!(%error, "cannot bring everything to the disk");
        }
        drop(lock);
        Ok(())
    }
}

/// Makes a token and has it remembered.
pub(crate) async fn enroll(
    shared: &Shared,
    name: NodeName,
    valid: Duration,
    replace: bool,
) -> Result<Enrolment, Refusal> {
    let internal = |error: HubError| Refusal::new(ErrorCode::Internal, error.to_string());
    let addresses = addresses::for_tokens(&shared.hub.advertise, shared.address).map_err(internal)?;
    let secret: [u8; SECRET_LEN] = rand::random();
    let millis = u64::try_from(unix_now().0 / 1_000_000).unwrap_or(0);
    let wish = Enrolling {
        secret: fingerprint(&secret),
        id: NodeId::mint(millis, rand::random()),
        name,
        valid,
        replace,
    };
    let expires = shared.actor.ask(|reply| Message::Enroll(wish, reply)).await?;
    let token = JoinToken {
        addresses: addresses.clone(),
        ca_fingerprint: shared.ca.fingerprint(),
        secret: Bytes::copy_from_slice(&secret),
        expires,
    };
    Ok(Enrolment { token: TokenText(token.to_text()), expires, addresses })
}

fn keeping(config: &HubConfig) -> Keeping {
    let log = &config.log;
    Keeping { size: log.size, age: log.age, durability: log.durability }
}

fn opening() -> Opening {
    let boot_id = fs::read_to_string(BOOT_ID).ok().map(|id| id.trim().to_owned());
    Opening { boot_id, fresh: LogId(rand::random()) }
}

/// The year of a time, for the dates in certificates, where a day more or less does not matter. A machine
/// that starts with its clock at 1970 must not make a CA that has expired once the clock is set.
pub(crate) fn year(now: UnixNanos) -> i32 {
    let year = 1970 + now.0 / 1_000_000_000 / YEAR_SECS;
    i32::try_from(year).map_or(RELEASE_YEAR, |year| year.max(RELEASE_YEAR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_never_set_makes_no_papers_of_the_past() {
        for unset in [i64::MIN, -1, 0, 40 * 365 * 86_400_000_000_000] {
            assert_eq!(year(UnixNanos(unset)), RELEASE_YEAR);
        }
        // 2040-06-15
        assert_eq!(year(UnixNanos(2_223_331_200_000_000_000)), 2040);
    }
}
