//! `run`: a command of a node, or of many. `one` runs it on one node as if it ran here; `many` on several, with `plan`
//! (when which), `paper` (what a node printed, for the screen) and `screen`; `detach` leaves it to the hub. `given` are the
//! arguments, `targets` the nodes.

mod detach;
pub mod given;
mod many;
#[cfg(test)]
mod many_tests;
mod one;
mod paper;
mod plan;
mod screen;
pub(super) mod targets;

use std::time::Duration;

use clap::{Args, builder::ValueHint};
use clap_complete::ArgValueCompleter;
use jiff::{Span, SpanRelativeTo};
use secmon_protocol::{
    command::{Arg, RunEnd},
    message::{ErrorCode, client::NodeSummary},
};

use self::{
    plan::Order,
    targets::{NoTarget, Target, Targets},
};
use super::{Common, EXIT_CODES, Failure, complete};
use crate::{Client, ClientError};

/// The command ended because its time was up, as timeout(1) has it.
pub(super) const TIMED_OUT: u8 = 124;
/// secmon failed before the command's end, as timeout(1) and env(1) have it.
pub(super) const FAILED: u8 = 125;
/// How long a cancelled command may take to end before it is left to the node: the node sends TERM, waits,
/// and then sends KILL.
const CANCEL_WITHIN: Duration = Duration::from_secs(15);
/// So many nodes at once unless somebody says otherwise: enough to hide the network, few enough to read.
const AT_ONCE: u16 = 16;
/// Most nodes at once: each costs a window of output in the memory of the hub, and of this program.
const MOST_AT_ONCE: u16 = 256;

const EXAMPLES: &str = "\
Examples:
  secmon run web-1 restart-web
  secmon run web-1 tail lines=50 file=auth.log
  secmon run web-1 backup > backup.tar
  secmon run web-1,db-1 uptime            on two nodes, each line with the node's name before it
  secmon run 'web*' restart-web --rolling 1
                                          one after the other, and no further after the first failure
  secmon run --all uptime --parallel 64 --group
  secmon run web-1 backup --detach        goes on without this terminal: see `secmon jobs`
  secmon run web-1 upgrade --queue-for 8h also if web-1 comes back in the night

What may be run: secmon commands NODE";

/// Arguments of `run`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"),
    override_usage = "secmon run [OPTIONS] NODE[,NODE…] LABEL [NAME=VALUE…]\n       secmon run [OPTIONS] --all LABEL [NAME=VALUE…]"
)]
pub struct RunArgs {
    /// The node: its name, its id, or a beginning of its id that no other node has. Several with commas between them, or
    /// by a pattern: * and ? are wildcards. (Left out with --all.)
    #[arg(value_name = "NODE", required_unless_present = "all", add = ArgValueCompleter::new(complete::run_word))]
    node: Option<String>,
    /// The command's label in the node's allowlist
    #[arg(value_name = "LABEL", value_hint = ValueHint::Other, add = ArgValueCompleter::new(complete::run_word))]
    label: Option<String>,
    /// Arguments of the command; `secmon commands NODE` says which it takes
    #[arg(value_name = "NAME=VALUE", value_hint = ValueHint::Other, add = ArgValueCompleter::new(complete::run_word))]
    args: Vec<String>,
    /// Run it on every node
    #[arg(long)]
    all: bool,
    /// On several nodes: so many side by side, at most 256 [default: 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(MOST_AT_ONCE)))]
    parallel: Option<u16>,
    /// On several nodes: so many at a time, and on no further one after the first failure
    #[arg(long, value_name = "N", conflicts_with = "parallel",
          value_parser = clap::value_parser!(u16).range(1..=i64::from(MOST_AT_ONCE)))]
    rolling: Option<u16>,
    /// With --rolling: go on after a failure
    #[arg(long = "continue", requires = "rolling")]
    go_on: bool,
    /// On several nodes: print what each node printed in one piece, when it is done
    #[arg(long, conflicts_with = "json")]
    group: bool,
    /// Leave standard input alone; otherwise a command on one node that reads input gets it
    #[arg(short, long)]
    no_input: bool,
    /// Do not wait: print the job's number, and let it go on without this program
    #[arg(long, conflicts_with_all = ["parallel", "rolling", "group"])]
    detach: bool,
    /// As --detach; and if the node is away, or busy with the same command, wait for it so long: 30m, 8h, 2d
    #[arg(long, value_name = "DURATION", value_parser = queue_for, conflicts_with_all = ["parallel", "rolling", "group"])]
    queue_for: Option<Duration>,
    /// Print one JSON object per piece of output (in base64), and one for the end of each run
    #[arg(long)]
    json: bool,
}

