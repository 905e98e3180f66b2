//! The one task that owns the core: it takes what is queued, lets the core decide, has the store write
//! it all in one transaction, and only then publishes, acknowledges and answers.

mod handle;
mod lane;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use secmon_protocol::{
    message::{ErrorCode, Refusal, client::HubToClient},
    time::UnixNanos,
};
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub(crate) use self::{
    handle::{Handle, Message, Reply, ToLink},
    lane::{Budget, Users, Waiting, Wire, lane},
};
use crate::{
    HubError,
    core::{ClientId, Core, Effect, Effects, Link, Notice, Now, Write},
    ring::Ring,
    segment::Packer,
    store::{Batch, StoreError, StoreThread},
    trouble::Trouble,
};

/// Most messages of one batch, so that a flood does not delay the answers to everybody else.
const BATCH: usize = 256;
/// Bytes of records after which a batch is committed before the rest of it: as much as keeps a commit short,
/// and enough to be worth one.
const COMMIT: usize = 4 << 20;

/// How often the log is looked through for what is too old, where nothing is written that does it as well; and the jobs.
const AGE_EVERY: Duration = Duration::from_secs(60);
/// How often the core is told that time has passed, while something waits for it: jobs are given up so exactly.
const TICK: Duration = Duration::from_secs(1);
/// Between two tries to read what is stored, without which nothing can go on.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// The actor's task.
pub(crate) struct Actor {
    core: Core,
    store: StoreThread,
    ring: Arc<Ring>,
    /// For those who follow a job.
    jobs: watch::Sender<()>,
    /// The last place of the log that is no longer held.
    gone: u64,
    packer: Packer,
    trouble: Option<Trouble>,
    queue: mpsc::Receiver<Message>,
    started: Instant,
    nodes: HashMap<Link, Wire<ToLink>>,
    clients: HashMap<ClientId, Wire<HubToClient>>,
}

/// An answer that waits until the batch is written.
type Deferred = Box<dyn FnOnce(Result<(), &Refusal>) + Send>;

fn defer<T: Send + 'static>(reply: Reply<T>, answer: Result<T, Refusal>) -> Deferred {
    Box::new(move |written| {
        // Whoever asked may be gone.
        let _ = reply.send(match written {
            Ok(()) => answer,
            Err(refusal) => Err(refusal.clone()),
        });
    })
}

impl Actor {
    /// An actor, and the way to it. `gone` is the last place of the log that is no longer held.
    pub(crate) fn new(core: Core, store: StoreThread, ring: Arc<Ring>, gone: u64) -> (Self, Handle) {
        let (jobs, watched) = watch::channel(());
        let (handle, queue) = Handle::new(watched);
        let actor = Self {
            core,
            store,
            ring,
            jobs,
            gone,
            packer: Packer::default(),
            trouble: None,
            queue,
            started: Instant::now(),
            nodes: HashMap::new(),
            clients: HashMap::new(),
        };
        (actor, handle)
    }

