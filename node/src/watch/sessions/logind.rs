//! systemd-logind over D-Bus: a list of the sessions, then its signals. No polling.
//! org.freedesktop.login1(5), the D-Bus specification.
//!
//! What must not live here: what a session means beside other sources.
//!
//! logind is never started for the sake of looking: its owner is asked for by name, and calls go to the owner, which
//! activates nothing. A signal counts only when that owner sent it, for on the system bus anybody may send
//! a signal to anybody.

use std::{
    collections::{BTreeMap, HashMap},
    num::NonZeroUsize,
    path::Path,
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use secmon_protocol::{
    facet::Unavailable,
    limits::{MAX_ENTRIES, clip},
    time::UnixNanos,
};
use tokio::sync::mpsc;
use tracing::{debug, warn};
use zbus::{
    Connection, MatchRule, Message, MessageStream, ObjectPath, OwnedObjectPath, OwnedVariant, Variant,
    fdo::DBusProxy, message::Type,
};

use super::view::{LogindNews, LogindSession};
use crate::watch::path_watch::{Expect, PathWatch};

const LOGIND: &str = "org.freedesktop.login1";
const MANAGER: &str = "org.freedesktop.login1.Manager";
const MANAGER_PATH: &str = "/org/freedesktop/login1";
const SESSION: &str = "org.freedesktop.login1.Session";
const SESSION_PATHS: &str = "/org/freedesktop/login1/session";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const BUS: &str = "org.freedesktop.DBus";
/// Where the bus listens unless the environment says otherwise; D-Bus specification, "System message bus".
const SOCKET: &str = "/run/dbus/system_bus_socket";

/// For connecting, and for an answer; a sound bus takes milliseconds, also while the machine starts.
const TIMEOUT: Duration = Duration::from_secs(4);
/// Messages that may wait while the list is asked for; one session makes some five.
const QUEUE: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");
/// Sessions asked about at the same time.
const AT_ONCE: usize = 16;
/// Sessions whose description is awaited; where more come at once, the list is asked for again.
const AWAITED: usize = 512;
/// First wait before the bus is tried again, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// Connects to the system's bus, also where `DBUS_SYSTEM_BUS_ADDRESS` names it.
async fn connect() -> zbus::Result<Connection> {
    let connecting = zbus::connection::Builder::system().method_timeout(TIMEOUT).max_queued(QUEUE).build();
    match tokio::time::timeout(TIMEOUT, Box::pin(connecting)).await {
        Ok(connected) => connected,
        Err(_) => Err(io(std::io::ErrorKind::TimedOut)),
    }
}

fn io(kind: std::io::ErrorKind) -> zbus::Error {
    zbus::Error::InputOutput(Arc::new(kind.into()))
}

/// Nobody takes news any more.
struct Closed;

/// Tells `out` of logind's sessions, for ever; ends only when nobody takes it.
pub(super) async fn watch(out: mpsc::Sender<LogindNews>) {
    let mut wait = RETRY.0;
    let mut before = false;
    loop {
        match connect().await {
            Err(error) => {
                debug!(%error, "cannot reach the system bus");
                if out.send(LogindNews::Lost(no_bus(&error))).await.is_err() {
                    return;
                }
            }
            Ok(connection) => {
                let mut session = Heard { out: &out, owner: None, before };
                match Box::pin(session.follow(&connection)).await {
                    Err(Stop::Closed) => return,
                    Err(Stop::Bus(error)) => {
                        warn!(%error, "the system bus is gone; connecting again");
                        before = session.owner.is_some() || session.before;
                        wait = RETRY.0;
                    }
                }
                let why = Unavailable {
                    reason: "the system bus closed the connection, so systemd-logind is not heard".to_owned(),
                    remedy: "see `systemctl status dbus`".to_owned(),
                };
                if out.send(LogindNews::Lost(why)).await.is_err() {
                    return;
                }
            }
        }
        // A bus that comes back makes its socket anew, or listened on it all the time.
        let appears = async {
            match PathWatch::new(Path::new(SOCKET), Expect::File).and_then(|mut w| w.arm().map(|()| w)) {
                Ok(mut watch) => drop(watch.changed().await),
                Err(_) => std::future::pending().await,
            }
        };
        let pause = wait.mul_f64(rand::random_range(0.5..1.0));
        let _ = tokio::time::timeout(pause, appears).await;
        wait = (wait * 2).min(RETRY.1);
    }
}

fn no_bus(error: &zbus::Error) -> Unavailable {
    if !Path::new(SOCKET).exists() {
        return Unavailable {
            reason: format!("no system bus at {SOCKET}, so no systemd-logind"),
            remedy: "install and start dbus and systemd-logind, or a program that writes utmp".to_owned(),
        };
    }
    Unavailable {
        reason: clip(&format!("cannot reach the system bus: {error}")).to_owned(),
        remedy: "see `systemctl status dbus`".to_owned(),
    }
}

/// Why a connection was left.
enum Stop {
    Closed,
    Bus(zbus::Error),
}

impl From<Closed> for Stop {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

impl From<zbus::Error> for Stop {
    fn from(error: zbus::Error) -> Self {
        Self::Bus(error)
    }
}

impl From<zbus::fdo::Error> for Stop {
    fn from(error: zbus::fdo::Error) -> Self {
        Self::Bus(error.into())
    }
}

/// One connection to the bus.
struct Heard<'a> {
    out: &'a mpsc::Sender<LogindNews>,
    /// logind's unique name on this bus, while it has one.
    owner: Option<String>,
    /// Whether logind was heard on an earlier connection, and has not been since.
    before: bool,
}

/// A session whose description is awaited.
#[derive(Default)]
struct Awaited {
    /// logind said that it is new.
    new: bool,
    /// logind has said meanwhile that it is gone; its id.
    removed: Option<String>,
    /// It has changed again meanwhile.
    again: bool,
}

impl Heard<'_> {
    async fn tell(&self, news: LogindNews) -> Result<(), Closed> {
        self.out.send(news).await.map_err(|_| Closed)
    }

    async fn follow(&mut self, connection: &Connection) -> Result<std::convert::Infallible, Stop> {
        let mut messages = MessageStream::from(connection);
        let bus = DBusProxy::new(connection).await?;
        for rule in rules()? {
            bus.add_match_rule(rule).await?;
        }
        let name = zbus::names::BusName::try_from(LOGIND)?;
        match bus.get_name_owner(name).await {
            Ok(owner) => self.owner = Some(owner.to_string()),
            Err(zbus::fdo::Error::NameHasNoOwner(_)) => self.tell(LogindNews::Lost(no_logind())).await?,
            Err(error) => return Err(error.into()),
        }
        if self.owner.is_some() {
            self.list(connection).await?;
        }
        let mut awaited: BTreeMap<String, Awaited> = BTreeMap::new();
        let mut answers = FuturesUnordered::new();
        loop {
            tokio::select! {
                message = messages.next() => {
                    let Some(message) = message.transpose()? else {
                        return Err(Stop::Bus(io(std::io::ErrorKind::UnexpectedEof)));
                    };
                    match self.signal(&message) {
                        None => {}
                        Some(Signal::Owner(owner)) => {
                            self.owner = owner;
                            awaited.clear();
                            answers.clear();
                            if self.owner.is_some() {
                                self.list(connection).await?;
                            } else {
                                self.tell(LogindNews::Lost(no_logind())).await?;
                            }
                        }
                        Some(Signal::New(path)) if awaited.len() < AWAITED => {
                            let entry = awaited.entry(path.to_string());
                            if matches!(entry, std::collections::btree_map::Entry::Vacant(_)) {
                                answers.push(self.describe(connection, path));
                            }
                            entry.or_default().new = true;
                        }
                        Some(Signal::Changed(path)) if awaited.len() < AWAITED => {
                            match awaited.get_mut(path.as_str()) {
                                Some(entry) => entry.again = true,
                                None => {
                                    awaited.insert(path.to_string(), Awaited::default());
                                    answers.push(self.describe(connection, path));
                                }
                            }
                        }
                        Some(Signal::New(_) | Signal::Changed(_)) => {
                            warn!("more sessions come than logind answers about; asking for the list");
                            awaited.clear();
                            answers.clear();
                            self.list(connection).await?;
                            let why = "too many sessions came at once; one that closed at once is not reported";
                            self.tell(LogindNews::Missed(why.to_owned())).await?;
                        }
                        Some(Signal::Removed(id, path)) => match awaited.get_mut(path.as_str()) {
                            Some(entry) => entry.removed = Some(id),
                            None => self.tell(LogindNews::Removed(id)).await?,
                        },
                    }
                }
                Some((path, answer)) = answers.next() => {
                    let Some(state) = awaited.remove(path.as_str()) else { continue };
                    match answer {
                        Ok(session) => {
                            self.tell(LogindNews::Seen(session)).await?;
                            if let Some(id) = state.removed {
                                self.tell(LogindNews::Removed(id)).await?;
                            } else if state.again {
                                awaited.insert(path.to_string(), Awaited::default());
                                answers.push(self.describe(connection, path));
                            }
                        }
                        Err(error) => {
                            debug!(path = path.as_str(), %error, "a session went before it was described");
                            if state.new {
                                self.tell(LogindNews::Unseen).await?;
                            } else if let Some(id) = state.removed {
                                self.tell(LogindNews::Removed(id)).await?;
                            }
                        }
                    }
                }
            }
        }
    }

    /// What a message says that concerns sessions.
    fn signal(&self, message: &Message) -> Option<Signal> {
        let header = message.header();
        if header.message_type() != Type::Signal {
            return None;
        }
        let (sender, member) = (header.sender()?.as_str(), header.member()?.as_str());
        let body = message.body();
        match (header.interface()?.as_str(), member) {
            (BUS, "NameOwnerChanged") if sender == BUS => {
                let (name, _, new): (&str, &str, &str) = body.deserialize().ok()?;
                (name == LOGIND).then(|| Signal::Owner(Some(new.to_owned()).filter(|n| !n.is_empty())))
            }
            _ if Some(sender) != self.owner.as_deref() => None,
            (MANAGER, "SessionNew") => {
                let (_id, path): (&str, OwnedObjectPath) = body.deserialize().ok()?;
                Some(Signal::New(path))
            }
            (MANAGER, "SessionRemoved") => {
                let (id, path): (String, OwnedObjectPath) = body.deserialize().ok()?;
                Some(Signal::Removed(id, path))
            }
            (PROPERTIES, "PropertiesChanged") => {
                let (interface, changed, gone): (&str, HashMap<&str, Variant<'_>>, Vec<&str>) =
                    body.deserialize().ok()?;
                // Idle hints and locks change all day, and nothing of ours with them.
                let ours =
                    |name: &&str| matches!(*name, "TTY" | "Type" | "Class" | "State" | "Active" | "Display");
                let concerns = interface == SESSION && (changed.keys().any(ours) || gone.iter().any(ours));
                let path = header.path()?;
                concerns.then(|| Signal::Changed(OwnedObjectPath::from(path.to_owned())))
            }
            _ => None,
        }
    }

    /// Asks for the list, describes each, and tells them all.
    async fn list(&mut self, connection: &Connection) -> Result<(), Stop> {
        let Some(owner) = self.owner.as_deref() else { return Ok(()) };
        let reply =
            connection.call_method(Some(owner), MANAGER_PATH, Some(MANAGER), "ListSessions", &()).await;
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => {
                self.tell(LogindNews::Lost(refused(&error))).await?;
                return Ok(());
            }
        };
        let body = reply.body();
        let listed: Vec<(String, u32, String, String, OwnedObjectPath)> = body.deserialize()?;
        let count = listed.len();
        let sessions = futures::stream::iter(listed.into_iter().take(MAX_ENTRIES))
            .map(|(.., path)| self.describe(connection, path))
            .buffer_unordered(AT_ONCE)
            // One that cannot be described has gone meanwhile.
            .filter_map(async |(_, answer)| answer.ok())
            .collect::<Vec<_>>()
            .await;
        debug!(count, described = sessions.len(), "logind listed its sessions");
        self.tell(LogindNews::Listed(sessions)).await?;
        if std::mem::take(&mut self.before) {
            let why = "the system bus was away; a login without a terminal that came and went meanwhile is not reported";
            self.tell(LogindNews::Missed(why.to_owned())).await?;
        }
        Ok(())
    }

    fn describe(
        &self,
        connection: &Connection,
        path: OwnedObjectPath,
    ) -> impl Future<Output = (OwnedObjectPath, zbus::Result<LogindSession>)> + use<> {
        let (connection, owner) = (connection.clone(), self.owner.clone());
        async move {
            let described = async {
                let reply = connection
                    .call_method(
                        owner.as_deref(),
                        ObjectPath::from(&path),
                        Some(PROPERTIES),
                        "GetAll",
                        &(SESSION,),
                    )
                    .await?;
                let properties: HashMap<String, OwnedVariant> = reply.body().deserialize()?;
                session(&properties).ok_or_else(|| zbus::Error::Failure("a session without an Id".to_owned()))
            };
            let answer = described.await;
            (path, answer)
        }
    }
}

