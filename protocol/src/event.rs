//! Events: what a record means to whoever reads it. One record yields none, one or many.

use crate::{
    auth::{AuthAction, AuthEvent},
    codec::{self, CodecError},
    facet::{FacetId, FacetStatus},
    hub_event::HubEvent,
    ids::{Cursor, NodeId, NodeName},
    message::client::Gap,
    record::{Body, LogRecord, Lost, Origin},
    session::Session,
    state::Op,
    state_event::StateEntry,
    time::UnixNanos,
    wireguard::{WgPeer, WgPeerKey},
};

macro_rules! event_types {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// The `secmon.type` of an event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EventType { $($(#[$doc])* $name,)* }

        impl EventType {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The text used outward.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

event_types! {
    /// A node was enrolled.
    NodeEnrolled = "node.enrolled",
    /// A node was removed.
    NodeRemoved = "node.removed",
    /// A node connected.
    NodeConnected = "node.connected",
    /// A node's connection ended.
    NodeDisconnected = "node.disconnected",
    /// A facet can be seen.
    FacetReady = "facet.ready",
    /// A facet cannot be seen.
    FacetUnavailable = "facet.unavailable",
    /// Somebody logged in.
    SessionOpened = "session.opened",
    /// Somebody logged out.
    SessionClosed = "session.closed",
    /// A peer was configured.
    WgPeerAdded = "wg.peer_added",
    /// A peer was removed from the configuration.
    WgPeerRemoved = "wg.peer_removed",
    /// A peer's endpoint, networks or keepalive changed.
    WgPeerChanged = "wg.peer_changed",
    /// A peer made a handshake after a silence.
    WgPeerOnline = "wg.peer_online",
    /// A peer's latest handshake is too old.
    WgPeerOffline = "wg.peer_offline",
    /// See [`AuthAction::Accepted`].
    AuthAccepted = "auth.accepted",
    /// See [`AuthAction::Failed`].
    AuthFailed = "auth.failed",
    /// See [`AuthAction::InvalidUser`].
    AuthInvalidUser = "auth.invalid_user",
    /// See [`AuthAction::Disconnected`].
    AuthDisconnected = "auth.disconnected",
    /// See [`AuthAction::SessionOpened`].
    AuthSessionOpened = "auth.session_opened",
    /// See [`AuthAction::SessionClosed`].
    AuthSessionClosed = "auth.session_closed",
    /// See [`AuthAction::Sudo`].
    AuthSudo = "auth.sudo",
    /// See [`AuthAction::SudoDenied`].
    AuthSudoDenied = "auth.sudo_denied",
    /// See [`AuthAction::Su`].
    AuthSu = "auth.su",
    /// See [`AuthAction::SuFailed`].
    AuthSuFailed = "auth.su_failed",
    /// See [`AuthAction::AccountChanged`].
    AuthAccountChanged = "auth.account_changed",
    /// See [`AuthAction::Probe`].
    AuthProbe = "auth.probe",
    /// A job waits for its node.
    CommandQueued = "command.queued",
    /// A command's process stands.
    CommandStarted = "command.started",
    /// A command ended.
    CommandFinished = "command.finished",
    /// A command was not started.
    CommandRefused = "command.refused",
    /// Somebody asked for what he may not have.
    AccessDenied = "access.denied",
    /// Something is missing.
    Gap = "gap",
}

impl EventType {
    /// The type of an auth event.
    #[must_use]
    pub fn auth(action: AuthAction) -> Self {
        match action {
            AuthAction::Accepted => Self::AuthAccepted,
            AuthAction::Failed => Self::AuthFailed,
            AuthAction::InvalidUser => Self::AuthInvalidUser,
            AuthAction::Disconnected => Self::AuthDisconnected,
            AuthAction::SessionOpened => Self::AuthSessionOpened,
            AuthAction::SessionClosed => Self::AuthSessionClosed,
            AuthAction::Sudo => Self::AuthSudo,
            AuthAction::SudoDenied => Self::AuthSudoDenied,
            AuthAction::Su => Self::AuthSu,
            AuthAction::SuFailed => Self::AuthSuFailed,
            AuthAction::AccountChanged => Self::AuthAccountChanged,
            AuthAction::Probe => Self::AuthProbe,
        }
    }
}

/// One event, decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// `NODE-EPOCH-SEQ-I`; of the hub's own records `NODE-NANOSECONDS-NUMBER-I`: the record's time and its place in the log. The same for ever. Empty for
    /// what is not of a record (a line that was only parsed, a subscriber's own gap).
    pub id: String,
    /// The record's place in the hub's log.
    pub cursor: Option<Cursor>,
    /// The node that it is from or about; none where it is about the hub.
    pub node: Option<(NodeId, NodeName)>,
    /// When it happened.
    pub time: UnixNanos,
    /// What happened.
    pub detail: Detail,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Detail {
    /// A facet can be seen, or cannot.
    Facet(FacetId, FacetStatus),
    /// A session opened or closed.
    Session(EventType, String, Session),
    /// Something about a WireGuard peer.
    Wg(EventType, WgPeerKey, WgPeer),
    /// An auth event.
    Auth(AuthEvent),
    /// About a node or a command.
    Hub(HubEvent),
    /// A node had to drop records.
    Lost(Lost),
    /// The hub no longer has what a subscriber asked for.
    Gap(Gap),
    /// Not what happened but what stands: an entry of a snapshot.
    State(StateEntry),
    /// A record that this build cannot read; the rest of the stream is not harmed.
    Unreadable {
        /// What the envelope says it is.
        types: Vec<String>,
        /// Why it cannot be read.
        reason: String,
    },
}

impl Detail {
    /// The type, if it is one of what happens; none for what stands and for what could not be read.
    #[must_use]
    pub fn event_type(&self) -> Option<EventType> {
        Some(match self {
            Self::Facet(_, FacetStatus::Unavailable(_)) => EventType::FacetUnavailable,
            Self::Facet(..) => EventType::FacetReady,
            Self::Session(t, ..) | Self::Wg(t, ..) => *t,
            Self::Auth(event) => EventType::auth(event.action),
            Self::Hub(event) => event.event_type(),
            Self::Lost(_) | Self::Gap(_) => EventType::Gap,
            Self::State(_) | Self::Unreadable { .. } => return None,
        })
    }

    /// The `secmon.type` as text; none for what could not be read.
    #[must_use]
    pub fn type_name(&self) -> Option<&'static str> {
        match self {
            Self::State(entry) => Some(entry.as_str()),
            other => other.event_type().map(EventType::as_str),
        }
    }
}

/// The events of a record, in order. What cannot be decoded becomes [`Detail::Unreadable`].
#[must_use]
pub fn events(record: &LogRecord) -> Vec<Event> {
    let place = match record.origin {
        Origin::Node { epoch, seq } => format!("{}-{}", epoch.0, seq.0),
        // Not the log's id: that is another one after each start of the hub.
        Origin::Hub => format!("{}-{}", record.envelope.time.0, record.cursor.n),
    };
    details(record)
        .unwrap_or_else(|error| {
            vec![Detail::Unreadable { types: record.envelope.types.clone(), reason: error.to_string() }]
        })
        .into_iter()
        .enumerate()
        .map(|(i, detail)| Event {
            id: format!("{}-{place}-{i}", record.node),
            cursor: Some(record.cursor),
            node: (record.node != NodeId::HUB).then(|| (record.node, record.name.clone())),
            time: record.envelope.time,
            detail,
        })
        .collect()
}

fn details(record: &LogRecord) -> Result<Vec<Detail>, CodecError> {
    Ok(match record.envelope.decode()? {
        Body::Snapshot(_) => vec![],
        Body::Diff(ops) => of_diff(&ops)?,
        Body::Auth(event) => vec![Detail::Auth(event)],
        Body::Hub(event) => vec![Detail::Hub(event)],
        Body::Lost(lost) => vec![Detail::Lost(lost)],
    })
}

/// The types of the events that a diff yields; an operation that cannot be decoded has none.
#[must_use]
pub fn types_of(ops: &[Op]) -> Vec<EventType> {
    let mut fresh = Fresh::default();
    ops.iter()
        .flat_map(|op| fresh.of_op(op).unwrap_or_default())
        .filter_map(|detail| detail.event_type())
        .collect()
}

/// At least the types of the events that a diff yields, found without decoding a key or a value.
#[must_use]
pub fn possible_types_of(ops: &[Op]) -> Vec<EventType> {
    use EventType as T;
    let of = |op: &Op| -> &[EventType] {
        match (op, op.facet()) {
            (Op::Status { new: FacetStatus::Ready, .. }, _) => &[T::FacetReady],
            (Op::Status { new: FacetStatus::Unavailable(_), .. }, _) => &[T::FacetUnavailable],
            (Op::Added { .. }, FacetId::SESSIONS) => &[T::SessionOpened],
            (Op::Removed { .. }, FacetId::SESSIONS) => &[T::SessionClosed],
            (Op::Added { .. }, FacetId::WG_PEERS) => &[T::WgPeerAdded, T::WgPeerOnline],
            (Op::Removed { .. }, FacetId::WG_PEERS) => &[T::WgPeerRemoved],
            (Op::Changed { .. }, FacetId::WG_PEERS) => &[T::WgPeerChanged, T::WgPeerOnline, T::WgPeerOffline],
            _ => &[],
        }
    };
    ops.iter().flat_map(of).copied().collect()
}

fn of_diff(ops: &[Op]) -> Result<Vec<Detail>, CodecError> {
    let mut fresh = Fresh::default();
    let mut out = Vec::new();
    for op in ops {
        out.extend(fresh.of_op(op)?);
    }
    Ok(out)
}

/// Knows which facets became ready within this diff: their entries are state, not events, for sessions
/// that were found when the looking began were not opened just then.
#[derive(Default)]
struct Fresh(Vec<FacetId>);

impl Fresh {
    fn of_op(&mut self, op: &Op) -> Result<Vec<Detail>, CodecError> {
        if let Op::Status { facet, new, .. } = op {
            self.0.push(*facet);
            return Ok(match new {
                FacetStatus::Ready | FacetStatus::Unavailable(_) => vec![Detail::Facet(*facet, new.clone())],
                FacetStatus::Pending | FacetStatus::NotMonitored => vec![],
            });
        }
        if self.0.contains(&op.facet()) {
            return Ok(vec![]);
        }
        match op.facet() {
            FacetId::SESSIONS => session(op),
            FacetId::WG_PEERS => peer(op),
            _ => Ok(vec![]),
        }
    }
}

fn session(op: &Op) -> Result<Vec<Detail>, CodecError> {
    let (event_type, key, value) = match op {
        Op::Added { key, new, .. } => (EventType::SessionOpened, key, new),
        Op::Removed { key, old, .. } => (EventType::SessionClosed, key, old),
        Op::Changed { .. } | Op::Status { .. } => return Ok(vec![]),
    };
    Ok(vec![Detail::Session(event_type, codec::decode_value(key)?, codec::decode_value(value)?)])
}

fn peer(op: &Op) -> Result<Vec<Detail>, CodecError> {
    let detail = |event_type, key: &_, peer| -> Result<_, CodecError> {
        Ok(Detail::Wg(event_type, codec::decode_value(key)?, peer))
    };
    match op {
        Op::Status { .. } => Ok(vec![]),
        Op::Added { key, new, .. } => {
            let new: WgPeer = codec::decode_value(new)?;
            let mut out = vec![detail(EventType::WgPeerAdded, key, new.clone())?];
            if new.online {
                out.push(detail(EventType::WgPeerOnline, key, new)?);
            }
            Ok(out)
        }
        Op::Removed { key, old, .. } => {
            Ok(vec![detail(EventType::WgPeerRemoved, key, codec::decode_value(old)?)?])
        }
        Op::Changed { key, old, new, .. } => {
            let (old, new): (WgPeer, WgPeer) = (codec::decode_value(old)?, codec::decode_value(new)?);
            let mut out = Vec::new();
            let settings = |p: &WgPeer| (p.endpoint, p.allowed_ips.clone(), p.keepalive);
            if settings(&old) != settings(&new) {
                out.push(detail(EventType::WgPeerChanged, key, new.clone())?);
            }
            match (old.online, new.online) {
                (false, true) => out.push(detail(EventType::WgPeerOnline, key, new)?),
                (true, false) => out.push(detail(EventType::WgPeerOffline, key, new)?),
                _ => {}
            }
            Ok(out)
        }
    }
}
