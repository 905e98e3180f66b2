//! Which node a person means.

use secmon_protocol::{
    ids::{NodeId, NodeName},
    limits::{MAX_NEAR, clip},
    message::{ErrorCode, Refusal, client::NodeDetail},
};

use super::{Core, Now, node::Node};
use crate::access::Grants;

/// Shortest prefix of an id that names a node, in characters.
const MIN_PREFIX: usize = 4;
/// Least likeness of a name that is offered, as strsim's normalized Damerau-Levenshtein has it.
const LIKENESS: f64 = 0.4;

impl Core {
    /// One node with its whole state, or what is known of one that is expected; as far as who asks may see it.
    pub fn get(&self, now: Now, grants: &Grants, node: &str) -> Result<NodeDetail, Refusal> {
        match self.find(now, grants, node) {
            Ok(node) => Ok(node.detail()),
            Err(refusal) => self
                .expected(now)
                .find(|summary| summary.name.as_str() == node || summary.id.to_string() == node)
                .filter(|summary| grants.may_view(&summary.name))
                .map(|summary| NodeDetail { summary, commands: vec![], entries: vec![] })
                .ok_or(refusal),
        }
    }

    /// A node by its name, its id, or a prefix of its id that no other has: of those that who asks may see. The answer
    /// to one who may not is the same whether it is there or not.
    pub(super) fn find(&self, now: Now, grants: &Grants, wanted: &str) -> Result<&Node, Refusal> {
        let visible = |node: &&Node| grants.may_view(&node.row.name);
        let named = wanted.parse::<NodeName>().ok().and_then(|name| self.names.get(&name));
        if let Some(node) = named.and_then(|id| self.nodes.get(id)).filter(visible) {
            return Ok(node);
        }
        if let Some(node) = wanted.parse().ok().and_then(|id: NodeId| self.nodes.get(&id)).filter(visible) {
            return Ok(node);
        }
        if wanted.len() < MIN_PREFIX {
            return Err(self.unknown(now, grants, wanted));
        }
        let lower = wanted.to_ascii_lowercase();
        let mut fitting =
            self.nodes.values().filter(visible).filter(|node| node.row.id.to_string().starts_with(&lower));
        match (fitting.next(), fitting.next()) {
            (Some(node), None) => Ok(node),
            (None, _) => Err(self.unknown(now, grants, wanted)),
            (Some(first), Some(second)) => {
                let near = [first, second].into_iter().chain(fitting).take(MAX_NEAR);
                Err(Refusal {
                    code: ErrorCode::UnknownNode,
                    message: format!(
                        "several nodes have an id that begins with {}; give more of it, or the name",
                        clip(wanted)
                    ),
                    near: near.map(|node| node.row.name.to_string()).collect(),
                })
            }
        }
    }

    fn unknown(&self, now: Now, grants: &Grants, wanted: &str) -> Refusal {
        let expected: Vec<_> = self.expected(now).map(|summary| summary.name).collect();
        let visible = self.names.keys().chain(&expected).filter(|name| grants.may_view(name));
        let near = near(wanted, visible.map(NodeName::as_str));
        match wanted.parse::<NodeName>().map(|name| grants.check_view(&name)) {
            Ok(Err(hidden)) => Refusal { near, ..hidden },
            _ => Refusal {
                code: ErrorCode::UnknownNode,
                message: format!("no node is called \"{}\"", clip(wanted)),
                near,
            },
        }
    }
}

/// The candidates most like `wanted`, nearest first.
fn near<'a>(wanted: &str, candidates: impl Iterator<Item = &'a str>) -> Vec<String> {
    let wanted = clip(wanted);
    // Names are short; what is longer than any of them is like none of them.
    if wanted.len() > 128 {
        return vec![];
    }
    let lower = wanted.to_ascii_lowercase();
    // Names of other lengths are as unlike as the difference alone; to compare costs the product of both lengths, for each
    // of ten thousand nodes, while everybody else waits.
    let alike = |name: &&str| {
        let (short, long) = (name.len().min(lower.len()), name.len().max(lower.len()));
        short as f64 >= LIKENESS * long as f64 || name.starts_with(&lower)
    };
    let mut scored: Vec<(f64, &str)> = candidates
        .filter(alike)
        .map(|name| (strsim::normalized_damerau_levenshtein(&lower, &name.to_ascii_lowercase()), name))
        .filter(|(score, name)| *score >= LIKENESS || (!lower.is_empty() && name.starts_with(&lower)))
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.into_iter().take(MAX_NEAR).map(|(_, name)| name.to_owned()).collect()
}
