//! What the watcher tells: events in order, once each, what may be missing, and which source is read. All
//! sources end here.

use std::{collections::BTreeMap, time::Duration};

use secmon_protocol::{
    auth::{AuthEvent, AuthLogSource},
    facet::{Facet, Unavailable},
};
use tokio::time::Instant;

use super::{
    super::{Observation, Observations},
    file::position::FilePosition,
    join::{HOLD, Joiner},
    journal::Cursor,
    parse::Parsed,
    twins::{SourceId, Twins},
};

/// What journald is called as a source.
pub(super) const JOURNALD: &str = "journald";

/// Nobody reads what the watcher sees any more.
#[derive(Debug)]
pub(super) struct Closed;

/// Where a line was read, and where the next one would be: who goes on there loses and doubles nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// In journald; the cursor of the entry.
    Journal(Cursor),
    /// In the file of this number in the configuration; the place behind the line.
    File(usize, FilePosition),
}

/// See the module.
pub(super) struct Report {
    out: Observations,
    /// What tells the same line in two sources; none where there is one source only.
    twins: Option<Twins>,
    /// Makes one event of the lines of one attempt.
    join: Joiner<()>,
    /// When the last line came.
    heard: Instant,
    /// Where the last line was read that was reported, or known to be no event.
    last_origin: Option<Origin>,
    last_facet: Option<Facet<String, AuthLogSource>>,
}

impl Report {
    /// Reports to `out`.
    pub(super) fn new(out: Observations, twins: Option<Twins>) -> Self {
        let (join, heard) = (Joiner::default(), Instant::now());
        Self { out, twins, join, heard, last_origin: None, last_facet: None }
    }

    /// Takes what the parser made of a line, and reports the events that are known with it.
    pub(super) async fn parsed(&mut self, parsed: Parsed, origin: Origin) -> Result<(), Closed> {
        if let Parsed::Event(line) = parsed {
            let source = match &origin {
                Origin::Journal(_) => SourceId::JOURNALD,
                Origin::File(number, _) => SourceId::file(*number),
            };
            if self.twins.as_mut().is_none_or(|twins| twins.is_news(source, &line.event)) {
                let mut events = Vec::new();
                self.join.take(line, (), |event, ()| events.push(event));
                self.heard = Instant::now();
                self.events(events).await?;
            }
        }
        self.last_origin = Some(origin);
        Ok(())
    }

    /// There is no further line at the moment: reports what would hardly go on in one, and what has waited
    /// for one for long enough.
    pub(super) async fn pause(&mut self) -> Result<(), Closed> {
        let mut events = Vec::new();
        match self.heard.elapsed() < HOLD {
            true => self.join.pause(|event, ()| events.push(event)),
            false => self.join.settle(|event, ()| events.push(event)),
        }
        self.events(events).await
    }

    /// How long to wait for the next line at most before [`Self::pause`] is called again.
    pub(super) fn patience(&self, usual: Duration) -> Duration {
        if self.holds() { usual.min(HOLD) } else { usual }
    }

    /// Whether an event waits for a line that may come.
    pub(super) fn holds(&self) -> bool {
        self.join.holds()
    }

    /// Reports what was held back for a line that would now come too late; nobody waits for room any more.
    pub(super) fn end(mut self) {
        let out = self.out;
        self.join.settle(|event, ()| drop(out.try_send(Observation::Auth(event))));
    }

    async fn events(&mut self, events: impl IntoIterator<Item = Box<AuthEvent>>) -> Result<(), Closed> {
        for event in events {
            self.out.send(Observation::Auth(event)).await.map_err(|_| Closed)?;
        }
        Ok(())
    }

    /// Says that something may be missing, and why.
    pub(super) async fn missed(&mut self, reason: String) -> Result<(), Closed> {
        tracing::warn!(reason = %reason.escape_debug(), "the auth log has a hole");
        self.out.send(Observation::Missed(reason)).await.map_err(|_| Closed)
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
        let mut events = Vec::new();
        self.join.settle(|event, ()| events.push(event));
        self.events(events).await?;
        self.last_facet = Some(facet.clone());
        self.out.send(Observation::AuthLog(facet)).await.map_err(|_| Closed)?;
        Ok(true)
    }

    /// How many events have been forgotten so far that another source may still bring; see [`Twins`].
    pub(super) fn forgotten(&self) -> u64 {
        self.twins.as_ref().map_or(0, Twins::forgotten)
    }

    /// Where the last line was read.
    pub(super) fn last_origin(&self) -> Option<&Origin> {
        self.last_origin.as_ref()
    }
}
