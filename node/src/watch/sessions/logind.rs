//! systemd-logind over D-Bus: a list of the sessions, then its signals. No polling.
//! org.freedesktop.login1(5), the D-Bus specification.
//!
//! What must not live here: what a session means beside other sources.
//!
//! logind is never started for the sake of looking: its owner is asked for by name, and calls go to the owner, which
//! activates nothing. Only what that owner sends is listened to, for on the system bus anybody may send a signal to
//! anybody. An answer that fails says nothing of a session; only logind's word that there is none does.

mod message;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    convert::Infallible,
    num::NonZeroUsize,
    path::Path,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use futures::{
    StreamExt as _,
    stream::{FuturesUnordered, SelectAll},
};
use secmon_protocol::{
    facet::Unavailable,
    limits::{MAX_ENTRIES, clip},
};
use tokio::{sync::mpsc, time::Instant};
use tracing::{debug, warn};
use zbus::{Connection, MatchRule, MessageStream, ObjectPath, OwnedObjectPath, OwnedVariant, fdo::DBusProxy};

use self::message::{
    LOGIND, MANAGER, MANAGER_PATH, PROPERTIES, SESSION, Signal, is_gone, new_owner, owner_rule, rules,
    session, signal,
};
use super::view::{LogindNews, LogindSession};
use crate::watch::path_watch::{Expect, PathWatch};

/// Where the bus listens unless the environment says otherwise; D-Bus specification, "System message bus".
const SOCKET: &str = "/run/dbus/system_bus_socket";

/// For connecting, and for an answer; a sound bus takes milliseconds, also while the machine starts.
const TIMEOUT: Duration = Duration::from_secs(4);
/// Signals of one rule that wait; one session makes some five.
const QUEUE: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");
/// Sessions asked about at the same time. The bus allows 128 calls of one connection without an answer
/// (`max_replies_per_connection`, dbus-daemon(1)).
const AT_ONCE: usize = 16;
/// Sessions whose description is awaited; where more come at once, the list is asked for again.
const AWAITED: usize = 4096;
/// First wait before the bus or the list is tried again, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// Connects to the system's bus, also where `DBUS_SYSTEM_BUS_ADDRESS` names it.
async fn connect() -> zbus::Result<Connection> {
    let connecting = zbus::connection::Builder::system().method_timeout(TIMEOUT).build();
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
    let mut pause = Backoff::default();
    let mut before = false;
    loop {
        let why = match connect().await {
            Err(error) => {
                debug!(%error, "cannot reach the system bus");
                no_bus(&error)
            }
            Ok(connection) => {
                let mut heard = Heard::new(&connection, &out, before);
                let Err(stop) = Box::pin(heard.follow()).await;
                if heard.listed {
                    pause = Backoff::default();
                }
                before |= heard.listed;
                match stop {
                    Stop::Closed => return,
                    Stop::Bus(error) => {
                        warn!(%error, "the system bus is gone; connecting again");
                        Unavailable {
                            reason: "the system bus closed the connection, so systemd-logind is not heard"
                                .to_owned(),
                            remedy: "see `systemctl status dbus`".to_owned(),
                        }
                    }
                }
            }
        };
        if out.send(LogindNews::Lost(why)).await.is_err() {
            return;
        }
        // A bus that comes back makes its socket anew, or listened on it all the time.
        let appears = async {
            match PathWatch::new(Path::new(SOCKET), Expect::File).and_then(|mut w| w.arm().map(|()| w)) {
                Ok(mut watch) => drop(watch.changed().await),
                Err(_) => std::future::pending().await,
            }
        };
        let _ = tokio::time::timeout(pause.next(), appears).await;
    }
}

/// Ever longer waits, with jitter.
struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(RETRY.0)
    }
}

