//! What a client asks, one message after the other; subscriptions go on beside it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use secmon_protocol::{
    codec,
    hub_event::Requester,
    ids::{NodeName, RequestId},
    limits::MAX_MESSAGE,
    message::{
        ErrorCode, Refusal,
        client::{ClientToHub, Filter, From, HubToClient, WhoAmI},
    },
};
use tokio::{net::unix::OwnedReadHalf, sync::mpsc};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::info;

use super::{
    super::wire::Reader,
    Ending, Shared,
    output::Outputs,
    subscription::{Matcher, Outgoing, Subscription, unreadable},
};
use crate::{
    access::{self, Grants, Needs, Peer, RequestKind, kind},
    actor::Message,
    core::{ClientId, Denial, RunRequest, Start, snapshot_too_large},
    hub,
};

/// Most subscriptions of one client.
const MAX_SUBSCRIPTIONS: usize = 32;

/// A message that has no place in a conversation that has begun.
struct Misplaced;

/// A client's requests.
pub(super) struct Requests {
    pub(super) client: ClientId,
    peer: Peer,
    pub(super) by: Requester,
    pub(super) grants: Arc<Grants>,
    answers: mpsc::Sender<HubToClient>,
    pub(super) events: mpsc::Sender<Outgoing>,
    pub(super) shared: Arc<Shared>,
    pub(super) subscriptions: HashMap<RequestId, AbortOnDropHandle<()>>,
    pub(super) outputs: Outputs,
}

