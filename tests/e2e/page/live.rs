//! What happens is on the page without a reload, and over lost connections without a hole.

use secmon_testkit::{browser::NEEDS, require};
use serde_json::json;

use super::scene::Scene;

/// The names of all who logged in by the list of events, sorted.
const LOGGED_IN: &str = "
    const says = [...document.querySelectorAll('ol.events li')].filter((e) => e.innerText.includes('session.opened'));
    return says.map((e) => e.querySelector('.says').innerText.split(' ')[0]).sort()";

fn wait_for_all(scene: &Scene, names: &[&str]) {
    let wanted = json!(names);
    let script = format!(
        "const found = (() => {{ {LOGGED_IN} }})(); return JSON.stringify(found) === JSON.stringify({wanted})"
    );
    scene.browser.wait(&format!("each of {names:?} once"), &script);
}

#[test]
fn a_login_appears_without_a_reload_and_its_markup_stays_text() {
    require!(NEEDS[0], NEEDS[1]);
    let scene = Scene::signed_in();
    scene.browser.ask("window.notReloaded = true", &[]);
    scene.browser.wait_for_text("main table", "nobody");
    let hostile = "<img src=x onerror=alert(1)>";
    scene.login(0, hostile);
    scene.browser.wait_for_text("main table", hostile);
    scene.login(1, "<script>alert(2)</script>");
    scene.browser.wait_for_text("main table", "<script>alert(2)</script>");
    scene.login(2, "a\u{202e}b\u{1b}[31m");
    scene.browser.wait_for_text("main table", "a\\u{202e}b\\x1b[31m");
    for view in ["#/who", "#/node/web1", "#/events"] {
        scene.go(view);
        scene.browser.wait_for_text("main", hostile);
        scene.browser.wait_for_text("main", "a\\u{202e}b\\x1b[31m");
    }
    scene.browser.click("ol.events summary", hostile);
    scene.browser.wait_for_text("ol.events pre", "\"session.opened\"");
    assert_eq!(
        scene.browser.ask("return document.querySelectorAll('main img, main script').length", &[]),
        json!(0)
    );

    scene.go("#/");
    for (slot, user) in [(0, hostile), (1, "x"), (2, "x")] {
        scene.logout(slot, user);
    }
    scene.browser.wait_for_text("main table", "nobody");
    assert_eq!(scene.browser.ask("return window.notReloaded", &[]), json!(true));
    scene.browser.assert_no_complaints();
}

#[test]
fn a_hub_that_is_killed_and_comes_back_is_seen_and_leaves_no_hole() {
    require!(NEEDS[0], NEEDS[1]);
    let mut scene = Scene::signed_in();
    // While the hub is away the bridge may say so to requests.
    scene.browser.expect("50");
    scene.go("#/events");
    scene.login(0, "before");
    wait_for_all(&scene, &["before"]);
    scene.hub.process().kill();
    scene.browser.wait_for_text("#connection", "hub away");
    // What stands is not shown as if it were so now.
    scene.browser.wait_for("main.stale");
    scene.login(1, "meanwhile");
    scene.hub.start_again();
    scene.browser.wait_for_text("#connection", "live");
    scene.browser.wait_for("main:not(.stale)");
    scene.login(2, "then");
    wait_for_all(&scene, &["before", "meanwhile", "then"]);
    scene.go("#/");
    scene.browser.wait_for_text("main table", "meanwhile");
    scene.browser.assert_no_complaints();
}

#[test]
fn over_a_restart_of_the_bridge_the_stream_resumes_by_itself_without_a_hole() {
    require!(NEEDS[0], NEEDS[1]);
    let mut scene = Scene::signed_in();
    scene.browser.expect("ERR_");
    scene.go("#/events");
    scene.login(0, "before");
    wait_for_all(&scene, &["before"]);
    scene.bridge.kill();
    scene.browser.wait_for_text("#connection", "reconnecting");
    scene.login(1, "one");
    scene.login(2, "two");
    scene.bridge.start_again();
    scene.browser.wait_for_text("#connection", "live");
    scene.login(3, "then");
    wait_for_all(&scene, &["before", "one", "then", "two"]);
    scene.go("#/who");
    scene.browser.wait_for_text("main table", "two");
    scene.browser.assert_no_complaints();
}