impl Backoff {
    fn next(&mut self) -> Duration {
        let wait = self.0.mul_f64(rand::random_range(0.5..1.0));
        self.0 = (self.0 * 2).min(RETRY.1);
        wait
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
    connection: &'a Connection,
    out: &'a mpsc::Sender<LogindNews>,
    /// Whether logind was heard on an earlier connection, and has not been since.
    before: bool,
    /// Whether it listed its sessions on this one.
    listed: bool,
    /// logind's unique name on this bus, while it has one.
    owner: Option<String>,
    /// Sessions whose description is awaited, by object path.
    awaited: BTreeMap<String, Awaited>,
    /// Those of them that were not asked about yet.
    queue: VecDeque<OwnedObjectPath>,
    /// The calls that were made.
    calls: FuturesUnordered<Call>,
    in_flight: usize,
    /// The list that is being made.
    listing: Option<Listing>,
    pause: Backoff,
    /// When to ask for the list again, because an answer failed.
    list_at: Option<Instant>,
}

type Call = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// What logind answered.
enum Answer {
    List(zbus::Result<Vec<OwnedObjectPath>>),
    Described(OwnedObjectPath, zbus::Result<LogindSession>),
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

/// A list whose sessions are being described.
#[derive(Default)]
struct Listing {
    /// Paths of those that are not yet.
    left: BTreeSet<String>,
    sessions: Vec<LogindSession>,
    /// What is to be told when the list has been.
    after: Vec<LogindNews>,
}

impl<'a> Heard<'a> {
    fn new(connection: &'a Connection, out: &'a mpsc::Sender<LogindNews>, before: bool) -> Self {
        Self {
            connection,
            out,
            before,
            listed: false,
            owner: None,
            awaited: BTreeMap::new(),
            queue: VecDeque::new(),
            calls: FuturesUnordered::new(),
            in_flight: 0,
            listing: None,
            pause: Backoff::default(),
            list_at: None,
        }
    }

    async fn tell(&mut self, news: LogindNews) -> Result<(), Closed> {
        self.out.send(news).await.map_err(|_| Closed)
    }

