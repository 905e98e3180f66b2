//! The commands that a node offers.

use std::collections::BTreeSet;

use secmon_protocol::{
    command::{CommandInfo, MAX_DESCRIPTION, MAX_LABEL},
    limits::MAX_COMMANDS,
};

use super::{Core, Dirty, Link};

impl Core {
    /// A node's allowlist has changed. It has passed [`check`].
    pub fn handle_commands(&mut self, link: Link, mut commands: Vec<CommandInfo>) {
        let Some((id, _)) = self.links.get(&link) else { return };
        let id = *id;
        if let Some(node) = self.nodes.get_mut(&id) {
            commands.sort_by(|a, b| a.label.cmp(&b.label));
            node.row.commands = commands;
            self.mark(id, Dirty::Whole);
        }
    }
}

/// Holds a list of commands against the limits.
///
/// # Errors
/// What is wrong with it.
pub fn check(commands: &[CommandInfo]) -> Result<(), String> {
    if commands.len() > MAX_COMMANDS {
        return Err(format!("{} commands are over the limit of {MAX_COMMANDS}", commands.len()));
    }
    let mut labels = BTreeSet::new();
    for command in commands {
        if command.label.is_empty() || command.label.len() > MAX_LABEL {
            return Err(format!(
                "a command's label has 1 to {MAX_LABEL} bytes, one has {}",
                command.label.len()
            ));
        }
        if command.description.len() > MAX_DESCRIPTION {
            return Err(format!("a command's description has at most {MAX_DESCRIPTION} bytes"));
        }
        if !labels.insert(&command.label) {
            return Err("two commands have the same label".to_owned());
        }
    }
    Ok(())
}
