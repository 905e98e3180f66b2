//! A running node, and what it is told to watch.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Hub, Lab, Place, arg};
use crate::process::Process;

/// What a node watches; by default an empty utmp file of its own, and nothing else.
#[derive(Debug, Clone)]
pub struct NodeSetup {
    /// The `[auth]` table of the configuration.
    pub auth: String,
    /// The utmp file.
    pub utmp: PathBuf,
    /// Look for WireGuard interfaces.
    pub wireguard: bool,
    /// The text of the allowlist.
    pub commands: String,
    /// The socket of the runner that starts commands, where it is not the node.
    pub runner: Option<PathBuf>,
}

impl NodeSetup {
    /// An empty utmp file in the lab and nothing else.
    ///
    /// # Panics
    /// When the file cannot be made.
    #[must_use]
    pub fn quiet(lab: &Lab) -> Self {
        let utmp = lab.path("utmp");
        if !utmp.exists() {
            fs::write(&utmp, []).expect("the lab is ours");
        }
        Self {
            auth: "source = \"off\"".to_owned(),
            utmp,
            wireguard: false,
            commands: String::new(),
            runner: None,
        }
    }

    /// With an allowlist.
    #[must_use]
    pub fn with_commands(mut self, allowlist: &str) -> Self {
        allowlist.clone_into(&mut self.commands);
        self
    }

    /// With an auth log file instead of no auth log.
    #[must_use]
    pub fn with_auth_file(mut self, file: &Path) -> Self {
        self.auth = format!("source = \"file\"\nfiles = [{:?}]", arg(file));
        self
    }

    /// With a runner at this socket.
    #[must_use]
    pub fn with_runner(mut self, socket: &Path) -> Self {
        self.runner = Some(socket.to_owned());
        self
    }

    fn write(&self, lab: &Lab, name: &str) -> PathBuf {
        let allowlist = lab.write(&format!("{name}.commands.toml"), &self.commands);
        let config = format!(
            "[auth]\n{}\n\n[sessions]\nutmp = {:?}\n\n[wireguard]\nenabled = {}\n\n[commands]\nallowlist = {:?}\n",
            self.auth,
            arg(&self.utmp),
            self.wireguard,
            arg(&allowlist),
        );
        let runner = self.runner.iter().map(|socket| format!("runner = {:?}\n", arg(socket)));
        let config = [config].into_iter().chain(runner).collect::<String>();
        lab.write(&format!("{name}.toml"), config)
    }
}

/// A node that has joined a hub.
pub struct Node<'a> {
    place: Place<'a>,
    process: Process,
    state: PathBuf,
    config: PathBuf,
    /// Its name at the hub.
    pub name: String,
}

impl<'a> Node<'a> {
    /// Enrols a node at the hub, starts it with the token and waits until the hub lists it as online.
    ///
    /// # Panics
    /// When it does not get there.
    #[must_use]
    #[track_caller]
    pub fn join(lab: &Lab, place: Place<'a>, hub: &Hub<'_>, name: &str, setup: &NodeSetup) -> Self {
        let token = hub.enroll(name);
        let (state, config) = (lab.path(&format!("{name}.state")), setup.write(lab, name));
        let mut command = place.secmon();
        command.args(["node", "--join", &token, "--state-dir", arg(&state), "--config", arg(&config)]);
        let process = Process::spawn(&format!("node {name}"), &mut command);
        hub.wait_for_node(name, "online");
        Self { place, process, state, config, name: name.to_owned() }
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

    /// Starts it again without a token, as every later start does.
    ///
    /// # Panics
    /// When it is still running.
    #[track_caller]
    pub fn start_again(&mut self) {
        assert!(!self.process.is_running(), "stop the node first");
        let mut command = self.place.secmon();
        command.args(["node", "--state-dir", arg(&self.state), "--config", arg(&self.config)]);
        self.process = Process::spawn(&format!("node {}", self.name), &mut command);
    }
}