    /// Works until `stop`, then does what is queued and ends; the store is given back to be closed.
    ///
    /// # Errors
    /// What is stored makes no sense any more.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<StoreThread, HubError> {
        let mut batch = Vec::with_capacity(BATCH);
        let mut aging = interval(AGE_EVERY);
        aging.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                // Before the queue, which is never empty for long where nodes flood the hub; and a hub where nothing
                // waits for time is not woken.
                _ = ticks.tick(), if self.core.waits_for_time() => batch.push(Message::Tick),
                taken = self.queue.recv_many(&mut batch, BATCH) => {
                    if taken == 0 {
                        return Ok(self.store);
                    }
                }
                () = stop.cancelled(), if !self.queue.is_closed() => self.queue.close(),
                _ = aging.tick() => {
                    self.age().await;
                    batch.push(Message::Tick);
                }
            }
            self.handle(&mut batch, &stop).await?;
        }
    }

    /// Removes what is too old of the log.
    async fn age(&mut self) {
        let batch = Batch { writes: vec![], segments: vec![], now: unix_now() };
        match self.store.commit(batch).await {
            Ok(committed) => self.gone = committed.gone,
            Err(error) => warn!(%error, "cannot remove what is too old from the hub's log"),
        }
    }

    async fn handle(&mut self, batch: &mut Vec<Message>, stop: &CancellationToken) -> Result<(), HubError> {
        let mut messages = batch.drain(..);
        while let Some(message) = messages.next() {
            self.commit(message, &mut messages, stop).await?;
        }
        Ok(())
    }

    /// Takes messages until there are records enough for a commit, and commits them.
    async fn commit(
        &mut self,
        first: Message,
        more: &mut std::vec::Drain<'_, Message>,
        stop: &CancellationToken,
    ) -> Result<(), HubError> {
        let now = Now { unix: unix_now(), mono: self.started.elapsed() };
        let (mut writes, mut outward, mut answers) = (Vec::new(), Effects::new(), Vec::new());
        let mut effects = Effects::new();
        let mut next = Some(first);
        while let Some(message) = next {
            answers.extend(self.feed(now, message, &mut effects));
            self.sort(&mut effects, &mut writes, &mut outward);
            next = if self.packer.bytes() < COMMIT { more.next() } else { None };
        }
        self.core.flush(&mut effects);
        self.sort(&mut effects, &mut writes, &mut outward);
        let segments = self.packer.finish();
        let of_jobs = writes.iter().any(is_of_jobs);
        match self.write(Batch { writes, segments: segments.clone(), now: now.unix }).await {
            Ok(()) => {
                let grown = !segments.is_empty();
                self.ring.push(segments);
                outward.into_iter().for_each(|effect| self.perform(effect));
                if grown {
                    self.ring.announce();
                }
                if of_jobs {
                    self.jobs.send_replace(());
                }
                answers.into_iter().for_each(|answer| answer(Ok(())));
                Ok(())
            }
            Err(error) => {
                error!(%error, "cannot write the hub's state: nodes are sent away and will try again");
                let refusal =
                    Refusal::new(ErrorCode::Internal, format!("the hub cannot write its state: {error}"));
                answers.into_iter().for_each(|answer| answer(Err(&refusal)));
                self.trouble = Some(Trouble::after(self.trouble.take(), refusal));
                // What a run said happened on its node, whatever became of the hub's own log of it; and a
                // run that ended in this batch is no orphan any more.
                let of_clients = |effect: &Effect| matches!(effect, Effect::ToClient(..));
                outward.into_iter().filter(of_clients).for_each(|effect| self.perform(effect));
                self.go_back(stop).await
            }
        }
    }

    /// Writes, records and the rest of what is to be done, each to its own.
    fn sort(&mut self, effects: &mut Effects, writes: &mut Vec<Write>, outward: &mut Effects) {
        for effect in effects.drain(..) {
            match effect {
                Effect::Store(write) => writes.push(write),
                Effect::Publish(record) => self.packer.push(record),
                other => outward.push(other),
            }
        }
    }

    async fn write(&mut self, batch: Batch) -> Result<(), StoreError> {
        if batch.writes.is_empty() && batch.segments.is_empty() {
            return Ok(());
        }
        self.gone = self.store.commit(batch).await?.gone;
        if self.trouble.take().is_some() {
            info!("the hub's state can be written again");
        }
        Ok(())
    }

    /// What could not be written never happened: the core goes back to what the store has, and every node
    /// starts over from there.
    async fn go_back(&mut self, stop: &CancellationToken) -> Result<(), HubError> {
        for (client, message) in self.core.orphans() {
            self.perform(Effect::ToClient(client, message));
        }
        for (_, wire) in self.nodes.drain() {
            wire.send(ToLink::Close("the hub cannot write its state".to_owned()));
        }
        loop {
            match self.store.load().await {
                Ok(kept) => {
                    self.core.restore(kept);
                    return Ok(());
                }
                // A disk that fails may come back; what makes no sense does not.
                Err(error @ StoreError::Database { .. }) if !stop.is_cancelled() => {
                    error!(%error, "cannot read the hub's state either: trying again");
                    tokio::select! {
                        () = sleep(READ_AGAIN) => {}
                        () = stop.cancelled() => {}
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Answers what would make the hub write while that is not to be tried; gives the rest back.
    fn spare(&self, message: Message) -> Option<Message> {
        let Some(trouble) = self.trouble.as_ref().filter(|trouble| Instant::now() < trouble.until) else {
            return Some(message);
        };
        let refusal = trouble.refusal.clone();
        // Whoever asked may be gone.
        match message {
            Message::NodeUp(_, _, wire) => wire.send(ToLink::Close(refusal.message)),
            Message::Enroll(_, reply) => drop(reply.send(Err(refusal))),
            Message::Join(_, _, _, reply) => drop(reply.send(Err(refusal))),
            Message::Submit(_, _, reply) | Message::CancelJob(_, reply) => drop(reply.send(Err(refusal))),
            Message::Run(client, asked) => {
                if let Some(wire) = self.clients.get(&client) {
                    wire.send(HubToClient::Error { request: asked.request, refusal });
                }
            }
            Message::Tick => {}
            Message::Remove(_, _, _, reply) => drop(reply.send(Err(refusal))),
            // The hub's own log has it, as the end of a connection or as a warning.
            Message::Denied(_) => {}
            other => return Some(other),
        }
        None
    }

    fn feed(&mut self, now: Now, message: Message, out: &mut Effects) -> Option<Deferred> {
        let message = self.spare(message)?;
        let core = &mut self.core;
        match message {
            Message::Begun => core.settle(now, out),
            Message::NodeUp(link, introduction, wire) => {
                self.nodes.insert(link, wire);
                core.handle_hello(now, link, *introduction, out);
            }
            Message::Records(link, records, _room) => core.handle_records(now, link, records, out),
            Message::Node(link, message, _room) => core.handle_message(now, link, message, out),
            Message::NodeDown(link, reason) => {
                core.handle_link_down(now, link, &reason, out);
                // Behind its last acknowledgement, for which it waits when the hub stops.
                out.push(Effect::Close(link, reason));
            }
            Message::ClientUp(client, wire) => drop(self.clients.insert(client, wire)),
            Message::Run(client, asked) => core.handle_run(now, client, asked, out),
            Message::Stdin(client, request, data) => core.handle_stdin(client, request, data, out),
            Message::Credit(client, request, credit) => core.handle_credit(client, request, credit, out),
            Message::Cancel(client, request) => core.handle_cancel(client, request, out),
            Message::ClientDown(client) => {
                self.clients.remove(&client);
                core.handle_client_down(client, out);
            }
            Message::Submit(wish, wait, reply) => {
                let answer = core.submit(now, wish, wait, out);
                return Some(defer(reply, answer));
            }
            Message::Jobs(wanted, reply) => return Some(defer(reply, Ok(core.list_jobs(&wanted)))),
            Message::Job(asked, reply) => return Some(defer(reply, core.job(&asked))),
            Message::ReadJob(asked, reply) => {
                let answer = core.job_to_read(now, &asked, out);
                return Some(defer(reply, answer));
            }
            Message::CancelJob(asked, reply) => {
                let answer = core.cancel_job(now, &asked, out);
                return Some(defer(reply, answer));
            }
            Message::Tick => core.handle_tick(now, out),
            Message::List(reply) => return Some(defer(reply, Ok(core.list(now)))),
            Message::Get(node, grants, reply) => {
                return Some(defer(reply, core.get(now, &grants, &node)));
            }
            Message::Snapshot(wanted, reply) => {
                let answer = core.details(wanted).map(|nodes| (core.newest().n, nodes));
                return Some(defer(reply, answer));
            }
            Message::Begin(place, reply) => {
                let answer = core.start_after(place, self.gone);
                return Some(defer(reply, answer));
            }
            Message::Enroll(wish, reply) => {
                let answer = core.enroll(now, wish, out);
                return Some(defer(reply, answer));
            }
            Message::Admit(secret, reply) => return Some(defer(reply, core.admit(now, &secret))),
            Message::Join(secret, papers, agent, reply) => {
                let answer = core.join(now, &secret, papers, &agent, out);
                return Some(defer(reply, answer));
            }
            Message::Remove(node, grants, by, reply) => {
                let answer = core.remove(now, (&grants, &by), &node, out);
                return Some(defer(reply, answer));
            }
            Message::Denied(denial) => core.handle_denied(now, *denial, out),
        }
        None
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            // Written and published by now.
            Effect::Store(_) | Effect::Publish(_) => {}
            Effect::ToNode(link, message) => {
                if let Some(wire) = self.nodes.get(&link) {
                    wire.send(ToLink::Message(message));
                }
            }
            Effect::Close(link, reason) => {
                if let Some(wire) = self.nodes.remove(&link) {
                    wire.send(ToLink::Close(reason));
                }
            }
            Effect::ToClient(client, message) => {
                if let Some(wire) = self.clients.get(&client) {
                    wire.send(message);
                }
            }
            Effect::Notice(notice) => tell(&notice),
        }
    }
}

/// Whether somebody who follows a job has something to look at.
fn is_of_jobs(write: &Write) -> bool {
    matches!(write, Write::Job(_) | Write::JobProgress { .. } | Write::JobOutput { .. } | Write::ForgetJob(_))
}

fn tell(notice: &Notice) {
    match notice {
        Notice::Clone { name, address } => warn!(
            node = %name, address,
            "connections of this node keep replacing each other: is it a clone, with the papers of another?"
        ),
        Notice::Clock { name, offset, ahead } => {
            let offset = offset.as_secs_f64();
            let direction = if *ahead { "ahead" } else { "behind" };
            warn!(node = %name, seconds = offset, direction, "the node's clock is off; its times are wrong by that much");
        }
        Notice::Resync { name, reason } => info!(node = %name, reason, "asked for a snapshot"),
    }
}

/// The hub's clock.
pub(crate) fn unix_now() -> UnixNanos {
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_nanos());
    UnixNanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}
