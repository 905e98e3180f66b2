//! The fan-out through nats-server, by its documented text protocol over TCP
//! (<https://docs.nats.io/reference/reference-protocols/nats-protocol>): PUB, SUB, MSG, PING, PONG.
//!
//! Payloads have the size of a record on its way from a node, and begin with node, seq and time.

use std::{fs, net::SocketAddr, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, bail};
use bytes::{Buf as _, BufMut as _, BytesMut};
use secmon_testkit::{
    process::Process,
    product::{Lab, arg},
    wait::eventually,
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{MissedTickBehavior, interval},
};

use super::{Arguments, Carrier, begin, end};
use crate::load::{event, now, tally::Tally};

/// What is written, and room for what is read, at once: as the simulated nodes and subscribers have it.
const AT_ONCE: usize = 256 << 10;
/// The head of a payload: node, seq and time.
const HEAD: usize = 24;

/// nats-server, publishers and subscribers.
pub(super) struct Nats {
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    sent: u64,
    server: Process,
    _lab: Lab,
}

impl Nats {
    pub(super) async fn start(server: &Path, arguments: &Arguments) -> anyhow::Result<Self> {
        let lab = Lab::new();
        let config = lab.write(
            "nats.conf",
            format!("listen: \"127.0.0.1:-1\"\nports_file_dir: {:?}\n", arg(&lab.path(""))),
        );
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(server).args(["-c", arg(&config)]);
        let server = Process::spawn("nats-server", &mut command);
        let ports = lab.path(&format!("nats-server_{}.ports", server.pid()));
        let address = eventually("nats-server to listen", || address(&ports));
        let (mut publishers, mut subscribers) = (Vec::new(), Vec::new());
        for number in 0..arguments.clients {
            subscribers.push(Subscriber::subscribe(address, number).await?);
        }
        for number in 0..arguments.nodes {
            publishers.push(Publisher {
                stream: hello(address).await?,
                read: BytesMut::new(),
                number,
                sent: 0,
            });
        }
        Ok(Self { publishers, subscribers, sent: 0, server, _lab: lab })
    }

    async fn go(&mut self, each: u64, period: Option<Duration>) -> anyhow::Result<()> {
        self.sent += each * self.publishers.len() as u64;
        let all = self.sent;
        let sending = begin(&mut self.publishers, |mut publisher| async move {
            match period {
                Some(period) => publisher.paced(each, period).await?,
                None => publisher.send(each).await?,
            }
            Ok(publisher)
        });
        let reading = begin(&mut self.subscribers, |mut subscriber| async move {
            subscriber.read_until(all).await?;
            Ok(subscriber)
        });
        self.publishers = end(sending).await?;
        self.subscribers = end(reading).await?;
        Ok(())
    }
}

impl Carrier for Nats {
    async fn round(&mut self, each: u64) -> anyhow::Result<()> {
        self.go(each, None).await
    }

    async fn paced(&mut self, each: u64, period: Duration) -> anyhow::Result<()> {
        self.go(each, Some(period)).await
    }

    fn tallies(&mut self) -> impl Iterator<Item = &mut Tally> {
        self.subscribers.iter_mut().map(|subscriber| &mut subscriber.tally)
    }

    fn pid(&self) -> u32 {
        self.server.pid()
    }
}

/// The address in the file in which the server says where it listens.
fn address(ports: &Path) -> Option<SocketAddr> {
    let ports: Value = serde_json::from_slice(&fs::read(ports).ok()?).ok()?;
    ports["nats"].as_array()?.iter().find_map(|url| url.as_str()?.strip_prefix("nats://")?.parse().ok())
}

