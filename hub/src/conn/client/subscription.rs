//! One subscription: a place in the ring that moves on as fast as its client reads.

use std::{sync::Arc, time::Duration};

use secmon_protocol::{
    ids::{Cursor, NodeId, NodeName, RequestId},
    limits::MAX_PATTERNS,
    message::{
        ErrorCode, Refusal,
        client::{Filter, Gap, HubToClient},
    },
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use wildmatch::WildMatch;

use crate::ring::{Entry, RING_BYTES, Ring};

/// Records taken from the ring at once …
const READ: usize = 256;
/// … and their bytes: what a slow subscriber keeps in memory beside the ring.
const READ_BYTES: usize = 128 << 10;
/// A subscriber is told where it stands after this many records that it did not want …
const PROGRESS_RECORDS: u64 = 1024;
/// … or this long after the first of them.
const PROGRESS_TIME: Duration = Duration::from_secs(1);
/// Longest pattern of a filter, in bytes.
const MAX_PATTERN: usize = 256;

/// What a subscription sends.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// Records.
    Events(RequestId, Vec<Arc<Entry>>),
    /// Anything else.
    Message(HubToClient),
}

/// A filter, ready to be used.
#[derive(Debug, Clone)]
pub(super) struct Matcher {
    nodes: Vec<WildMatch>,
    types: Vec<WildMatch>,
}

impl Matcher {
    /// Checks a filter's limits and prepares it.
    pub(super) fn new(filter: &Filter) -> Result<Self, Refusal> {
        let prepare = |patterns: &[String]| {
            if patterns.len() > MAX_PATTERNS || patterns.iter().any(|pattern| pattern.len() > MAX_PATTERN) {
                let message = format!(
                    "a filter has at most {MAX_PATTERNS} patterns of each kind, of {MAX_PATTERN} bytes at most"
                );
                return Err(Refusal::new(ErrorCode::TooMany, message));
            }
            Ok(patterns.iter().map(|pattern| WildMatch::new(pattern)).collect())
        };
        Ok(Self { nodes: prepare(&filter.nodes)?, types: prepare(&filter.types)? })
    }

    /// Whether a node's records are wanted.
    pub(super) fn wants_node(&self, id: NodeId, name: &NodeName) -> bool {
        self.nodes.is_empty() || any(&self.nodes, name.as_str()) || any(&self.nodes, &id.to_string())
    }

    fn wants(&self, entry: &Entry) -> bool {
        let types = self.types.is_empty() || entry.types.iter().any(|name| any(&self.types, name));
        types && self.wants_node(entry.node, &entry.name)
    }
}

fn any(patterns: &[WildMatch], text: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(text))
}

/// Where a subscription begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Start {
    /// The place after which it reads.
    pub(super) after: u64,
    /// What lies between that and the place that was asked for.
    gap: Option<(Cursor, String)>,
}

impl Start {
    /// At a place of this log.
    pub(super) fn at(after: u64) -> Self {
        Self { after, gap: None }
    }

    /// After a place that a client remembers.
    pub(super) fn after(ring: &Ring, cursor: Cursor) -> Self {
        if cursor.log != ring.log() {
            let reason = "the hub was restarted and its log began anew".to_owned();
            return Self { after: ring.gone(), gap: Some((cursor, reason)) };
        }
        let newest = ring.newest();
        if cursor.n > newest {
            let reason = "the hub's log does not reach that place".to_owned();
            return Self { after: newest, gap: Some((cursor, reason)) };
        }
        Self::at(cursor.n)
    }
}

/// One subscription.
pub(super) struct Subscription {
    /// Its request.
    pub(super) request: RequestId,
    /// What it wants.
    pub(super) matcher: Matcher,
    /// Where it begins.
    pub(super) start: Start,
    /// The log.
    pub(super) ring: Arc<Ring>,
}

/// The client's connection has ended.
struct Gone;

impl Subscription {
    /// Sends what is wanted until the client's connection ends.
    pub(super) async fn run(self, out: mpsc::Sender<Outgoing>) {
        // The only way this ends is that the connection did.
        let _: Result<(), Gone> = self.follow(&out).await;
    }

    async fn follow(mut self, out: &mpsc::Sender<Outgoing>) -> Result<(), Gone> {
        let mut grown = self.ring.watch();
        let mut at = self.start.after;
        if let Some((after, reason)) = self.start.gap.take() {
            self.gap(after, at, reason, out).await?;
        }
        // The first place that was passed without being told, and when.
        let mut silent: Option<(u64, Instant)> = None;
        loop {
            grown.borrow_and_update();
            let read = self.ring.read(at, READ, READ_BYTES);
            if let Some(gone) = read.gone {
                let reason = format!("the hub holds only the latest {} MiB of its log", RING_BYTES >> 20);
                self.gap(self.ring.cursor(at), gone, reason, out).await?;
                (at, silent) = (gone, None);
            }
            let idle = read.entries.is_empty();
            let mut entries = read.entries;
            entries.retain(|entry| {
                at = entry.cursor.n;
                let wanted = self.matcher.wants(entry);
                silent = if wanted { None } else { silent.or_else(|| Some((at, Instant::now()))) };
                wanted
            });
            if !entries.is_empty() {
                send(out, Outgoing::Events(self.request, entries)).await?;
            }
            let due = silent.map(|(_, since)| since + PROGRESS_TIME);
            let many = silent.is_some_and(|(first, _)| at - first >= PROGRESS_RECORDS);
            if many || due.is_some_and(|due| due <= Instant::now()) {
                let cursor = self.ring.cursor(at);
                send(out, Outgoing::Message(HubToClient::Progress { request: self.request, cursor })).await?;
                silent = None;
            } else if idle {
                let later = async {
                    match due {
                        Some(due) => sleep_until(due).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    changed = grown.changed() => changed.map_err(|_| Gone)?,
                    () = later => {}
                    () = out.closed() => return Err(Gone),
                }
            }
        }
    }

    async fn gap(
        &self,
        after: Cursor,
        to: u64,
        reason: String,
        out: &mpsc::Sender<Outgoing>,
    ) -> Result<(), Gone> {
        let gap = Gap { after, to: self.ring.cursor(to), reason };
        send(out, Outgoing::Message(HubToClient::Gap { request: self.request, gap })).await
    }
}

async fn send(out: &mpsc::Sender<Outgoing>, message: Outgoing) -> Result<(), Gone> {
    out.send(message).await.map_err(|_| Gone)
}
