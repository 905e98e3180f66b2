//! Measures the real binary: how soon a login is on a screen, what an idle node, an idle hub and a WireGuard peer cost,
//! and how fast the auth log is read.
//!
//! Build the product with the same profile first: `cargo build --release`.

mod connections;
mod exec;
mod fanout;
mod http;
mod idle;
mod latency;
mod load;
mod overload;
mod parse;
mod wireguard;

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
    /// From a utmp record, a line of an auth log and a message to journald to the line that `secmon watch --json`
    /// prints.
    Latency {
        /// How many of each.
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        count: u32,
        /// One JSON object for each instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Processor time, memory and wake-ups of an idle node with all watchers on, of its children, and of an idle hub.
    Idle {
        /// For how long the idle processor time is counted.
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
        seconds: u64,
        /// Without a WireGuard interface, and without a look for any.
        #[arg(long)]
        without_wireguard: bool,
        /// One JSON object per process instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Events of many nodes to many subscribers: how many a second, and what they cost the hub.
    Fanout(fanout::Arguments),
    /// What an idle node's connection costs the hub, and how soon all nodes are back after a restart of it.
    Connections(connections::Arguments),
    /// How long the event of a quiet node takes beside nodes that send all they can.
    Overload(overload::Arguments),
    /// A command's output from a node to a client: how much a second, and how soon its first byte.
    Exec(exec::Arguments),
    /// Events to many listeners by HTTP, and to as many on the hub's socket.
    Http(http::Arguments),
    /// The server that `connections` and `exec` compare with.
    #[command(hide = true)]
    BareTls {
        /// Let clients resume their sessions.
        #[arg(long)]
        tickets: bool,
    },
    /// Lines per second of the auth log's parser, on one core.
    Parse(parse::Arguments),
    /// Processor time of a node with a WireGuard peer that talks, beside a node that does not watch WireGuard.
    Wireguard {
        /// For how long it is counted, after 45 s of rest.
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
        seconds: u64,
        /// Further peers, which never talk.
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=20_000))]
        silent: u32,
        /// One JSON object per node instead of text.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().what {
        What::Latency { count, json } => latency::run(count, json),
        What::Fanout(arguments) => fanout::run(&arguments),
        What::Connections(arguments) => connections::run(&arguments),
        What::Http(arguments) => http::run(&arguments),
        What::Exec(arguments) => exec::run(&arguments),
        What::BareTls { tickets } => connections::bare::serve(tickets),
        What::Overload(arguments) => overload::run(&arguments),
        What::Parse(arguments) => parse::run(&arguments),
        What::Wireguard { seconds, silent, json } => wireguard::run(seconds, silent, json),
        What::Idle { seconds, without_wireguard, json } => idle::run(seconds, without_wireguard, json),
    }
}