    /// Hears the bus to the end of the connection. Signals and answers are taken as they come, so that neither
    /// ever waits for the other.
    async fn follow(&mut self) -> Result<Infallible, Stop> {
        let mut owners = listen(self.connection, owner_rule()?).await?;
        let bus = DBusProxy::new(self.connection).await?;
        let name = zbus::names::BusName::try_from(LOGIND)?;
        let owner = match bus.get_name_owner(name).await {
            Ok(owner) => Some(owner.to_string()),
            Err(zbus::fdo::Error::NameHasNoOwner(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let mut signals = self.attend(owner).await?;
        loop {
            while self.in_flight < AT_ONCE
                && let Some(path) = self.queue.pop_front()
            {
                self.in_flight += 1;
                self.calls.push(self.describe(path));
            }
            let list_at = self.list_at;
            let retry = async {
                match list_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                message = owners.next() => {
                    if let Some(owner) = new_owner(&message.ok_or_else(gone)??) {
                        signals = self.attend(owner).await?;
                    }
                }
                Some(answer) = self.calls.next() => match answer {
                    Answer::List(listed) => self.handle_list(listed).await?,
                    Answer::Described(path, described) => {
                        self.in_flight -= 1;
                        self.handle_described(path, described).await?;
                    }
                },
                message = signals.next(), if !signals.is_empty() => {
                    if let Some(signal) = signal(&message.ok_or_else(gone)??) {
                        self.handle_signal(signal).await?;
                    }
                }
                () = retry => self.ask_for_list(),
            }
        }
    }

    /// Listens to the owner of logind's name from now on, and to nobody else.
    async fn attend(&mut self, owner: Option<String>) -> Result<SelectAll<MessageStream>, Stop> {
        self.owner = owner;
        self.forget();
        let mut signals = SelectAll::new();
        match self.owner.clone() {
            None => self.tell(LogindNews::Lost(no_logind())).await?,
            Some(owner) => {
                for rule in rules(owner)? {
                    signals.push(listen(self.connection, rule).await?);
                }
                self.ask_for_list();
            }
        }
        Ok(signals)
    }

    fn forget(&mut self) {
        self.awaited.clear();
        self.queue.clear();
        self.calls.clear();
        (self.in_flight, self.listing, self.list_at) = (0, None, None);
    }

    fn ask_for_list(&mut self) {
        self.forget();
        let Some(owner) = self.owner.clone() else { return };
        let connection = self.connection.clone();
        self.calls.push(Box::pin(async move {
            let asked = async {
                let reply = connection
                    .call_method(Some(owner.as_str()), MANAGER_PATH, Some(MANAGER), "ListSessions", &())
                    .await?;
                let body = reply.body();
                let listed: Vec<(String, u32, String, String, OwnedObjectPath)> = body.deserialize()?;
                Ok(listed.into_iter().map(|(.., path)| path).take(MAX_ENTRIES).collect())
            };
            Answer::List(asked.await)
        }));
    }

    async fn handle_list(&mut self, listed: zbus::Result<Vec<OwnedObjectPath>>) -> Result<(), Stop> {
        match listed {
            Ok(paths) => {
                let left = paths.iter().map(ToString::to_string).collect();
                self.listing = Some(Listing { left, ..Listing::default() });
                for path in paths {
                    self.await_description(path);
                }
                Ok(self.end_of_list().await?)
            }
            Err(error) => {
                let why = refused(&error);
                warn!(reason = %why.reason.escape_debug(), "asking again");
                self.list_at = Some(Instant::now() + self.pause.next());
                Ok(self.tell(LogindNews::Lost(why)).await?)
            }
        }
    }

    fn await_description(&mut self, path: OwnedObjectPath) -> &mut Awaited {
        let key = path.to_string();
        if !self.awaited.contains_key(&key) {
            self.queue.push_back(path);
        }
        self.awaited.entry(key).or_default()
    }

    async fn handle_signal(&mut self, signal: Signal) -> Result<(), Stop> {
        if self.awaited.len() >= AWAITED && !matches!(signal, Signal::Removed(..)) {
            let why = "more sessions came at once than systemd-logind answers about; one that closed at once is not \
                       reported";
            self.ask_for_list();
            return Ok(self.tell(LogindNews::Missed(why.to_owned())).await?);
        }
        match signal {
            Signal::New(path) => self.await_description(path).new = true,
            Signal::Changed(path) => {
                let known = self.awaited.contains_key(path.as_str());
                self.await_description(path).again |= known;
            }
            Signal::Removed(id, path) => match self.awaited.get_mut(path.as_str()) {
                Some(awaited) => awaited.removed = Some(id),
                None => self.tell(LogindNews::Removed(id)).await?,
            },
        }
        Ok(())
    }

    async fn handle_described(
        &mut self,
        path: OwnedObjectPath,
        described: zbus::Result<LogindSession>,
    ) -> Result<(), Stop> {
        let Some(state) = self.awaited.remove(path.as_str()) else { return Ok(()) };
        let mut news = Vec::new();
        match described {
            Ok(session) => {
                match &mut self.listing {
                    Some(listing) => listing.sessions.push(session),
                    None => news.push(LogindNews::Seen(session)),
                }
                match state.removed {
                    Some(id) => news.push(LogindNews::Removed(id)),
                    None if state.again => drop(self.await_description(path.clone())),
                    None => {}
                }
            }
            Err(error) if is_gone(&error) => {
                debug!(path = path.as_str(), %error, "a session went before it was described");
                news.extend(state.new.then_some(LogindNews::Unseen));
                news.extend(state.removed.map(LogindNews::Removed));
            }
            Err(error) => {
                // It may live: who is there is asked anew.
                warn!(path = path.as_str(), %error, "systemd-logind does not describe a session");
                let unknown = state.new || self.awaited.values().any(|awaited| awaited.new);
                self.forget();
                self.list_at = Some(Instant::now() + self.pause.next());
                if unknown {
                    let why = "systemd-logind did not say who had logged in, and is asked again; a session that ends \
                               before it answers is not reported";
                    self.tell(LogindNews::Missed(why.to_owned())).await?;
                }
                return Ok(());
            }
        }
        match &mut self.listing {
            Some(listing) => {
                listing.left.remove(path.as_str());
                listing.after.extend(news);
                Ok(self.end_of_list().await?)
            }
            None => {
                for news in news {
                    self.tell(news).await?;
                }
                Ok(())
            }
        }
    }

    /// Tells the list, if all of it is described.
    async fn end_of_list(&mut self) -> Result<(), Closed> {
        let Some(listing) = self.listing.take_if(|listing| listing.left.is_empty()) else { return Ok(()) };
        debug!(sessions = listing.sessions.len(), "logind listed its sessions");
        self.listed = true;
        self.pause = Backoff::default();
        self.tell(LogindNews::Listed(listing.sessions)).await?;
        for news in listing.after {
            self.tell(news).await?;
        }
        if std::mem::take(&mut self.before) {
            let why = "the system bus was away; a login without a terminal that came and went meanwhile is not reported";
            self.tell(LogindNews::Missed(why.to_owned())).await?;
        }
        Ok(())
    }

    fn describe(&self, path: OwnedObjectPath) -> Call {
        let (connection, owner) = (self.connection.clone(), self.owner.clone());
        Box::pin(async move {
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
            Answer::Described(path, answer)
        })
    }
}

async fn listen(connection: &Connection, rule: MatchRule<'static>) -> zbus::Result<MessageStream> {
    MessageStream::for_match_rule(rule, connection, Some(QUEUE)).await
}

fn gone() -> zbus::Error {
    io(std::io::ErrorKind::UnexpectedEof)
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
