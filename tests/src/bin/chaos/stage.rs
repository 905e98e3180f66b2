//! Hub and nodes, each in a realm with a small disk for its state, and the links between them.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, ensure};
use nix::sys::signal::Signal;
use secmon_testkit::{
    json::{self, text},
    process::{Output, Process},
    product::{Place, arg},
    realm::Realm,
};
use serde_json::Value;

use crate::{
    program::{Program, Stdout, undaunted},
    timeline::Timeline,
    writer::Writer,
};

/// The hub's address, on its loopback; every node has a route to it over its own link.
const HUB: &str = "10.77.255.1";
/// Where state is, in every realm.
const STATE: &str = "/run/state";
/// The auth log of a node.
const AUTH_LOG: &str = "/var/log/auth.log";

/// The kernel's id of the boot, random(4), and the file that we put in its place.
const BOOT_ID: (&str, &str) = ("/proc/sys/kernel/random/boot_id", "/run/boot");

/// A realm that a program of ours is started in, again and again.
pub(crate) struct Seat {
    pub(crate) name: String,
    pub(crate) realm: Realm,
    arguments: Vec<String>,
    log: PathBuf,
    program: Option<Program>,
    pub(crate) starts: u64,
}

impl Seat {
    /// A realm with a disk for state of `mib` MiB.
    fn new(name: &str, folder: &Path, mib: u32, arguments: Vec<String>) -> Self {
        let realm = Realm::with_secmon(name);
        realm.check("mkdir", &["-m", "755", STATE]);
        realm.check("mount", &["-t", "tmpfs", "-o", &format!("mode=755,size={mib}m"), "tmpfs", STATE]);
        realm.check("touch", &[BOOT_ID.1]);
        realm.check("mount", &["--bind", BOOT_ID.1, BOOT_ID.0]);
        let log = folder.join(format!("{name}.log"));
        let seat = Self { name: name.to_owned(), realm, arguments, log, program: None, starts: 0 };
        seat.boot().expect("the realm's /run is ours");
        seat
    }

    /// Begins another boot, as far as anybody inside can tell.
    pub(crate) fn boot(&self) -> anyhow::Result<()> {
        let id: u128 = rand::random();
        Ok(fs::write(self.realm.path(BOOT_ID.1), format!("{id:032x}\n"))?)
    }

    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        ensure!(self.program.is_none(), "{} runs already", self.name);
        self.starts += 1;
        let mut command = Place::In(&self.realm).secmon();
        let mut command = undaunted(command.args(&self.arguments));
        self.program = Some(Program::start(&mut command, &self.log, &Stdout::Log)?);
        Ok(())
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut program) = self.program.take() {
            program.kill();
        }
    }

    pub(crate) fn signal(&mut self, signal: Signal) {
        if let Some(program) = &mut self.program {
            program.signal(signal);
        }
    }

    /// How it ended, if it did so by itself.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let ended = self.program.as_mut()?.ended()?;
        self.kill();
        let log = self.log();
        let last: String = log.lines().last().unwrap_or_default().chars().take(300).collect();
        Some(format!("{ended} ({last})"))
    }

    /// Fills the disk of its state to the last byte.
    pub(crate) fn fill(&self) -> anyhow::Result<()> {
        let mut filler = File::create(self.filler())?;
        // Smaller and smaller, until not a byte has room.
        for size in [1 << 20, 4 << 10, 1] {
            while filler.write_all(&vec![0; size]).is_ok() {}
        }
        Ok(())
    }

    /// Makes room again.
    pub(crate) fn free(&self) -> anyhow::Result<()> {
        fs::remove_file(self.filler()).context("cannot make room again")
    }

    fn filler(&self) -> PathBuf {
        self.realm.path(STATE).join("filler")
    }

    /// Everything that it has logged in all its lives.
    pub(crate) fn log(&self) -> String {
        fs::read(&self.log).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }

    /// Its disk takes nothing from now on: whatever it writes to a file fails, its log included.
    pub(crate) fn spoil(&mut self) {
        if let Some(program) = &self.program {
            program.limit_files("0:unlimited");
        }
    }

    /// Its disk is well again.
    pub(crate) fn mend(&mut self) {
        if let Some(program) = &self.program {
            program.limit_files("unlimited");
        }
    }

    /// How often it said that it writes to its disk again.
    pub(crate) fn returns_to_disk(&self) -> usize {
        self.log().matches("database is written again").count()
    }

    /// Copies its state to a folder that stays.
    pub(crate) fn keep(&self, folder: &Path) {
        let to = folder.join(format!("{}.state", self.name));
        let from = self.realm.path(STATE);
        let mut copy = std::process::Command::new("cp");
        copy.arg("-a").arg("--sparse=always").arg(from).arg(to);
        // What cannot be kept is not there to be looked at; the run has failed in any case.
        let _ = Process::run("cp", &mut copy);
    }
}

/// The whole of it.
pub(crate) struct Stage {
    pub(crate) hub: Seat,
    pub(crate) nodes: Vec<Seat>,
    pub(crate) socket: PathBuf,
}

/// Sizes of the disks for state, in MiB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Disks {
    pub(crate) hub: u32,
    pub(crate) node: u32,
}

