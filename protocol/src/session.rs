//! The `sessions` facet: who is logged in.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::time::UnixNanos;

/// The value of a session in the `sessions` facet. The key is a text of the node's own, stable while the
/// session lives and across restarts of the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The login name; utmp(5) cuts it to 32 bytes. Empty where a record of an end does not say whose.
    pub user: String,
    /// The terminal without `/dev/`: `pts/0`, `tty1`; absent where there is none.
    pub tty: Option<String>,
    /// Where the user came from: an address or a host name, as the source has it.
    pub remote: Option<String>,
    /// When the session began, in the source's full precision.
    pub since: UnixNanos,
    /// The process that leads the session.
    pub leader: Option<u32>,
    /// The service that opened it (`sshd`, `login`), where the source says so.
    pub service: Option<String>,
    /// What kind of session it is.
    pub kind: SessionKind,
    /// Who reports it; never empty.
    pub sources: BTreeSet<SessionSource>,
}

impl Session {
    /// The login name, if it is known.
    #[must_use]
    pub fn named_user(&self) -> Option<&str> {
        Some(self.user.as_str()).filter(|user| !user.is_empty())
    }
}

/// What a session is for. Numbers are frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SessionKind {
    /// Somebody at a terminal.
    Interactive,
    /// A graphical seat.
    Graphical,
    /// No terminal: scp, cron, a service's own session.
    Background,
}

impl SessionKind {
    /// The word used outward.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Graphical => "graphical",
            Self::Background => "background",
        }
    }
}

/// A source of sessions. Numbers are frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SessionSource {
    /// `/run/utmp`, utmp(5).
    Utmp,
    /// systemd-logind over D-Bus.
    Logind,
    /// wtmpdb(8)'s database.
    Wtmpdb,
    /// `/var/log/wtmp`, wtmp(5): named where utmp did not show the session.
    Wtmp,
}

impl SessionSource {
    /// The word used outward.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Utmp => "utmp",
            Self::Logind => "logind",
            Self::Wtmpdb => "wtmpdb",
            Self::Wtmp => "wtmp",
        }
    }
}
