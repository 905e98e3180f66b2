//! Many nodes that have nothing to say: the memory of their connections at the hub, and how soon all are back
//! after the hub was killed, or stopped, and started again. All dial in the moment in which it listens, from one
//! address, and wait between attempts as nodes do.
//!
//! Beside it, in the same run: as many TLS handshakes with a server that does nothing else.

pub(crate) mod bare;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Args;
use rustls::{ClientConfig, HandshakeKind};
use secmon_testkit::product::{Hub, Lab, Place};
use serde_json::json;
use tokio::{io::AsyncReadExt as _, net::TcpStream, task::JoinSet, time::timeout};
use tokio_rustls::client::TlsStream;

use self::bare::Bare;
use crate::load::{
    PATIENCE, account,
    account::percentile,
    fleet::{self, Member, connect},
    node::SimNode,
    runtime,
};

#[derive(Args)]
pub(crate) struct Arguments {
    /// Simulated nodes, each with a TLS connection of its own.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    nodes: u64,
    /// One JSON object for each figure instead of text.
    #[arg(long)]
    json: bool,
}

/// What a node's connection may cost the hub, by the design, in KiB.
const BUDGET_KIB: f64 = 24.0;
/// How much longer than the bare handshakes the return of all nodes may take, by the design.
const BUDGET_RATIO: f64 = 2.0;
/// A node's deadline for connecting and the handshake, and its first and longest waits between attempts.
const ATTEMPT: Duration = Duration::from_secs(10);
const FIRST: Duration = Duration::from_millis(500);
const SLOWEST: Duration = Duration::from_secs(30);
/// Files that are no connections.
const OTHER_FILES: u64 = 256;

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    account::raise_files(arguments.nodes + OTHER_FILES)?;
    runtime()?.block_on(measure(arguments))
}

async fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let count = usize::try_from(arguments.nodes)?;
    let bare = handshakes(count, arguments).await?;
    let lab = Lab::new();
    let mut hub = Hub::start(&lab, Place::Here);
    let members: Vec<Arc<Member>> =
        fleet::enrol(hub.socket(), count).await?.into_iter().map(Arc::new).collect();

    // Started anew it has read all nodes and served none.
    assert!(hub.process().terminate().status.is_some());
    hub.start_again();
    let before = account::kib(hub.process().pid(), "VmRSS")?;
    let cpu = account::cpu(hub.process().pid())?;
    let first = all_come(&members, hub.address, SimNode::connect_to).await?;
    first.show("first coming", account::cpu(hub.process().pid())? - cpu, Some(bare), arguments.json);
    let mut nodes = idle(first.connected);
    let after = account::kib(hub.process().pid(), "VmRSS")?;
    let each = (after - before) as f64 / arguments.nodes as f64;
    if arguments.json {
        let figures = json!({
            "what": "memory", "nodes": count, "resident_before_kib": before, "resident_kib": after,
            "kib_per_idle_node": each, "budget_kib": BUDGET_KIB, "within_budget": each <= BUDGET_KIB,
            "peak_kib": account::kib(hub.process().pid(), "VmHWM")?,
        });
        println!("{figures}");
    } else {
        println!(
            "{count} idle nodes: {before} KiB before, {after} KiB with them, {each:.1} KiB each (budget {BUDGET_KIB})"
        );
    }

    // Without its keys the hub cannot resume anything, and each handshake is a full one.
    for (what, kill, forget) in [
        ("SIGKILL and the loss of its ticket keys", true, true),
        ("SIGKILL", true, false),
        ("SIGTERM", false, false),
    ] {
        if kill {
            hub.process().kill();
        } else {
            let began = Instant::now();
            let ended = hub.process().terminate();
            let seconds = began.elapsed().as_secs_f64();
            let errors = ended.err();
            let said = errors.lines().rfind(|line| line.contains("cut")).unwrap_or("nobody was cut");
            if arguments.json {
                println!(
                    "{}",
                    json!({ "what": "end by SIGTERM", "nodes": count, "seconds": seconds, "said": said })
                );
            } else {
                println!("ended by SIGTERM with {count} nodes in {seconds:.2} s: {said}");
            }
        }
        nodes.shutdown().await;
        if forget {
            std::fs::remove_file(hub.state().join("hub/tickets.key")).context("no ticket keys")?;
        }
        hub.start_again();
        let cpu = account::cpu(hub.process().pid())?;
        let back = all_come(&members, hub.address, SimNode::connect_to).await?;
        let cpu = account::cpu(hub.process().pid())? - cpu;
        back.show(&format!("back after {what}"), cpu, Some(bare), arguments.json);
        nodes = idle(back.connected);
    }
    Ok(())
}

