//! The units of `packaging/`, as they are: the node as a user of its own, and its runner. Set up by the lines of
//! docs/operating.md, "Running without root".

use std::path::PathBuf;

use secmon_testkit::{
    host::Host,
    json::{number, text},
    process::{Output, Process},
    wait::eventually,
};
use serde_json::Value;

use crate::site::{self, NODE, Site};

pub(crate) const NODE_UNIT: &str = "secmon-node.service";
pub(crate) const RUNNER_UNIT: &str = "secmon-runner.service";

/// What may run.
pub(crate) const ALLOWLIST: &str = "/etc/secmon/commands.toml";

/// Both, with their text.
const UNITS: [(&str, &str); 2] = [
    (NODE_UNIT, include_str!("../../packaging/secmon-node.service")),
    (RUNNER_UNIT, include_str!("../../packaging/secmon-runner.service")),
];

/// The documentation's lines that make the user, its folder, and the papers of the node.
pub(crate) fn joining() -> Vec<String> {
    site::block_of("    useradd --system --user-group --home-dir")
}

/// The documentation's command that asks what the node would see as its unit has it.
pub(crate) fn asking() -> String {
    site::block_of("    systemd-run --pipe --wait -p User=secmon").join("\n")
}

/// Writes the units to where an administrator does.
pub(crate) fn write_units(host: &Host) {
    for (name, unit) in UNITS {
        host.write(&format!("/etc/systemd/system/{name}"), 0o644, unit);
    }
    host.check("systemctl", &["daemon-reload"]);
}

impl Site<'_> {
    /// Makes the node, which has run as root, one that is not.
    #[track_caller]
    pub(crate) fn give_up_root(&self) {
        self.host.check("systemctl", &["disable", "--quiet", "--now", NODE_UNIT]);
        self.hub.wait_for_node(NODE, "away");
        self.host.check("sh", &["-c", &joining()[0]]);
        for line in site::block_of("    chmod a+x /var/lib/secmon") {
            self.host.check("sh", &["-c", &line]);
        }
        write_units(self.host);
        self.enable_units();
    }

    /// The documentation's last line.
    #[track_caller]
    pub(crate) fn enable_units(&self) {
        self.host.check("systemctl", &["enable", "--quiet", "--now", RUNNER_UNIT, NODE_UNIT]);
        self.hub.wait_for_node(NODE, "online");
        self.hub.wait_for_facet(NODE, "auth_log", "ready");
        self.hub.wait_for_facet(NODE, "sessions", "ready");
    }

    /// As [`Site::give_up_root`], with this allowlist; ends when the hub knows what it allows.
    #[track_caller]
    pub(crate) fn with_runner(&self, allowlist: &str) {
        self.host.write(ALLOWLIST, 0o644, allowlist);
        self.give_up_root();
        self.wait_for_commands();
    }

    /// Waits until the hub knows of commands again.
    #[track_caller]
    pub(crate) fn wait_for_commands(&self) {
        eventually("the hub to know what may run", || (!self.labels().is_empty()).then_some(()));
    }

    /// The labels that the hub knows of.
    #[track_caller]
    pub(crate) fn labels(&self) -> Vec<String> {
        let listed = self.hub.client(&["commands", NODE, "--json"]);
        let lines = secmon_testkit::json::lines(&listed.stdout);
        lines.iter().map(|line| text(line, "label").to_owned()).collect()
    }

    /// Runs a command that must succeed; what it printed.
    #[track_caller]
    pub(crate) fn runs(&self, label: &str) -> String {
        let output = self.run(label);
        assert_eq!(output.code(), 0, "{output}");
        output.out()
    }

    /// Runs a command to whatever end.
    #[track_caller]
    pub(crate) fn run(&self, label: &str) -> Output {
        self.hub.client(&["run", NODE, label])
    }

    /// Starts a command and waits until it has printed `here`.
    #[track_caller]
    pub(crate) fn start(&self, label: &str) -> Process {
        let client = self.hub.spawn_client(&["run", NODE, label]);
        client.wait_until("its first line", |output| output.out().contains("here").then_some(()));
        client
    }

    /// Hands over a job, and waits until it runs; its number.
    #[track_caller]
    pub(crate) fn detach(&self, label: &str) -> String {
        let output = self.hub.client(&["run", NODE, label, "--detach"]);
        assert_eq!(output.code(), 0, "{output}");
        let job = output.out().trim().to_owned();
        self.wait_for_job(&job, "running");
        job
    }

    #[track_caller]
    pub(crate) fn wait_for_job(&self, job: &str, state: &str) -> Value {
        eventually(&format!("job {job} to be {state}"), || {
            let shown = self.hub.json(&["job", "show", job]).remove(0);
            (text(&shown, "secmon.job.state") == state).then_some(shown)
        })
    }

    /// The event of a type about a job.
    #[track_caller]
    pub(crate) fn once_of_job(&mut self, kind: &'static str, job: &str) -> Value {
        let job = job.to_owned();
        self.once(kind, move |event| text(event, "secmon.command.job") == job)
    }

    /// The processes of the host whose command line is this.
    #[track_caller]
    pub(crate) fn processes(&self, words: &str) -> Vec<i64> {
        let found = self.host.run("pgrep", &["--full", &format!("^{words}$")]);
        found.out().lines().map(|line| line.parse().unwrap()).collect()
    }

    /// The folders of the control groups of runs, as the machine sees them.
    pub(crate) fn groups_of_runs(&self) -> Vec<PathBuf> {
        let runner = self.host.control_group().join("system.slice").join(RUNNER_UNIT);
        let entries = std::fs::read_dir(runner).into_iter().flatten().flatten();
        let of_a_run = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("secmon-run-"))
        };
        entries.map(|entry| entry.path()).filter(of_a_run).collect()
    }

    /// A property of a unit, as `systemctl show` has it.
    #[track_caller]
    pub(crate) fn property(&self, unit: &str, name: &str) -> String {
        self.host.check("systemctl", &["show", "--value", "--property", name, unit])
    }

    /// Waits until a unit's log has these words, since it was started first.
    #[track_caller]
    pub(crate) fn wait_for_log_of(&self, unit: &str, words: &str) {
        eventually(&format!("{words:?} in the log of {unit}"), || {
            let log = self.host.check("journalctl", &["--quiet", "--output=cat", "--unit", unit]);
            log.contains(words).then_some(())
        });
    }

    /// A facet of the node, without what moves by itself.
    #[track_caller]
    pub(crate) fn facet(&self, name: &str) -> (String, Option<i64>) {
        let listed = self.hub.listed(NODE).unwrap();
        let at = |part: &str| format!("secmon.facets.{name}.{part}");
        (text(&listed, &at("status")).to_owned(), number(&listed, &at("count")))
    }
}
