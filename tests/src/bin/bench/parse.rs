//! How many lines of an auth log a second the node's parser reads, on one core; and an auth log to read.

use std::{
    fs::{self, File},
    hint::black_box,
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use clap::Args;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use secmon_node::watch::auth::{
    join::Joiner,
    parse::{Context, Parsed, examples, parse_line},
};
use serde_json::json;

#[derive(Args)]
pub(crate) struct Arguments {
    /// An auth log.
    #[arg(required_unless_present = "make")]
    file: Option<PathBuf>,
    /// First writes this many lines into FILE: what a server on the Internet logs, and of every kind of line
    /// that the parser knows a few.
    #[arg(long, requires = "file", value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    make: Option<u32>,
    /// How many times the log is read; the median counts.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// What reading a log once gave.
#[derive(Default)]
struct Counts {
    lines: u64,
    understood: u64,
    events: u64,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Some(file) = &arguments.file else { bail!("name a log") };
    if let Some(lines) = arguments.make {
        make(file, lines).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let log = fs::read(file).with_context(|| {
        format!("cannot read {0}; `bench parse --make 1000000 {0}` writes a log", file.display())
    })?;
    // The parser alone, and the parser with what joins its lines into events: what a node does.
    let (alone, _) = median(arguments.runs, &log, false);
    let (joined, counts) = median(arguments.runs, &log, true);
    let Counts { lines, understood, events } = counts;
    if lines == 0 {
        bail!("{} has no lines", file.display());
    }
    let rate = |took: Duration| lines as f64 / took.as_secs_f64();
    let bytes = log.len();
    if arguments.json {
        let figures = json!({
            "lines": lines, "bytes": bytes, "understood": understood, "events": events, "runs": arguments.runs,
            "lines_per_second": rate(alone).round(), "lines_per_second_joined": rate(joined).round(),
            "ns_per_line": (alone.as_nanos() as f64 / lines as f64).round(),
        });
        println!("{figures}");
    } else {
        println!(
            "{lines} lines, {bytes} bytes, {understood} lines understood, {events} events; median of {}",
            arguments.runs
        );
        println!("parsed:            {:>11.0} lines/s on one core", rate(alone));
        println!("parsed and joined: {:>11.0} lines/s on one core", rate(joined));
    }
    Ok(())
}

fn median(runs: u16, log: &[u8], join: bool) -> (Duration, Counts) {
    let mut counts = Counts::default();
    let mut taken: Vec<Duration> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            counts = black_box(read(black_box(log), join));
            start.elapsed()
        })
        .collect();
    taken.sort_unstable();
    (taken[taken.len() / 2], counts)
}

fn read(log: &[u8], join: bool) -> Counts {
    let context = Context::new(Timestamp::now(), TimeZone::system());
    let mut joiner = Joiner::default();
    let mut counts = Counts::default();
    let mut events = 0;
    let mut rest = log;
    while !rest.is_empty() {
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let (line, after) = rest.split_at(end);
        rest = after;
        counts.lines += 1;
        match parse_line(line, &context) {
            Parsed::Event(heard) => {
                counts.understood += 1;
                if join {
                    joiner.take(heard, (), |event, ()| {
                        events += 1;
                        drop(black_box(event));
                    });
                } else {
                    drop(black_box(heard));
                }
            }
            Parsed::Known => counts.understood += 1,
            Parsed::Unknown => {}
        }
    }
    joiner.settle(|event, ()| {
        events += 1;
        drop(black_box(event));
    });
    counts.events = events;
    counts
}

/// What stands in an auth.log, by how often: mostly strangers who guess names and passwords.
const MIX: &[(u32, &str)] = &[
    (90, "sshd[PID]: Invalid user NAME from ADDR port PORT"),
    (70, "sshd[PID]: pam_unix(sshd:auth): check pass; user unknown"),
    (
        120,
        "sshd[PID]: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=ADDR ",
    ),
    (
        60,
        "sshd[PID]: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=ADDR  user=root",
    ),
    (100, "sshd[PID]: Failed password for invalid user NAME from ADDR port PORT ssh2"),
    (90, "sshd[PID]: Failed password for root from ADDR port PORT ssh2"),
    (90, "sshd[PID]: Received disconnect from ADDR port PORT:11: Bye Bye [preauth]"),
    (60, "sshd[PID]: Disconnected from invalid user NAME ADDR port PORT [preauth]"),
    (60, "sshd[PID]: Disconnected from authenticating user root ADDR port PORT [preauth]"),
    (60, "sshd[PID]: Connection closed by ADDR port PORT [preauth]"),
    (20, "sshd[PID]: error: kex_exchange_identification: Connection closed by remote host"),
    (
        6,
        "sshd[PID]: error: maximum authentication attempts exceeded for root from ADDR port PORT ssh2 [preauth]",
    ),
    (
        6,
        "sshd[PID]: Disconnecting authenticating user root ADDR port PORT: Too many authentication failures [preauth]",
    ),
    (
        6,
        "sshd[PID]: Accepted publickey for deploy from ADDR port PORT ssh2: ED25519 SHA256:uwQvh4dOXpllpL2HAEZoJpy0KfKiAZqyuawdkTka3hY",
    ),
    (6, "sshd[PID]: pam_unix(sshd:session): session opened for user deploy(uid=1000) by (uid=0)"),
    (6, "sshd[PID]: pam_unix(sshd:session): session closed for user deploy"),
    (6, "systemd-logind[612]: New session PID of user deploy."),
    (6, "systemd-logind[612]: Removed session PID."),
    (60, "CRON[PID]: pam_unix(cron:session): session opened for user root(uid=0) by (uid=0)"),
    (60, "CRON[PID]: pam_unix(cron:session): session closed for user root"),
    (10, "sudo:   deploy : TTY=pts/0 ; PWD=/srv/app ; USER=root ; COMMAND=/usr/bin/systemctl restart app"),
    (10, "sudo: pam_unix(sudo:session): session opened for user root(uid=0) by deploy(uid=1000)"),
    (10, "sudo: pam_unix(sudo:session): session closed for user root"),
    (20, "dbus-daemon[601]: [system] Reloaded configuration"),
];

const NAMES: [&str; 8] = ["admin", "test", "oracle", "ubuntu", "postgres", "user", "git", "pi"];

/// Writes a log: the usual mix, and every hundredth line one of the parser's examples in turn.
fn make(file: &Path, lines: u32) -> anyhow::Result<()> {
    let mut out = BufWriter::new(File::create(file)?);
    let examples: Vec<_> = examples().collect();
    let total: u32 = MIX.iter().map(|(weight, _)| weight).sum();
    let start = Timestamp::now() - SignedDuration::from_hours(24 * 30);
    // Any numbers will do, and the same ones each time: a multiplier of Knuth's, TAOCP 3.3.4.
    let mut state = 1_u64;
    let mut any = |below: u32| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(state >> 33).unwrap_or(0) % below
    };
    for number in 0..lines {
        let seconds = i64::from(number) * 30 * 86_400 / i64::from(lines);
        let time = (start + SignedDuration::from_secs(seconds)).to_zoned(TimeZone::system());
        let stamp = time.strftime("%b %e %H:%M:%S");
        let text = if number % 100 == 99 {
            let (program, message) = &examples[number as usize / 100 % examples.len()];
            format!("{program}[PID]: {message}")
        } else {
            let mut pick = any(total);
            let (_, text) = MIX
                .iter()
                .find(|(weight, _)| {
                    let found = pick < *weight;
                    pick = pick.saturating_sub(*weight);
                    found
                })
                .unwrap_or(&MIX[0]);
            (*text).to_owned()
        };
        let text = text
            .replace("PID", &(1000 + any(60_000)).to_string())
            .replace("NAME", NAMES[any(8) as usize])
            .replace("ADDR", &format!("203.0.113.{}", any(256)))
            .replace("PORT", &(1024 + any(60_000)).to_string());
        writeln!(out, "{stamp} web1 {text}")?;
    }
    Ok(out.flush()?)
}
