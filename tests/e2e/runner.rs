//! A node that is not root, and the runner that is.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use secmon_testkit::{
    need::Need::Namespaces,
    process::Process,
    product::{Hub, Lab, Node, NodeSetup, Place, arg},
    realm::Realm,
    require,
    wait::eventually,
};

/// A user with no rights.
const NOBODY: u32 = 65_534;

const ALLOWLIST: &str = r#"
[commands.root]
run = ["sh", "-c", "id -u; id -G"]

[commands.daemon]
run = ["sh", "-c", "id -u; id -G"]
user = "daemon"

[commands.stays]
run = ["sh", "-c", "setsid sleep MARK < /dev/null > /dev/null 2>&1 & echo here; sleep 1000"]
timeout = "10m"
"#;

struct Scene {
    lab: Lab,
    realm: Realm,
    mark: String,
}

impl Scene {
    fn new() -> Self {
        let (lab, realm) = (Lab::new(), Realm::with_secmon("shared"));
        let mark = format!("1000.{}", std::process::id());
        let allowlist = lab.write("runner.commands.toml", ALLOWLIST.replace("MARK", &mark));
        lab.write("runner.toml", format!("[commands]\nallowlist = {:?}\n", arg(&allowlist)));
        let state = lab.path("web1.state");
        fs::create_dir(&state).unwrap();
        chown(&state, Some(NOBODY), Some(NOBODY)).unwrap();
        Self { lab, realm, mark }
    }

    fn socket(&self) -> PathBuf {
        self.lab.path("runner.sock")
    }

    fn runner(&self) -> Process {
        let config = self.lab.path("runner.toml");
        let socket = self.socket();
        let mut command = Place::In(&self.realm).secmon();
        command.args(["runner", "--config", arg(&config), "--listen", arg(&socket), "--user", "65534"]);
        let runner = Process::spawn("runner", &mut command);
        runner.wait_for_log("the runner to listen", |log| log.contains("waiting for the node"));
        runner
    }

    /// A node of nobody's, with a hub.
    fn node(&self) -> (Hub<'_>, Node<'_>) {
        let hub = Hub::start(&self.lab, Place::In(&self.realm));
        let setup = NodeSetup::quiet(&self.lab).with_runner(&self.socket());
        let node = Node::join(&self.lab, Place::As(&self.realm, NOBODY), &hub, "web1", &setup);
        (hub, node)
    }

    /// The process that left its run's session, if it is there.
    fn stays(&self) -> Option<i32> {
        let has_mark = |process: &Path| {
            fs::read(process.join("cmdline"))
                .is_ok_and(|words| words.split(|byte| *byte == 0).any(|word| word == self.mark.as_bytes()))
        };
        let mut processes = fs::read_dir("/proc").unwrap().flatten();
        let found = processes.find(|process| has_mark(&process.path()))?;
        found.file_name().to_str()?.parse().ok()
    }
}

/// Tries until the runner is there for the node.
fn runs(hub: &Hub<'_>, label: &str) -> String {
    let mut out = String::new();
    eventually("a run by the runner", || {
        let output = hub.client(&["run", "web1", label]);
        out = output.out();
        (output.code() == 0).then_some(())
    });
    out
}

#[test]
fn a_node_of_nobodys_runs_what_root_allows_as_whom_root_says() {
    require!(Namespaces);
    let scene = Scene::new();
    let _runner = scene.runner();
    let (hub, _node) = scene.node();
    assert!(runs(&hub, "root").starts_with("0\n"));
    let daemon = nix::unistd::User::from_name("daemon").unwrap().unwrap();
    assert_eq!(runs(&hub, "daemon"), format!("{}\n{}\n", daemon.uid, daemon.gid));

    let allowlist = scene.lab.path("runner.commands.toml");
    fs::set_permissions(&allowlist, Permissions::from_mode(0o664)).unwrap();
    let refused = hub.client(&["run", "web1", "root"]);
    assert_eq!(refused.code(), 125, "{refused}");
    assert!(refused.err().contains("0664") && refused.err().contains("chmod go-w"), "{refused}");
}

#[test]
fn a_runner_that_is_killed_leaves_nothing_behind_its_next_start_and_the_node_starts_nothing_itself() {
    require!(Namespaces);
    let scene = Scene::new();
    let runner = scene.runner();
    let (hub, _node) = scene.node();
    runs(&hub, "root");
    let client = hub.spawn_client(&["run", "web1", "stays"]);
    client.wait_until("its first line", |output| output.out().contains("here").then_some(()));
    eventually("the one that leaves", || scene.stays());
    let has_cgroups = !runner.output().err().contains("no cgroups");
    // Not `kill`, which waits for all that it ran: that is what is left behind.
    runner.signal(Signal::SIGKILL);
    runner.wait_until("its death", |output| output.status);
    let end = client.wait();
    assert_eq!(end.code(), 125, "{end}");
    assert!(end.err().contains("runner"), "{end}");
    let away = hub.client(&["run", "web1", "root"]);
    assert_eq!(away.code(), 125, "{away}");
    let _again = scene.runner();
    runs(&hub, "root");
    if has_cgroups {
        eventually("what it left to be ended", || scene.stays().is_none().then_some(()));
    } else {
        eprintln!("SKIPPED: without cgroups what left its session stays");
        let stays = scene.stays().expect("it is followed by nobody");
        kill(Pid::from_raw(stays), Signal::SIGKILL).unwrap();
    }
}
