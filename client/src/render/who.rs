//! Who one is to the hub, in words.

use secmon_protocol::{
    message::client::{Role, Rule, WhoAmI},
    text::printable,
};

use super::Look;

/// A few lines: who, in which groups, and what each rule lets one do.
#[must_use]
pub fn who_am_i(who: &WhoAmI, look: &Look) -> String {
    let named = |id: u32, name: &Option<String>| match name {
        Some(name) => format!("{} ({id})", printable(name)),
        None => id.to_string(),
    };
    let groups: Vec<String> = who.groups.iter().map(|(gid, name)| named(*gid, name)).collect();
    let mut out = format!("{} {}\n", look.bold("User  "), named(who.uid, &who.user));
    if !groups.is_empty() {
        out.push_str(&format!("{} {}\n", look.bold("Groups"), groups.join(", ")));
    }
    out.push('\n');
    if who.rules.is_empty() {
        out.push_str("No access rule of this hub is about you: you may do nothing here. Whoever keeps the hub can add\n");
        out.push_str("an [[access]] rule for you, or one of your groups, to its hub.toml.\n");
    }
    for rule in &who.rules {
        out.push_str(&format!(
            "{} by {}: {}\n",
            look.bold(rule.role.as_str()),
            printable(&rule.name),
            may(rule)
        ));
    }
    out
}

fn may(rule: &Rule) -> String {
    let nodes = match rule.nodes.as_slice() {
        [] => "every node".to_owned(),
        nodes => format!("the nodes {}", list(nodes)),
    };
    let see = format!("see {nodes}");
    match rule.role {
        Role::Viewer => see,
        Role::Operator => format!("{see}, and run {} there", commands(rule)),
        Role::Admin if rule.nodes.is_empty() => {
            format!("{see}, run every command there, enrol nodes and remove them")
        }
        Role::Admin => format!("{see}, run every command there, enrol nodes of such names and remove them"),
    }
}

fn commands(rule: &Rule) -> String {
    match rule.commands.as_slice() {
        [] => "every command".to_owned(),
        commands => format!("the commands {}", list(commands)),
    }
}

fn list(patterns: &[String]) -> String {
    patterns.iter().map(|pattern| printable(pattern)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(role: Role, nodes: &[&str], commands: &[&str]) -> Rule {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Rule { name: "[[access]] 2 (group ops)".into(), role, nodes: texts(nodes), commands: texts(commands) }
    }

    #[test]
    fn every_rule_is_said_in_words() {
        let mut who = WhoAmI {
            uid: 1000,
            user: Some("alice".into()),
            groups: vec![(1000, Some("alice".into())), (2001, None)],
            rules: vec![
                rule(Role::Viewer, &[], &[]),
                rule(Role::Operator, &["web-*", "db"], &["restart-*"]),
                rule(Role::Operator, &[], &[]),
                rule(Role::Admin, &[], &[]),
                rule(Role::Admin, &["lab-*\x1b"], &[]),
            ],
        };
        insta::assert_snapshot!(who_am_i(&who, &Look::plain()), @r"
        User   alice (1000)
        Groups alice (1000), 2001

        viewer by [[access]] 2 (group ops): see every node
        operator by [[access]] 2 (group ops): see the nodes web-*, db, and run the commands restart-* there
        operator by [[access]] 2 (group ops): see every node, and run every command there
        admin by [[access]] 2 (group ops): see every node, run every command there, enrol nodes and remove them
        admin by [[access]] 2 (group ops): see the nodes lab-*\x1b, run every command there, enrol nodes of such names and remove them
        ");
        (who.user, who.groups, who.rules) = (None, vec![], vec![]);
        insta::assert_snapshot!(who_am_i(&who, &Look::plain()), @"
        User   1000

        No access rule of this hub is about you: you may do nothing here. Whoever keeps the hub can add
        an [[access]] rule for you, or one of your groups, to its hub.toml.
        ");
    }
}
