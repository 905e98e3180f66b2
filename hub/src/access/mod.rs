//! Who may do what: the rules of the configuration, and what they grant to one peer of the socket. Pure.

use secmon_protocol::{
    ids::NodeName,
    message::{
        Refusal,
        client::{Role, Rule},
    },
};

/// What one client may do: the rules that apply to it, whose permissions add up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants {
    rules: Vec<Rule>,
}

impl Grants {
    /// Those of root and of the hub's own user: everything.
    #[must_use]
    pub fn everything(name: &str) -> Self {
        Self {
            rules: vec![Rule { name: name.to_owned(), role: Role::Admin, nodes: vec![], commands: vec![] }],
        }
    }

    /// The rules, as they are told.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether a node, its state and its events may be seen.
    #[must_use]
    pub fn may_view(&self, _node: &NodeName) -> bool {
        true
    }

    /// Whether what is about the hub itself may be seen: with a rule that covers all nodes.
    #[must_use]
    pub fn may_view_hub(&self) -> bool {
        true
    }

    /// Whether a command may be run on a node, and what it printed be read.
    ///
    /// # Errors
    /// What is lacking.
    pub fn may_run(&self, _node: &NodeName, _label: &str) -> Result<(), Refusal> {
        Ok(())
    }

    /// Whether a node of that name may be enrolled or removed.
    ///
    /// # Errors
    /// What is lacking.
    pub fn may_administer(&self, _node: &NodeName) -> Result<(), Refusal> {
        Ok(())
    }
}
