//! Runs of commands: whose request is which job on which node, and how much output may still flow.

use std::sync::Arc;

use bytes::Bytes;
use secmon_protocol::{
    command::{Arg, MAX_LABEL, OutputStream, RunEnd, RunFailure, Usage, check_args},
    hub_event::{CommandRun, HubEvent, Requester},
    ids::{JobId, NodeId, RequestId},
    limits::{OUTPUT_WINDOW, chunk_cost, clip},
    message::{
        ErrorCode, Refusal,
        client::HubToClient,
        node::{HubToNode, Order},
    },
};

use crate::access::Grants;

use super::{ClientId, Core, Effect, Effects, Link, Now};

/// Most runs that one client may have open.
pub const MAX_RUNS_PER_CLIENT: usize = 32;
/// Most runs that one node may have open.
const MAX_RUNS_PER_NODE: usize = 64;

/// One run.
#[derive(Debug)]
pub(super) struct Run {
    /// The client that asked, until it goes away.
    client: Option<ClientId>,
    request: RequestId,
    link: Link,
    node: NodeId,
    run: CommandRun,
    credit: u32,
    started: bool,
}

/// A client's wish to run a command.
#[derive(Debug, Clone)]
pub struct RunRequest {
    /// The client's number for it.
    pub request: RequestId,
    /// Which node, in a person's words.
    pub node: String,
    /// Which command.
    pub label: String,
    /// With which arguments.
    pub args: Vec<Arg>,
    /// Output that may be sent at once.
    pub credit: u32,
    /// Whether the client has input for it.
    pub stdin: bool,
    /// A fresh random number for the run.
    pub job: JobId,
    /// What the client may do.
    pub grants: Arc<Grants>,
    /// Who asks.
    pub by: Requester,
}

impl Core {
    /// A client wants a command to run.
    pub fn handle_run(&mut self, now: Now, client: ClientId, wish: RunRequest, out: &mut Effects) {
        let request = wish.request;
        if let Err(refusal) = self.start_run(now, client, wish, out) {
            out.push(Effect::ToClient(client, HubToClient::Error { request, refusal }));
        }
    }

    fn start_run(
        &mut self,
        now: Now,
        client: ClientId,
        wish: RunRequest,
        out: &mut Effects,
    ) -> Result<(), Refusal> {
        let refuse = |code, message: String| Err(Refusal::new(code, message));
        if wish.label.is_empty() || wish.label.len() > MAX_LABEL {
            let message =
                format!("a command's label has 1 to {MAX_LABEL} bytes; ask the node for its commands");
            return refuse(ErrorCode::UnknownLabel, message);
        }
        if let Err(message) = check_args(&wish.args) {
            return refuse(ErrorCode::Protocol, message);
        }
        if self.job_of(client, wish.request).is_some() {
            return refuse(ErrorCode::Protocol, "the request's number is that of a run".to_owned());
        }
        if wish.credit > OUTPUT_WINDOW {
            return refuse(ErrorCode::Protocol, format!("a run's credit is at most {OUTPUT_WINDOW}"));
        }
        let (id, link) = self.able(now, &wish)?;
        if self.runs.values().filter(|run| run.client == Some(client)).count() >= MAX_RUNS_PER_CLIENT {
            let message = format!("a client may have {MAX_RUNS_PER_CLIENT} runs open; wait for one to end");
            return refuse(ErrorCode::TooMany, message);
        }
        if self.runs.values().filter(|run| run.link == link).count() >= MAX_RUNS_PER_NODE {
            let message = format!("{MAX_RUNS_PER_NODE} runs are open on that node; wait for one to end");
            return refuse(ErrorCode::TooMany, message);
        }
        let job = wish.job;
        let order = Order {
            job,
            label: wish.label.clone(),
            args: wish.args.clone(),
            credit: wish.credit,
            stdin: wish.stdin,
            detached: false,
        };
        let run = CommandRun { job, label: wish.label, args: wish.args, by: wish.by, detached: false };
        self.tell(now, id, &HubEvent::CommandStarted(run.clone()), out);
        out.push(Effect::ToNode(link, HubToNode::Run(order)));
        let run = Run {
            client: Some(client),
            request: wish.request,
            link,
            node: id,
            run,
            credit: wish.credit,
            started: false,
        };
        self.runs.insert(job, run);
        Ok(())
    }

    /// The node that is wished, connected. Whether it has the command is its own to say: its file is what
    /// counts, as it is at that moment, and its answer tells an empty one from one that it may not trust.
    fn able(&self, now: Now, wish: &RunRequest) -> Result<(NodeId, Link), Refusal> {
        let node = match self.find(now, &wish.grants, &wish.node) {
            Ok(node) => node,
            Err(refusal) => {
                let Ok(expected) = self.get(now, &wish.grants, &wish.node) else { return Err(refusal) };
                wish.grants.may_run(&expected.summary.name, &wish.label)?;
                let message = format!("{} has not joined yet; its token waits", expected.summary.name);
                return Err(Refusal::new(ErrorCode::NodeAway, message));
            }
        };
        let name = &node.row.name;
        wish.grants.may_run(name, &wish.label)?;
        let Some((link, _)) = node.online else {
            let since = node.row.seen.rfc3339();
            let message = format!("{name} is not connected since {since}; start `secmon node` there");
            return Err(Refusal::new(ErrorCode::NodeAway, message));
        };
        Ok((node.row.id, link))
    }

