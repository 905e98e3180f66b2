//! Ordering: a node's records become records of the log, each once, and change the state that is held.

use secmon_protocol::{
    hub_event::HubEvent,
    ids::{NodeId, Seq},
    record::{Envelope, Origin, RecordKind},
    state::{Misfit, NodeState, diff},
    time::UnixNanos,
};

use super::{Core, Dirty, Effect, Effects, Incoming, Link, Now, Write, incoming::Meaning};

impl Core {
    /// A batch of records came from a node.
    pub fn handle_records(&mut self, now: Now, link: Link, records: Vec<Incoming>, out: &mut Effects) {
        let Some((id, state)) = self.links.get_mut(&link) else { return };
        let id = *id;
        if let Some((log_epoch, last)) = state.back.take()
            && let Some(node) = self.nodes.get_mut(&id)
        {
            (node.row.log_epoch, node.row.last) = (log_epoch, last);
            self.mark(id, Dirty::Whole);
        }
        let mut misfits: Option<(Seq, Seq)> = None;
        for incoming in records {
            let Some(last) = self.nodes.get(&id).map(|node| node.row.last) else { return };
            let seq = incoming.record.seq;
            if seq <= last {
                continue;
            }
            let hole = hole(last, &incoming);
            let fits = self.fit(id, &incoming.meaning);
            if hole.is_some() || !matches!(fits, Err(Misfit::Other { .. })) {
                // What was dropped before is told before what follows it.
                self.misfit(now, id, misfits.take(), out);
            }
            if let Some((from, to)) = hole {
                let reason = "the node did not send them".to_owned();
                self.tell(now, id, &HubEvent::Gap { from, to, reason }, out);
                self.want_snapshot(id, link, "records are missing from its stream", out);
                self.advance(id, to);
            }
            let taken = match fits {
                Ok(()) => self.take(id, link, incoming, out),
                Err(misfit @ Misfit::Other { .. }) => {
                    misfits = Some((misfits.map_or(seq, |(from, _)| from), seq));
                    self.want_snapshot(id, link, &misfit.to_string(), out);
                    Ok(())
                }
                Err(over) => Err(over.to_string()),
            };
            // What ends the connection is not taken: the node still holds it, and nothing is missing unsaid.
            if let Err(reason) = taken {
                return self.close(now, link, &reason, out);
            }
            self.advance(id, seq);
        }
        self.misfit(now, id, misfits, out);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.row.seen = now.unix;
            let last = node.row.last;
            self.mark(id, Dirty::Progress);
            self.acks.insert(link, last);
        }
    }

    /// Everything up to and with this seq was taken or told of.
    fn advance(&mut self, id: NodeId, last: Seq) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.row.last = last;
        }
    }

    /// Applies a diff to what is held, whole or not at all; anything else fits.
    fn fit(&mut self, id: NodeId, meaning: &Meaning) -> Result<(), Misfit> {
        match (meaning, self.nodes.get_mut(&id)) {
            (Meaning::Diff(ops), Some(node)) => node.state.apply(ops),
            _ => Ok(()),
        }
    }

    /// Says so where diffs were dropped because they did not fit.
    fn misfit(&mut self, now: Now, id: NodeId, range: Option<(Seq, Seq)>, out: &mut Effects) {
        if let Some((from, to)) = range {
            let reason = "the hub's view of the node's state was broken; a snapshot was asked for".to_owned();
            self.tell(now, id, &HubEvent::Gap { from, to, reason }, out);
        }
    }

    /// Logs a record that fits.
    ///
    /// # Errors
    /// It breaks the protocol.
    fn take(&mut self, id: NodeId, link: Link, incoming: Incoming, out: &mut Effects) -> Result<(), String> {
        let seq = incoming.record.seq;
        let envelope = incoming.record.envelope;
        match incoming.meaning {
            Meaning::Snapshot(ops) => match NodeState::from_snapshot(&ops) {
                Ok(state) => self.reconcile(id, link, seq, envelope.time, state, out),
                Err(misfit) => return Err(format!("its snapshot cannot be used: {misfit}")),
            },
            Meaning::Diff(ops) => {
                out.push(Effect::Store(Write::State(id, ops)));
                self.pass(id, seq, envelope, out);
                self.ask_while_stale(id, link, out);
            }
            Meaning::Lost(_) => {
                self.pass(id, seq, envelope, out);
                self.want_snapshot(
                    id,
                    link,
                    "it had to drop records, changes of its state perhaps among them",
                    out,
                );
            }
            Meaning::Later => {
                // Its readers may know the form; of a snapshot they see nothing in any case.
                if envelope.kind != RecordKind::SNAPSHOT {
                    self.pass(id, seq, envelope, out);
                }
                self.want_snapshot(
                    id,
                    link,
                    "it sent a change of its state in a form that this hub does not know",
                    out,
                );
            }
            // A flood that the node's limit cuts brings one each second, and its state is whole.
            Meaning::Event | Meaning::LostEvents(_) => {
                self.pass(id, seq, envelope, out);
                self.ask_while_stale(id, link, out);
            }
        }
        Ok(())
    }

    /// A new numbering ought to begin with a snapshot; one that does not is asked for it.
    fn ask_while_stale(&mut self, id: NodeId, link: Link, out: &mut Effects) {
        if self.nodes.get(&id).is_some_and(|node| node.row.stale) {
            self.want_snapshot(id, link, "its records do not begin with a snapshot", out);
        }
    }

    fn pass(&mut self, id: NodeId, seq: Seq, envelope: Envelope, out: &mut Effects) {
        let Some(row) = self.nodes.get(&id).map(|node| &node.row) else { return };
        let (name, origin) = (row.name.clone(), Origin::Node { epoch: row.log_epoch, seq });
        self.publish(id, name, origin, envelope, out);
    }

    fn reconcile(
        &mut self,
        id: NodeId,
        link: Link,
        seq: Seq,
        time: UnixNanos,
        state: NodeState,
        out: &mut Effects,
    ) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let ops = diff(&node.state, &state);
        node.state = state;
        node.row.stale = false;
        if let Some((_, link)) = self.links.get_mut(&link) {
            link.asked = false;
        }
        if !ops.is_empty() {
            self.pass(id, seq, Envelope::reconciled(time, &ops), out);
            out.push(Effect::Store(Write::State(id, ops)));
        }
    }
}

/// The records that are missing between the last one taken and this one.
fn hole(last: Seq, incoming: &Incoming) -> Option<(Seq, Seq)> {
    let seq = incoming.record.seq;
    let first = match incoming.meaning {
        // Stands for all that it counts.
        Meaning::Lost(count) | Meaning::LostEvents(count) => Seq(seq.0.saturating_sub(count.max(1) - 1)),
        _ => seq,
    };
    (first > last.next()).then(|| (last.next(), Seq(first.0 - 1)))
}