/// What a message says.
enum Signal {
    /// logind has this name on the bus now.
    Owner(Option<String>),
    New(OwnedObjectPath),
    Removed(String, OwnedObjectPath),
    Changed(OwnedObjectPath),
}

fn rules() -> zbus::Result<Vec<MatchRule<'static>>> {
    let signals = || MatchRule::builder().msg_type(Type::Signal);
    Ok(vec![
        signals().sender(LOGIND).interface(MANAGER).path(MANAGER_PATH).build()?,
        signals()
            .sender(LOGIND)
            .interface(PROPERTIES)
            .member("PropertiesChanged")
            .path_namespace(SESSION_PATHS)
            .arg(0, SESSION)
            .build()?,
        signals().sender(BUS).interface(BUS).member("NameOwnerChanged").arg(0, LOGIND).build()?,
    ])
}

fn no_logind() -> Unavailable {
    Unavailable {
        reason: "systemd-logind does not run".to_owned(),
        remedy: "run `systemctl restart systemd-logind`, which does not come back by itself after dbus was restarted"
            .to_owned(),
    }
}

fn refused(error: &zbus::Error) -> Unavailable {
    Unavailable {
        reason: clip(&format!("systemd-logind does not list its sessions: {error}")).to_owned(),
        remedy: "see `systemctl status systemd-logind`, and try `loginctl` as the node's user".to_owned(),
    }
}

