//! What each source of sessions tells, in its own terms. Values only; `merge` makes one truth of them.

use secmon_protocol::{
    facet::Unavailable,
    session::{Session, SessionKind, SessionSource},
    time::UnixNanos,
};

use super::{process::Owner, utmp::Login};
use crate::watch::Place;

/// A session as logind describes it: the properties of `org.freedesktop.login1.Session`,
/// org.freedesktop.login1(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogindSession {
    /// `Id`: `5`, `c12`. Used again after a reboot.
    pub(super) id: String,
    /// `Name`.
    pub(super) user: String,
    /// `TTY`, without `/dev/`. sshd opens its PAM session before it has a terminal, so ssh has none here.
    pub(super) tty: Option<String>,
    /// `RemoteHost`.
    pub(super) remote: Option<String>,
    /// `Service`: the PAM service.
    pub(super) service: Option<String>,
    /// `Leader`.
    pub(super) leader: Option<u32>,
    /// `Class`: `user`, `manager`, `background`, `greeter`, …
    pub(super) class: String,
    /// `Type`: `tty`, `x11`, `wayland`, `unspecified`, …
    pub(super) of_type: String,
    /// `Timestamp`, to the microsecond.
    pub(super) since: UnixNanos,
    /// `State` is `closing`: its user has gone, and something that was left running keeps it.
    pub(super) closing: bool,
}

impl LogindSession {
    /// Whether somebody logged in by it. A user's service manager, a login screen and a lock screen are
    /// sessions to logind and nobody's login; a job (class `background`) is one only when it comes from
    /// somewhere else. A class that is not known yet is shown rather than hidden. sd-login(3), pam_systemd(8).
    pub(super) fn is_login(&self) -> bool {
        match self.class.as_str() {
            "manager" | "manager-early" | "greeter" | "lock-screen" | "none" => false,
            class if class.starts_with("background") => self.remote.is_some(),
            _ => true,
        }
    }

    /// `ID:MICROSECONDS`, the time since 1970: the same for whoever reads it, and another after a reboot.
    pub(super) fn key(&self) -> String {
        format!("{}:{}", self.id, self.since.0 / 1_000)
    }

    /// One that was told, under the key that logind's have.
    pub(super) fn told(key: &str, session: &Session) -> Option<Self> {
        let (id, _) = key.rsplit_once(':').filter(|(id, _)| !id.contains(':'))?;
        let of_type = match session.kind {
            SessionKind::Graphical => "wayland",
            SessionKind::Interactive | SessionKind::Background => "tty",
        };
        let told = Self {
            id: id.to_owned(),
            user: session.user.clone(),
            tty: session.tty.clone(),
            remote: session.remote.clone(),
            service: session.service.clone(),
            leader: session.leader,
            class: "user".to_owned(),
            of_type: of_type.to_owned(),
            since: session.since,
            closing: false,
        };
        (session.sources.contains(&SessionSource::Logind) && told.key() == key).then_some(told)
    }

    /// Graphical or not; what is not depends on whether there is a terminal.
    pub(super) fn kind(&self, has_terminal: bool) -> SessionKind {
        match self.of_type.as_str() {
            "x11" | "wayland" | "mir" => SessionKind::Graphical,
            _ if has_terminal => SessionKind::Interactive,
            _ => SessionKind::Background,
        }
    }

    /// Whether it may yet show a terminal: a login over the network that has none to tell of.
    pub(super) fn may_get_a_terminal(&self) -> bool {
        self.tty.is_none() && self.remote.is_some() && self.kind(false) == SessionKind::Background
    }

    /// The session, as far as logind knows it.
    pub(super) fn session(&self) -> Session {
        Session {
            user: self.user.clone(),
            tty: self.tty.clone(),
            remote: self.remote.clone(),
            since: self.since,
            leader: self.leader,
            service: self.service.clone(),
            kind: self.kind(self.tty.is_some()),
            sources: [SessionSource::Logind].into(),
        }
    }
}

