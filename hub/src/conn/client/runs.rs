//! Runs as a client asks for them: what it wants, for whom, under a number that nobody can guess.

use secmon_protocol::{
    command::Arg,
    ids::{JobId, RequestId},
    message::client::HubToClient,
};

use super::requests::Requests;
use crate::{actor::Message, core::Wish};

impl Requests {
    /// What this client wants to run.
    pub(super) fn wish(&self, node: String, label: String, args: Vec<Arg>) -> Wish {
        let (by, grants) = (self.by.clone(), self.grants.clone());
        Wish { node, label, args, job: JobId(rand::random()), grants, by }
    }

    /// More output may be sent, of a job that is followed or of a run.
    pub(super) async fn credit(&mut self, request: RequestId, credit: u32) -> Option<HubToClient> {
        match self.outputs.grant(request, credit) {
            Some(Ok(())) => None,
            Some(Err(refusal)) => Some(HubToClient::Error { request, refusal }),
            None => {
                self.shared.actor.send(Message::Credit(self.client, request, credit)).await;
                None
            }
        }
    }
}
