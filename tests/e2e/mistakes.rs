//! Errors that people make: each is a clear sentence on stderr, nothing on stdout, and the right exit code.

use std::{
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::fs::{PermissionsExt as _, chown},
};

use secmon_testkit::{
    json::text,
    need::Need::Namespaces,
    process::{Output, Process},
    product::{Hub, Lab, Node, NodeSetup, Place, arg},
    realm::Realm,
    require,
};

/// `nobody` of every Linux.
const NOBODY: u32 = 65534;

#[track_caller]
pub(crate) fn secmon(args: &[&str]) -> Output {
    Process::run(&format!("secmon {}", args.join(" ")), Place::Here.secmon().args(args))
}

/// It failed with this code, said all of this on stderr, and printed no data.
#[track_caller]
pub(crate) fn refused(output: &Output, code: i32, said: &[&str]) {
    assert_eq!(output.code(), code, "{output}");
    assert!(output.stdout.is_empty(), "stdout is for data\n{output}");
    let error = output.err();
    for word in said {
        assert!(error.to_lowercase().contains(&word.to_lowercase()), "{word:?} is not said\n{output}");
    }
    assert!(!error.contains("panicked"), "{output}");
}

#[test]
fn without_a_hub_clients_say_where_they_looked_and_end_with_3() {
    let lab = Lab::new();
    let socket = lab.path("hub.sock");
    for command in [&["list"][..], &["watch"], &["show", "web1"], &["commands", "web1"], &["enroll", "web1"]]
    {
        refused(&secmon(&[command, &["--socket", arg(&socket)]].concat()), 3, &[arg(&socket), "hub"]);
    }
    refused(&secmon(&["run", "web1", "x", "--socket", arg(&socket)]), 3, &[arg(&socket)]);
}

#[test]
fn a_user_without_rights_ends_with_5() {
    require!(Namespaces);
    let (lab, realm) = (Lab::new(), Realm::with_secmon("shared"));
    let hub = Hub::start(&lab, Place::In(&realm));
    let stranger = Place::As(&realm, NOBODY);
    let list = || Process::run("list", stranger.secmon().args(["list", "--socket", arg(hub.socket())]));
    refused(&list(), 5, &["hub.sock"]);
    // A socket that lets anybody in still asks the kernel who it is.
    fs::set_permissions(hub.socket(), Permissions::from_mode(0o666)).unwrap();
    refused(&list(), 5, &["uid 65534", "may not", "sudo"]);
}

#[test]
fn a_taken_port_is_named() {
    let lab = Lab::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = secmon(&["hub", "--state-dir", arg(&lab.path("state")), "--listen", &address]);
    refused(&output, 1, &[&address, "in use"]);
}

#[test]
fn a_second_hub_on_the_same_state_folder_is_refused() {
    let lab = Lab::new();
    let hub = Hub::start(&lab, Place::Here);
    let socket = lab.path("second.sock");
    let state = arg(hub.state());
    let output = secmon(&["hub", "--state-dir", state, "--socket", arg(&socket), "--listen", "127.0.0.1:0"]);
    refused(&output, 1, &[state]);
    assert_eq!(hub.client(&["list"]).code(), 0, "the first one goes on");
}

#[test]
fn a_second_node_on_the_same_state_folder_is_refused() {
    let lab = Lab::new();
    let hub = Hub::start(&lab, Place::Here);
    let node = Node::join(&lab, Place::Here, &hub, "web1", &NodeSetup::quiet(&lab));
    let state = arg(node.state());
    refused(&secmon(&["node", "--state-dir", state]), 1, &[state]);
}

#[test]
fn a_log_that_may_not_be_read_is_unavailable_with_reason_and_remedy() {
    require!(Namespaces);
    let (lab, realm) = (Lab::new(), Realm::with_secmon("shared"));
    let log = lab.write("auth.log", "");
    fs::set_permissions(&log, Permissions::from_mode(0o600)).unwrap();
    let state = lab.path("web1.state");
    fs::create_dir(&state).unwrap();
    chown(&state, Some(NOBODY), Some(NOBODY)).unwrap();
    let hub = Hub::start(&lab, Place::In(&realm));
    let setup = NodeSetup::quiet(&lab).with_auth_file(&log);
    let _node = Node::join(&lab, Place::As(&realm, NOBODY), &hub, "web1", &setup);
    let facet = hub.wait_for_facet("web1", "auth_log", "unavailable");
    let reason = text(&facet, "reason").to_lowercase();
    assert!(reason.contains("auth.log") && reason.contains("permission denied"), "{facet}");
    assert!(!text(&facet, "remedy").is_empty(), "{facet}");
    let shown = hub.client(&["show", "web1"]);
    assert!(shown.out().to_lowercase().contains("permission denied"), "people see it as well\n{shown}");
}