/// What logind's reader tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LogindNews {
    /// All sessions that there are; logind is heard from now on.
    Listed(Vec<LogindSession>),
    /// One that is new or has changed.
    Seen(LogindSession),
    /// One is gone.
    Removed(String),
    /// One came and went before it could be asked about.
    Unseen,
    /// logind cannot be heard, or not any more; why.
    Lost(Unavailable),
    /// Sessions may have come and gone unseen; why.
    Missed(String),
}

/// A login in utmp whose process lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UtmpLogin {
    pub(super) login: Login,
    /// Whose session its process belongs to.
    pub(super) owner: Owner,
}

/// A login that a log of logins holds: wtmp or wtmpdb.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Past {
    /// Which log.
    pub(super) source: SessionSource,
    /// What tells it from the others of its log.
    pub(super) id: String,
    pub(super) user: String,
    /// Without `/dev/`.
    pub(super) tty: Option<String>,
    pub(super) remote: Option<String>,
    pub(super) service: Option<String>,
    pub(super) since: UnixNanos,
    /// The process that logged it, where the log says so: that of a connection, for all its terminals.
    pub(super) pid: Option<u32>,
    /// Whether its end is logged as well.
    pub(super) ended: bool,
    /// Whether it was logged while the node did not run. Without an end it may live or not.
    pub(super) unwatched: bool,
}

/// What a log of logins holds that is new, and how far it has been read with it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Logged {
    pub(super) logins: Vec<Past>,
    /// Some may be missing, and why.
    pub(super) missed: Option<String>,
    pub(super) place: Option<Place>,
}

impl Past {
    /// Whether `session` may be this login: the same user, at about the same time, and nothing that both know
    /// is different but the spelling of the place.
    pub(super) fn is(&self, session: &Session) -> bool {
        let same_terminal = match (&self.tty, &session.tty) {
            (Some(mine), Some(theirs)) if mine != theirs => return false,
            (Some(_), Some(_)) => true,
            _ => false,
        };
        same_user(&self.user, &session.user)
            && is_near(self.since, session.since)
            && (same_terminal || agree(self.remote.as_ref(), session.remote.as_ref()))
    }

    /// Whether `session`, which lives, may be what this is a further terminal of.
    pub(super) fn is_within(&self, session: &Session) -> bool {
        same_user(&self.user, &session.user)
            && self.since >= session.since
            && agree(self.remote.as_ref(), session.remote.as_ref())
    }

    /// Whether it is a terminal more of the same connection.
    pub(super) fn is_led_as(&self, session: &Session) -> bool {
        self.pid.is_some()
            && self.pid == session.leader
            && same_user(&self.user, &session.user)
            && (self.since >= session.since || is_near(self.since, session.since))
    }

    pub(super) fn session(&self) -> Session {
        Session {
            user: self.user.clone(),
            tty: self.tty.clone(),
            remote: self.remote.clone(),
            since: self.since,
            leader: self.pid.filter(|_| self.unwatched),
            service: self.service.clone(),
            kind: if self.tty.is_some() { SessionKind::Interactive } else { SessionKind::Background },
            sources: [self.source].into(),
        }
    }
}

/// Whether two sources may mean the same beginning: a terminal is asked for some round trips after the login.
pub(super) fn is_near(one: UnixNanos, other: UnixNanos) -> bool {
    const APART: u64 = 10_000_000_000;
    one.0.abs_diff(other.0) <= APART
}

/// utmp(5) cuts a name to 32 bytes.
pub(super) fn same_user(one: &str, other: &str) -> bool {
    const CUT: usize = 32;
    one == other || (one.len().min(other.len()) == CUT && one.as_bytes()[..CUT] == other.as_bytes()[..CUT])
}

fn agree(one: Option<&String>, other: Option<&String>) -> bool {
    one == other || one.is_none() || other.is_none()
}
