//! What somebody may not do and tried is logged, but for what is refused of runs and jobs: see `runs::audit`.

use secmon_protocol::{
    hub_event::{HubEvent, Requester},
    ids::{NodeId, NodeName},
    record::{Envelope, Origin},
};

use super::{Core, Effects, Now};

/// Somebody asked for something that no rule allows him.
#[derive(Debug, Clone)]
pub struct Denial {
    /// Who.
    pub by: Requester,
    /// What was asked, in words.
    pub request: String,
    /// The node that he named, in his words.
    pub node: Option<String>,
    /// What he lacks, in words.
    pub reason: String,
}

impl Core {
    /// Somebody was denied something: a record about the node that he named, or about the hub; of one who goes on and on
    /// a few, and later the number of the rest.
    pub fn handle_denied(&mut self, now: Now, denial: Denial, out: &mut Effects) {
        if !self.runs.admit_refusal(now.mono, &denial.by) {
            return;
        }
        let by_name =
            |node: &String| node.parse::<NodeName>().ok().and_then(|name| self.names.get(&name).copied());
        let id = denial.node.as_ref().and_then(|node| by_name(node).or_else(|| node.parse().ok()));
        let known = id.and_then(|id| self.nodes.get(&id)).map(|node| (node.row.id, node.row.name.clone()));
        let (id, name) = known.unwrap_or_else(|| (NodeId::HUB, NodeName::hub()));
        let Denial { by, request, reason, .. } = denial;
        let event = HubEvent::Denied { by, request, reason, unlogged: 0 };
        self.publish(id, name, Origin::Hub, Envelope::hub(now.unix, &event), out);
    }
}
