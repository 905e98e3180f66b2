//! The handle to a connection: one method per request of the protocol.

use std::{
    future::poll_fn,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use secmon_protocol::{
    codec,
    command::{Arg, CommandInfo},
    ids::{Cursor, NodeId, NodeName, RequestId},
    limits::OUTPUT_WINDOW,
    message::client::{
        ClientToHub, Filter, From as StartFrom, HubToClient, JobFilter, JobSummary, NodeDetail, NodeSummary,
        TokenText, VERSION, WhoAmI,
    },
    time::UnixNanos,
};
use tokio::{
    net::UnixStream,
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::codec::{FramedRead, FramedWrite};

use crate::{
    ClientError, JobOutput, Run, RunOptions, Subscription,
    connection::{self, Lost, OPS, Op, Reader},
};

/// How long a hub may take to say Welcome. It has nothing to look up for that.
const WELCOME_WITHIN: Duration = Duration::from_secs(5);
/// How long a hub may take for an answer. Its slowest, a list of ten thousand nodes, takes well under a
/// second.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A connection to a hub. Cheap to clone; requests of all clones run side by side on one socket.
///
/// The connection ends when the last clone and the last [`Subscription`] and [`Run`] are dropped.
#[derive(Debug, Clone)]
pub struct Client {
    ops: mpsc::Sender<Op>,
    next: Arc<AtomicU64>,
    lost: Lost,
    hub: HubInfo,
}

/// What the hub said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubInfo {
    /// Its version, `0.1.0`.
    pub agent: String,
    /// The newest place in its log when the connection was made.
    pub newest: Cursor,
    /// Its clock then.
    pub clock: UnixNanos,
}

/// A token for a new node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// The token; works once, and is kept nowhere.
    pub token: TokenText,
    /// When it expires.
    pub expires: UnixNanos,
    /// The addresses of the hub in it, `ADDR:PORT`.
    pub addresses: Vec<String>,
}