    fn job_of(&self, client: ClientId, request: RequestId) -> Option<JobId> {
        let of = |run: &Run| run.client == Some(client) && run.request == request;
        self.runs.iter().find(|(_, run)| of(run)).map(|(job, _)| *job)
    }

    /// A client grants a run more output. One that is over is past caring.
    pub fn handle_credit(&mut self, client: ClientId, request: RequestId, credit: u32, out: &mut Effects) {
        let Some(job) = self.job_of(client, request) else { return };
        let Some(run) = self.runs.get_mut(&job) else { return };
        match run.credit.checked_add(credit) {
            Some(sum) if sum <= OUTPUT_WINDOW => {
                run.credit = sum;
                out.push(Effect::ToNode(run.link, HubToNode::Credit { job, credit }));
            }
            _ => {
                let message = format!("a run's credit is at most {OUTPUT_WINDOW}; the run is cancelled");
                let refusal = Refusal::new(ErrorCode::Protocol, message);
                run.client = None;
                out.push(Effect::ToClient(client, HubToClient::Error { request, refusal }));
                out.push(Effect::ToNode(run.link, HubToNode::Cancel { job }));
            }
        }
    }

    /// A client cancels a run; its Exit still comes.
    pub fn handle_cancel(&mut self, client: ClientId, request: RequestId, out: &mut Effects) {
        let job = self.job_of(client, request);
        if let Some((job, run)) = job.and_then(|job| Some((job, self.runs.get(&job)?))) {
            out.push(Effect::ToNode(run.link, HubToNode::Cancel { job }));
        }
    }

    /// A client's connection has ended, and with it what it runs.
    pub fn handle_client_down(&mut self, client: ClientId, out: &mut Effects) {
        for (job, run) in self.runs.iter_mut().filter(|(_, run)| run.client == Some(client)) {
            run.client = None;
            out.push(Effect::ToNode(run.link, HubToNode::Cancel { job: *job }));
        }
    }

    /// A run's process stands.
    pub fn handle_started(&mut self, now: Now, link: Link, job: JobId, pid: u32, out: &mut Effects) {
        let Some(run) = self.runs.get_mut(&job).filter(|run| run.link == link && !run.started) else {
            return self.close(now, link, "the node said Started for a run that it was not given", out);
        };
        run.started = true;
        if let Some(client) = run.client {
            let message = HubToClient::Started { request: run.request, job, node: run.node, pid };
            out.push(Effect::ToClient(client, message));
        }
    }

    /// A run printed something, at most [`secmon_protocol::limits::MAX_CHUNK`] bytes.
    pub fn handle_output(
        &mut self,
        now: Now,
        link: Link,
        job: JobId,
        (stream, data): (OutputStream, Bytes),
        out: &mut Effects,
    ) {
        let Some(run) = self.runs.get_mut(&job).filter(|run| run.link == link) else {
            return self.close(now, link, "the node sent output of a run that it was not given", out);
        };
        let Some(credit) = run.credit.checked_sub(chunk_cost(data.len())) else {
            return self.close(now, link, "the node sent more output than it was granted", out);
        };
        run.credit = credit;
        if let Some(client) = run.client {
            let message = HubToClient::Output { request: run.request, stream, data };
            out.push(Effect::ToClient(client, message));
        }
    }

    /// A run is over.
    pub fn handle_exit(
        &mut self,
        now: Now,
        link: Link,
        job: JobId,
        (end, usage): (RunEnd, Option<Usage>),
        out: &mut Effects,
    ) {
        match self.runs.remove(&job) {
            Some(run) if run.link == link => self.finish(now, run, (clipped(end), usage), out),
            other => {
                if let Some(run) = other {
                    self.runs.insert(job, run);
                }
                self.close(now, link, "the node said Exit for a run that it was not given", out);
            }
        }
    }

    /// Ends the runs of a connection that has ended.
    pub(super) fn end_runs_of(&mut self, now: Now, link: Link, out: &mut Effects) {
        let jobs: Vec<JobId> =
            self.runs.iter().filter(|(_, run)| run.link == link).map(|(job, _)| *job).collect();
        for job in jobs {
            if let Some(run) = self.runs.remove(&job) {
                self.finish(now, run, (lost(), None), out);
            }
        }
    }

    /// The clients and requests of all runs, for whom nothing more will come.
    pub fn orphans(&self) -> Vec<(ClientId, HubToClient)> {
        let exit = |run: &Run| HubToClient::Exit { request: run.request, end: lost(), usage: None };
        self.runs.values().filter_map(|run| Some((run.client?, exit(run)))).collect()
    }

    fn finish(&mut self, now: Now, run: Run, (end, usage): (RunEnd, Option<Usage>), out: &mut Effects) {
        let event = HubEvent::CommandFinished { run: run.run, end: end.clone(), usage };
        self.tell(now, run.node, &event, out);
        if let Some(client) = run.client {
            out.push(Effect::ToClient(client, HubToClient::Exit { request: run.request, end, usage }));
        }
    }
}

fn lost() -> RunEnd {
    let message = "the connection to the node was lost before the command's end".to_owned();
    RunEnd::Failed { why: RunFailure::Lost, message }
}

fn clipped(end: RunEnd) -> RunEnd {
    match end {
        RunEnd::Failed { why, message } => RunEnd::Failed { why, message: clip(&message).to_owned() },
        end => end,
    }
}
