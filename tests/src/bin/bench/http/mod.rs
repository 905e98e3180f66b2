//! The same events to as many listeners: by server-sent events of the bridge, and by subscriptions on the hub's own socket beside it.
//!
//! The load, its listeners, the hub and the bridge share the processors.

mod listener;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Args;
use listener::Listener;
use secmon_testkit::{
    process::Process,
    product::{Hub, Lab, Place, arg},
};
use serde_json::json;
use tokio::task::JoinSet;

use crate::load::{PATIENCE, account, fleet, node::SimNode, runtime, subscriber::Subscriber};

#[derive(Args)]
pub(crate) struct Arguments {
    /// Listeners, each with a connection of its own and a filter that every event matches.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1000))]
    clients: u64,
    /// Simulated nodes, each with a TLS connection of its own.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1000))]
    nodes: u64,
    /// Events of each node in one round.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    events: u64,
    /// Rounds are repeated until so many seconds have passed.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// One JSON object for each instead of text.
    #[arg(long)]
    json: bool,
}

/// How long memory is let settle before it is read.
const SETTLE: Duration = Duration::from_millis(500);

/// Who listens, and to which process.
enum Ears {
    Socket(Vec<Subscriber>),
    Sse(Vec<Listener>),
}

/// What one of the two did.
struct Figures {
    what: &'static str,
    delivered: u64,
    lost: u64,
    out_of_order: u64,
    gaps: u64,
    seconds: f64,
    /// Of the process that the listeners are connected to.
    cpu: f64,
    /// What it grew by when they connected, each.
    kib_each: f64,
    peak_kib: u64,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    account::raise_files(4 * arguments.clients + 1_000)?;
    let runtime = runtime()?;
    let socket = runtime.block_on(measure(arguments, false))?;
    socket.show(arguments);
    let sse = runtime.block_on(measure(arguments, true))?;
    sse.show(arguments);
    let rate = sse.rate() / socket.rate();
    let cpu = sse.cpu_per_million() / socket.cpu_per_million();
    let memory = sse.kib_each / socket.kib_each;
    if arguments.json {
        let ratios = json!({
            "what": "sse / socket", "deliveries_per_second": rate, "cpu_seconds_per_million": cpu, "kib_per_client": memory,
        });
        println!("{ratios}");
    } else {
        println!(
            "sse / socket: {rate:.2} of its rate, {cpu:.2} of its CPU, {memory:.2} of its memory per client"
        );
    }
    anyhow::ensure!(sse.lost == 0 && socket.lost == 0, "events were lost");
    Ok(())
}

/// A bridge, and a token for it.
struct Bridge {
    process: Process,
    address: SocketAddr,
    token: String,
}

impl Bridge {
    fn start(lab: &Lab, hub: &Hub<'_>) -> anyhow::Result<Self> {
        let state = lab.path("http");
        let token = Process::run(
            "token",
            Place::Here.secmon().args([
                "http",
                "token",
                "add",
                "bench",
                "--role",
                "viewer",
                "--state-dir",
                arg(&state),
            ]),
        );
        anyhow::ensure!(token.code() == 0, "no token: {token}");
        // More than a thousand listeners come from one address, and at once.
        let config = lab.write(
            "http.toml",
            "[limits]\nconnections = 4096\nconnections_per_address = 4096\nrequests_per_second = 10000\nburst = 10000\n",
        );
        let mut command = Place::Here.secmon();
        command.args([
            "http",
            "--listen",
            "127.0.0.1:0",
            "--state-dir",
            arg(&state),
            "--config",
            arg(&config),
        ]);
        command.arg("--socket").arg(hub.socket());
        let process = Process::spawn("http", &mut command);
        let address = |line: &str| -> Option<SocketAddr> {
            let after = line.split_once("listening")?.1.split_once("address=")?.1;
            after.split_whitespace().next()?.trim_matches('"').parse().ok()
        };
        let line = process.wait_for_log("the bridge to listen", |line| address(line).is_some());
        let address = address(&line).context("the line was found by its address")?;
        Ok(Self { process, address, token: token.out().trim().to_owned() })
    }
}

