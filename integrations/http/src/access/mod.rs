//! Who asks, and what he may.
//!
//! - [`tokens`]: the file of tokens, made and changed by [`cli`]; [`secret`]: what a token looks like.
//! - `keyring`: the same file as a running bridge holds it, so that a revoked token ends what runs for it.
//! - `sessions`: cookies made from tokens, for browsers; `session_routes`: signing in and out.
//! - `peers`: who is at the other end of a Unix socket.
//! - `origin`: which names we answer to, which pages may ask, and what a proxy says of who asks.
//! - `pace`: how often one may ask, and be wrong.
//! - `gate`: all of these, for each request: it has a [`Principal`] behind it or is refused.

pub mod cli;
pub(crate) mod gate;
mod keyring;
pub(crate) mod origin;
pub(crate) mod pace;
pub(crate) mod peers;
pub mod secret;
pub(crate) mod session_routes;
pub(crate) mod sessions;
pub mod tokens;

use std::{net::IpAddr, sync::Arc};

use secmon_client::pattern::Patterns;
use secmon_protocol::message::client::Role;
use tokio_util::sync::CancellationToken;

pub(crate) use keyring::Keyring;

/// By what somebody is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum By {
    /// A token, or a session made from one.
    Token,
    /// The user at the other end of a Unix socket.
    User,
}

/// Of whom something is counted.
pub(crate) type Id = (By, Arc<str>);

/// Who asks: made by the access layer for every request that needs one, and put into its extensions.
#[derive(Debug, Clone)]
pub struct Principal {
    /// By what he is known.
    pub by: By,
    /// The token's name, or the user's: said to the hub, so that its log names who ran what. At most 64 bytes, printable.
    pub name: Arc<str>,
    /// What it makes of him, within what the hub lets the bridge do.
    pub role: Role,
    /// Nodes that he may see; a node that he may not does not exist for him.
    pub nodes: Patterns,
    /// Commands that an operator may run; an admin may run all.
    pub commands: Patterns,
    /// Cancelled when he is nobody any more: his token was revoked or has expired. The server ends his requests and the bodies of
    /// their answers then; what outlives both (a WebSocket) ends by this.
    pub ended: CancellationToken,
}

impl Principal {
    /// One who stays.
    #[must_use]
    pub fn new(by: By, name: &str, role: Role, nodes: &[String], commands: &[String]) -> Self {
        Self {
            by,
            name: name.into(),
            role,
            nodes: Patterns::new(nodes),
            commands: Patterns::new(commands),
            ended: CancellationToken::new(),
        }
    }

    /// Of whom it is counted what he takes of what all share.
    pub(crate) fn id(&self) -> Id {
        (self.by, self.name.clone())
    }

    /// In words for the hub: `token laptop`, `user alice`.
    #[must_use]
    pub fn who(&self) -> String {
        let by = match self.by {
            By::Token => "token",
            By::User => "user",
        };
        format!("{by} {}", self.name)
    }

    /// Whether he may see that node, and what is about it.
    #[must_use]
    pub fn may_see(&self, node: &str) -> bool {
        self.nodes.matches(node)
    }

    /// Whether he may see what is about no node, or about the hub.
    #[must_use]
    pub fn may_see_hub(&self) -> bool {
        self.nodes.matches_all()
    }

    /// Whether he may run that there.
    #[must_use]
    pub fn may_run(&self, node: &str, label: &str) -> bool {
        self.may_see(node)
            && match self.role {
                Role::Viewer => false,
                Role::Operator => self.commands.matches(label),
                Role::Admin => true,
            }
    }
}

/// Who is at the other end of a connection, as far as that is known before he says a word.
#[derive(Debug, Clone)]
pub(crate) enum Peer {
    /// TCP, or TLS over it.
    Tcp {
        /// Where he is, or the proxy.
        remote: IpAddr,
        /// The address of ours that he came to.
        local: IpAddr,
        /// Whether it is TLS.
        tls: bool,
    },
    /// A user of this machine, by a Unix socket.
    User {
        /// His number.
        uid: u32,
        /// What he may, where a rule is about him.
        principal: Option<Principal>,
    },
}

impl Peer {
    pub(crate) fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp { remote, .. } => Some(*remote),
            Self::User { .. } => None,
        }
    }

    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Self::Tcp { tls: true, .. })
    }
}

/// The role of that name.
///
/// # Errors
/// There is none; the text says which there are.
pub(crate) fn role(text: &str) -> Result<Role, String> {
    [Role::Viewer, Role::Operator, Role::Admin]
        .into_iter()
        .find(|role| role.as_str() == text)
        .ok_or_else(|| format!("there is no role {text:?}; it is \"viewer\", \"operator\" or \"admin\""))
}
