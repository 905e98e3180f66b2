//! Auth events: what a line of the auth log says. Tracked only, never state.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::time::UnixNanos;

/// One event of the auth log. What a line does not say is absent, never empty or made up.
///
/// Every text may have been chosen by an attacker; whoever shows it escapes it. Texts are UTF-8 (other
/// bytes replaced by U+FFFD) of at most [`crate::limits::MAX_FIELD`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthEvent {
    /// When it was logged.
    pub time: UnixNanos,
    /// The program that wrote the line: `sshd`, `sudo`, `useradd`.
    pub program: String,
    /// Its process.
    pub pid: Option<u32>,
    /// What happened.
    pub action: AuthAction,
    /// How it ended.
    pub outcome: Outcome,
    /// Who did it, or tried to.
    pub user: Option<String>,
    /// Who they became, or wanted to (`sudo`, `su`), or whose account was changed.
    pub target_user: Option<String>,
    /// The group that was made, changed or removed, or whose member was.
    pub group: Option<String>,
    /// Where they came from.
    pub source: Option<Source>,
    /// sshd's or dropbear's authentication method: `password`, `publickey`, `keyboard-interactive/pam`.
    pub method: Option<String>,
    /// The key's type and fingerprint, `ED25519 SHA256:…`.
    pub fingerprint: Option<String>,
    /// The terminal without `/dev/`.
    pub tty: Option<String>,
    /// The working directory.
    pub cwd: Option<String>,
    /// The command line that was run, or was refused.
    pub command: Option<String>,
    /// The PAM service (`sshd`, `sudo`, `cron`) of a PAM line.
    pub service: Option<String>,
    /// Why, in the program's words.
    pub reason: Option<String>,
    /// How many times the line was repeated (`message repeated N times`); 1 for an ordinary line.
    pub count: u32,
    /// Whether sshd marked the line `[preauth]`.
    pub preauth: bool,
    /// Whether the writer was the daemon itself: `Some(false)` marks a forgery, `None` is unknown.
    pub trusted: Option<bool>,
    /// The message as it was logged, without the frame before it.
    pub message: String,
}

impl AuthEvent {
    /// An event that says nothing but what every line says.
    #[must_use]
    pub fn new(time: UnixNanos, program: &str, pid: Option<u32>, action: AuthAction, message: &str) -> Self {
        Self {
            time,
            program: crate::limits::clip(program).to_owned(),
            pid,
            action,
            outcome: action.outcome(),
            user: None,
            target_user: None,
            group: None,
            source: None,
            method: None,
            fingerprint: None,
            tty: None,
            cwd: None,
            command: None,
            service: None,
            reason: None,
            count: 1,
            preauth: false,
            trusted: None,
            message: crate::limits::clip(message).to_owned(),
        }
    }
}

/// Where somebody came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// An address, or the name that was logged in place of one.
    pub host: SourceHost,
    /// The port, where the line has one.
    pub port: Option<u16>,
}

/// The host part of a [`Source`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceHost {
    /// An IP address; an IPv4-mapped IPv6 address is given as IPv4.
    Ip(IpAddr),
    /// A host name, a scoped address (`fe80::1%eth0`), or whatever else was logged.
    Name(String),
}

/// What an auth event is about. Numbers are frozen; the words are the ends of `secmon.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AuthAction {
    /// `auth.accepted`: sshd, dropbear or login let somebody in.
    Accepted,
    /// `auth.failed`: one attempt failed.
    Failed,
    /// `auth.invalid_user`: a user that does not exist, or may not log in.
    InvalidUser,
    /// `auth.disconnected`: a connection ended.
    Disconnected,
    /// `auth.session_opened`: PAM opened a session.
    SessionOpened,
    /// `auth.session_closed`: PAM closed a session.
    SessionClosed,
    /// `auth.sudo`: a command was run as somebody else.
    Sudo,
    /// `auth.sudo_denied`: that was refused.
    SudoDenied,
    /// `auth.su`: somebody became somebody else.
    Su,
    /// `auth.su_failed`: that failed.
    SuFailed,
    /// `auth.account_changed`: an account or group was made, changed or removed, or that was refused.
    AccountChanged,
    /// `auth.probe`: a connection that did not speak the protocol, or never logged in.
    Probe,
}

impl AuthAction {
    /// The outcome that goes with the action.
    #[must_use]
    pub fn outcome(self) -> Outcome {
        match self {
            Self::Accepted | Self::SessionOpened | Self::SessionClosed | Self::Sudo | Self::Su => {
                Outcome::Success
            }
            Self::AccountChanged => Outcome::Success,
            Self::Failed | Self::InvalidUser | Self::SudoDenied | Self::SuFailed => Outcome::Failure,
            Self::Disconnected | Self::Probe => Outcome::Unknown,
        }
    }
}

/// How an attempt ended; ECS `event.outcome`. Numbers are frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It was allowed.
    Success,
    /// It was refused.
    Failure,
    /// The line does not say.
    Unknown,
}

/// The value of the one entry of the `auth_log` facet: which log is being read. Its key is the same
/// text as `source`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthLogSource {
    /// `journald`, or the paths of the files, separated by a space.
    pub source: String,
}
