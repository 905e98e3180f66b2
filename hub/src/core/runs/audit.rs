//! What is logged of attempts that the hub refuses: each of them, until somebody makes so many that the log would be full
//! of them; then how many there were.

use std::{collections::BTreeMap, time::Duration};

use secmon_protocol::{
    command::{Arg, MAX_ARG_NAME, MAX_LABEL, check_args},
    hub_event::{CommandRun, HubEvent, Requester},
    ids::{NodeId, NodeName},
    limits::{MAX_ARGS, clip},
    message::{Refusal, client::JobSummary},
};

use super::{
    super::{Core, Effects, Now},
    Runs, Wish,
};
use crate::access::in_the_log;

/// Refusals of one user that are logged at once …
const BURST: u32 = 20;
/// … and one more after each of these.
const EACH: Duration = Duration::from_secs(1);
/// Refusals that were not logged are told of together, this long after the first of them.
const TELL_AFTER: Duration = Duration::from_secs(60);
/// Users that are remembered; all others are counted as one. Whoever made none lately is forgotten first.
const MAX_USERS: usize = 1024;
/// Under this number those are counted who find no place: uid_t's -1, which is nobody's.
const REST: u32 = u32::MAX;
/// Bytes of arguments that are logged whole of what is refused. Who may run nothing could else fill the log with them: at
/// one a second, in an hour.
const WHOLE: usize = 1 << 10;
/// Bytes of each argument that are logged of longer ones.
const EXCERPT: usize = 64;

/// How much each user was logged of.
#[derive(Debug, Default)]
pub(super) struct Audit {
    users: BTreeMap<u32, User>,
    /// When it was last looked for users who can be forgotten.
    swept: Duration,
}

#[derive(Debug)]
struct User {
    by: Requester,
    /// Up to this time all has been used.
    used: Duration,
    unlogged: u64,
    since: Duration,
}

impl User {
    fn idle(&self, now: Duration) -> bool {
        self.unlogged == 0 && self.used <= now
    }
}

impl Audit {
    /// Whether one more refusal is logged.
    fn admit(&mut self, now: Duration, by: &Requester) -> bool {
        if self.users.len() >= MAX_USERS && now >= self.swept + EACH {
            self.users.retain(|_, user| !user.idle(now));
            self.swept = now;
        }
        let room = self.users.len() < MAX_USERS || self.users.contains_key(&by.uid);
        // Who is counted with others is not named for what they did.
        let counted = match room {
            true => by.clone(),
            false => Requester { uid: REST, user: None, pid: None, agent: "several users".to_owned() },
        };
        let user = self.users.entry(counted.uid).or_insert_with(|| User {
            by: counted,
            used: now,
            unlogged: 0,
            since: now,
        });
        let used = user.used.max(now) + EACH;
        if used <= now + EACH * BURST {
            user.used = used;
            return true;
        }
        if user.unlogged == 0 {
            user.since = now;
        }
        user.unlogged += 1;
        false
    }

    /// Whether somebody is counted.
    pub(super) fn counts(&self) -> bool {
        !self.users.is_empty()
    }

    /// Who made how many that were not logged and are to be told of now.
    fn due(&mut self, now: Duration) -> Vec<(Requester, u64)> {
        let due = self.users.values_mut().filter(|user| user.unlogged > 0 && user.since + TELL_AFTER <= now);
        let told = due.map(|user| (user.by.clone(), std::mem::take(&mut user.unlogged))).collect();
        self.users.retain(|_, user| !user.idle(now));
        told
    }
}

impl Runs {
    /// Whether one more refusal of somebody is logged, of whatever he asked for; else it is counted, and told of later.
    pub(in super::super) fn admit_refusal(&mut self, now: Duration, by: &Requester) -> bool {
        self.audit.admit(now, by)
    }
}

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
        if !self.runs.audit.admit(now.mono, &wish.by) {
            return;
        }
        let about = match self.find(now, &wish.grants, &wish.node) {
            Ok(node) => (node.row.id, node.row.name.clone()),
            Err(_) => (NodeId::HUB, NodeName::hub()),
        };
        let bytes: usize = wish.args.iter().map(|arg| arg.name.len() + arg.value.len()).sum();
        let args = match check_args(&wish.args) {
            Ok(()) if bytes <= WHOLE => wish.args.clone(),
            _ => wish.args.iter().take(MAX_ARGS).map(excerpt).collect(),
        };
        let run = CommandRun { label: cut(&wish.label, MAX_LABEL), args, ..wish.bare(detached) };
        let reason = in_the_log(refusal);
        let reason = match about.0 {
            NodeId::HUB => format!("on {:?}: {reason}", cut(&wish.node, EXCERPT)),
            _ => reason,
        };
        let event = HubEvent::CommandRefused { run, reason: clip(&reason).to_owned() };
        self.tell_run(now, about, &event, out);
    }

    /// Logs that somebody may not do with a job what he asked for.
    pub(super) fn log_denial(
        &mut self,
        now: Now,
        by: &Requester,
        (what, job): (&str, &JobSummary),
        refusal: &Refusal,
        out: &mut Effects,
    ) {
        if self.runs.audit.admit(now.mono, by) {
            let event = HubEvent::Denied {
                by: by.clone(),
                request: format!("{what} {}", job.run.job),
                reason: in_the_log(refusal),
                unlogged: 0,
            };
            self.tell_run(now, (job.node, job.name.clone()), &event, out);
        }
    }

    /// Tells of those that were not logged.
    pub(super) fn tell_unlogged(&mut self, now: Now, out: &mut Effects) {
        for (by, unlogged) in self.runs.audit.due(now.mono) {
            let request = "more that was refused".to_owned();
            let reason = "there were too many to log each of them".to_owned();
            let event = HubEvent::Denied { by, request, reason, unlogged };
            self.tell_run(now, (NodeId::HUB, NodeName::hub()), &event, out);
        }
    }
}

fn excerpt(arg: &Arg) -> Arg {
    Arg { name: cut(&arg.name, MAX_ARG_NAME), value: cut(&arg.value, EXCERPT) }
}

fn cut(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_who_asks_in_a_loop_is_logged_in_a_burst_and_then_counted() {
        let mut audit = Audit::default();
        let by = |uid| Requester { uid, user: None, pid: None, agent: String::new() };
        let at = Duration::from_secs;
        let logged = (0..1000).filter(|_| audit.admit(at(0), &by(7))).count();
        assert_eq!((logged, audit.due(at(59)).len()), (BURST as usize, 0));
        assert!(audit.admit(at(0), &by(8)), "another's are counted apart");
        assert_eq!(audit.due(at(60)), [(by(7), 1000 - u64::from(BURST))]);
        assert!(audit.users.is_empty());
        (0..5000).for_each(|uid| assert!((0..30).filter(|_| audit.admit(at(100), &by(uid))).count() <= 20));
        assert_eq!(audit.users.len(), MAX_USERS + 1);
        let told: u64 = audit.due(at(999)).iter().map(|(_, unlogged)| unlogged).sum();
        assert_eq!(told, 5000 * 30 - (MAX_USERS as u64 + 1) * u64::from(BURST));
    }
}
