//! Chaos: a real hub, real nodes and real subscribers, killed, stopped, cut off and without room on their disks, while
//! numbered lines are written to the auth logs; then the verdict: every number is everywhere, once and in order, or
//! in a gap that says so; and every login is in a chat of a Telegram that fails as well.
//!
//! Build the product with the same profile first: `cargo build`. Needs root.

mod bot;
mod judge;
mod plan;
mod program;
mod raw;
mod run;
mod sink;
mod stage;
mod timeline;
mod verdict;
mod watch;
mod writer;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, ValueEnum as _};
use plan::Fault;
use secmon_testkit::need::{Need, lacking};

/// How long the whole may take to be well again once nothing is done to it any more: a node tries to reach the hub
/// every 30 seconds at least, and a machine may be slow.
pub(crate) const HEAL: Duration = Duration::from_secs(90);

/// Kills, stops and cuts off a hub, nodes and subscribers for a while, and looks whether anything went missing
/// in silence.
#[derive(Parser)]
#[command(name = "chaos")]
struct Arguments {
    /// How long things are done to them.
    #[arg(default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=86_400))]
    seconds: u64,
    /// What is done, to whom and when, follows from this number; by default another one each time.
    seed: Option<u64>,
    /// Nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=16))]
    nodes: u8,
    /// Faults that are left out.
    #[arg(long, value_enum, value_delimiter = ',')]
    without: Vec<Fault>,
    /// The only faults.
    #[arg(long, value_enum, value_delimiter = ',', conflicts_with = "without")]
    only: Option<Vec<Fault>>,
    /// How many times as much is written.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=20))]
    pace: u64,
    /// The size of the hub's log: with a small one, who is away or slow has gaps.
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    log_size: String,
    /// Print what is done as it is done.
    #[arg(long)]
    verbose: bool,
    /// An empty folder, made if need be, for logs and for what subscribers saw. Without it a temporary one, which stays only when
    /// the run fails.
    #[arg(long)]
    folder: Option<PathBuf>,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if lacking("chaos", &[Need::Namespaces, Need::Program("nsenter")]).is_some() {
        return Ok(ExitCode::SUCCESS);
    }
    let chosen = arguments.only.unwrap_or_else(|| Fault::value_variants().to_vec());
    let setup = run::Setup {
        seed: arguments.seed.unwrap_or_else(|| rand::random_range(1..1_000_000)),
        millis: arguments.seconds * 1_000,
        nodes: usize::from(arguments.nodes),
        faults: chosen.into_iter().filter(|fault| !arguments.without.contains(fault)).collect(),
        pace: arguments.pace,
        log_size: arguments.log_size,
        verbose: arguments.verbose,
    };
    let (temporary, folder) = match arguments.folder {
        Some(folder) => {
            std::fs::create_dir_all(&folder)?;
            (None, folder)
        }
        None => {
            let made = tempfile::Builder::new().prefix("secmon-chaos-").tempdir()?;
            let path = made.path().to_owned();
            (Some(made), path)
        }
    };
    println!("chaos: seed {}, {} s, {} nodes", setup.seed, arguments.seconds, setup.nodes);
    let outcome = run::run(&setup, &folder);
    let kept = !matches!(outcome, Ok(true));
    if let Some(temporary) = temporary
        && kept
    {
        let _ = temporary.keep();
    }
    if kept {
        println!("chaos: what there is to look at is in {}", folder.display());
        println!("chaos: again with: tests/chaos {} {}", arguments.seconds, setup.seed);
    }
    Ok(if outcome? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
