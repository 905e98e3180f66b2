//! Runs that end with their client: how they begin, and the flow of their output and input.

use std::collections::BTreeMap;

use bytes::Bytes;
use secmon_protocol::{
    command::{MAX_LABEL, RunEnd, RunFailure, check_args},
    hub_event::CommandRun,
    ids::{JobId, NodeId, NodeName, RequestId},
    limits::{MAX_CHUNK, MIN_CHUNK_COST, OUTPUT_WINDOW, chunk_cost},
    message::{
        ErrorCode, Refusal,
        client::{HubToClient, JobState, JobSummary},
        node::{HubToNode, Order},
    },
    time::UnixNanos,
};

use super::{
    super::{ClientId, Core, Dirty, Effect, Effects, Link, Now, node::Node},
    JobRow, Run, Wish, failed,
};

/// Most runs that one client may have open: what a fleet's operator runs side by side.
pub const MAX_RUNS_PER_CLIENT: usize = 256;
/// Most credit that all runs of one client have, in bytes: what may wait in the hub for a client that does not read.
pub const MAX_CREDIT_PER_CLIENT: u32 = 32 << 20;
/// Most attached runs that one node may have open.
pub const MAX_RUNS_PER_NODE: usize = 64;

/// A client's wish to run a command that ends with it.
#[derive(Debug, Clone)]
pub struct RunRequest {
    /// The client's number for it.
    pub request: RequestId,
    /// What.
    pub wish: Wish,
    /// Output that may be sent at once.
    pub credit: u32,
    /// Whether the client has input for it.
    pub stdin: bool,
}

/// The open runs of a client.
#[derive(Debug, Default)]
pub(super) struct Asker {
    requests: BTreeMap<RequestId, JobId>,
    /// The credit that they have together.
    credit: u32,
}

impl Asker {
    pub(super) fn insert(&mut self, request: RequestId, job: JobId, credit: u32) {
        self.requests.insert(request, job);
        self.credit += credit;
    }

