//! Sockets, TLS, deadlines and limits.
//!
//! - [`listen`]: the places where it listens, and who is let in; [`places`]: how many at once; `unix`: the file of a socket.
//! - [`tls`]: the certificate, read again when it changes.
//! - [`connection`]: one connection, from its first byte to its last; [`patient`]: for how long a write may make no
//!   progress; [`activity`]: whether anything is done on it at all.
//! - [`body`]: answers that end when who asked may no longer.
//! - [`layers`]: what every request and every answer goes through.

mod activity;
pub(crate) mod body;
mod connection;
mod layers;
mod listen;
mod patient;
mod places;
mod tls;
mod unix;

use std::{fs::DirBuilder, os::unix::fs::DirBuilderExt as _, sync::Arc, time::Duration};

use axum::Router;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use self::{connection::Deadlines, listen::Door, places::Places, tls::Tls};
use crate::{
    Config, HttpError, Place,
    access::{
        Keyring,
        gate::Access,
        pace::{Pace, Wrong},
        peers::Users,
        session_routes,
        sessions::Sessions,
    },
    config::{Listen, Settings},
    hub::Hub,
    page, routes,
};

/// How long what is being answered may take when the bridge stops. Streams end at once.
const DRAIN: Duration = Duration::from_secs(5);
/// How often tokens and sessions are looked at for those who ask for nothing, and so how long a stream of a revoked one may
/// run on.
const LOOK: Duration = Duration::from_secs(1);
/// Open files beside connections: the runtime's, the listeners, those to the hub.
const OWN_FILES: u64 = 256;

/// Listens and serves.
pub(crate) async fn serve(config: Config, place: Place, cancel: CancellationToken) -> Result<(), HttpError> {
    let settings = config.check()?;
    let server = Server::bind(settings, &place, Deadlines::default())?;
    let hub = Hub::start(&place, &cancel);
    let known = routes::api(&hub).merge(session_routes::known(server.access.clone(), hub.clone()));
    server.run(known, routes::health(&hub).merge(page::routes()), cancel).await
}

/// What listens, and what is let in by.
struct Server {
    doors: Vec<Door>,
    access: Arc<Access>,
    users: Arc<Users>,
    tls: Option<Arc<Tls>>,
    places: Arc<Places>,
    deadlines: Deadlines,
}

impl Server {
    /// Reads tokens and certificates, and listens.
    ///
    /// # Errors
    /// What was tried, on what, and why it failed.
    fn bind(settings: Settings, place: &Place, deadlines: Deadlines) -> Result<Self, HttpError> {
        let Settings { listen, hosts, cors, unix_mode, unix_group, tls, proxies, limits, lasting, users } =
            settings;
        let state_dir = &place.state_dir;
        DirBuilder::new().recursive(true).mode(0o700).create(state_dir).map_err(|error| {
            HttpError::Start(format!("cannot make the state folder {}: {error}", state_dir.display()))
        })?;
        let keyring = Keyring::open(state_dir).map_err(|error| HttpError::Start(error.to_string()))?;
        if keyring.len() == 0 {
            info!("there are no tokens yet; secmon http token add NAME makes one");
        }
        let tls = tls.map(Tls::load).transpose().map_err(HttpError::Start)?.map(Arc::new);
        files(limits.connections);
        let access = Access {
            keyring,
            sessions: Sessions::open(state_dir, lasting),
            hosts,
            proxies: proxies.clone(),
            cors,
            pace: Pace::new(limits.per_second, limits.burst),
            wrong: Wrong::default(),
            body: limits.body,
            stop: CancellationToken::new(),
        };
        let doors = listen
            .iter()
            .map(|place| match place {
                Listen::Tcp(address) => Door::tcp(*address),
                Listen::Unix(path) => Door::unix(path, unix_mode, unix_group),
            })
            .collect::<Result<_, _>>()
            .map_err(HttpError::Start)?;
        Ok(Self {
            doors,
            access: Arc::new(access),
            users: Arc::new(Users::new(users)),
            tls,
            places: Arc::new(Places::new(limits.connections, limits.per_address, proxies)),
            deadlines,
        })
    }

    /// The TCP addresses.
    #[cfg(test)]
    fn addresses(&self) -> Vec<std::net::SocketAddr> {
        self.doors.iter().filter_map(Door::address).collect()
    }

    /// Serves until it is cancelled: `known` to those who are known, `open` to everybody.
    async fn run(self, known: Router, open: Router, cancel: CancellationToken) -> Result<(), HttpError> {
        let Self { doors, access, users, tls, places, deadlines } = self;
        let app = layers::app(known, open, &access);
        let (connections, kill) = (TaskTracker::new(), CancellationToken::new());
        let (mut tasks, began) = (JoinSet::new(), tokio::time::Instant::now());
        for door in doors {
            door.says(tls.is_some());
            let shared = connection::Shared {
                app: app.clone(),
                users: users.clone(),
                tls: tls.clone(),
                places: places.clone(),
                deadlines,
                began,
                tasks: connections.clone(),
                stop: access.stop.clone(),
                kill: kill.clone(),
            };
            tasks.spawn(listen::run(door, Arc::new(shared)));
        }
        tasks.spawn(watch(access.clone()));
        tasks.spawn(reload(tls, access.stop.clone()));
        cancel.cancelled().await;
        access.stop.cancel();
        while tasks.join_next().await.is_some() {}
        connections.close();
        if timeout(DRAIN, connections.wait()).await.is_err() {
            warn!(connections = connections.len(), "some answers took too long and were cut");
            kill.cancel();
            // Each ends at its next step; none waits for anything then.
            let _ = timeout(DRAIN, connections.wait()).await;
        }
        Ok(())
    }
}

/// Looks at tokens and sessions again and again, for those whose streams run while they ask for nothing.
async fn watch(access: Arc<Access>) {
    while access.stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
        access.keyring.look_again();
        access.sessions.sweep(&access.keyring);
    }
}

/// Reads the certificate again when it changes, and on SIGHUP, which ends no bridge.
async fn reload(tls: Option<Arc<Tls>>, stop: CancellationToken) {
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => return warn!(%error, "SIGHUP is not heard"),
    };
    loop {
        let asked = tokio::select! {
            () = stop.cancelled() => return,
            _ = hangup.recv() => true,
            () = tokio::time::sleep(tls::LOOK), if tls.is_some() => false,
        };
        if let Some(tls) = &tls {
            tls.look(asked);
        }
    }
}

/// Makes room for as many connections as there may be (getrlimit(2), `RLIMIT_NOFILE`).
fn files(connections: usize) {
    let wanted = connections as u64 + OWN_FILES;
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft < wanted {
            setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard)?;
        }
        Ok(wanted.min(hard.max(soft)))
    });
    match raised {
        Ok(limit) if limit < wanted => warn!(
            limit,
            connections,
            "fewer files may be open than limits.connections asks for; raise LimitNOFILE= of the service"
        ),
        Ok(_) => {}
        Err(error) => warn!(%error, "cannot raise the limit on open files"),
    }
}

#[cfg(test)]
mod tests;
