//! A running integration: `secmon telegram`, `discord` or `http`, beside a hub.

use std::{
    fs::{self, Permissions},
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::{Hub, Lab, Place, arg};
use crate::process::{Output, Process};

/// An integration with its configuration, secrets and state folder in the lab.
pub struct Integration<'a> {
    place: Place<'a>,
    role: String,
    config: PathBuf,
    state: PathBuf,
    socket: PathBuf,
    extra: Vec<String>,
    environment: Vec<(String, String)>,
    process: Option<Process>,
}

impl<'a> Integration<'a> {
    /// One of `telegram`, `discord`, `http`, with the text of its configuration, that is to run on the machine itself, follow
    /// `hub` and keep its state in the lab; not started yet. Two of the same role in one lab need an own lab each.
    ///
    /// # Panics
    /// When the configuration cannot be written.
    #[must_use]
    pub fn new(lab: &Lab, hub: &Hub<'_>, role: &str, config: &str) -> Self {
        Self {
            place: Place::Here,
            role: role.to_owned(),
            config: lab.write(&format!("{role}.toml"), config),
            state: lab.path(&format!("{role}.state")),
            socket: hub.socket().to_owned(),
            extra: Vec::new(),
            environment: Vec::new(),
            process: None,
        }
    }

    /// Somewhere else than on the machine itself.
    #[must_use]
    pub fn at(mut self, place: Place<'a>) -> Self {
        self.place = place;
        self
    }

    /// With further arguments.
    #[must_use]
    pub fn with_args(mut self, extra: &[&str]) -> Self {
        self.extra.extend(extra.iter().map(|&word| word.to_owned()));
        self
    }

    /// With a variable in its environment, such as `HTTPS_PROXY`. None of those comes from the test's own.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it. It may not be ready when this returns: see [`Integration::wait_until_following`] and
    /// [`Integration::listening`].
    ///
    /// # Panics
    /// When it is still running.
    #[track_caller]
    pub fn start(&mut self) -> &Process {
        assert!(!self.process.as_ref().is_some_and(Process::is_running), "stop it first");
        let mut words = vec![self.role.as_str()];
        words.extend(self.extra.iter().map(String::as_str));
        let process = self.spawn(&words);
        self.process.insert(process)
    }

    /// Runs one of its own commands (`test`, `token add x`) to its end, beside the one that runs.
    ///
    /// # Panics
    /// When it does not end in time.
    #[must_use]
    #[track_caller]
    pub fn command(&self, words: &[&str]) -> Output {
        self.spawn(&[&[self.role.as_str()], words].concat()).finish()
    }

    /// Runs `secmon notify` on its state folder to its end: `failed`, `retry --all`.
    ///
    /// # Panics
    /// When it does not end in time.
    #[must_use]
    #[track_caller]
    pub fn notify(&self, words: &[&str]) -> Output {
        let mut command = self.place.secmon();
        command.arg("notify").args(words).args(["--state-dir", arg(&self.state)]);
        Process::run(&format!("secmon notify {}", words.join(" ")), &mut command)
    }

    /// The process.
    ///
    /// # Panics
    /// When it was not started.
    #[must_use]
    #[track_caller]
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("it was started")
    }

    /// The state folder.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Waits until it follows the hub: what happens from now on is told.
    ///
    /// # Panics
    /// When it does not in time.
    #[track_caller]
    pub fn wait_until_following(&self) {
        self.process()
            .wait_for_log("the integration to follow the hub", |line| line.contains("following the hub"));
    }

    /// Waits until it listens, and says where: the address in the line that it logs then.
    ///
    /// # Panics
    /// When it does not in time.
    #[must_use]
    #[track_caller]
    pub fn listening(&self) -> SocketAddr {
        let address = |line: &str| -> Option<SocketAddr> {
            let after = line.split_once("listening")?.1.split_once("address=")?.1;
            after.split_whitespace().next()?.trim_matches('"').parse().ok()
        };
        let line = self.process().wait_for_log("the integration to listen", |line| address(line).is_some());
        address(&line).expect("the line was found by its address")
    }

    fn spawn(&self, words: &[&str]) -> Process {
        let mut command = self.place.secmon();
        command.args(words).args(["--config", arg(&self.config), "--state-dir", arg(&self.state)]);
        command.args(["--socket", arg(&self.socket)]);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Process::spawn(&format!("secmon {}", words.join(" ")), &mut command)
    }
}

impl Lab {
    /// Writes a file that only its owner may read, as a secret must be, and returns its path.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn secret(&self, name: &str, content: &str) -> PathBuf {
        let path = self.write(name, content);
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("the file is ours");
        path
    }
}