impl Client {
    /// Connects to the hub that listens on `socket` and greets it. `agent` is the program in its own
    /// words (`secmon 0.1.0`); the hub writes it beside what the program does.
    ///
    /// # Errors
    /// Nobody listens there, the user may not connect, or the hub does not answer, or not as agreed.
    pub async fn connect(socket: &Path, agent: &str) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(socket)
            .await
            .map_err(|error| ClientError::connecting(socket.to_owned(), &error))?;
        Self::over(stream, agent).await
    }

    /// The same over a socket that is already connected.
    ///
    /// # Errors
    /// The hub does not answer, or not as agreed, or turns the client away.
    pub async fn over(stream: UnixStream, agent: &str) -> Result<Self, ClientError> {
        let (read, write) = stream.into_split();
        let mut reader = Reader::new(FramedRead::new(read, codec::frames()));
        let mut writer = FramedWrite::new(write, codec::frames());
        let greeting = async {
            let hello = ClientToHub::Hello { version: VERSION, agent: agent.to_owned() };
            // A hub that turns us away may have closed its end already; its Reject can still be read.
            let sent = connection::send(&mut writer, &hello).await;
            match reader.next().await {
                Err(ClientError::ConnectionLost { reason }) => Err(sent
                    .err()
                    .unwrap_or_else(|| connection::closed(&format!("{reason} before it answered")))),
                other => other,
            }
        };
        let welcome = timeout(WELCOME_WITHIN, greeting)
            .await
            .map_err(|_| ClientError::NoAnswer { after: WELCOME_WITHIN })??;
        let hub = match welcome {
            HubToClient::Welcome { version: VERSION, agent, newest, clock } => {
                HubInfo { agent, newest, clock }
            }
            HubToClient::Welcome { version, agent, .. } => {
                let reason = format!(
                    "version {agent} of the hub wants protocol {version}, this is protocol {VERSION}"
                );
                return Err(ClientError::Protocol { reason });
            }
            HubToClient::Reject(refusal) => return Err(ClientError::Rejected(refusal)),
            _ => return Err(unexpected("its first message is not a greeting")),
        };
        let (ops, inbox) = mpsc::channel(OPS);
        let lost = Lost::default();
        // Nobody waits for the task itself: it ends with its handles, and tells its end through `lost`.
        drop(tokio::spawn(connection::drive(reader, writer, inbox, lost.clone())));
        Ok(Self { ops, next: Arc::new(AtomicU64::new(1)), lost, hub })
    }

    /// What the hub said of itself.
    #[must_use]
    pub fn hub(&self) -> &HubInfo {
        &self.hub
    }

    /// All nodes, sorted by name.
    ///
    /// # Errors
    /// The hub refused, or the connection broke.
    pub async fn list(&self) -> Result<Vec<NodeSummary>, ClientError> {
        let request = self.request();
        match self.ask(request, ClientToHub::List { request }).await? {
            HubToClient::Nodes { nodes, .. } => Ok(nodes),
            _ => Err(unexpected("the answer to List is not a list")),
        }
    }

    /// One node with its whole state. `node` is its name, its id, or a prefix of its id that no other
    /// node has.
    ///
    /// # Errors
    /// No such node (with the names near to it), or the connection broke.
    pub async fn get(&self, node: &str) -> Result<NodeDetail, ClientError> {
        let request = self.request();
        match self.ask(request, ClientToHub::Get { request, node: node.to_owned() }).await? {
            HubToClient::Node { node, .. } => Ok(*node),
            _ => Err(unexpected("the answer to Get is not a node")),
        }
    }

    /// What may be run on a node, sorted by label.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn commands(&self, node: &str) -> Result<Vec<CommandInfo>, ClientError> {
        Ok(self.get(node).await?.commands)
    }

    /// Makes a token with which one new node joins. `valid` is rounded down to seconds and is the hub's
    /// default when absent; `replace` gives a known node of that name new papers and refuses its old ones.
    ///
    /// # Errors
    /// The name is taken, the user may not, or the connection broke.
    pub async fn enroll(
        &self,
        name: &NodeName,
        valid: Option<Duration>,
        replace: bool,
    ) -> Result<Enrolled, ClientError> {
        let request = self.request();
        let valid_secs = valid.map_or(0, |d| u32::try_from(d.as_secs()).unwrap_or(u32::MAX).max(1));
        let message = ClientToHub::Enroll { request, name: name.clone(), valid_secs, replace };
        match self.ask(request, message).await? {
            HubToClient::Enrolling { token, expires, addresses, .. } => {
                Ok(Enrolled { token, expires, addresses })
            }
            _ => Err(unexpected("the answer to Enroll is not a token")),
        }
    }

    /// Subscribes to the events that `filter` lets through, and returns when the subscription stands.
    ///
    /// # Errors
    /// The hub refused, or the connection broke.
    pub async fn subscribe(&self, from: StartFrom, filter: Filter) -> Result<Subscription, ClientError> {
        let request = self.request();
        let stream = self
            .open(request, ClientToHub::Subscribe { request, from, filter }, crate::subscription::QUEUE)
            .await?;
        Subscription::begin(stream).await
    }

    /// Runs the command `label` on a node. Dropping the [`Run`] cancels it.
    ///
    /// # Errors
    /// The connection broke. What the hub or the node refuses comes from [`Run::next`].
    pub async fn run(
        &self,
        node: &str,
        label: &str,
        args: Vec<Arg>,
        options: RunOptions,
    ) -> Result<Run, ClientError> {
        let request = self.request();
        let message = ClientToHub::Run {
            request,
            node: node.to_owned(),
            label: label.to_owned(),
            args,
            credit: options.window(),
            stdin: options.stdin,
        };
        let stream = self.open(request, message, crate::run::queue(options.window())).await?;
        Ok(Run::new(stream, options.window()))
    }

    /// Runs the command `label` on a node, whatever becomes of this client. `queue` is how long it may wait for a node
    /// that is away, rounded up to seconds; none: it does not wait.
    ///
    /// # Errors
    /// The hub refused: no such node, a node that is away, no permission; or the connection broke.
    pub async fn submit(
        &self,
        node: &str,
        label: &str,
        args: Vec<Arg>,
        queue: Option<Duration>,
    ) -> Result<JobSummary, ClientError> {
        let request = self.request();
        let queue_secs = queue.map_or(0, |d| {
            let whole = d.as_secs().saturating_add(u64::from(d.subsec_nanos() > 0));
            u32::try_from(whole).unwrap_or(u32::MAX)
        });
        let (node, label) = (node.to_owned(), label.to_owned());
        self.ask_job(request, ClientToHub::Submit { request, node, label, args, queue_secs }).await
    }

    /// Jobs, the latest first, and whether there are more than these.
    ///
    /// # Errors
    /// The hub refused, or the connection broke.
    pub async fn jobs(&self, filter: JobFilter) -> Result<(Vec<JobSummary>, bool), ClientError> {
        let request = self.request();
        match self.ask(request, ClientToHub::Jobs { request, filter }).await? {
            HubToClient::Jobs { jobs, more, .. } => Ok((jobs, more)),
            _ => Err(unexpected("the answer to Jobs is not a list of jobs")),
        }
    }

    /// One job, by its number or a beginning of it that no other job has.
    ///
    /// # Errors
    /// No such job, or the connection broke.
    pub async fn job(&self, job: &str) -> Result<JobSummary, ClientError> {
        let request = self.request();
        self.ask_job(request, ClientToHub::Job { request, job: job.to_owned() }).await
    }

    /// Ends a job, or takes it out of the queue; returns when that is under way.
    ///
    /// # Errors
    /// No such job, one that is over, no permission, or the connection broke.
    pub async fn cancel_job(&self, job: &str) -> Result<JobSummary, ClientError> {
        let request = self.request();
        self.ask_job(request, ClientToHub::CancelJob { request, job: job.to_owned() }).await
    }

    /// What a job has printed, as far as it is kept; with `follow`, what it prints until it is over as well.
    ///
    /// # Errors
    /// The connection broke. What the hub refuses comes from [`JobOutput::next`].
    pub async fn job_output(&self, job: &str, follow: bool) -> Result<JobOutput, ClientError> {
        let request = self.request();
        let message = ClientToHub::JobOutput { request, job: job.to_owned(), follow, credit: OUTPUT_WINDOW };
        let stream = self.open(request, message, crate::run::queue(OUTPUT_WINDOW)).await?;
        Ok(JobOutput::new(stream))
    }

    /// Who this client is to the hub, and what it may do.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn who_am_i(&self) -> Result<WhoAmI, ClientError> {
        let request = self.request();
        match self.ask(request, ClientToHub::WhoAmI { request }).await? {
            HubToClient::You { who, .. } => Ok(*who),
            _ => Err(unexpected("the answer to WhoAmI is somebody else")),
        }
    }

    /// Locks a node out at once and forgets it. `node` is as in [`Client::get`].
    ///
    /// # Errors
    /// No such node, no permission, or the connection broke.
    pub async fn remove(&self, node: &str) -> Result<(NodeId, NodeName), ClientError> {
        let request = self.request();
        match self.ask(request, ClientToHub::Remove { request, node: node.to_owned() }).await? {
            HubToClient::Removed { node, name, .. } => Ok((node, name)),
            _ => Err(unexpected("the answer to Remove is not about a node that was removed")),
        }
    }

    async fn ask_job(&self, request: RequestId, message: ClientToHub) -> Result<JobSummary, ClientError> {
        match self.ask(request, message).await? {
            HubToClient::Job { job, .. } => Ok(*job),
            _ => Err(unexpected("the answer about a job is not a job")),
        }
    }

    fn request(&self) -> RequestId {
        RequestId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    async fn ask(&self, request: RequestId, message: ClientToHub) -> Result<HubToClient, ClientError> {
        let exchange = async {
            let (answer, answered) = oneshot::channel();
            let op = Op::Ask { request, message, answer };
            self.ops.send(op).await.map_err(|_| self.lost.error())?;
            answered.await.map_err(|_| self.lost.error())
        };
        match timeout(ANSWER_WITHIN, exchange).await {
            Ok(answer) => match answer? {
                HubToClient::Error { refusal, .. } => Err(ClientError::Request(refusal)),
                answer => Ok(answer),
            },
            Err(_) => Err(ClientError::NoAnswer { after: ANSWER_WITHIN }),
        }
    }

    async fn open(
        &self,
        request: RequestId,
        message: ClientToHub,
        queue: usize,
    ) -> Result<Answers, ClientError> {
        let (items, answers) = mpsc::channel(queue);
        let (alive, gone) = oneshot::channel();
        let op = Op::Open { request, message, items, gone };
        self.ops.send(op).await.map_err(|_| self.lost.error())?;
        Ok(Answers { request, items: answers, ops: self.ops.clone(), lost: self.lost.clone(), _alive: alive })
    }
}

