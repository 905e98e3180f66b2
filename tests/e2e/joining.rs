//! Join tokens: how they are handed over, and every way in which one is refused.

use std::time::{SystemTime, UNIX_EPOCH};

use secmon_protocol::token::JoinToken;
use secmon_testkit::{
    process::{Output, Process},
    product::{Hub, Lab, Node, NodeSetup, Place, arg},
    wait::eventually,
};

use crate::mistakes::{refused, secmon};

/// Tries to join with a token and returns how that ended.
#[track_caller]
fn join(lab: &Lab, token: &str) -> Output {
    let state = tempfile::tempdir_in(lab.path(".")).unwrap();
    secmon(&["node", "--join", token, "--state-dir", arg(state.path())])
}

#[test]
fn a_token_that_is_wrong_used_or_of_another_hub_is_refused_in_so_many_words() {
    let lab = Lab::new();
    let hub = Hub::start(&lab, Place::Here);
    let text = hub.enroll("web1");
    let good: JoinToken = text.parse().unwrap();

    refused(&join(&lab, "hello"), 2, &["token"]);
    refused(&join(&lab, &text[..text.len() - 9]), 2, &["damaged"]);

    let mut wrong = good.clone();
    wrong.secret = vec![7; wrong.secret.len()].into();
    refused(&join(&lab, &wrong.to_text()), 1, &["token"]);

    let mut other = good.clone();
    other.ca_fingerprint = [7; 32];
    refused(&join(&lab, &other.to_text()), 1, &["not the hub"]);

    let state = lab.path("first");
    let args = ["node", "--join", &text, "--state-dir", arg(&state)];
    let _first = Process::spawn("node", Place::Here.secmon().args(args));
    hub.wait_for_node("web1", "online");
    refused(&join(&lab, &text), 1, &["token", "used"]);
    for secret in [&text, &wrong.to_text()] {
        assert!(!hub.process().output().err().contains(secret.as_str()), "a token is in the hub's log");
    }
}

#[test]
fn an_expired_token_is_refused_in_so_many_words() {
    let lab = Lab::new();
    let hub = Hub::start(&lab, Place::Here);
    let line = hub.client(&["enroll", "web1", "--expires", "1s"]).out();
    let token = line.trim().rsplit(' ').next().unwrap().to_owned();
    let good: JoinToken = token.parse().unwrap();
    eventually("the token to expire", || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        (now.as_nanos() > good.expires.0 as u128).then_some(())
    });
    refused(&join(&lab, &token), 1, &["expired"]);
}

#[test]
fn a_token_is_taken_from_standard_input_and_from_a_file() {
    let lab = Lab::new();
    let hub = Hub::start(&lab, Place::Here);
    let mut command = Place::Here.secmon();
    command.args(["node", "--join", "-", "--state-dir", arg(&lab.path("one"))]);
    let mut one = Process::spawn_with_stdin("node", &mut command);
    one.write_stdin(format!("{}\n", hub.enroll("one")).as_bytes());
    one.close_stdin();
    hub.wait_for_node("one", "online");

    let file = lab.write("token", hub.enroll("two"));
    let state = lab.path("two");
    let args = ["node", "--join-file", arg(&file), "--state-dir", arg(&state)];
    let _two = Process::spawn("node", Place::Here.secmon().args(args));
    hub.wait_for_node("two", "online");
}

#[test]
fn a_node_that_is_enrolled_anew_joins_with_its_old_folder_and_a_spent_token_does_no_harm() {
    let lab = Lab::new();
    let hub = Hub::start(&lab, Place::Here);
    let node = Node::join(&lab, Place::Here, &hub, "web1", &NodeSetup::quiet(&lab));
    let line = hub.client(&["enroll", "web1", "--replace"]).out();
    let token = line.trim().rsplit(' ').next().unwrap();
    node.process().terminate();
    hub.wait_for_node("web1", "away");
    let args = ["node", "--join", token, "--state-dir", arg(node.state())];
    for _ in 0..2 {
        let again = Process::spawn("node", Place::Here.secmon().args(args));
        hub.wait_for_node("web1", "online");
        again.terminate();
        hub.wait_for_node("web1", "away");
    }
}