/// A session of its properties; none when they lack an id.
fn session(properties: &HashMap<String, OwnedVariant>) -> Option<LogindSession> {
    let text = |name: &str| {
        let value: &str = properties.get(name)?.downcast_ref().ok()?;
        Some(clip(value).to_owned()).filter(|v| !v.is_empty())
    };
    let leader: Option<u32> = properties.get("Leader").and_then(|v| v.downcast_ref().ok());
    let since: u64 = properties.get("Timestamp").and_then(|v| v.downcast_ref().ok()).unwrap_or_default();
    let remote: bool = properties.get("Remote").and_then(|v| v.downcast_ref().ok()).unwrap_or_default();
    Some(LogindSession {
        id: text("Id")?,
        user: text("Name").unwrap_or_default(),
        tty: text("TTY").map(|tty| tty.strip_prefix("/dev/").map(str::to_owned).unwrap_or(tty)),
        remote: text("RemoteHost").filter(|_| remote),
        service: text("Service"),
        leader: leader.filter(|pid| *pid != 0),
        class: text("Class").unwrap_or_default(),
        of_type: text("Type").unwrap_or_default(),
        // Microseconds, CLOCK_REALTIME.
        since: UnixNanos(i64::try_from(since.saturating_mul(1_000)).unwrap_or(i64::MAX)),
        closing: text("State").is_some_and(|state| state == "closing"),
    })
}
