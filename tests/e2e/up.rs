//! `secmon up`: the first minute of a new user, on a machine that has nothing to see.

use std::{fs, os::unix::fs::chown, path::Path, process::Command};

use secmon_testkit::{
    json::{self, text},
    need::Need::{Namespaces, Program},
    process::Process,
    product::{Lab, Place, arg},
    realm::Realm,
    require,
    wait::eventually,
};

/// `nobody` and `nogroup` of Debian; any user without rights would do.
const NOBODY: u32 = 65534;

fn up(realm: &Realm, home: &Path, uid: u32, args: &[&str]) -> Command {
    let mut command = realm.command("setpriv");
    command.args([&format!("--reuid={uid}"), &format!("--regid={uid}"), "--clear-groups", "--", "env", "-i"]);
    command
        .arg(format!("HOME={}", home.display()))
        .args(["PATH=/usr/bin:/bin", "/run/bin/secmon"])
        .args(args);
    command
}

fn runs_and_says_what_it_cannot_see(realm: &Realm, lab: &Lab, uid: u32) {
    let home = lab.path("home");
    fs::create_dir(&home).unwrap();
    chown(&home, Some(uid), Some(uid)).unwrap();
    let running = Process::spawn("secmon up", &mut up(realm, &home, uid, &["up"]));
    // Everything that it says goes to the screen of the person who started it, whichever stream that is.
    running.wait_until("it to say what it cannot see", |output| {
        let said = (output.out() + output.err().as_str()).to_lowercase();
        // No WireGuard is nothing to be seen, and no blindness.
        ["utmp", "wireguard peers\nnone", "journal"].iter().all(|word| said.contains(word)).then_some(())
    });
    let listed = eventually("the machine in its own list", || {
        let listed = Process::run("secmon list", &mut up(realm, &home, uid, &["list", "--json"]));
        json::lines(&listed.stdout).into_iter().find(|node| text(node, "secmon.status") == "online")
    });
    for facet in ["sessions", "auth_log"] {
        let facet = json::at(&listed, &format!("secmon.facets.{facet}")).expect("the facet is listed");
        assert_eq!(text(facet, "status"), "unavailable", "{listed}");
        assert!(!text(facet, "reason").is_empty() && !text(facet, "remedy").is_empty(), "{listed}");
    }
    assert!(running.is_running());
    let written: Vec<_> = fs::read_dir(&home).unwrap().collect();
    assert!(uid == 0 || !written.is_empty(), "an ordinary user's state is in the home folder");
}

#[test]
fn up_runs_as_an_ordinary_user_in_an_empty_home_and_says_what_it_cannot_see() {
    require!(Namespaces, Program("setpriv"));
    let (lab, realm) = (Lab::new(), Realm::with_secmon("bare"));
    runs_and_says_what_it_cannot_see(&realm, &lab, NOBODY);
}

#[test]
fn up_runs_as_root_where_there_is_nothing_to_see_and_says_so() {
    require!(Namespaces, Program("setpriv"));
    let (lab, realm) = (Lab::new(), Realm::with_secmon("bare"));
    // Root's state folder is the system's; the realm has one of its own.
    realm.check("mkdir", &["-p", "/var/lib"]);
    realm.check("mount", &["-t", "tmpfs", "tmpfs", "/var/lib"]);
    runs_and_says_what_it_cannot_see(&realm, &lab, 0);
}

#[test]
fn up_makes_everything_under_the_state_folder_that_it_is_given() {
    let lab = Lab::new();
    let state = lab.path("state");
    let mut command = Place::Here.secmon();
    command.env("HOME", lab.path("no-home")).args(["up", "--json", "--state-dir", arg(&state)]);
    let running = Process::spawn("secmon up", &mut command);
    let socket = state.join("hub.sock");
    eventually("this machine in the list", || {
        let mut list = Place::Here.secmon();
        let listed = Process::run("list", list.args(["list", "--json", "--socket", arg(&socket)]));
        json::lines(&listed.stdout).into_iter().find(|node| text(node, "secmon.status") == "online")
    });
    assert!(state.join("hub").is_dir() && state.join("node").is_dir());
    let ended = running.terminate();
    assert_eq!(ended.code(), 0, "{ended}");
    // Data only: `lines` fails on anything that is not JSON.
    let _ = json::lines(&ended.stdout);
}
