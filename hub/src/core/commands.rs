//! The commands that a node offers.

use std::collections::BTreeSet;

use secmon_protocol::{
    command::{
        ArgInfo, ArgKind, CommandInfo, MAX_ARG, MAX_ARG_NAME, MAX_DESCRIPTION, MAX_LABEL, MAX_PATTERN,
    },
    limits::{MAX_ARGS, MAX_CHOICES, MAX_COMMANDS},
};

use super::{Core, Dirty, Link};

/// Most bytes of all texts of a node's commands: twice what the largest allowlist, a file of 1 MiB, can hold.
const MAX_TEXTS: usize = 2 << 20;

impl Core {
    /// A node says what may be run on it. It has passed [`check`].
    pub fn handle_commands(&mut self, link: Link, mut commands: Vec<CommandInfo>) {
        let Some((id, _)) = self.links.get(&link) else { return };
        let id = *id;
        if let Some(node) = self.nodes.get_mut(&id) {
            commands.sort_by(|a, b| a.label.cmp(&b.label));
            // Said with every connection: only a change is worth a write.
            if node.row.commands != commands {
                node.row.commands = commands;
                self.mark(id, Dirty::Whole);
            }
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
    let mut texts = 0;
    for command in commands {
        text("a command's label", &command.label, 1, MAX_LABEL)?;
        text("a command's description", &command.description, 0, MAX_DESCRIPTION)?;
        if !labels.insert(&command.label) {
            return Err("two commands have the same label".to_owned());
        }
        if command.args.len() > MAX_ARGS {
            return Err(format!(
                "a command has at most {MAX_ARGS} arguments, one has {}",
                command.args.len()
            ));
        }
        texts += command.label.len() + command.description.len();
        for arg in &command.args {
            texts += check_arg(arg)?;
        }
    }
    match texts {
        ..=MAX_TEXTS => Ok(()),
        _ => Err(format!("the commands have {texts} bytes of text, over the limit of {MAX_TEXTS}")),
    }
}

/// Gives the bytes of its texts.
fn check_arg(arg: &ArgInfo) -> Result<usize, String> {
    text("an argument's name", &arg.name, 1, MAX_ARG_NAME)?;
    text("an argument's description", &arg.description, 0, MAX_DESCRIPTION)?;
    let default = arg.default.as_deref().unwrap_or_default();
    text("an argument's default", default, 0, MAX_ARG)?;
    let of_kind = match &arg.kind {
        ArgKind::Integer { .. } | ArgKind::Bool => 0,
        ArgKind::Choice { values } => {
            if values.len() > MAX_CHOICES {
                return Err(format!(
                    "an argument has at most {MAX_CHOICES} choices, one has {}",
                    values.len()
                ));
            }
            for value in values {
                text("a choice", value, 0, MAX_ARG)?;
            }
            values.iter().map(String::len).sum()
        }
        ArgKind::String { pattern, .. } => {
            text("a pattern", pattern, 0, MAX_PATTERN)?;
            pattern.len()
        }
        ArgKind::Path { below } => {
            text("a folder", below, 0, MAX_ARG)?;
            below.len()
        }
    };
    Ok(arg.name.len() + arg.description.len() + default.len() + of_kind)
}

fn text(what: &str, text: &str, least: usize, most: usize) -> Result<(), String> {
    match text.len() {
        len if (least..=most).contains(&len) => Ok(()),
        len => Err(format!("{what} has {least} to {most} bytes, one has {len}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_within_the_limits_passes_and_what_is_over_one_is_named() {
        let arg = |kind| ArgInfo { name: "n".into(), description: String::new(), kind, default: None };
        let with = |args| CommandInfo { args, ..CommandInfo::plain("a", "", 1) };
        let choice = |n, len| arg(ArgKind::Choice { values: vec!["x".repeat(len); n] });
        check(&[with(vec![choice(MAX_CHOICES, 4); MAX_ARGS]), CommandInfo::plain("b", "", 1)]).unwrap();
        let many: Vec<_> =
            (0..8).map(|n| CommandInfo { label: n.to_string(), ..with(vec![choice(64, 4096)]) }).collect();
        for (commands, said) in [
            (vec![CommandInfo::plain("", "", 1)], "label"),
            (vec![CommandInfo::plain("x".repeat(65), "", 1)], "label"),
            (vec![CommandInfo::plain("a", "", 1), CommandInfo::plain("a", "", 1)], "same label"),
            (vec![with(vec![arg(ArgKind::Bool); MAX_ARGS + 1])], "at most 16 arguments"),
            (vec![with(vec![choice(MAX_CHOICES + 1, 1)])], "at most 64 choices"),
            (vec![with(vec![choice(1, MAX_ARG + 1)])], "a choice"),
            (vec![with(vec![ArgInfo { name: String::new(), ..arg(ArgKind::Bool) }])], "argument's name"),
            (vec![with(vec![arg(ArgKind::Path { below: "/x".repeat(MAX_ARG) })])], "a folder"),
            (many, "bytes of text"),
        ] {
            let error = check(&commands).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