#[test]
fn a_node_that_goes_away_and_comes_back_is_seen() {
    require!(NEEDS[0], NEEDS[1]);
    let mut scene = Scene::signed_in();
    scene.browser.wait_for_text("main table", "online");
    scene.node.process().kill();
    scene.browser.wait_for_text("main table .badge", "away");
    scene.browser.wait_for_text(".chip.away b", "1");
    scene.node.start_again();
    scene.browser.wait_for_text("main table .badge", "online");
    scene.browser.assert_no_complaints();
}

#[test]
fn a_pause_holds_the_list_counts_what_waits_and_loses_nothing() {
    require!(NEEDS[0], NEEDS[1]);
    let scene = Scene::signed_in();
    scene.go("#/events");
    scene.login(0, "before");
    wait_for_all(&scene, &["before"]);
    scene.browser.click("button", "Pause");
    scene.login(1, "later");
    scene.browser.wait_for_text(".bar", "1 event waiting");
    wait_for_all(&scene, &["before"]);
    scene.browser.click("button", "Go on");
    wait_for_all(&scene, &["before", "later"]);
    // A filter hides, and takes nothing away.
    let set = "const at = [...document.querySelectorAll('.filters input')][1]; at.value = arguments[0]; at.dispatchEvent(new Event('input'))";
    scene.browser.ask(set, &[json!("before logged")]);
    wait_for_all(&scene, &["before"]);
    scene.browser.ask(set, &[json!("")]);
    wait_for_all(&scene, &["before", "later"]);
    let label = scene
        .browser
        .wait("the plot's words", "return document.querySelector('.plot').getAttribute('aria-label')");
    assert!(label.as_str().unwrap().contains("in the last hour"), "{label}");
    scene.browser.assert_no_complaints();
}

#[test]
fn what_happened_before_the_page_was_opened_is_shown_as_well() {
    require!(NEEDS[0], NEEDS[1]);
    let scene = Scene::signed_in();
    let mut watch = scene.hub.watch(&[]);
    scene.login(0, "early");
    watch.find_user("session.opened", "early");
    scene.browser.open("about:blank");
    scene.browser.open(&format!("http://{}/#/events", scene.bridge.address));
    wait_for_all(&scene, &["early"]);
    scene.login(1, "late");
    wait_for_all(&scene, &["early", "late"]);
    assert_eq!(
        scene.browser.ask("return document.querySelectorAll('main .notice.warn').length", &[]),
        json!(0)
    );
    // The node's page has its own.
    scene.go("#/node/web1");
    scene.browser.wait_for_text("ol.events", "early logged in");
    scene.browser.wait_for_text("ol.events", "late logged in");
    scene.browser.assert_no_complaints();
}

/// The page showed "Nobody." for a node whose sessions cannot be seen.
#[test]
fn a_node_that_is_not_known_is_said_to_be_so_and_what_is_not_watched_is_not_empty() {
    require!(NEEDS[0], NEEDS[1]);
    let mut scene = Scene::signed_in();
    scene.browser.expect("404");
    scene.go("#/node/web2");
    scene.browser.wait_for_text("main .notice.bad", "web2");
    scene.browser.wait_for_text("main li a", "web1");
    assert_eq!(scene.browser.ask("return document.querySelectorAll('main table').length - document.querySelectorAll('main [hidden] table').length", &[]), json!(0));
    scene.browser.click("main li a", "web1");
    scene.browser.wait_for_text("main .sheet", "Nobody.");
    scene.browser.wait_for_text("main .sheet", "Not watched.");
    scene.browser.assert_no_complaints();
}
