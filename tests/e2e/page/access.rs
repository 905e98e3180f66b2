//! Signing in and out.

use secmon_testkit::{browser::NEEDS, require};
use serde_json::json;

use super::scene::Scene;

#[test]
fn a_token_signs_in_is_kept_nowhere_and_signing_out_ends_it() {
    require!(NEEDS[0], NEEDS[1]);
    let mut scene = Scene::new();
    scene.browser.expect("401");
    scene.browser.wait_for("form.signin input");
    scene.sign_in("of no one");
    scene.browser.wait_for_text(".notice.bad", "not known here");

    scene.sign_in(&scene.token);
    scene.browser.wait_for_text("main table", "web1");
    scene.browser.wait_for_text("#connection", "live");
    let kept = scene.browser.ask(
        "return [document.cookie, JSON.stringify({...localStorage}), JSON.stringify({...sessionStorage}), document.documentElement.outerHTML]",
        &[],
    );
    assert_eq!((kept[0].as_str(), kept[1].as_str(), kept[2].as_str()), (Some(""), Some("{}"), Some("{}")));
    assert!(!kept.to_string().contains(&scene.token));
    // A page that is loaded anew is still signed in.
    scene.browser.open(&format!("http://{}/#/node/web1", scene.bridge.address));
    scene.browser.ask("location.reload()", &[]);
    scene.browser.wait_for_text("main h1", "web1");

    scene.browser.click("#account", "Sign out");
    scene.browser.wait_for("form.signin input");
    let status = "return fetch('/v1/nodes').then((answer) => answer.status)";
    assert_eq!(scene.browser.ask(status, &[]), json!(401));
    scene.browser.assert_no_complaints();
}

#[test]
fn a_token_that_is_revoked_leads_back_to_the_sign_in() {
    require!(NEEDS[0], NEEDS[1]);
    let mut scene = Scene::signed_in();
    scene.browser.expect("401");
    scene.browser.wait_for_text("main table", "web1");
    scene.bridge.token(&["revoke", "laptop"]);
    scene.browser.wait_for("form.signin input");
    scene.browser.wait_for_text("main", "The session has ended");
    assert!(!scene.browser.text().contains("web1"));
}

#[test]
fn the_page_of_the_api_is_made_of_its_description() {
    require!(NEEDS[0], NEEDS[1]);
    let scene = Scene::signed_in();
    scene.browser.open(&format!("http://{}/api", scene.bridge.address));
    scene.browser.wait_for_text("summary", "/v1/nodes/{node}");
    scene.browser.click("summary", "/v1/nodes/{node}/commands/{label}");
    scene.browser.wait_for_text("details[open] pre", "Authorization: Bearer $TOKEN");
    scene.browser.assert_no_complaints();
}
