//! Phone and desktop, light and dark, and for who does not see it.

use secmon_testkit::{
    browser::{Browser, DESKTOP, NEEDS, PHONE},
    require,
};
use serde_json::json;

use super::scene::Scene;

/// What is wrong for who uses a screen reader or has weak eyes: controls without a name, doubled ids, headings that skip, wrong references,
/// and text whose contrast is below 4.5:1, or 3:1 where it is large (WCAG 2.2, 1.4.3).
const CHECKS: &str = include_str!("checks.js");

const VIEWS: [(&str, &str); 5] = [
    ("#/", "Fleet"),
    ("#/who", "Logged in"),
    ("#/node/web1", "web1"),
    ("#/events", "Events"),
    ("#/jobs", "Jobs"),
];

#[track_caller]
fn check(browser: &Browser, view: &str) {
    let found = browser.ask(CHECKS, &[]);
    assert_eq!(found, json!([]), "{view}: {found:#}");
}

#[test]
fn no_view_has_to_be_scrolled_sideways_on_a_phone() {
    require!(NEEDS[0], NEEDS[1]);
    let scene = Scene::signed_in();
    scene.login(0, "averyveryveryverylongusernamehere");
    scene.browser.wait_for_text("main table", "averyvery");
    let wide = "const all = [...document.querySelectorAll('body *')].filter((e) => e.checkVisibility() && !e.closest('.scroll, .unseen, .skip')); \
                const over = all.filter((e) => e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.tagName + '.' + e.className); \
                return document.documentElement.scrollWidth > innerWidth ? ['the page'] : over.slice(0, 5)";
    for size in [PHONE, DESKTOP] {
        scene.browser.size(size);
        for (view, title) in VIEWS {
            scene.go(view);
            scene.browser.wait_for_text("main h1", title);
            assert_eq!(scene.browser.ask(wide, &[]), json!([]), "{view} at {size:?}");
        }
        scene.go("#/node/web1");
        scene.browser.wait_for("details.command");
        scene.browser.ask("document.querySelectorAll('details').forEach((e) => { e.open = true })", &[]);
        assert_eq!(scene.browser.ask(wide, &[]), json!([]), "open forms at {size:?}");
    }
    scene.browser.assert_no_complaints();
}

#[test]
fn every_control_has_a_name_and_every_text_contrast_in_light_and_in_dark() {
    require!(NEEDS[0], NEEDS[1]);
    let mut scene = Scene::new();
    scene.browser.expect("401");
    scene.browser.wait_for("form.signin input");
    check(&scene.browser, "sign in");
    scene.sign_in("wrong");
    scene.browser.wait_for_text(".notice.bad", "not known");
    check(&scene.browser, "sign in, refused");
    scene.sign_in(&scene.token);
    scene.browser.wait_for_text("main table", "web1");
    scene.login(0, "alice");
    scene.browser.wait_for_text("main table", "alice");
    for scheme in ["light", "dark"] {
        scene.browser.colours(scheme);
        for (view, title) in VIEWS {
            scene.go(view);
            scene.browser.wait_for_text("main h1", title);
            if view == "#/node/web1" {
                scene.browser.wait_for("details.command");
            }
            scene.browser.ask("document.querySelectorAll('details').forEach((e) => { e.open = true })", &[]);
            check(&scene.browser, &format!("{view} in {scheme}"));
        }
    }
    let ground = "return getComputedStyle(document.body).backgroundColor";
    let dark = scene.browser.ask(ground, &[]);
    scene.browser.click("#theme", "Light");
    assert_ne!(scene.browser.ask(ground, &[]), dark, "the choice wins over the system");
    check(&scene.browser, "light by choice");
    scene.browser.assert_no_complaints();
}