pub(crate) fn unexpected(reason: &str) -> ClientError {
    ClientError::Protocol { reason: reason.to_owned() }
}

/// The many answers to one request. Dropping it cancels the request.
#[derive(Debug)]
pub(crate) struct Answers {
    request: RequestId,
    items: mpsc::Receiver<HubToClient>,
    ops: mpsc::Sender<Op>,
    lost: Lost,
    /// Its drop tells the connection's task that nobody reads any more.
    _alive: oneshot::Sender<()>,
}

impl Answers {
    pub(crate) fn request(&self) -> RequestId {
        self.request
    }

    /// The next answer; an Error becomes an error. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Result<HubToClient, ClientError> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<HubToClient, ClientError>> {
        Poll::Ready(match ready!(self.items.poll_recv(cx)) {
            Some(HubToClient::Error { refusal, .. }) => Err(ClientError::Request(refusal)),
            Some(message) => Ok(message),
            None => Err(self.lost.error()),
        })
    }

    /// The next answer if it is already here.
    pub(crate) fn try_next(&mut self) -> Option<Result<HubToClient, ClientError>> {
        match self.items.try_recv() {
            Ok(HubToClient::Error { refusal, .. }) => Some(Err(ClientError::Request(refusal))),
            Ok(message) => Some(Ok(message)),
            Err(mpsc::error::TryRecvError::Empty) => None,
            Err(mpsc::error::TryRecvError::Disconnected) => Some(Err(self.lost.error())),
        }
    }

    /// Sends what has no answer of its own. Nothing is sent if the future is dropped before its end.
    pub(crate) async fn tell(&self, message: ClientToHub) -> Result<(), ClientError> {
        self.ops.send(Op::Tell(message)).await.map_err(|_| self.lost.error())
    }
}
