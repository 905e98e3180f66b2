//! Commands and jobs.

use secmon_testkit::{browser::NEEDS, json::text, require};
use serde_json::json;
use thirtyfour::Key;

use super::scene::Scene;

/// Opens a command's form and asks to run it.
fn ask_for(scene: &Scene, label: &str, button: &str) {
    scene.browser.click("details.command > summary", label);
    scene.browser.click(&format!("form[aria-label='{label}'] button"), button);
    scene.browser.wait_for("dialog[open]");
}

#[test]
fn a_command_runs_and_its_output_is_seen_as_it_comes_each_stream_apart() {
    require!(NEEDS[0], NEEDS[1]);
    let scene = Scene::signed_in();
    scene.go("#/node/web1");
    ask_for(&scene, "both", "Run …");
    scene.browser.click("dialog button", "Run");
    scene.browser.wait_for_text(".run .badge", "exited with 3");
    scene.browser.wait_for_text(".run .stdout", "to-stdout");
    scene.browser.wait_for_text(".run .stderr", "to-stderr");
    scene.browser.wait_for_text(".run .stdout", "<img src=x onerror=alert(1)> \\x1b[31m\\u{202e}");
    scene.browser.wait_for_text(".run", "of CPU");
    scene.browser.wait_for_text("ol.events", "laptop");
    scene.browser.assert_no_complaints();
}

#[test]
fn a_run_is_seen_before_it_ends_and_can_be_cancelled() {
    require!(NEEDS[0], NEEDS[1]);
    let scene = Scene::signed_in();
    let mut watch = scene.hub.watch(&["--type", "command.finished"]);
    scene.go("#/node/web1");
    ask_for(&scene, "endless", "Run …");
    scene.browser.click("dialog button", "Run");
    scene.browser.wait_for_text(".run .stdout", "begun");
    scene.browser.wait_for_text(".run .badge", "running");
    // It goes on while another page is looked at.
    scene.go("#/");
    scene.browser.wait_for_text("h1", "Fleet");
    scene.go("#/node/web1");
    scene.browser.wait_for_text(".run .badge", "running");
    scene.browser.click(".run button", "Cancel");
    scene.browser.wait_for_text(".run .badge", "cancelled");
    let finished = watch.find_type("command.finished");
    assert_eq!(text(&finished, "secmon.command.end"), "cancelled", "{finished}");
    assert!(text(&finished, "secmon.command.agent").contains("laptop"), "{finished}");
    scene.browser.assert_no_complaints();
}

#[test]
fn a_flood_of_output_is_bounded_and_says_how_much_is_gone() {
    require!(NEEDS[0], NEEDS[1]);
    let scene = Scene::signed_in();
    scene.go("#/node/web1");
    ask_for(&scene, "flood", "Run …");
    scene.browser.click("dialog button", "Run");
    scene.browser.wait_for_text(".run .badge", "exited with 0");
    scene.browser.wait_for_text(".run", "Earlier output dropped");
    scene.browser.wait(
        "the last line",
        "return [...document.querySelectorAll('.run .stdout')].at(-1).innerText === '100000'",
    );
    let lines = scene.browser.ask("return document.querySelectorAll('.run .stdout').length", &[]);
    assert_eq!(lines, json!(5000));
    scene.browser.assert_no_complaints();
}

#[test]
fn a_form_is_made_of_what_the_command_takes_and_refuses_the_rest() {
    require!(NEEDS[0], NEEDS[1]);
    let scene = Scene::signed_in();
    scene.go("#/node/web1");
    scene.browser.click("details.command > summary", "say");
    let fill = "const form = document.querySelector('form[aria-label=say]'); form.querySelectorAll('input, select')[arguments[0]].value = arguments[1]";
    let press = || scene.browser.click("form[aria-label=say] button", "Run …");
    press();
    scene.browser.wait_for_text("form[aria-label=say] .notice", "word is needed");
    scene.browser.ask(fill, &[json!(0), json!("UP")]);
    press();
    scene.browser.wait_for_text("form[aria-label=say] .notice", "must be like");
    scene.browser.ask(fill, &[json!(0), json!("hello")]);
    scene.browser.ask(fill, &[json!(1), json!("10")]);
    press();
    scene.browser.wait_for_text("form[aria-label=say] .notice", "from 1 to 9");
    scene.browser.ask(fill, &[json!(1), json!("7")]);
    scene.browser.ask(fill, &[json!(2), json!("high")]);
    press();
    scene.browser.wait_for_text("dialog", "say word=hello times=7 tone=high");
    scene.browser.click("dialog button", "Run");
    scene.browser.wait_for_text(".run .stdout", "hello 7 high");
    scene.browser.assert_no_complaints();
}

#[test]
fn a_job_is_started_followed_and_cancelled() {
    require!(NEEDS[0], NEEDS[1]);
    let scene = Scene::signed_in();
    scene.go("#/node/web1");
    ask_for(&scene, "quick", "background");
    scene.browser.click("dialog button", "Run");
    scene.browser.wait_for_text("main .presence", "finished");
    scene.browser.wait_for_text(".output .stdout", "done");
    scene.go("#/node/web1");
    ask_for(&scene, "endless", "background");
    scene.browser.click("dialog button", "Run");
    scene.browser.wait_for_text(".output .stdout", "begun");
    scene.go("#/jobs");
    scene.browser.wait_for_text("main table", "running");
    scene.browser.wait_for_text("main table", "exited with 0");
    scene.browser.click("main table button", "Cancel");
    scene.browser.click("dialog button", "Cancel the job");
    scene.browser.wait_for_text("main table .badge", "cancelled");
    scene.browser.assert_no_complaints();
}

#[test]
fn everything_is_reached_by_keys_alone() {
    require!(NEEDS[0], NEEDS[1]);
    let mut scene = Scene::new();
    scene.browser.expect("401");
    scene.browser.wait_for("form.signin input:focus");
    scene.browser.write(&scene.token);
    scene.browser.keys(&[Key::Enter]);
    scene.browser.wait_for_text("main table", "web1");
    // The first stop leads past the head.
    scene.browser.ask("document.activeElement.blur(); window.getSelection().removeAllRanges()", &[]);
    scene.browser.tab_to("#skip", "");
    scene.browser.keys(&[Key::Enter]);
    scene.browser.wait("the focus in the page", "return document.activeElement.id === 'main'");
    scene.browser.tab_to("main table a", "web1");
    scene.browser.keys(&[Key::Enter]);
    scene.browser.wait_for_text("main h1", "web1");
    scene.browser.wait_for_text("details.command > summary", "quick");
    scene.browser.tab_to("details.command > summary", "quick");
    scene.browser.keys(&[Key::Space]);
    scene.browser.tab_to("button", "Run …");
    scene.browser.keys(&[Key::Enter]);
    scene.browser.wait_for("dialog[open]");
    scene.browser.keys(&[Key::Escape]);
    scene.browser.wait("the question to be gone", "return !document.querySelector('dialog')");
    assert_eq!(scene.browser.ask("return document.querySelectorAll('.run').length", &[]), json!(0));
    scene.browser.tab_to("button", "Run …");
    scene.browser.keys(&[Key::Enter]);
    scene.browser.wait_for("dialog[open] button:focus");
    scene.browser.keys(&[Key::Enter]);
    scene.browser.wait_for_text(".run .stdout", "done");
    // What has the focus shows it.
    let outline = "return getComputedStyle(document.activeElement).outlineStyle";
    scene.browser.keys(&[Key::Tab]);
    assert_ne!(scene.browser.ask(outline, &[]), json!("none"));
    scene.browser.assert_no_complaints();
}