/// A connection that has heard INFO and said CONNECT.
async fn hello(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut info = BytesMut::new();
    while !info.ends_with(b"\r\n") {
        anyhow::ensure!(stream.read_buf(&mut info).await? > 0, "nats-server closed the connection");
    }
    stream.write_all(b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n").await?;
    Ok(stream)
}

struct Publisher {
    stream: TcpStream,
    read: BytesMut,
    number: u64,
    sent: u64,
}

impl Publisher {
    async fn send(&mut self, count: u64) -> anyhow::Result<()> {
        let (last, time) = (self.sent + count, now());
        let mut out = BytesMut::with_capacity(AT_ONCE);
        while self.sent < last {
            while self.sent < last && out.len() < AT_ONCE - 1024 {
                self.put(&mut out, time);
            }
            self.stream.write_all(&out).await?;
            out.clear();
        }
        self.settle().await
    }

    async fn paced(&mut self, count: u64, period: Duration) -> anyhow::Result<()> {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for _ in 0..count {
            ticks.tick().await;
            let mut out = BytesMut::new();
            self.put(&mut out, now());
            self.stream.write_all(&out).await?;
        }
        self.settle().await
    }

    fn put(&mut self, out: &mut BytesMut, time: i64) {
        self.sent += 1;
        let size = event::size();
        out.put_slice(format!("PUB node.bench{}.auth.accepted {size}\r\n", self.number).as_bytes());
        out.put_u64(self.number);
        out.put_u64(self.sent);
        out.put_i64(time);
        out.put_bytes(b'x', size - HEAD);
        out.put_slice(b"\r\n");
    }

    /// Waits until the server has taken everything.
    async fn settle(&mut self) -> anyhow::Result<()> {
        self.stream.write_all(b"PING\r\n").await?;
        loop {
            anyhow::ensure!(
                self.stream.read_buf(&mut self.read).await? > 0,
                "nats-server closed the connection"
            );
            while let Some(end) = memchr::memmem::find(&self.read, b"\r\n") {
                let line = self.read.split_to(end + 2);
                match &line[..end] {
                    b"PONG" => return Ok(()),
                    b"PING" => self.stream.write_all(b"PONG\r\n").await?,
                    other => bail!("nats-server says {}", String::from_utf8_lossy(other)),
                }
            }
        }
    }
}

struct Subscriber {
    stream: TcpStream,
    read: BytesMut,
    tally: Tally,
}

impl Subscriber {
    async fn subscribe(address: SocketAddr, number: u64) -> anyhow::Result<Self> {
        let mut stream = hello(address).await?;
        stream.write_all(format!("SUB node.*.auth.> {number}\r\nPING\r\n").as_bytes()).await?;
        let mut answer = BytesMut::new();
        while !answer.ends_with(b"PONG\r\n") {
            anyhow::ensure!(stream.read_buf(&mut answer).await? > 0, "nats-server closed the connection");
        }
        Ok(Self { stream, read: BytesMut::with_capacity(2 * AT_ONCE), tally: Tally::default() })
    }

    async fn read_until(&mut self, delivered: u64) -> anyhow::Result<()> {
        while self.tally.delivered < delivered {
            self.read.reserve(AT_ONCE);
            let read = self.stream.read_buf(&mut self.read).await?;
            anyhow::ensure!(read > 0, "nats-server closed a subscriber's connection");
            let came = self.tally.latencies.is_some().then(now);
            while let Some(end) = memchr::memchr(b'\n', &self.read) {
                let line = &self.read[..end + 1];
                if line == b"PING\r\n" {
                    self.stream.write_all(b"PONG\r\n").await?;
                    self.read.advance(end + 1);
                    continue;
                }
                anyhow::ensure!(
                    line.starts_with(b"MSG "),
                    "nats-server says {}",
                    String::from_utf8_lossy(line)
                );
                let size = line[..end - 1].rsplit(|byte| *byte == b' ').next().unwrap_or_default();
                let size: usize = std::str::from_utf8(size)?.parse().context("a MSG without a size")?;
                let Some(mut payload) = self.read.get(end + 1..end + 1 + size + 2) else { break };
                let (node, seq, time) = (payload.get_u64(), payload.get_u64(), payload.get_i64());
                self.tally.record(node, seq);
                if let (Some(came), Some(latencies)) = (came, &mut self.tally.latencies) {
                    latencies.push(u64::try_from(came - time).unwrap_or(0));
                }
                self.read.advance(end + 1 + size + 2);
            }
        }
        Ok(())
    }
}
