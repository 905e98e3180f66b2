//! Jobs as a client asks for them.

use std::time::Duration;

use secmon_protocol::{
    ids::{NodeName, RequestId},
    limits::MAX_PATTERNS,
    message::{
        ErrorCode, Refusal,
        client::{Filter, HubToClient, JobFilter},
    },
};

use super::{requests::Requests, subscription::Matcher};
use crate::{
    actor::Message,
    core::{JobAsk, JobList, Wish},
};

impl Requests {
    pub(super) async fn submit(
        &self,
        request: RequestId,
        wish: Wish,
        queue_secs: u32,
    ) -> Result<HubToClient, Refusal> {
        let wait = Duration::from_secs(u64::from(queue_secs));
        let job = self.shared.actor.ask(|reply| Message::Submit(wish, wait, reply)).await?;
        Ok(HubToClient::Job { request, job: Box::new(job) })
    }

    /// The jobs of nodes that this client may see.
    pub(super) async fn jobs(&self, request: RequestId, filter: JobFilter) -> Result<HubToClient, Refusal> {
        let JobFilter { nodes, states, limit } = filter;
        if states.len() > MAX_PATTERNS {
            let message = format!("a filter has at most {MAX_PATTERNS} states");
            return Err(Refusal::new(ErrorCode::TooMany, message));
        }
        let matcher = Matcher::new(&Filter { nodes, types: vec![] }, self.grants.clone())?;
        let nodes = Box::new(move |id, name: &NodeName| matcher.wants_node(id, name));
        let wanted = JobList { nodes, states, limit };
        let (jobs, more) = self.shared.actor.ask(|reply| Message::Jobs(wanted, reply)).await?;
        Ok(HubToClient::Jobs { request, jobs, more })
    }

    pub(super) async fn job(&self, request: RequestId, job: String) -> Result<HubToClient, Refusal> {
        let asked = self.job_ask(job);
        let job = self.shared.actor.ask(|reply| Message::Job(asked, reply)).await?;
        Ok(HubToClient::Job { request, job: Box::new(job) })
    }

    pub(super) async fn cancel_job(&self, request: RequestId, job: String) -> Result<HubToClient, Refusal> {
        let asked = self.job_ask(job);
        let job = self.shared.actor.ask(|reply| Message::CancelJob(asked, reply)).await?;
        Ok(HubToClient::Job { request, job: Box::new(job) })
    }

    pub(super) fn job_ask(&self, job: String) -> JobAsk {
        JobAsk { job, grants: self.grants.clone(), by: self.by.clone() }
    }
}
