//! What is logged of attempts that the hub refuses: as bounded as what is logged of denials, and counted with them.

use secmon_protocol::{
    command::{Arg, MAX_ARG_NAME, MAX_LABEL, check_args},
    hub_event::{CommandRun, HubEvent},
    ids::{NodeId, NodeName},
    limits::{MAX_ARGS, clip},
    message::Refusal,
};

use super::{
    super::{Core, Effects, Now},
    Wish,
};

/// Bytes of an argument that are logged of arguments which are over a limit, and of a node's name that is none.
const EXCERPT: usize = 64;

impl Core {
    /// Logs that the hub refused a run: about its node where that is known, and may be seen by who asked.
    pub(super) fn log_refusal(
        &mut self,
        now: Now,
        wish: &Wish,
        detached: bool,
        refusal: &Refusal,
        out: &mut Effects,
    ) {
        let Some(unlogged) = self.denials.admit(wish.by.uid, now.mono) else { return };
        let about = match self.find(now, &wish.grants, &wish.node) {
            Ok(node) => (node.row.id, node.row.name.clone()),
            Err(_) => (NodeId::HUB, NodeName::hub()),
        };
        let args = match check_args(&wish.args) {
            Ok(()) => wish.args.clone(),
            Err(_) => wish.args.iter().take(MAX_ARGS).map(excerpt).collect(),
        };
        let run = CommandRun { label: cut(&wish.label, MAX_LABEL), args, ..wish.bare(detached) };
        let mut reason = match about.0 {
            NodeId::HUB => format!("on {:?}: {}", cut(&wish.node, EXCERPT), clip(&refusal.message)),
            _ => clip(&refusal.message).to_owned(),
        };
        if unlogged > 0 {
            reason = format!("{reason} (since the last of this user that was logged, {unlogged} were not)");
        }
        self.tell_run(now, about, &HubEvent::CommandRefused { run, reason }, out);
    }
}

fn excerpt(arg: &Arg) -> Arg {
    Arg { name: cut(&arg.name, MAX_ARG_NAME), value: cut(&arg.value, EXCERPT) }
}

fn cut(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].to_owned()
}