async fn measure(arguments: &Arguments, by_sse: bool) -> anyhow::Result<Figures> {
    let lab = Lab::new();
    let hub = Hub::start(&lab, Place::Here);
    let bridge = by_sse.then(|| Bridge::start(&lab, &hub)).transpose()?;
    let pid = bridge.as_ref().map_or_else(|| hub.process().pid(), |bridge| bridge.process.pid());
    let members = fleet::enrol(hub.socket(), usize::try_from(arguments.nodes)?).await?;
    let mut nodes = Vec::new();
    for member in &members {
        nodes.push(SimNode::connect(member, hub.address).await?);
    }
    // What the first event makes is made before memory is read.
    let mut first = connect(1, &hub, bridge.as_ref()).await?;
    round(&mut nodes, &mut first, 1, arguments.nodes).await?;
    tokio::time::sleep(SETTLE).await;
    let before = account::kib(pid, "VmRSS")?;
    let mut ears = connect(arguments.clients, &hub, bridge.as_ref()).await?;
    tokio::time::sleep(SETTLE).await;
    let kib_each = account::kib(pid, "VmRSS")?.saturating_sub(before) as f64 / arguments.clients as f64;
    drop(first);
    // The first round warms up.
    let each_round = arguments.events * arguments.nodes;
    let mut all = each_round;
    in_time(round(&mut nodes, &mut ears, arguments.events, all)).await?;
    let warm = ears.delivered();
    let (cpu, start) = (account::cpu(pid)?, Instant::now());
    while start.elapsed() < Duration::from_secs(arguments.seconds) {
        all += each_round;
        in_time(round(&mut nodes, &mut ears, arguments.events, all)).await?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let (out_of_order, gaps) = ears.mistakes();
    Ok(Figures {
        what: if by_sse { "sse" } else { "socket" },
        delivered: ears.delivered() - warm,
        lost: (all * arguments.clients).saturating_sub(ears.delivered()),
        out_of_order,
        gaps,
        seconds,
        cpu: (account::cpu(pid)? - cpu).as_secs_f64(),
        kib_each,
        peak_kib: account::kib(pid, "VmHWM")?,
    })
}

async fn connect(count: u64, hub: &Hub<'_>, bridge: Option<&Bridge>) -> anyhow::Result<Ears> {
    Ok(match bridge {
        Some(bridge) => {
            let mut listeners = Vec::new();
            for _ in 0..count {
                listeners.push(Listener::listen(bridge.address, &bridge.token).await?);
            }
            Ears::Sse(listeners)
        }
        None => {
            let mut subscribers = Vec::new();
            for _ in 0..count {
                subscribers.push(Subscriber::subscribe(hub.socket()).await?);
            }
            Ears::Socket(subscribers)
        }
    })
}

/// Every node sends so many events as fast as they are taken; returns when every listener has `all`.
async fn round(nodes: &mut Vec<SimNode>, ears: &mut Ears, each: u64, all: u64) -> anyhow::Result<()> {
    let mut sending: JoinSet<anyhow::Result<SimNode>> = nodes
        .drain(..)
        .map(|mut node| async move {
            node.send(each).await?;
            Ok(node)
        })
        .collect();
    match ears {
        Ears::Socket(subscribers) => {
            let mut reading: JoinSet<anyhow::Result<Subscriber>> = subscribers
                .drain(..)
                .map(|mut subscriber| async move {
                    subscriber.read_until(all).await?;
                    Ok(subscriber)
                })
                .collect();
            while let Some(done) = reading.join_next().await {
                subscribers.push(done??);
            }
        }
        Ears::Sse(listeners) => {
            let mut reading: JoinSet<anyhow::Result<Listener>> = listeners
                .drain(..)
                .map(|mut listener| async move {
                    listener.read_until(all).await?;
                    Ok(listener)
                })
                .collect();
            while let Some(done) = reading.join_next().await {
                listeners.push(done??);
            }
        }
    }
    while let Some(done) = sending.join_next().await {
        nodes.push(done??);
    }
    Ok(())
}

async fn in_time(round: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::time::timeout(PATIENCE, round).await.context("a round did not end in time")?
}

impl Ears {
    fn delivered(&self) -> u64 {
        match self {
            Self::Socket(all) => all.iter().map(|one| one.tally.delivered).sum(),
            Self::Sse(all) => all.iter().map(|one| one.delivered).sum(),
        }
    }

    /// Out of order, and gaps.
    fn mistakes(&self) -> (u64, u64) {
        match self {
            Self::Socket(all) => {
                all.iter().fold((0, 0), |sum, one| (sum.0 + one.tally.out_of_order, sum.1 + one.tally.gaps))
            }
            Self::Sse(all) => {
                all.iter().fold((0, 0), |sum, one| (sum.0 + one.out_of_order, sum.1 + one.gaps))
            }
        }
    }
}

impl Figures {
    fn rate(&self) -> f64 {
        self.delivered as f64 / self.seconds
    }

    fn cpu_per_million(&self) -> f64 {
        self.cpu * 1e6 / self.delivered.max(1) as f64
    }

    fn show(&self, arguments: &Arguments) {
        let Self { what, delivered, lost, out_of_order, gaps, seconds, cpu, kib_each, peak_kib } = self;
        let (rate, per_million) = (self.rate(), self.cpu_per_million());
        if arguments.json {
            let figures = json!({
                "what": what, "clients": arguments.clients, "nodes": arguments.nodes, "events_per_node_and_round": arguments.events,
                "delivered": delivered, "lost": lost, "out_of_order": out_of_order, "gaps": gaps, "seconds": seconds,
                "deliveries_per_second": rate, "cpu_seconds": cpu, "cpu_seconds_per_million": per_million,
                "kib_per_client": kib_each, "peak_kib": peak_kib,
            });
            println!("{figures}");
            return;
        }
        println!(
            "{what}: {} listeners; {delivered} events delivered in {seconds:.2} s, {rate:.0} a second; {lost} lost, \
             {out_of_order} out of order, {gaps} gaps",
            arguments.clients
        );
        println!(
            "  {cpu:.2} s of CPU, {per_million:.3} s per million; {kib_each:.1} KiB of memory for each listener, at most \
             {peak_kib} KiB in all"
        );
    }
}
