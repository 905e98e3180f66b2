//! The lines of a watch: what a follower yields, as text or JSON, and on stderr what becomes of its hub.

use futures::{FutureExt as _, Stream, StreamExt as _};
use jiff::civil::Date;
use secmon_protocol::{
    ecs,
    event::{Detail, Event, EventType},
    ids::Cursor,
    message::client::NodeDetail,
    state_event,
    time::UnixNanos,
};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::{
    Failure,
    failure::complain,
    screen::{note, now},
};
use crate::{
    ClientError, Item, Update,
    pattern::Patterns,
    render::{self, Look},
};

/// Lines that wait for one write: while events come faster than they can be written, this much of them
/// goes out at once. 64 KiB is what a pipe takes.
const BATCH: usize = 64 << 10;

/// The form of the lines of [`watch_lines`].
#[derive(Debug, Clone)]
pub enum Form {
    /// One JSON object each.
    Json,
    /// For people.
    Text(Look),
}

/// Writes updates to `out` as they come, each line flushed at once, until they end or `out` does. Events whose type
/// matches none of `types` (all, when there is none) are left out; gaps and what cannot be read never are. Before
/// the first line of another day than today stands a line with its date. What happens to the connection is said
/// on stderr.
///
/// A [`Subscription`](crate::Subscription) is written by mapping its items to [`Update::Item`].
///
/// # Errors
/// How it ended: the connection, or `out`. [`Failure::Closed`] when `out` was closed.
pub async fn watch_lines<S, W>(
    mut updates: S,
    types: &[String],
    form: &Form,
    out: &mut W,
) -> Result<std::convert::Infallible, Failure>
where
    S: Stream<Item = Result<Update, ClientError>> + Unpin,
    W: AsyncWrite + Unpin,
{
    let ended = || Failure::from(crate::connection::closed("it has ended"));
    let mut lines = Lines::new(types, form);
    loop {
        let mut update = updates.next().await.ok_or_else(ended)??;
        let mut text = String::new();
        let end = loop {
            lines.of(update, &mut text);
            if text.len() >= BATCH {
                break None;
            }
            match updates.next().now_or_never() {
                None => break None,
                Some(Some(Ok(next))) => update = next,
                Some(Some(Err(error))) => break Some(error.into()),
                Some(None) => break Some(ended()),
            }
        };
        if !text.is_empty() {
            out.write_all(text.as_bytes()).await?;
            out.flush().await?;
        }
        if let Some(failure) = end {
            return Err(failure);
        }
    }
}

struct Lines<'a> {
    types: Patterns,
    form: &'a Form,
    day: Option<Date>,
}

impl<'a> Lines<'a> {
    fn new(types: &[String], form: &'a Form) -> Self {
        let day = match form {
            Form::Text(look) => Some(date(now(), look)),
            Form::Json => None,
        };
        Self { types: Patterns::new(types), form, day }
    }

    fn of(&mut self, update: Update, text: &mut String) {
        match update {
            Update::Item(item) => self.item(item, text),
            Update::Began { after, snapshot } => self.snapshot(&snapshot.unwrap_or_default(), after, text),
            Update::Disconnected { error: ClientError::ConnectionLost { .. } } => {
                complain("the hub closed the connection; trying to connect again");
            }
            Update::Disconnected { error } => complain(&format!("{error}; trying to connect again")),
            Update::Resumed { after } => note(&format!("secmon: connected again, going on after {after}")),
            Update::NotSaved { error } => complain(&error.to_string()),
        }
    }

    fn snapshot(&mut self, nodes: &[NodeDetail], at: Cursor, text: &mut String) {
        let taken = now();
        for event in nodes.iter().flat_map(|node| state_event::state_of(node, at, taken)) {
            if self.wanted(&event.detail) {
                self.line(&event, text);
            }
        }
    }

    fn item(&mut self, item: Item, text: &mut String) {
        match item {
            Item::Progress(_) => {}
            Item::Record { events, .. } => {
                for event in events {
                    if self.wanted(&event.detail) {
                        self.line(&event, text);
                    }
                }
            }
            Item::Gap(gap) => {
                let event = Event {
                    id: String::new(),
                    cursor: Some(gap.to),
                    node: None,
                    time: now(),
                    detail: Detail::Gap(gap),
                };
                self.line(&event, text);
            }
        }
    }

    fn wanted(&self, detail: &Detail) -> bool {
        let gap = detail.event_type() == Some(EventType::Gap);
        // What cannot be read has no name.
        gap || detail.type_name().is_none_or(|name| self.types.matches(name))
    }

    fn line(&mut self, event: &Event, text: &mut String) {
        match self.form {
            Form::Json => text.push_str(&ecs::line(&ecs::event(event))),
            Form::Text(look) => {
                let day = date(event.time, look);
                if self.day != Some(day) {
                    self.day = Some(day);
                    text.push_str(&format!("--- {day} ---\n"));
                }
                text.push_str(&render::event_line(event, look));
            }
        }
        text.push('\n');
    }
}

fn date(time: UnixNanos, look: &Look) -> Date {
    time.timestamp().to_zoned(look.zone.clone()).date()
}
