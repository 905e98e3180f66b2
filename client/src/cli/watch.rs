//! `watch`: events as they happen, a line each.

use std::io::IsTerminal as _;

use clap::Args;
use clap_complete::ArgValueCompleter;
use secmon_protocol::{
    event::EventType,
    limits::MAX_PATTERNS,
    message::client::{Filter, From as StartFrom, NodeSummary},
    state_event::StateEntry,
    text::printable,
};
use tokio::signal::unix::{SignalKind, signal};

use super::{
    AGENT, Common, EXIT_CODES, Failure, complete,
    lines::{Form, watch_lines},
    screen::{look, note},
    since::since,
};
use crate::{Follow, pattern::Patterns};

const EXAMPLES: &str = "\
Examples:
  secmon watch
  secmon watch --type 'session.*' --type 'auth.*'
  secmon watch --node 'web-*' --json | jq -r '.host.name + \" \" + .secmon.type'
  secmon watch --since 10m            what the hub took in the last ten minutes, then what happens
  secmon watch --since boot           since this machine was started
  secmon watch --since 0199aa00bb11cc22-1041
                                      everything after that secmon.cursor
  secmon watch --snapshot             everything that stands, then what happens

Types: node.* facet.* session.* wg.* auth.* command.* access.*, and gap, which is never left out.";

/// What to try in the place of a pattern for types that matches none.
const TYPES: &str = "there are node.*, facet.*, session.*, wg.*, auth.*, command.*, access.* and gap";

/// Arguments of `watch`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub struct WatchArgs {
    /// Only nodes whose name or id matches; * and ? are wildcards; may be given several times
    #[arg(long, value_name = "PATTERN", add = ArgValueCompleter::new(complete::node))]
    node: Vec<String>,
    /// Only events whose type matches; * and ? are wildcards; may be given several times
    #[arg(long = "type", value_name = "PATTERN", add = ArgValueCompleter::new(complete::event_type))]
    types: Vec<String>,
    /// Begin there: after a cursor, or with what the hub took since a time: 10m, 2h, 1d, boot, '2026-11-21 10:00'
    #[arg(long, value_name = "WHEN", value_parser = since, conflicts_with = "snapshot")]
    since: Option<StartFrom>,
    /// Print first what stands: a line per node, facet, session and WireGuard peer
    #[arg(long)]
    snapshot: bool,
    /// Print one JSON object per event, in the Elastic Common Schema
    #[arg(long)]
    json: bool,
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
        let form = if args.json { Form::Json } else { Form::Text(look()) };
        let greet = !args.json && std::io::stderr().is_terminal();
        let nodes =
            if greet || !args.node.is_empty() { common.connect().await?.list().await? } else { vec![] };
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
        let mut follow = Follow::new(&common.socket(), AGENT, from(args), filter(args));
        // The first time a hub that is not there is a mistake, and no reason to wait.
        follow.connect().await?;
        if args.json {
            if let Some(after) = follow.after() {
                note(&format!("watching from {after}"));
            }
        } else if greet {
            let count = count(&nodes, &args.node);
            let s = if count == 1 { "" } else { "s" };
            note(&format!("watching {count} node{s}; Ctrl-C ends"));
        }
        watch_lines(follow, &args.types, &form, &mut tokio::io::stdout()).await
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
    let mut all = EventType::ALL.iter().map(|kind| kind.as_str()).chain(StateEntry::TYPES);
    all.any(|kind| patterns.matches(kind))
}

/// Where it begins.
fn from(args: &WatchArgs) -> StartFrom {
    match args.since {
        Some(since) => since,
        None if args.snapshot => StartFrom::Snapshot,
        None => StartFrom::Now,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_matches_no_type_is_known_for_one() {
        for good in ["gap", "auth.*", "*", "session.?pened", "command.finished", "wg.peer_st*"] {
            assert!(matches_a_type(&good.to_owned()), "{good}");
        }
        for bad in ["", "nonsense", "auth", "Auth.*", "session"] {
            assert!(!matches_a_type(&bad.to_owned()), "{bad}");
        }
    }
}