/// What is to be run, wherever.
#[derive(Debug, Clone, PartialEq, Eq)]
struct What {
    label: String,
    args: Vec<Arg>,
}

/// The longest that a hub lets a job wait, in seconds: 30 days.
const LONGEST_WAIT: u64 = 30 * 24 * 60 * 60;

/// A duration of at least a second, in words that people use.
fn queue_for(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<Span>().and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()));
    match Duration::try_from(
        parsed.map_err(|_| "write it in one word with its unit, as 30m, 8h or 2d".to_owned())?,
    ) {
        Ok(duration) if duration >= Duration::from_secs(1) && duration.as_secs() <= LONGEST_WAIT => {
            Ok(duration)
        }
        _ => Err("it must be at least one second, and at most 30 days".to_owned()),
    }
}

pub(super) async fn run(args: &RunArgs, common: &Common) -> Result<u8, Failure> {
    let (targets, what) = said(args).map_err(usage)?;
    if args.detach || args.queue_for.is_some() {
        return detach::detach(args, &targets, &what, common).await;
    }
    own_output_fails(match &targets {
        Targets::One(node) => {
            let options = [(args.parallel.is_some(), "--parallel"), (args.rolling.is_some(), "--rolling")];
            if let Some((_, option)) =
                options.iter().chain(&[(args.group, "--group")]).find(|(given, _)| *given)
            {
                let message =
                    format!("{option} is for several nodes: NODE,NODE, a pattern like 'web*', or --all");
                return Err(usage(message));
            }
            Box::pin(one::run(node, &what, args, common)).await
        }
        _ => Box::pin(many::run(&targets, what, args, common)).await,
    })
}

/// The nodes and the command. With `--all` the words are a label and arguments; else a node stands before them.
fn said(args: &RunArgs) -> Result<(Targets, What), String> {
    let mut words = args.node.iter().chain(&args.label).chain(&args.args);
    let node = if args.all { None } else { words.next() };
    let targets = node.map_or(Targets::All, |node| Targets::parse(node));
    let Some(label) = words.next().cloned() else {
        let node = match &targets {
            Targets::One(node) => node,
            _ => "NODE",
        };
        return Err(format!("which command? `secmon commands {node}` lists them"));
    };
    if label.contains('=') {
        let hint = if args.all { "with --all no node is named" } else { "a node and a label come first" };
        return Err(format!("\"{label}\" stands where the command's label should; {hint}"));
    }
    let words: Vec<String> = words.cloned().collect();
    Ok((targets, What { label, args: given::parse(&words)? }))
}

impl RunArgs {
    fn order(&self) -> Order {
        match (self.rolling, self.parallel) {
            (Some(n), _) if self.go_on => Order::Parallel(n.into()),
            (Some(n), _) => Order::Rolling(n.into()),
            (None, n) => Order::Parallel(n.unwrap_or(AT_ONCE).into()),
        }
    }
}

fn usage(message: String) -> Failure {
    Failure::Other { message, code: 2 }
}

/// What is said of a node that is not known, and is not nearly called like another: many write the command before it.
async fn unknown(client: &Client, node: &str, what: &What, error: &ClientError) -> Option<String> {
    let ClientError::Request(refusal) = error else { return None };
    if refusal.code != ErrorCode::UnknownNode || !refusal.near.is_empty() {
        return None;
    }
    let nodes = client.list().await.ok()?;
    Some(match nodes.iter().any(|other| other.name.as_str() == what.label) {
        true => {
            format!("{error}, but \"{0}\" is one: the node comes first, `secmon run {0} {node}`", what.label)
        }
        false => format!("{error}; see `secmon list`"),
    })
}

fn resolve(targets: &Targets, nodes: &[NodeSummary]) -> Result<Vec<Target>, Failure> {
    targets.resolve(nodes).map_err(|NoTarget(message)| Failure::Other { message, code: 4 })
}

