//! Measures the real binary: how soon a login is on a screen, and what an idle node and hub cost; and how fast
//! the auth log is read.
//!
//! Build the product with the same profile first: `cargo build --release`.

mod idle;
mod latency;
mod parse;

use clap::{Parser, Subcommand};

/// Measures the secmon that lies beside this program, or the one that SECMON_BIN names.
#[derive(Parser)]
#[command(name = "bench")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// From the write of a utmp record to the line that `secmon watch --json` prints.
    Latency {
        /// How many logins.
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        count: u32,
        /// One JSON object instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Memory, processor time and wake-ups of an idle node and an idle hub.
    Memory {
        /// For how long the idle processor time is counted.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
        seconds: u64,
        /// One JSON object per process instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Lines per second of the auth log's parser, on one core.
    Parse(parse::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().what {
        What::Latency { count, json } => latency::run(count, json),
        What::Memory { seconds, json } => idle::run(seconds, json),
        What::Parse(arguments) => parse::run(&arguments),
    }
}