impl Requests {
    pub(super) fn new(
        client: ClientId,
        (peer, by, grants): (Peer, Requester, Arc<Grants>),
        answers: mpsc::Sender<HubToClient>,
        events: mpsc::Sender<Outgoing>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            client,
            peer,
            by,
            grants,
            answers,
            events,
            shared,
            subscriptions: HashMap::new(),
            outputs: Outputs::default(),
        }
    }

    /// Answers until the connection ends, or until `finish` and all subscriptions have what there is; then the
    /// writer ends the connection once that is written.
    pub(super) async fn serve(
        mut self,
        reader: &mut Reader<OwnedReadHalf, ClientToHub>,
        finish: &CancellationToken,
    ) -> Ending {
        loop {
            let message = tokio::select! {
                message = reader.message() => message,
                () = finish.cancelled() => {
                    for (_, subscription) in std::mem::take(&mut self.subscriptions) {
                        // One that panicked has ended as well.
                        let _ = subscription.await;
                    }
                    drop(self);
                    return std::future::pending().await;
                }
            };
            let message = match message {
                Ok(message) => message,
                Err(error) => return error.into(),
            };
            match self.handle(message).await {
                Ok(Some(answer)) => self.answer(answer).await,
                Ok(None) => {}
                Err(Misplaced) => return Ending::Bad("it sent a message that has no place here".to_owned()),
            }
        }
    }

    /// Waits until the client has read most of what came before.
    async fn answer(&self, answer: HubToClient) {
        // The writer's end is the connection's end.
        let _ = self.answers.send(answer).await;
    }

    /// Does what a message asks.
    ///
    /// # Errors
    /// It breaks the protocol.
    async fn handle(&mut self, message: ClientToHub) -> Result<Option<HubToClient>, Misplaced> {
        let needs = RequestKind::of(&message).needs();
        if needs == Needs::Nothing {
            return self.perform(message).await;
        }
        let (words, node) = (kind::in_words(&message), kind::node(&message).map(str::to_owned));
        // Who cannot do it anywhere is refused before anything is looked for.
        let able = needs.least().map_or(Ok(()), |least| self.grants.check_role(least, &words));
        let (answer, logged) = match (able, kind::request(&message)) {
            (Err(refusal), Some(request)) => (Some(HubToClient::Error { request, refusal }), false),
            _ => (self.perform(message).await?, needs.logged_by_core()),
        };
        if let Some(HubToClient::Error { refusal, .. }) = &answer
            && refusal.code == ErrorCode::NotPermitted
            && !logged
        {
            let (by, reason) = (self.by.clone(), access::in_the_log(refusal));
            let denial = Denial { by, request: words, node, reason };
            self.shared.actor.send(Message::Denied(Box::new(denial))).await;
        }
        Ok(answer)
    }

    /// As [`Requests::handle`], for who has a rule that may allow it.
    async fn perform(&mut self, message: ClientToHub) -> Result<Option<HubToClient>, Misplaced> {
        let (client, actor) = (self.client, &self.shared.actor);
        let (request, answer) = match message {
            ClientToHub::Hello { .. } | ClientToHub::Fragment(_) => return Err(Misplaced),
            ClientToHub::List { request } => {
                let nodes = actor.ask(Message::List).await.map(|mut nodes| {
                    nodes.retain(|node| self.grants.may_view(&node.name));
                    HubToClient::Nodes { request, nodes }
                });
                (request, nodes)
            }
            ClientToHub::Get { request, node } => {
                let grants = self.grants.clone();
                let node = actor.ask(|reply| Message::Get(node, grants, reply)).await;
                (request, node.map(|node| HubToClient::Node { request, node: Box::new(node) }))
            }
            ClientToHub::Subscribe { request, from, filter } => {
                match self.subscribe(request, from, &filter).await {
                    Ok(()) => return Ok(None),
                    Err(refusal) => (request, Err(refusal)),
                }
            }
            ClientToHub::Run { request, node, label, args, credit, stdin } => {
                let wish = self.wish(node, label, args);
                actor.send(Message::Run(client, RunRequest { request, wish, credit, stdin })).await;
                return Ok(None);
            }
            ClientToHub::Credit { request, credit } => {
                return Ok(self.credit(request, credit).await);
            }
            ClientToHub::Cancel { request } => {
                if self.subscriptions.remove(&request).is_none() && !self.outputs.cancel(request) {
                    actor.send(Message::Cancel(client, request)).await;
                }
                return Ok(None);
            }
            ClientToHub::Stdin { request, data } => {
                actor.send(Message::Stdin(client, request, data)).await;
                return Ok(None);
            }
            ClientToHub::Submit { request, node, label, args, queue_secs } => {
                let wish = self.wish(node, label, args);
                (request, self.submit(request, wish, queue_secs).await)
            }
            ClientToHub::Jobs { request, filter } => (request, self.jobs(request, filter).await),
            ClientToHub::Job { request, job } => (request, self.job(request, job).await),
            ClientToHub::JobOutput { request, job, follow, credit } => {
                match self.output(request, job, (follow, credit)).await {
                    Ok(()) => return Ok(None),
                    Err(refusal) => (request, Err(refusal)),
                }
            }
            ClientToHub::CancelJob { request, job } => (request, self.cancel_job(request, job).await),
            ClientToHub::WhoAmI { request } => {
                let who = self.who().await;
                (request, who.map(|who| HubToClient::You { request, who: Box::new(who) }))
            }
            ClientToHub::Remove { request, node } => {
                let (grants, by) = (self.grants.clone(), self.by.clone());
                let removed = actor.ask(|reply| Message::Remove(node, grants, by, reply)).await;
                if let Ok((id, name)) = &removed {
                    info!(node = %name, %id, uid = self.by.uid, "a node was removed");
                }
                (request, removed.map(|(node, name)| HubToClient::Removed { request, node, name }))
            }
            ClientToHub::Enroll { request, name, valid_secs, replace } => {
                (request, self.enroll(request, name, valid_secs, replace).await)
            }
        };
        Ok(Some(answer.unwrap_or_else(|refusal| HubToClient::Error { request, refusal })))
    }

    async fn enroll(
        &self,
        request: RequestId,
        name: NodeName,
        valid_secs: u32,
        replace: bool,
    ) -> Result<HubToClient, Refusal> {
        self.grants.may_administer(&name)?;
        let valid = Duration::from_secs(u64::from(valid_secs));
        let made = hub::enroll(&self.shared, name, valid, replace).await?;
        let (token, expires, addresses) = (made.token, made.expires, made.addresses);
        Ok(HubToClient::Enrolling { request, token, expires, addresses })
    }

    /// Who this client is, and which rules apply to it.
    async fn who(&self) -> Result<WhoAmI, Refusal> {
        let (gid, groups) = (self.peer.gid, self.peer.groups.clone());
        // Names may come from a directory on the network.
        let named = tokio::task::spawn_blocking(move || access::groups(gid, &groups)).await;
        let groups = named.map_err(|_| Refusal::new(ErrorCode::Internal, "the hub is stopping"))?;
        let rules = self.grants.rules().to_vec();
        Ok(WhoAmI { uid: self.peer.uid, user: self.peer.user.clone(), groups, rules })
    }

    async fn subscribe(&mut self, request: RequestId, from: From, filter: &Filter) -> Result<(), Refusal> {
        self.subscriptions.retain(|_, task| !task.is_finished());
        if self.subscriptions.contains_key(&request) {
            let message = "the request's number is that of a subscription";
            return Err(Refusal::new(ErrorCode::Protocol, message));
        }
        if self.subscriptions.len() >= MAX_SUBSCRIPTIONS {
            let message = format!("a client may have {MAX_SUBSCRIPTIONS} subscriptions; end one first");
            return Err(Refusal::new(ErrorCode::TooMany, message));
        }
        let matcher = Matcher::new(filter, self.grants.clone())?;
        let (log, actor) = (&self.shared.log, &self.shared.actor);
        let (start, snapshot) = match from {
            From::Now => (Start::at(log.ring.newest().n), None),
            From::Time(time) => (log.since(time).await.map_err(|error| unreadable(&error))?, None),
            From::Cursor(place) => (actor.ask(|reply| Message::Begin(place, reply)).await?, None),
            From::Snapshot => {
                let wanted = matcher.clone();
                let wanted = Box::new(move |id, name: &NodeName| wanted.wants_node(id, name));
                let (n, nodes) = actor.ask(|reply| Message::Snapshot(wanted, reply)).await?;
                (Start::at(n), Some(nodes))
            }
        };
        let (after, whole) = (log.ring.cursor(start.after), self.grants.may_view_hub());
        let subscribed = HubToClient::Subscribed { request, after, snapshot, whole };
        // The one answer that may be too large: before anything follows from it.
        if codec::encode(&subscribed).len() > MAX_MESSAGE {
            return Err(snapshot_too_large());
        }
        let subscription = Subscription { request, matcher, start, shared: self.shared.clone() };
        // Answers are written before events, so that this one is there before what follows from it.
        self.answer(subscribed).await;
        let run = subscription.run(self.events.clone());
        self.subscriptions.insert(request, AbortOnDropHandle::new(tokio::spawn(run)));
        Ok(())
    }
}