    pub(super) fn remove(&mut self, request: RequestId, credit: u32) {
        if self.requests.remove(&request).is_some() {
            self.credit = self.credit.saturating_sub(credit);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    #[cfg(test)]
    pub(super) fn credit(&self) -> u32 {
        self.credit
    }

    pub(super) fn spend(&mut self, credit: u32) {
        self.credit = self.credit.saturating_sub(credit);
    }
}

impl Core {
    /// A client wants a command to run.
    pub fn handle_run(&mut self, now: Now, client: ClientId, asked: RunRequest, out: &mut Effects) {
        let request = asked.request;
        if let Err(refusal) = self.start_run(now, client, &asked, out) {
            self.log_refusal(now, &asked.wish, false, &refusal, out);
            out.push(Effect::ToClient(client, HubToClient::Error { request, refusal }));
        }
    }

    fn start_run(
        &mut self,
        now: Now,
        client: ClientId,
        asked: &RunRequest,
        out: &mut Effects,
    ) -> Result<(), Refusal> {
        let RunRequest { request, wish, credit, stdin } = asked;
        let too_many = |message| Err(Refusal::new(ErrorCode::TooMany, message));
        check(wish)?;
        let asker = self.runs.askers.get(&client);
        if asker.is_some_and(|asker| asker.requests.contains_key(request)) {
            return Err(Refusal::new(ErrorCode::Protocol, "the request's number is that of a run"));
        }
        if *credit > OUTPUT_WINDOW {
            let message = format!("a run's credit is at most {OUTPUT_WINDOW}");
            return Err(Refusal::new(ErrorCode::Protocol, message));
        }
        let (open, granted) = asker.map_or((0, 0), |asker| (asker.requests.len(), asker.credit));
        if open >= MAX_RUNS_PER_CLIENT {
            return too_many(format!(
                "a client may have {MAX_RUNS_PER_CLIENT} runs open; wait for one to end"
            ));
        }
        if granted + credit > MAX_CREDIT_PER_CLIENT {
            let mib = MAX_CREDIT_PER_CLIENT >> 20;
            return too_many(format!(
                "the output that a client lets all its runs send at once is at most {mib} MiB; let each send less, or \
                 wait for one to end"
            ));
        }
        let node = self.able(now, wish)?;
        let (id, name, online) = (node.row.id, node.row.name.clone(), node.online);
        let Some((link, _)) = online else { return Err(away(node, "start `secmon node` there")) };
        if self.runs.open_of(id).filter(|run| !run.is_job()).count() >= MAX_RUNS_PER_NODE {
            return too_many(format!("{MAX_RUNS_PER_NODE} runs are open on {name}; wait for one to end"));
        }
        let (job, number) = (wish.job, self.runs.next());
        if self.runs.all.contains_key(&job) {
            return Err(Refusal::new(ErrorCode::Internal, "the run's random number is taken; try again"));
        }
        let summary = JobSummary { state: JobState::Sent, ..summary(now, (id, name), wish.run(false)) };
        let row = JobRow { summary, number, until: None, cancelled: false };
        let order = Order {
            job,
            label: wish.label.clone(),
            args: wish.args.clone(),
            credit: *credit,
            stdin: *stdin,
            detached: false,
        };
        self.runs.insert(Run {
            asker: Some((client, *request)),
            link: Some(link),
            credit: *credit,
            input: stdin.then_some(0),
            ..Run::new(row)
        });
        self.runs.mark(job, Dirty::Whole);
        out.push(Effect::ToNode(link, HubToNode::Run(order)));
        Ok(())
    }

    /// The node that is wished, where this client may run that there. Whether it has the command is its own to say:
    /// its file is what counts, as it is at that moment, and its answer tells an empty one from one that it may not
    /// trust.
    pub(super) fn able(&self, now: Now, wish: &Wish) -> Result<&Node, Refusal> {
        let node = match self.find(now, &wish.grants, &wish.node) {
            Ok(node) => node,
            Err(refusal) => {
                let Ok(expected) = self.get(now, &wish.grants, &wish.node) else { return Err(refusal) };
                wish.grants.may_run(&expected.summary.name, &wish.label)?;
                let message = format!("{} has not joined yet; its token waits", expected.summary.name);
                return Err(Refusal::new(ErrorCode::NodeAway, message));
            }
        };
        wish.grants.may_run(&node.row.name, &wish.label)?;
        Ok(node)
    }

    fn job_of(&self, client: ClientId, request: RequestId) -> Option<JobId> {
        self.runs.askers.get(&client)?.requests.get(&request).copied()
    }

    /// A client grants a run more output. One that is over is past caring.
    pub fn handle_credit(&mut self, client: ClientId, request: RequestId, credit: u32, out: &mut Effects) {
        let Some(job) = self.job_of(client, request) else { return };
        let Some(asker) = self.runs.askers.get_mut(&client) else { return };
        let Some(run) = self.runs.all.get_mut(&job) else { return };
        let (own, all) = (run.credit.checked_add(credit), asker.credit.checked_add(credit));
        match (own, all, run.link) {
            // In crumbs it would be a message to the node for each of them, as many as the client likes.
            (Some(own), Some(all), Some(link))
                if credit >= MIN_CHUNK_COST && own <= OUTPUT_WINDOW && all <= MAX_CREDIT_PER_CLIENT =>
            {
                (run.credit, asker.credit) = (own, all);
                out.push(Effect::ToNode(link, HubToNode::Credit { job, credit }));
            }
            _ => {
                let message = format!(
                    "credit is granted by at least {MIN_CHUNK_COST}; a run's is at most {OUTPUT_WINDOW}, that of all runs \
                     of a client {MAX_CREDIT_PER_CLIENT}; the run is cancelled"
                );
                self.give_up(client, request, message, out);
            }
        }
    }

    /// A client sends a piece of a run's input; none: its end. For one that is over it is too late.
    pub fn handle_stdin(&mut self, client: ClientId, request: RequestId, data: Bytes, out: &mut Effects) {
        let Some(job) = self.job_of(client, request) else { return };
        let Some(run) = self.runs.all.get_mut(&job) else { return };
        let (Some(link), Some(granted)) = (run.link, run.input) else {
            let message = "this run has no input, or it has ended; the run is cancelled".to_owned();
            return self.give_up(client, request, message, out);
        };
        run.input = match data.len() {
            0 => None,
            len if len <= MAX_CHUNK && chunk_cost(len) <= granted => Some(granted - chunk_cost(len)),
            _ => {
                let message = "more input was sent than was asked for; the run is cancelled".to_owned();
                return self.give_up(client, request, message, out);
            }
        };
        out.push(Effect::ToNode(link, HubToNode::Stdin { job, data }));
    }

    /// A client cancels a run; its Exit still comes.
    pub fn handle_cancel(&mut self, client: ClientId, request: RequestId, out: &mut Effects) {
        let Some(job) = self.job_of(client, request) else { return };
        let Some(run) = self.runs.all.get_mut(&job) else { return };
        // Once: however often it is asked for, the node has one to read.
        if let (Some(link), false) = (run.link, std::mem::replace(&mut run.row.cancelled, true)) {
            out.push(Effect::ToNode(link, HubToNode::Cancel { job }));
        }
    }

    /// A client's connection has ended, and with it what it runs.
    pub fn handle_client_down(&mut self, client: ClientId, out: &mut Effects) {
        let Some(asker) = self.runs.askers.remove(&client) else { return };
        for job in asker.requests.into_values() {
            let Some(run) = self.runs.all.get_mut(&job) else { continue };
            run.asker = None;
            if let (Some(link), false) = (run.link, std::mem::replace(&mut run.row.cancelled, true)) {
                out.push(Effect::ToNode(link, HubToNode::Cancel { job }));
            }
        }
    }

    /// Ends a client's part in a run that it did not keep to the rules of.
    fn give_up(&mut self, client: ClientId, request: RequestId, message: String, out: &mut Effects) {
        self.handle_cancel(client, request, out);
        let Some(job) = self.job_of(client, request) else { return };
        let Some(run) = self.runs.all.get_mut(&job) else { return };
        run.asker = None;
        let credit = run.credit;
        self.runs.part(client, request, credit);
        let refusal = Refusal::new(ErrorCode::Protocol, message);
        out.push(Effect::ToClient(client, HubToClient::Error { request, refusal }));
    }

    /// The clients and requests of all runs, for whom nothing more will come.
    pub fn orphans(&self) -> Vec<(ClientId, HubToClient)> {
        let exit = |run: &Run| {
            let (client, request) = run.asker?;
            Some((client, HubToClient::Exit { request, end: link_lost(), usage: None }))
        };
        self.runs.all.values().filter_map(exit).collect()
    }

    /// Ends the attached runs of a connection that has ended; its jobs wait for the next.
    pub(in crate::core) fn leave_link(&mut self, now: Now, node: NodeId, link: Link, out: &mut Effects) {
        let there = self.runs.open_of(node).filter(|run| run.link == Some(link));
        let there: Vec<_> = there.map(|run| (run.id(), run.is_job())).collect();
        for (id, job) in there {
            match (job, self.runs.all.get_mut(&id)) {
                (true, Some(run)) => run.link = None,
                _ => self.end_run(now, id, (link_lost(), None), out),
            }
        }
        self.runs.busy.remove(&node);
    }
}

/// Holds a wish against what can be said of it alone.
pub(super) fn check(wish: &Wish) -> Result<(), Refusal> {
    if wish.label.is_empty() || wish.label.len() > MAX_LABEL {
        let message = format!("a command's label has 1 to {MAX_LABEL} bytes; ask the node for its commands");
        return Err(Refusal::new(ErrorCode::UnknownLabel, message));
    }
    check_args(&wish.args).map_err(|message| Refusal::new(ErrorCode::Protocol, message))
}

pub(super) fn away(node: &Node, advice: &str) -> Refusal {
    let (name, since) = (&node.row.name, second(node.row.seen));
    Refusal::new(ErrorCode::NodeAway, format!("{name} is not connected since {since}; {advice}"))
}

/// A time for people to read.
pub(super) fn second(at: UnixNanos) -> String {
    UnixNanos(at.0.saturating_sub(at.0.rem_euclid(1_000_000_000))).rfc3339()
}

/// What there is to say of a run that begins.
pub(super) fn summary(now: Now, (node, name): (NodeId, NodeName), run: CommandRun) -> JobSummary {
    JobSummary {
        node,
        name,
        run,
        state: JobState::Queued,
        made: now.unix,
        expires: None,
        started: None,
        ended: None,
        end: None,
        usage: None,
        output: 0,
        dropped: 0,
    }
}

fn link_lost() -> RunEnd {
    failed(RunFailure::Lost, "the connection to the node was lost before the command's end")
}