/// A `run` whose own output fails ends with [`FAILED`]: 0 would say that the command ended well, and 1 is a
/// code of the command's. That nobody reads needs no words, for whoever stopped reading knows.
fn own_output_fails(result: Result<u8, Failure>) -> Result<u8, Failure> {
    match result {
        Err(failure @ (Failure::Closed | Failure::Output(_))) => {
            failure.report();
            Ok(FAILED)
        }
        other => other,
    }
}

/// The exit code that says how a command ended; what it does not say is left to words.
pub(super) fn exit_code(end: &RunEnd) -> u8 {
    match end {
        RunEnd::Exited(code) => u8::try_from(code & 0xff).unwrap_or(FAILED),
        RunEnd::Signalled(signal) => u8::try_from(signal.saturating_add(128)).unwrap_or(FAILED),
        RunEnd::TimedOut => TIMED_OUT,
        RunEnd::Cancelled | RunEnd::TooMuchOutput | RunEnd::Failed { .. } => FAILED,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use secmon_protocol::{
        command::{RunFailure, Usage},
        ecs,
    };

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        run: RunArgs,
    }

    fn of(words: &str) -> Result<(Targets, What), String> {
        let line = Line::try_parse_from(["run"].into_iter().chain(words.split(' ')));
        said(&line.map_err(|error| error.to_string())?.run)
    }

    #[test]
    fn all_takes_the_place_of_a_node() {
        let what = |label: &str, args: &[(&str, &str)]| What {
            label: label.into(),
            args: args
                .iter()
                .map(|(name, value)| Arg { name: (*name).into(), value: (*value).into() })
                .collect(),
        };
        let one = Targets::One("web-1".into());
        assert_eq!(of("web-1 tail lines=5").unwrap(), (one.clone(), what("tail", &[("lines", "5")])));
        assert_eq!(of("web-1 uptime").unwrap(), (one, what("uptime", &[])));
        assert_eq!(
            of("--all tail a=1 b=2").unwrap(),
            (Targets::All, what("tail", &[("a", "1"), ("b", "2")]))
        );
        assert_eq!(of("uptime --all").unwrap(), (Targets::All, what("uptime", &[])));
        assert!(of("--all").unwrap_err().starts_with("which command?"));
        for bad in [
            "web-1",
            "web-1 lines=5",
            "web-1 tail x",
            "--all a=1",
            "a b --queue-for x",
            "a b --queue-for 1",
            "a b --queue-for 31d",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_output_that_fails_is_never_taken_for_the_commands_own_end() {
        let output_failed = |kind| own_output_fails(Err(std::io::Error::from(kind).into())).ok();
        assert_eq!(output_failed(std::io::ErrorKind::BrokenPipe), Some(FAILED));
        assert_eq!(output_failed(std::io::ErrorKind::StorageFull), Some(FAILED));
        assert_eq!(own_output_fails(Ok(7)).ok(), Some(7));
        let lost = own_output_fails(Err(Failure::Other { message: "x".into(), code: FAILED }));
        assert!(matches!(&lost, Err(failure) if failure.exit_code() == FAILED), "{lost:?}");
    }

    #[test]
    fn the_end_of_a_run_reads_the_same_for_ever() {
        let failed = RunEnd::Failed { why: RunFailure::Busy, message: "too many".into() };
        let ends = [
            RunEnd::Exited(3),
            RunEnd::Signalled(9),
            RunEnd::TimedOut,
            RunEnd::Cancelled,
            RunEnd::TooMuchOutput,
            failed,
        ];
        let mut lines =
            ends.map(|end| format!("{} {}", exit_code(&end), ecs::run_ended(&end, None))).join("\n");
        let usage = Usage { wall_ns: 5, user_ns: 4, system_ns: 3, max_rss: 2, output: 1 };
        let mut used = ecs::run_ended(&RunEnd::Exited(0), Some(&usage));
        used.sort_all_objects();
        lines.push_str(&format!("\n{used}"));
        insta::assert_snapshot!(lines, @r#"
        3 {"end":"exited","exit_code":3}
        137 {"end":"signalled","signal":9}
        124 {"end":"timed_out"}
        125 {"end":"cancelled"}
        125 {"end":"too_much_output"}
        125 {"end":"failed","message":"too many"}
        {"end":"exited","exit_code":0,"usage":{"max_rss_bytes":2,"output_bytes":1,"system_ns":3,"user_ns":4,"wall_ns":5}}
        "#);
    }
}