#[test]
fn an_unknown_node_ends_with_4_and_the_nearest_names() {
    let lab = Lab::new();
    let hub = Hub::start(&lab, Place::Here);
    let _node = Node::join(&lab, Place::Here, &hub, "web1", &NodeSetup::quiet(&lab));
    for command in [&["show", "wep1"][..], &["commands", "wep1"], &["run", "wep1", "x"]] {
        refused(&hub.client(command), 4, &["wep1", "web1"]);
    }
}

#[test]
fn a_node_is_found_by_its_id_and_by_a_prefix_of_it() {
    let lab = Lab::new();
    let hub = Hub::start(&lab, Place::Here);
    let _node = Node::join(&lab, Place::Here, &hub, "web1", &NodeSetup::quiet(&lab));
    let id = text(&hub.listed("web1").unwrap(), "host.id").to_owned();
    for node in [id.as_str(), &id[..8]] {
        assert_eq!(text(&hub.json(&["show", node])[0], "host.name"), "web1");
    }
}

#[test]
fn an_unknown_label_comes_with_the_list() {
    let lab = Lab::new();
    let hub = Hub::start(&lab, Place::Here);
    let setup = NodeSetup::quiet(&lab).with_commands("uptime=cat /proc/uptime\nid=id\n");
    let _node = Node::join(&lab, Place::Here, &hub, "web1", &setup);
    refused(&hub.client(&["run", "web1", "uptme"]), 125, &["uptme", "uptime", "id"]);
}

#[test]
fn an_allowlist_that_others_may_write_is_refused() {
    let lab = Lab::new();
    let hub = Hub::start(&lab, Place::Here);
    let setup = NodeSetup::quiet(&lab).with_commands("id=id\n");
    let mut node = Node::join(&lab, Place::Here, &hub, "web1", &setup);
    assert_eq!(hub.client(&["run", "web1", "id"]).code(), 0);
    node.process().terminate();
    fs::set_permissions(lab.path("web1.commands.toml"), Permissions::from_mode(0o666)).unwrap();
    node.start_again();
    hub.wait_for_node("web1", "online");
    assert_eq!(hub.json(&["commands", "web1"]).len(), 0);
    refused(&hub.client(&["run", "web1", "id"]), 125, &["web1.commands.toml", "0666", "chmod go-w"]);
    node.process().wait_for_log("the reason", |line| line.contains("web1.commands.toml"));
}

#[test]
fn broken_configuration_is_named_by_line_and_column() {
    let lab = Lab::new();
    let config = lab.write("secmon.toml", "[hub]\nlisten = \"127.0.0.1:0\"\nadvertise = = 3\n");
    for role in ["hub", "node"] {
        let output = secmon(&[role, "--config", arg(&config), "--state-dir", arg(&lab.path("state"))]);
        refused(&output, 2, &[arg(&config), "line 3", "column"]);
    }
    assert!(!lab.path("state").exists(), "nothing is written before the configuration is right");
}

#[test]
fn an_unknown_key_comes_with_the_one_that_was_meant() {
    let lab = Lab::new();
    let config = lab.write("secmon.toml", "[hub]\nlisen = \"127.0.0.1:0\"\n");
    let output = secmon(&["hub", "--config", arg(&config), "--state-dir", arg(&lab.path("state"))]);
    refused(&output, 2, &["lisen", "listen"]);
}

#[test]
fn wrong_usage_ends_with_2_and_help_has_examples() {
    refused(&secmon(&["lst"]), 2, &["list"]);
    refused(&secmon(&["show"]), 2, &["usage"]);
    let commands = ["up", "hub", "node", "enroll", "list", "show", "watch", "commands", "run", "parse"];
    for command in commands {
        let help = secmon(&[command, "--help"]);
        assert_eq!(help.code(), 0, "{help}");
        assert!(
            help.out().contains("Example") && help.out().contains(&format!("secmon {command}")),
            "{help}"
        );
    }
}

#[test]
fn a_watch_that_can_see_nothing_says_so_and_watches_on() {
    let lab = Lab::new();
    let hub = Hub::start(&lab, Place::Here);
    let watch = hub.spawn_client(&["watch", "--json", "--type", "sesion.*", "--node", "wep1"]);
    for word in ["sesion.*", "wep1"] {
        watch.wait_for_log("a warning", |line| line.contains(word));
    }
    assert!(watch.is_running());
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let lab = Lab::new();
    let line = "Nov 21 03:00:00 web1 sshd[1]: Failed password for x from 192.0.2.1 port 22 ssh2\n";
    let log = lab.write("auth.log", line.repeat(20_000));
    let script = format!(
        "'{}' parse --json {} | head -n 1; echo ${{PIPESTATUS[0]}}",
        secmon_testkit::binary::secmon().display(),
        arg(&log)
    );
    let output = Process::run("a closed pipe", std::process::Command::new("bash").args(["-c", &script]));
    assert_eq!(output.out().lines().last(), Some("0"), "{output}");
    assert!(output.stderr.is_empty(), "{output}");
}
