//! A running hub, and clients on its socket.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{Lab, Place, Watch, arg};
use crate::{
    json,
    process::{Output, Process},
    wait::eventually,
};

/// A hub with its state folder and socket in the lab.
pub struct Hub<'a> {
    place: Place<'a>,
    process: Process,
    state: PathBuf,
    socket: PathBuf,
    extra: Vec<String>,
    /// The address that it listens on.
    pub address: SocketAddr,
}

impl<'a> Hub<'a> {
    /// Starts a hub on a free port of the loopback and waits until it listens.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    #[track_caller]
    pub fn start(lab: &Lab, place: Place<'a>) -> Self {
        Self::start_with(lab, place, &["--listen", "127.0.0.1:0"])
    }

    /// Starts a hub with arguments of the test's own, `--listen` among them.
    ///
    /// # Panics
    /// When it does not listen in time.
    #[must_use]
    #[track_caller]
    pub fn start_with(lab: &Lab, place: Place<'a>, extra: &[&str]) -> Self {
        let (state, socket) = (lab.path("state"), lab.path("hub.sock"));
        let extra: Vec<String> = extra.iter().map(|&word| word.to_owned()).collect();
        let process = spawn(place, &state, &socket, &extra);
        let address = listening(&process);
        Self { place, process, state, socket, extra, address }
    }

    /// The process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The state folder.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The Unix socket for clients.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Starts it again, after [`Process::kill`] or [`Process::terminate`], on the address that it had.
    ///
    /// # Panics
    /// When it does not come up.
    #[track_caller]
    pub fn start_again(&mut self) {
        assert!(!self.process.is_running(), "stop the hub first");
        let mut extra = self.extra.clone();
        if let Some(listen) = extra.iter().position(|word| word == "--listen") {
            extra[listen + 1] = self.address.to_string();
        }
        self.process = spawn(self.place, &self.state, &self.socket, &extra);
        assert_eq!(listening(&self.process), self.address);
    }

    /// Runs a client command against this hub to its end.
    ///
    /// # Panics
    /// When it does not end in time.
    #[must_use]
    #[track_caller]
    pub fn client(&self, args: &[&str]) -> Output {
        self.spawn_client(args).finish()
    }

    /// Starts a client command against this hub.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn spawn_client(&self, args: &[&str]) -> Process {
        let mut command = Place::Here.secmon();
        let name = format!("secmon {}", args.join(" "));
        Process::spawn(&name, command.args(args).arg("--socket").arg(&self.socket))
    }

    /// Runs a client command that must succeed and prints NDJSON.
    ///
    /// # Panics
    /// When it fails or prints something else.
    #[must_use]
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Vec<Value> {
        let output = self.client(&[args, &["--json"]].concat());
        assert_eq!(output.code(), 0, "secmon {args:?}\n{output}");
        json::lines(&output.stdout)
    }

    /// A join token for a new node.
    ///
    /// # Panics
    /// When `enroll` prints anything but its one line.
    #[must_use]
    #[track_caller]
    pub fn enroll(&self, name: &str) -> String {
        let output = self.client(&["enroll", name]);
        assert_eq!(output.code(), 0, "{output}");
        let line = output.out();
        let token = line.strip_prefix("secmon node --join ").and_then(|rest| rest.strip_suffix('\n'));
        let token = token.filter(|token| !token.contains(char::is_whitespace));
        token.unwrap_or_else(|| panic!("not the one line to paste: {line:?}")).to_owned()
    }

    /// Subscribes, with further arguments of `watch`, and returns once the subscription stands.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    #[track_caller]
    pub fn watch(&self, args: &[&str]) -> Watch {
        Watch::new(self.spawn_client(&[&["watch", "--json"], args].concat()))
    }

    /// What `list` says about a node; `None` when it is not listed.
    ///
    /// # Panics
    /// When `list` fails.
    #[must_use]
    #[track_caller]
    pub fn listed(&self, name: &str) -> Option<Value> {
        self.json(&["list"]).into_iter().find(|node| json::text(node, "host.name") == name)
    }

    /// Waits until a node is listed with a status (`online`, `away`).
    ///
    /// # Panics
    /// When it is not in time.
    #[track_caller]
    pub fn wait_for_node(&self, name: &str, status: &str) -> Value {
        let mut last = None;
        eventually(&format!("{name} to be {status}"), || {
            last = self.listed(name);
            last.take().filter(|node| json::text(node, "secmon.status") == status)
        })
    }

    /// Waits until a facet (`sessions`, `wg_peers`, `auth_log`) of a node has a status, and returns it.
    ///
    /// # Panics
    /// When it has not in time.
    #[track_caller]
    pub fn wait_for_facet(&self, name: &str, facet: &str, status: &str) -> Value {
        eventually(&format!("{facet} of {name} to be {status}"), || {
            let node = self.listed(name)?;
            let facet = json::at(&node, &format!("secmon.facets.{facet}"))?;
            (json::text(facet, "status") == status).then(|| facet.clone())
        })
    }
}

fn spawn(place: Place<'_>, state: &Path, socket: &Path, extra: &[String]) -> Process {
    let mut command = place.secmon();
    command.args(["hub", "--state-dir", arg(state), "--socket", arg(socket)]).args(extra);
    Process::spawn("hub", &mut command)
}

/// The address in the line that a hub logs when it listens.
#[track_caller]
fn listening(hub: &Process) -> SocketAddr {
    let address = |line: &str| {
        let after = line.split_once("listening")?.1.split_once("address=")?.1;
        after.split_whitespace().next()?.trim_matches('"').parse().ok()
    };
    let line = hub.wait_for_log("the hub to listen", |line| address(line).is_some());
    address(&line).expect("the line was found by its address")
}
