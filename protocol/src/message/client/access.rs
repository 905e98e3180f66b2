//! Who a client is to the hub.

use serde::{Deserialize, Serialize};

/// Who a client is to the hub, and what it may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhoAmI {
    /// The user id of the peer of the socket.
    pub uid: u32,
    /// The user's name, where it has one.
    pub user: Option<String>,
    /// The peer's groups, its own first, with their names where they have one.
    pub groups: Vec<(u32, Option<String>)>,
    /// The access rules that apply, whose permissions add up; at least one, or it had not been let in.
    pub rules: Vec<Rule>,
}

/// One access rule, as it applies to who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Which: `[[access]] 2 (group ops)`.
    pub name: String,
    /// What it makes of its users.
    pub role: Role,
    /// Patterns of the nodes that it covers; empty: all.
    pub nodes: Vec<String>,
    /// Patterns of the commands that it covers; empty: all, where the role runs any.
    pub commands: Vec<String>,
}

/// What somebody may do on the nodes of a rule. Numbers are frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// See nodes, their state and their events.
    Viewer,
    /// That, and run the commands that the rule names.
    Operator,
    /// That, and run every command, enrol nodes and remove them.
    Admin,
}

impl Role {
    /// The word used outward.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}
