//! What the watcher tells: events in order, once each, what may be missing, and which source is read. All
//! sources end here.

use std::{collections::BTreeMap, time::Duration};

use secmon_protocol::{
    auth::AuthLogSource,
    codec::Value,
    facet::{Facet, Unavailable},
};
use tokio::time::Instant;

use super::{
    super::{Observation, Observations},
    join::{HOLD, Joiner},
    kept::Kept,
    parse::Parsed,
    twins::{SourceId, Twins},
};

/// What journald is called as a source.
pub(super) const JOURNALD: &str = "journald";

/// Nobody reads what the watcher sees any more.
#[derive(Debug)]
pub(super) struct Closed;

/// How long places may wait to be kept where no event takes them along: what is read again after a kill has no
/// event in it, and a log that nothing is read of is not written about.
const KEEP_AFTER: Duration = Duration::from_secs(30);

/// See the module.
///
/// Call order: [`Report::parsed`] and [`Report::missed`] for each line of a chunk, [`Report::place`] for the place behind
/// it, without waiting in between; then [`Report::flush`]. So a watcher that is cancelled, or killed, has told of a
/// chunk whole or not at all.
pub(super) struct Report {
    out: Observations,
    /// What tells the same line in two sources; none where there is one source only.
    twins: Option<Twins>,
    /// Makes one event of the lines of one attempt.
    join: Joiner<()>,
    /// When the last line came.
    heard: Instant,
    last_facet: Option<Facet<String, AuthLogSource>>,
    /// What is not told yet, in order.
    batch: Vec<Observation>,
    kept: Kept,
    /// When something was kept last.
    kept_at: Instant,
}

impl Report {
    /// Reports to `out`, and goes on where the last process was with what it `kept`. Lines may come from
    /// several sources where `many` is set.
    pub(super) fn new(out: Observations, many: bool, kept: Kept) -> Self {
        let mut batch = Vec::new();
        let (join, twins) = kept.recall(|why| batch.push(missed(why)));
        let (heard, twins) = (Instant::now(), many.then_some(twins));
        Self { out, twins, join, heard, last_facet: None, batch, kept, kept_at: Instant::now() }
    }

    /// Takes what the parser made of a line.
    pub(super) fn parsed(&mut self, parsed: Parsed, source: SourceId) {
        if let Parsed::Event(line) = parsed
            && self.twins.as_mut().is_none_or(|twins| twins.is_news(source, &line.event))
        {
            let Self { join, batch, .. } = self;
            join.take(line, (), |event, ()| batch.push(Observation::Auth(event)));
            self.heard = Instant::now();
        }
    }

    /// What the last process kept of a source. What cannot be read is told as missing.
    pub(super) fn kept<T: Value>(&mut self, source: &str) -> Option<T> {
        self.kept.get(source).unwrap_or_else(|why| {
            self.missed(why);
            None
        })
    }

    /// Says how far a source has been read.
    pub(super) fn place<T: Value>(&mut self, source: &str, at: &T) {
        self.kept.set(source, at);
    }

    /// There is no further line at the moment: reports what would hardly go on in one, and what has waited
    /// for one for long enough.
    pub(super) async fn pause(&mut self) -> Result<(), Closed> {
        // Until a source is read, a line that goes on with what the last process held may be there already.
        if self.is_reading() {
            let Self { join, batch, .. } = self;
            match self.heard.elapsed() < HOLD {
                true => join.pause(|event, ()| batch.push(Observation::Auth(event))),
                false => join.settle(|event, ()| batch.push(Observation::Auth(event))),
            }
        }
        self.flush().await
    }

    fn is_reading(&self) -> bool {
        matches!(self.last_facet, Some(Facet::Ready(_)))
    }

    /// How long to wait for the next line at most before [`Self::pause`] is called again.
    pub(super) fn patience(&self, usual: Duration) -> Duration {
        if self.holds() { usual.min(HOLD) } else { usual }
    }

    /// Whether an event waits for a line that may come.
    pub(super) fn holds(&self) -> bool {
        self.join.holds() && self.is_reading()
    }

    /// Tells what is known, and keeps how far it was read; all of it, or, when it is cancelled, nothing.
    pub(super) async fn flush(&mut self) -> Result<(), Closed> {
        let due = self.kept.has_changed() && self.kept_at.elapsed() >= KEEP_AFTER;
        if self.batch.is_empty() && !due {
            return Ok(());
        }
        let out = self.out.clone();
        let room = out.reserve().await.map_err(|_| Closed)?;
        room.send(self.compose());
        Ok(())
    }

    fn compose(&mut self) -> Observation {
        let Self { join, twins, batch, kept, .. } = self;
        join.fit(|event, ()| batch.push(Observation::Auth(event)));
        kept.remember(join, twins.as_mut());
        kept.add_to(batch);
        self.kept_at = Instant::now();
        Observation::Together(std::mem::take(batch))
    }

    /// Keeps how far was read; nobody waits for room any more. What is held back the next process goes on with.
    pub(super) fn end(mut self) {
        if self.batch.is_empty() && !self.kept.has_changed() {
            return;
        }
        let out = self.out.clone();
        if let Ok(room) = out.try_reserve() {
            room.send(self.compose());
        }
    }

    /// Says that something may be missing, and why.
    pub(super) fn missed(&mut self, reason: String) {
        self.batch.push(missed(reason));
    }

    /// Says that `source` is read.
    pub(super) async fn ready(&mut self, source: &str) -> Result<(), Closed> {
        let value = AuthLogSource { source: source.to_owned() };
        if self.facet(Facet::Ready(BTreeMap::from([(source.to_owned(), value)]))).await? {
            tracing::info!(source = %source.escape_debug(), "the auth log is read");
        }
        Ok(())
    }

    /// Says that nothing can be read.
    pub(super) async fn unavailable(&mut self, why: Unavailable) -> Result<(), Closed> {
        let reason = why.reason.clone();
        if self.facet(Facet::Unavailable(why)).await? {
            tracing::warn!(reason = %reason.escape_debug(), "auth log unavailable");
        }
        Ok(())
    }

    /// Says what is the case, unless that was said last; whether it was news.
    pub(super) async fn facet(&mut self, facet: Facet<String, AuthLogSource>) -> Result<bool, Closed> {
        if self.last_facet.as_ref() == Some(&facet) {
            return Ok(false);
        }
        let Self { join, batch, .. } = self;
        if matches!(self.last_facet, Some(Facet::Ready(_))) || facet == Facet::NotMonitored {
            join.settle(|event, ()| batch.push(Observation::Auth(event)));
        }
        batch.push(Observation::AuthLog(facet.clone()));
        // What the last process held has waited for a source, not for a line.
        self.heard = Instant::now();
        self.last_facet = Some(facet);
        self.flush().await?;
        Ok(true)
    }

    /// How many events have been forgotten so far that another source may still bring; see [`Twins`].
    pub(super) fn forgotten(&self) -> u64 {
        self.twins.as_ref().map_or(0, Twins::forgotten)
    }
}

fn missed(reason: String) -> Observation {
    tracing::warn!(reason = %reason.escape_debug(), "the auth log has a hole");
    Observation::Missed(reason)
}
