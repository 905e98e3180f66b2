//! Access rules as their users meet them: the hub's configuration, and the command line of somebody else.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
};

use secmon_testkit::{
    json::{self, text},
    need::Need::Namespaces,
    process::{Output, Process},
    product::{Hub, Lab, Node, NodeSetup, Place, arg},
    realm::Realm,
    require,
};

use crate::mistakes::{refused, secmon};

/// Numbers that no account has.
const DASHBOARD: u32 = 4_100_001;
const OPS: u32 = 4_100_002;
const STRANGER: u32 = 4_100_003;

fn rules(socket: &str) -> String {
    format!(
        "[socket]\n{socket}\n\n\
         [[access]]\nusers = [{DASHBOARD}]\nrole = \"viewer\"\nnodes = [\"web*\"]\n\n\
         [[access]]\ngroups = [{OPS}]\nrole = \"operator\"\nnodes = [\"web*\"]\ncommands = [\"hello*\"]\n"
    )
}

#[test]
fn each_user_of_a_hub_may_do_what_the_rules_say_and_the_rest_is_denied_and_logged() {
    require!(Namespaces);
    let (lab, realm) = (Lab::new(), Realm::with_secmon("rules"));
    let config = lab.write("secmon.toml", rules("mode = \"0666\""));
    let options = ["--listen", "127.0.0.1:0", "--config", arg(&config)];
    let hub = Hub::start_with(&lab, Place::In(&realm), &options);
    let socket = hub.socket().to_owned();
    let client = |uid: u32, words: &[&str]| -> Output {
        let mut command = Place::As(&realm, uid).secmon();
        Process::run(&words.join(" "), command.args(words).args(["--socket", arg(&socket)]))
    };
    let setup = NodeSetup::quiet(&lab).with_commands("hello=echo hello\nother=echo other\n");
    let _web = Node::join(&lab, Place::In(&realm), &hub, "web1", &setup);
    let _token = hub.enroll("db1");
    let mut watch = hub.watch(&["--type", "access.denied"]);

    // He sees some of what happens: what is none of his business is no gap in what is.
    let mut command = Place::As(&realm, DASHBOARD).secmon();
    let watching = Process::spawn("watch", command.args(["watch", "--json", "--socket", arg(&socket)]));
    watching.wait_for_log("the watch to begin", |line| line.contains("watching"));

    for uid in [DASHBOARD, OPS] {
        let listed = client(uid, &["list", "--json"]);
        assert_eq!(listed.code(), 0, "{listed}");
        let names: Vec<String> =
            json::lines(&listed.stdout).iter().map(|node| text(node, "host.name").to_owned()).collect();
        assert_eq!(names, ["web1"]);
        refused(&client(uid, &["show", "db1"]), 5, &["see db1", "viewer of db1", "[[access]]"]);
        refused(&client(uid, &["enroll", "web2"]), 5, &["enroll web2", "admin", "[[access]]"]);
    }
    refused(&client(DASHBOARD, &["run", "web1", "hello"]), 5, &["run hello on web1", "operator"]);
    let ran = client(OPS, &["run", "web1", "hello"]);
    assert_eq!((ran.code(), ran.out().as_str()), (0, "hello\n"), "{ran}");
    refused(&client(OPS, &["run", "web1", "other"]), 5, &["run other on web1", "hello*"]);
    refused(&client(STRANGER, &["list"]), 5, &["uid 4100003 may not", "[[access]]", "sudo"]);

    let who = client(OPS, &["whoami"]);
    assert_eq!(who.code(), 0, "{who}");
    for said in ["[[access]] 2 (group 4100002)", "operator", "web*", "hello*"] {
        assert!(who.out().contains(said), "{said:?} is not said\n{who}");
    }
    refused(&client(OPS, &["remove", "web1", "--yes"]), 5, &["may not remove", "admin", "[[access]] 2"]);

    let seen = watching.wait_until("the run's end", |output| {
        output.out().contains("command.finished").then(|| output.out())
    });
    assert!(!seen.contains("\"gap\""), "{seen}");

    let denied = watch.find("the stranger's denial", |event| text(event, "user.id") == "4100003");
    assert_eq!(text(&denied, "secmon.type"), "access.denied");
    assert_eq!(hub.client(&["remove", "web1", "--yes"]).code(), 0);
    assert!(hub.listed("web1").is_none());
}

#[test]
fn a_hub_whose_rules_make_no_sense_does_not_start_and_says_which_rule() {
    let lab = Lab::new();
    let start = |rules: &str| {
        let config = lab.write("secmon.toml", rules);
        let (state, socket) = (lab.path("state"), lab.path("hub.sock"));
        let words = ["hub", "--listen", "127.0.0.1:0", "--config", arg(&config), "--state-dir", arg(&state)];
        secmon(&[&words[..], &["--socket", arg(&socket)]].concat())
    };
    let unknown = "[[access]]\nusers = [\"no-such-user-here\"]\nrole = \"viewer\"\n";
    refused(&start(unknown), 2, &["rule 1 of [[access]]", "no user called \"no-such-user-here\""]);
    let open = "[[access]]\nusers = [7]\nrole = \"operator\"\n";
    refused(&start(open), 2, &["rule 1 of [[access]]", "commands = "]);
    refused(&start("[[access]]\nusers = [7]\nroles = \"admin\"\n"), 2, &["line 3", "did you mean `role`"]);
    assert!(!lab.path("state").exists(), "nothing was begun");
}

#[test]
fn a_socket_that_keeps_out_whom_the_rules_name_is_a_warning() {
    require!(Namespaces);
    let (lab, realm) = (Lab::new(), Realm::with_secmon("closed"));
    let config = lab.write("secmon.toml", rules(&format!("group = {OPS}")));
    let options = ["--listen", "127.0.0.1:0", "--config", arg(&config)];
    let hub = Hub::start_with(&lab, Place::In(&realm), &options);
    let warned = |line: &str| line.contains("keep out") && line.contains("socket.group");
    let line = hub.process().wait_for_log("the warning", warned);
    assert!(line.contains("4100001") && !line.contains("4100002"), "{line}");
    let list = |uid: u32| {
        Process::run("list", Place::As(&realm, uid).secmon().args(["list", "--socket", arg(hub.socket())]))
    };
    assert_eq!(list(OPS).code(), 0);
    refused(&list(DASHBOARD), 5, &["hub.sock"]);
    fs::set_permissions(hub.socket(), Permissions::from_mode(0o666)).unwrap();
    assert_eq!(list(DASHBOARD).code(), 0);
}
