//! `watch`: events as they happen, a line each.

use std::io::IsTerminal as _;

use clap::Args;
use jiff::civil::Date;
use secmon_protocol::{
    ecs,
    event::{Detail, Event, EventType},
    limits::MAX_PATTERNS,
    message::client::{Filter, From as StartFrom, NodeSummary},
    text::printable,
};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    signal::unix::{SignalKind, signal},
};

use super::{
    Common, EXIT_CODES, Failure,
    screen::{look, note, now},
};
use crate::{
    Item, Subscription,
    pattern::Patterns,
    render::{self, Look},
};

/// Lines that wait for one write: while events come faster than they can be written, this much of them
/// goes out at once. 64 KiB is what a pipe takes.
const BATCH: usize = 64 << 10;

const EXAMPLES: &str = "\
Examples:
  secmon watch
  secmon watch --type 'session.*' --type 'auth.*'
  secmon watch --node 'web-*' --json | jq -r '.host.name + \" \" + .secmon.type'

Types: node.* facet.* session.* wg.* auth.* command.*, and gap, which is never left out.";

/// What to try in the place of a pattern for types that matches none.
const TYPES: &str = "there are node.*, facet.*, session.*, wg.*, auth.*, command.* and gap";

/// Arguments of `watch`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub struct WatchArgs {
    /// Only nodes whose name or id matches; * and ? are wildcards; may be given several times
    #[arg(long, value_name = "PATTERN")]
    node: Vec<String>,
    /// Only events whose type matches; * and ? are wildcards; may be given several times
    #[arg(long = "type", value_name = "PATTERN")]
    types: Vec<String>,
    /// Print one JSON object per event, in the Elastic Common Schema
    #[arg(long)]
    json: bool,
}

/// The form of the lines of [`watch_lines`].
#[derive(Debug, Clone)]
pub enum Form {
    /// One JSON object each.
    Json,
    /// For people.
    Text(Look),
}

pub(super) async fn watch(args: &WatchArgs, common: &Common) -> Result<u8, Failure> {
    // One place is kept for `gap`.
    if args.node.len() > MAX_PATTERNS || args.types.len() >= MAX_PATTERNS {
        let message = format!("too many patterns: at most {} are allowed", MAX_PATTERNS - 1);
        return Err(Failure::Other { message, code: 2 });
    }
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::Output)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::Output)?;
    let work = async {
        let client = common.connect().await?;
        let filter = filter(args);
        let form = if args.json { Form::Json } else { Form::Text(look()) };
        let greet = !args.json && std::io::stderr().is_terminal();
        let nodes = if greet || !args.node.is_empty() { client.list().await? } else { vec![] };
        for pattern in &args.types {
            if !matches_a_type(pattern) {
                note(&format!("secmon: no type of event matches \"{}\"; {TYPES}", printable(pattern)));
            }
        }
        for pattern in &args.node {
            if count(&nodes, std::slice::from_ref(pattern)) == 0 {
                let pattern = printable(pattern);
                note(&format!(
                    "secmon: no node that is known matches \"{pattern}\"; watching for one to come"
                ));
            }
        }
        let subscription = client.subscribe(StartFrom::Now, filter).await?;
        if args.json {
            note(&format!("watching from {}", subscription.after()));
        } else if greet {
            let count = count(&nodes, &args.node);
            let s = if count == 1 { "" } else { "s" };
            note(&format!("watching {count} node{s}; Ctrl-C ends"));
        }
        watch_lines(subscription, &args.types, &form, &mut tokio::io::stdout()).await
    };
    tokio::select! {
        result = work => match result? {},
        _ = interrupt.recv() => Ok(130),
        _ = terminate.recv() => Ok(143),
    }
}

/// How many nodes match one of these patterns, by name or id.
fn count(nodes: &[NodeSummary], patterns: &[String]) -> usize {
    let patterns = Patterns::new(patterns);
    let matches = |n: &&NodeSummary| patterns.matches(n.name.as_str()) || patterns.matches(&n.id.to_string());
    nodes.iter().filter(matches).count()
}

fn matches_a_type(pattern: &String) -> bool {
    let patterns = Patterns::new(std::slice::from_ref(pattern));
    EventType::ALL.iter().any(|kind| patterns.matches(kind.as_str()))
}

/// What is asked of the hub. Gaps are always wanted: a watch that leaves them out would be silent about
/// what it does not see.
fn filter(args: &WatchArgs) -> Filter {
    let mut types = args.types.clone();
    if !types.is_empty() {
        types.push(EventType::Gap.as_str().to_owned());
    }
    Filter { nodes: args.node.clone(), types }
}

/// Writes the events of a subscription to `out` as they come, each line flushed at once, until the
/// subscription breaks or `out` does. Events whose type matches none of `types` (all, when there is none)
/// are left out; gaps and what cannot be read never are. Before the first line of another day than today
/// stands a line with its date.
///
/// # Errors
/// How it ended: the connection, or `out`. [`Failure::Closed`] when `out` was closed.
pub async fn watch_lines<W: AsyncWrite + Unpin>(
    mut subscription: Subscription,
    types: &[String],
    form: &Form,
    out: &mut W,
) -> Result<std::convert::Infallible, Failure> {
    let mut lines = Lines::new(types, form);
    loop {
        let mut item = subscription.next().await?;
        let mut text = String::new();
        let ended = loop {
            lines.of(item, &mut text);
            if text.len() >= BATCH {
                break None;
            }
            match subscription.try_next() {
                None => break None,
                Some(Ok(next)) => item = next,
                Some(Err(error)) => break Some(error),
            }
        };
        if !text.is_empty() {
            out.write_all(text.as_bytes()).await?;
            out.flush().await?;
        }
        if let Some(error) = ended {
            return Err(error.into());
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

    fn of(&mut self, item: Item, text: &mut String) {
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
        match detail.event_type() {
            None | Some(EventType::Gap) => true,
            Some(kind) => self.types.matches(kind.as_str()),
        }
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

fn date(time: secmon_protocol::time::UnixNanos, look: &Look) -> Date {
    time.timestamp().to_zoned(look.zone.clone()).date()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_matches_no_type_is_known_for_one() {
        for good in ["gap", "auth.*", "*", "session.?pened", "command.finished"] {
            assert!(matches_a_type(&good.to_owned()), "{good}");
        }
        for bad in ["", "nonsense", "auth", "Auth.*", "session"] {
            assert!(!matches_a_type(&bad.to_owned()), "{bad}");
        }
    }
}
