//! Who asks, and what he may.

pub mod cli;
pub mod tokens;

use std::sync::Arc;

use secmon_client::pattern::Patterns;
use secmon_protocol::message::client::Role;

/// Who asks: made by the access layer for every request that needs one, and put into its extensions.
#[derive(Debug, Clone)]
pub struct Principal {
    /// The token's name, or the user's: said to the hub, so that its log names who ran what. At most 64 bytes, printable.
    pub name: Arc<str>,
    /// What it makes of him, within what the hub lets the bridge do.
    pub role: Role,
    /// Nodes that he may see; a node that he may not does not exist for him.
    pub nodes: Patterns,
    /// Commands that an operator may run; an admin may run all.
    pub commands: Patterns,
}

impl Principal {
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
