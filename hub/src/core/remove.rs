//! Removing a node: it is locked out and forgotten, and its name is free.

use secmon_protocol::{
    hub_event::{HubEvent, Requester},
    ids::{NodeId, NodeName},
    message::Refusal,
};

use super::{Core, Effect, Effects, Now, Write};
use crate::access::Grants;

impl Core {
    /// Removes a node, or the token of one that is expected; gives what it was.
    ///
    /// Its papers are refused from now on and its connection ends, with what runs there; its state and the unused tokens
    /// of its name are forgotten. What it has reported stays in the log. Who joins under that name later is another
    /// node, with an id of its own.
    ///
    /// # Errors
    /// There is none, or who asks may not remove it.
    pub fn remove(
        &mut self,
        now: Now,
        (grants, by): (&Grants, &Requester),
        wanted: &str,
        out: &mut Effects,
    ) -> Result<(NodeId, NodeName), Refusal> {
        let found = self.find(now, grants, wanted).map(|node| (node.row.id, node.row.name.clone()));
        let (id, name) = match found {
            Ok(known) => known,
            Err(refusal) => {
                let Ok(expected) = self.get(now, grants, wanted) else { return Err(refusal) };
                (expected.summary.id, expected.summary.name)
            }
        };
        grants.may_administer(&name)?;
        self.forget_tokens(now, &name, out);
        if self.nodes.contains_key(&id) {
            self.forget_node(now, id, by, out);
        }
        Ok((id, name))
    }

    fn forget_node(&mut self, now: Now, id: NodeId, by: &Requester, out: &mut Effects) {
        self.end_jobs_of_node(now, id, out);
        // Told before the end of its connection: why that ends.
        self.tell(now, id, &HubEvent::Removed { by: by.clone() }, out);
        if let Some((link, _)) = self.nodes.get(&id).and_then(|node| node.online) {
            self.close(now, link, "the node was removed; its papers are no longer good", out);
        }
        let Some(node) = self.nodes.remove(&id) else { return };
        self.names.remove(&node.row.name);
        self.papers.remove(&node.row.papers);
        self.cut_off.retain(|cut| *cut != id);
        self.dirty.remove(&id);
        out.push(Effect::Store(Write::ForgetNode(id)));
    }
}
