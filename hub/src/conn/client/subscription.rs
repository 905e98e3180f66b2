//! One subscription: a place in the log that moves on as fast as its client reads.

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
use tracing::warn;
use wildmatch::WildMatch;

use super::Shared;
use crate::{
    access::Grants,
    core::{Missing, Reading, Start},
    segment::{Run, Subject},
    store::StoreError,
};

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
    Events(RequestId, Vec<Run>),
    /// Anything else.
    Message(HubToClient),
}

/// A filter, ready to be used, and what its client may see.
#[derive(Debug, Clone)]
pub(super) struct Matcher {
    grants: Arc<Grants>,
    nodes: Vec<WildMatch>,
    types: Vec<WildMatch>,
}

impl Matcher {
    /// Checks a filter's limits and prepares it.
    pub(super) fn new(filter: &Filter, grants: Arc<Grants>) -> Result<Self, Refusal> {
        let prepare = |patterns: &[String]| {
            if patterns.len() > MAX_PATTERNS || patterns.iter().any(|pattern| pattern.len() > MAX_PATTERN) {
                let message = format!(
                    "a filter has at most {MAX_PATTERNS} patterns of each kind, of {MAX_PATTERN} bytes at most"
                );
                return Err(Refusal::new(ErrorCode::TooMany, message));
            }
            Ok(patterns.iter().map(|pattern| WildMatch::new(pattern)).collect())
        };
        Ok(Self { grants, nodes: prepare(&filter.nodes)?, types: prepare(&filter.types)? })
    }

    /// Whether a node's records are wanted, and may be seen.
    pub(super) fn wants_node(&self, id: NodeId, name: &NodeName) -> bool {
        let wanted =
            self.nodes.is_empty() || any(&self.nodes, name.as_str()) || any(&self.nodes, &id.to_string());
        wanted && self.may_view(id, name)
    }

    /// By the id where it is the hub itself: a node may have the hub's name.
    fn may_view(&self, id: NodeId, name: &NodeName) -> bool {
        match id {
            NodeId::HUB => self.grants.may_view_hub(),
            _ => self.grants.may_view(name),
        }
    }

    fn wants(&self, subject: &Subject) -> bool {
        let types = self.types.is_empty() || subject.types.iter().any(|name| any(&self.types, name));
        types && self.wants_node(subject.node, &subject.name)
    }

    /// What is wanted of a run: the records that stand side by side, as runs of their own.
    fn pick(&self, run: Run, out: &mut Vec<Run>) {
        let Run { segment, range } = run;
        let wanted: Vec<bool> = segment.subjects().map(|subject| self.wants(subject)).collect();
        let mut rest = range;
        while let Some(start) = rest.find(|index| wanted[segment.subject(*index)]) {
            let end = rest.find(|index| !wanted[segment.subject(*index)]);
            let range = start..end.unwrap_or(rest.end);
            out.push(Run { segment: segment.clone(), range });
        }
    }
}

fn any(patterns: &[WildMatch], text: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(text))
}

/// One subscription.
pub(super) struct Subscription {
    /// Its request.
    pub(super) request: RequestId,
    /// What it wants.
    pub(super) matcher: Matcher,
    /// Where it begins.
    pub(super) start: Start,
    /// The log, and whether it has come to its end.
    pub(super) shared: Arc<Shared>,
}

/// The client's connection has ended.
struct Gone;

impl Subscription {
    /// Sends what is wanted until the client's connection ends, or the log does.
    pub(super) async fn run(self, out: mpsc::Sender<Outgoing>) {
        // Where the client is gone nobody is left to be told anything.
        let _: Result<(), Gone> = self.follow(&out).await;
    }

    async fn follow(mut self, out: &mpsc::Sender<Outgoing>) -> Result<(), Gone> {
        let shared = self.shared.clone();
        let (log, finish) = (&shared.log, &shared.finish);
        let mut grown = log.ring.watch();
        let mut reading = Reading::after(self.start.after);
        if let Some((after, reason)) = self.start.gap.take() {
            self.gap(after, reading.at(), reason, out).await?;
        }
        // The first place that was passed without being told, and when.
        let mut silent: Option<(u64, Instant)> = None;
        loop {
            grown.borrow_and_update();
            let last = finish.is_cancelled();
            let portion = match log.read(&mut reading).await {
                Ok(portion) => portion,
                Err(error) => return self.fail(&error, out).await,
            };
            let idle = portion.is_empty();
            for Missing { after, to, reason } in portion.missing {
                let reason = reason.unwrap_or_else(|| log.too_old());
                self.gap(log.ring.cursor(after), to, reason, out).await?;
                silent = None;
            }
            let (first, mut wanted) = (portion.runs.first().map(Run::first), vec![]);
            portion.runs.into_iter().for_each(|run| self.matcher.pick(run, &mut wanted));
            silent = match (wanted.last().map(Run::last), first) {
                (Some(last), _) if last == reading.at() => None,
                (Some(last), _) => Some((last + 1, Instant::now())),
                (None, Some(first)) => silent.or_else(|| Some((first, Instant::now()))),
                (None, None) => silent,
            };
            if !wanted.is_empty() {
                send(out, Outgoing::Events(self.request, wanted)).await?;
            }
            let due = silent.map(|(_, since)| since + PROGRESS_TIME);
            let many = silent.is_some_and(|(first, _)| reading.at() - first >= PROGRESS_RECORDS);
            let end = idle && last;
            if many || due.is_some_and(|due| end || due <= Instant::now()) {
                let cursor = log.ring.cursor(reading.at());
                send(out, Outgoing::Message(HubToClient::Progress { request: self.request, cursor })).await?;
                silent = None;
            } else if end {
                return Ok(());
            } else if idle {
                let later = async {
                    match due {
                        Some(due) => sleep_until(due).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    changed = grown.changed() => changed.map_err(|_| Gone)?,
                    () = finish.cancelled() => {}
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
        let gap = Gap { after, to: self.shared.log.ring.cursor(to), reason };
        send(out, Outgoing::Message(HubToClient::Gap { request: self.request, gap })).await
    }

    /// Ends the subscription where the log cannot be read; the client knows how far it came.
    async fn fail(&self, error: &StoreError, out: &mpsc::Sender<Outgoing>) -> Result<(), Gone> {
        warn!(%error, "cannot read the log for a subscriber");
        let refusal = unreadable(error);
        send(out, Outgoing::Message(HubToClient::Error { request: self.request, refusal })).await
    }
}

/// What a subscriber is told where the log cannot be read.
pub(super) fn unreadable(error: &StoreError) -> Refusal {
    let message = format!("the hub cannot read its log: {error}; subscribe again from where you were");
    Refusal::new(ErrorCode::Internal, message)
}

async fn send(out: &mpsc::Sender<Outgoing>, message: Outgoing) -> Result<(), Gone> {
    out.send(message).await.map_err(|_| Gone)
}