impl Stage {
    /// Makes realms and links, starts the hub, and lets every node join.
    pub(crate) fn build(
        folder: &Path,
        nodes: usize,
        disks: Disks,
        log_size: &str,
        timeline: &Timeline,
    ) -> anyhow::Result<Self> {
        let socket = folder.join("hub.sock");
        let config = folder.join("hub.toml");
        fs::write(&config, format!("[hub]\nheartbeat_secs = 1\n\n[log]\nsize = \"{log_size}\"\n"))?;
        let port = format!("{HUB}:7373");
        let arguments = ["hub", "--state-dir", STATE, "--socket", arg(&socket), "--config", arg(&config)];
        let listen = ["--listen", "0.0.0.0:7373", "--advertise", &port];
        let arguments = arguments.iter().chain(&listen).map(|&word| word.to_owned()).collect();
        let mut hub = Seat::new("hub", folder, disks.hub, arguments);
        hub.realm.check("ip", &["address", "add", &format!("{HUB}/32"), "dev", "lo"]);
        hub.start()?;
        let mut stage = Self { hub, nodes: Vec::new(), socket };
        stage.wait("the hub to answer", || stage.list().is_some())?;
        for at in 0..nodes {
            let node = stage.join(folder, at, disks.node)?;
            stage.nodes.push(node);
            timeline.note(format!("n{at} joined"));
        }
        stage.wait("the auth logs to be read", || {
            let ready = |node: &Value| {
                json::at(node, "secmon.facets.auth_log").is_some_and(|facet| text(facet, "status") == "ready")
            };
            stage.list().is_some_and(|list| list.iter().filter(|node| ready(node)).count() == nodes)
        })?;
        Ok(stage)
    }

    fn join(&self, folder: &Path, at: usize, mib: u32) -> anyhow::Result<Seat> {
        let name = format!("n{at}");
        let config = folder.join(format!("{name}.toml"));
        fs::write(
            &config,
            format!(
                "[auth]\nsource = \"file\"\nfiles = [\"{AUTH_LOG}\"]\n\n[sessions]\nlogind = false\nutmp = \"/run/utmp\"\n\
                 wtmp = \"/run/none\"\nbtmp = \"/run/none\"\nwtmpdb = \"/run/none\"\n\n[wireguard]\nenabled = false\n"
            ),
        )?;
        let enrolled = self.client(&["enroll", &name]);
        ensure!(enrolled.code() == 0, "cannot enrol {name}\n{enrolled}");
        let line = enrolled.out();
        let token = line.trim().rsplit(' ').next().unwrap_or_default();
        let arguments = ["node", "--join", token, "--state-dir", STATE, "--config", arg(&config)];
        let arguments = arguments.iter().map(|&word| word.to_owned()).collect();
        let mut node = Seat::new(&name, folder, mib, arguments);
        node.realm.check("touch", &["/run/utmp", AUTH_LOG]);
        self.hub.realm.join(&node.realm, &link(at), &address(at, 1), &address(at, 2));
        route(&node.realm, at);
        node.start()?;
        self.wait(&format!("{name} to join"), || {
            let online = |node: &&Value| text(node, "secmon.status") == "online";
            self.list()
                .is_some_and(|list| list.iter().filter(online).any(|node| text(node, "host.name") == name))
        })?;
        Ok(node)
    }

    /// A writer of a node's auth log.
    pub(crate) fn writer(&self, at: usize, timeline: &Arc<Timeline>) -> anyhow::Result<Writer> {
        Writer::new(at, &self.nodes[at].realm.path(AUTH_LOG), timeline)
    }

    /// Takes the link of a node down, at the hub's end or at its own.
    pub(crate) fn cut(&self, at: usize, hub_side: bool) {
        self.end(at, hub_side).check("ip", &["link", "set", &link(at), "down"]);
    }

    /// Takes it up again.
    pub(crate) fn mend(&self, at: usize, hub_side: bool) {
        self.end(at, hub_side).check("ip", &["link", "set", &link(at), "up"]);
        // What led over the link went with it.
        route(&self.nodes[at].realm, at);
    }

    fn end(&self, at: usize, hub_side: bool) -> &Realm {
        if hub_side { &self.hub.realm } else { &self.nodes[at].realm }
    }

    /// What the hub lists; none when it does not answer.
    pub(crate) fn list(&self) -> Option<Vec<Value>> {
        let output = self.client(&["list", "--json"]);
        (output.code() == 0).then(|| json::lines(&output.stdout))
    }

    /// What `watch --help` says.
    pub(crate) fn help_of_watch(&self) -> String {
        Process::run("help", Place::In(&self.hub.realm).secmon().args(["watch", "--help"])).out()
    }

    fn client(&self, args: &[&str]) -> Output {
        Process::run(
            "client",
            Place::In(&self.hub.realm).secmon().args(args).arg("--socket").arg(&self.socket),
        )
    }

    fn wait(&self, what: &str, look: impl Fn() -> bool) -> anyhow::Result<()> {
        let there = secmon_testkit::wait::within(crate::HEAL, || look().then_some(()));
        there.with_context(|| {
            let logs: Vec<_> = std::iter::once(&self.hub).chain(&self.nodes).map(Seat::log).collect();
            format!("waited in vain for {what}\n{}", logs.join("\n"))
        })
    }
}

fn link(at: usize) -> String {
    format!("wire{at}")
}

fn address(at: usize, end: u8) -> String {
    format!("10.77.{at}.{end}/24")
}

fn route(node: &Realm, at: usize) {
    node.check("ip", &["route", "replace", &format!("{HUB}/32"), "via", &format!("10.77.{at}.1")]);
}