/// The bare handshakes; gives the seconds in which all came that were not resumed.
async fn handshakes(count: usize, arguments: &Arguments) -> anyhow::Result<f64> {
    let mut full = 0.0;
    for tickets in [false, true] {
        let server = Bare::start(tickets)?;
        let clients = (0..count).map(|_| server.client()).collect::<anyhow::Result<Vec<_>>>()?;
        let mut said = vec!["bare TLS handshakes"];
        if tickets {
            said = vec!["bare TLS handshakes that leave tickets", "bare TLS handshakes, resumed"];
        }
        for what in said {
            let before = account::cpu(server.process.pid())?;
            let came = all_come(&clients, server.address, shake).await?;
            let cpu = account::cpu(server.process.pid())? - before;
            came.show(what, cpu, None, arguments.json);
            if !tickets {
                full = came.seconds;
            }
        }
    }
    Ok(full)
}

/// One handshake; the byte says that the server has seen the client's certificate.
async fn shake(tls: Arc<ClientConfig>, to: SocketAddr) -> anyhow::Result<TlsStream<TcpStream>> {
    let mut stream = connect(&tls, to).await?;
    stream.read_u8().await?;
    Ok(stream)
}

/// What came.
trait Session {
    /// Whether its TLS session was resumed.
    fn resumed(&self) -> bool;
}

impl Session for SimNode {
    fn resumed(&self) -> bool {
        self.resumed
    }
}

impl Session for TlsStream<TcpStream> {
    fn resumed(&self) -> bool {
        self.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
    }
}

/// How all came.
struct Came<C> {
    connected: Vec<C>,
    seconds: f64,
    /// Until each was there, in microseconds, sorted.
    waits: Vec<u64>,
    failed_attempts: u64,
    resumed: u64,
}

/// Has all come at once, and again where they fail, until each is there.
async fn all_come<M, C, F>(
    members: &[Arc<M>],
    to: SocketAddr,
    come: impl Fn(Arc<M>, SocketAddr) -> F + Copy + Send + 'static,
) -> anyhow::Result<Came<C>>
where
    M: Send + Sync + 'static,
    C: Session + Send + 'static,
    F: Future<Output = anyhow::Result<C>> + Send,
{
    let start = Instant::now();
    let mut coming = JoinSet::new();
    for member in members {
        let member = member.clone();
        coming.spawn(async move {
            let (mut failed, mut limit) = (0, FIRST);
            loop {
                if let Ok(Ok(there)) = timeout(ATTEMPT, come(member.clone(), to)).await {
                    return (there, start.elapsed(), failed);
                }
                failed += 1;
                tokio::time::sleep(limit.mul_f64(rand::random::<f64>())).await;
                limit = (limit * 2).min(SLOWEST);
            }
        });
    }
    let mut came =
        Came { connected: Vec::new(), seconds: 0.0, waits: Vec::new(), failed_attempts: 0, resumed: 0 };
    let all = async {
        while let Some(one) = coming.join_next().await {
            let (there, wait, failed) = one?;
            came.resumed += u64::from(there.resumed());
            came.connected.push(there);
            came.waits.push(u64::try_from(wait.as_micros())?);
            came.failed_attempts += failed;
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, all).await.context("not all came in time")??;
    came.seconds = start.elapsed().as_secs_f64();
    came.waits.sort_unstable();
    Ok(came)
}

impl<C> Came<C> {
    fn show(&self, what: &str, cpu: Duration, bare: Option<f64>, json: bool) {
        let Self { seconds, waits, failed_attempts, resumed, .. } = self;
        let count = waits.len();
        let cpu_us = cpu.as_secs_f64() * 1e6 / count as f64;
        let ms = |percent| percentile(waits, percent) as f64 / 1e3;
        let (p50, p99, longest) = (ms(50), ms(99), ms(100));
        let ratio = bare.map(|bare| seconds / bare);
        if json {
            let figures = json!({
                "what": what, "nodes": count, "seconds": seconds, "p50_ms": p50, "p99_ms": p99, "longest_ms": longest,
                "failed_attempts": failed_attempts, "resumed": resumed, "cpu_us_each": cpu_us, "of_bare_handshakes": ratio,
                "budget_ratio": bare.map(|_| BUDGET_RATIO),
                "within_budget": ratio.map(|ratio| ratio <= BUDGET_RATIO),
            });
            println!("{figures}");
        } else {
            let ratio =
                ratio.map(|ratio| format!("; {ratio:.2} of the bare handshakes (budget {BUDGET_RATIO})"));
            println!(
                "{what}: {count} in {seconds:.2} s, median {p50:.0} ms, p99 {p99:.0} ms, longest {longest:.0} ms; \
                 {failed_attempts} attempts failed; {resumed} resumed; {cpu_us:.0} µs of CPU each{}",
                ratio.unwrap_or_default()
            );
        }
    }
}

/// Has nodes answer pings until the set is dropped.
fn idle(nodes: Vec<SimNode>) -> JoinSet<()> {
    let mut set = JoinSet::new();
    for mut node in nodes {
        set.spawn(async move {
            // It ends with the hub.
            let _ = node.idle().await;
        });
    }
    set
}
