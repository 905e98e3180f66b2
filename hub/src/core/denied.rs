//! What somebody may not do and tried is logged.

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
    /// a few, with the number of the rest.
    pub fn handle_denied(&mut self, now: Now, denial: Denial, out: &mut Effects) {
        let Some(unlogged) = self.denials.admit(denial.by.uid, now.mono) else { return };
        let by_name =
            |node: &String| node.parse::<NodeName>().ok().and_then(|name| self.names.get(&name).copied());
        let id = denial.node.as_ref().and_then(|node| by_name(node).or_else(|| node.parse().ok()));
        let known = id.and_then(|id| self.nodes.get(&id)).map(|node| (node.row.id, node.row.name.clone()));
        let (id, name) = known.unwrap_or_else(|| (NodeId::HUB, NodeName::hub()));
        let Denial { by, request, reason, .. } = denial;
        let event = HubEvent::Denied { by, request, reason, unlogged };
        self.publish(id, name, Origin::Hub, Envelope::hub(now.unix, &event), out);
    }

    /// Tells of those that were not logged, where no later one of the same user told of them.
    pub(super) fn tell_unlogged(&mut self, now: Now, out: &mut Effects) {
        for (uid, unlogged) in self.denials.due(now.mono) {
            let by = Requester { uid, user: None, pid: None, agent: String::new() };
            let request = "more that was refused".to_owned();
            let reason = "there were too many to log each of them".to_owned();
            let event = HubEvent::Denied { by, request, reason, unlogged };
            let about = (NodeId::HUB, NodeName::hub());
            self.publish(about.0, about.1, Origin::Hub, Envelope::hub(now.unix, &event), out);
        }
    }
}
