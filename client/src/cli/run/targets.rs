//! Which nodes are meant: names and patterns, held against the hub's list. Pure.

use secmon_protocol::{
    ids::NodeId,
    message::client::{NodeSummary, Presence},
};

use super::given::near;
use crate::pattern::Patterns;

/// Which nodes a command is for, as it was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum Targets {
    /// One node, which the hub resolves: its name, its id, or a beginning of its id.
    One(String),
    /// Several, by name or pattern; or one that was said as if it were several.
    Some(Vec<String>),
    /// Every node that has ever come.
    All,
}

/// A node that a command is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Target {
    pub(in crate::cli) id: NodeId,
    pub(in crate::cli) name: String,
    pub(in crate::cli) online: bool,
}

/// Why no nodes can be named.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cli) struct NoTarget(pub(in crate::cli) String);

impl Targets {
    /// `web-1`, `web-1,web-2`, `web*`.
    pub(in crate::cli) fn parse(text: &str) -> Self {
        if !text.contains([',', '*', '?']) {
            return Self::One(text.to_owned());
        }
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        Self::Some(parts.map(str::to_owned).collect())
    }

    /// The nodes, each once, in the order in which they are said, those of a pattern sorted by name. A node that was
    /// enrolled and never came is no match for a pattern.
    pub(in crate::cli) fn resolve(&self, nodes: &[NodeSummary]) -> Result<Vec<Target>, NoTarget> {
        let came = |node: &&NodeSummary| !matches!(node.presence, Presence::Expected { .. });
        let mut found: Vec<Target> = vec![];
        let mut add = |node: &NodeSummary| {
            if !found.iter().any(|other| other.id == node.id) {
                let online = matches!(node.presence, Presence::Online { .. });
                found.push(Target { id: node.id, name: node.name.to_string(), online });
            }
        };
        match self {
            Self::All => nodes.iter().filter(came).for_each(&mut add),
            Self::One(one) => add(named(one, nodes)?),
            Self::Some(parts) => {
                for part in parts {
                    if !part.contains(['*', '?']) {
                        add(named(part, nodes)?);
                        continue;
                    }
                    let pattern = Patterns::new(std::slice::from_ref(part));
                    let mut matching = nodes.iter().filter(came).filter(|n| pattern.matches(n.name.as_str()));
                    let first = matching.next().ok_or_else(|| {
                        NoTarget(format!("no node's name matches \"{part}\"; see `secmon list`"))
                    })?;
                    add(first);
                    matching.for_each(&mut add);
                }
            }
        }
        if found.is_empty() {
            return Err(NoTarget("there is no node to run it on; see `secmon list`".to_owned()));
        }
        Ok(found)
    }
}

/// As the hub resolves: a name, an id, a beginning of an id that no other node has.
fn named<'a>(text: &str, nodes: &'a [NodeSummary]) -> Result<&'a NodeSummary, NoTarget> {
    if let Some(node) = nodes.iter().find(|n| n.name.as_str() == text || n.id.to_string() == text) {
        return Ok(node);
    }
    let mut beginning = nodes.iter().filter(|node| node.id.to_string().starts_with(text));
    match (beginning.next(), beginning.next()) {
        (Some(node), None) if !text.is_empty() => Ok(node),
        (Some(_), Some(_)) => Err(NoTarget(format!("the ids of several nodes begin with \"{text}\""))),
        _ => {
            let near = near(text, nodes.iter().map(|node| node.name.as_str()));
            let hint = match near.as_slice() {
                [] => "see `secmon list`".to_owned(),
                near => format!("did you mean {}?", near.join(", ")),
            };
            Err(NoTarget(format!("no node is called \"{text}\"; {hint}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use secmon_protocol::{message::node::HostFacts, time::UnixNanos};

    use super::*;

    fn node(id: u8, name: &str, presence: Presence) -> NodeSummary {
        NodeSummary {
            id: NodeId([id; 16]),
            name: name.parse().unwrap(),
            presence,
            agent: String::new(),
            address: String::new(),
            facts: HostFacts::default(),
            clock_offset: 0,
            facets: vec![],
            commands: 0,
            stale: false,
        }
    }

    fn resolved(text: &str) -> Result<String, String> {
        let at = UnixNanos(0);
        let nodes = [
            node(1, "db-1", Presence::Away { since: at }),
            node(2, "new-1", Presence::Expected { since: at }),
            node(3, "web-1", Presence::Online { since: at }),
            node(4, "web-2", Presence::Online { since: at }),
        ];
        let targets = if text == "--all" { Targets::All } else { Targets::parse(text) };
        match targets.resolve(&nodes) {
            Ok(found) => Ok(found.into_iter().map(|target| target.name).collect::<Vec<_>>().join(" ")),
            Err(NoTarget(why)) => Err(why),
        }
    }

    #[test]
    fn names_patterns_and_all_become_nodes_each_once() {
        assert_eq!(resolved("web-1").unwrap(), "web-1");
        assert_eq!(resolved("web-2,web-*, db-1,").unwrap(), "web-2 web-1 db-1");
        assert_eq!(resolved("*").unwrap(), "db-1 web-1 web-2", "one that never came is not meant");
        assert_eq!(resolved("new-1,web-1").unwrap(), "new-1 web-1", "but it can be named");
        assert_eq!(resolved("--all").unwrap(), "db-1 web-1 web-2");
        assert_eq!(resolved("0303,04040404-0404-0404-0404-040404040404").unwrap(), "web-1 web-2");
    }

    #[test]
    fn what_means_no_node_is_said_before_anything_runs() {
        let all = ["web-1,web-3", "x*", "web-1,", "nothing,zzz"].map(resolved);
        assert_eq!(all[0].clone().unwrap_err(), "no node is called \"web-3\"; did you mean web-1, web-2?");
        assert_eq!(all[1].clone().unwrap_err(), "no node's name matches \"x*\"; see `secmon list`");
        assert_eq!(all[2].clone().unwrap(), "web-1");
        assert_eq!(all[3].clone().unwrap_err(), "no node is called \"nothing\"; see `secmon list`");
        assert_eq!(resolved(",").unwrap_err(), "there is no node to run it on; see `secmon list`");
    }
}
