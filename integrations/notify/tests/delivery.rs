//! Notifiers against a hub on a real socket and a store on a real disk, with services that fail: what is to be told is told, in order, and
//! what comes twice was on its way.
#![expect(clippy::unwrap_used, reason = "clippy exempts test functions, and these are their helpers")]

mod common;

use std::{collections::HashSet, time::Duration};

use common::{Double, Lab, eventually};
use secmon_notify::{SendError, failed, run};
use secmon_protocol::{
    message::{ErrorCode, Refusal},
    time::UnixNanos,
};

fn unreachable() -> SendError {
    SendError::Unreachable { reason: "the line is cut".to_owned() }
}

/// Waits until a service has the login of a user.
async fn has(double: &Double, user: u64) {
    eventually(&format!("user-{user} to be told"), || double.users().contains(&user).then_some(())).await;
}

/// Starts a notifier for the first time and lets one user log in, which is told: it and its number.
async fn settled(lab: &Lab) -> (common::Running, u64) {
    let running = lab.start().await;
    eventually("the hub to be followed", || (lab.hub.subscriptions() > 0).then_some(())).await;
    lab.hub.logins(1);
    let login = eventually("the first login to be told", || lab.doubles[0].users().last().copied()).await;
    (running, login)
}

#[tokio::test]
async fn what_happened_before_the_first_start_is_learned_and_not_told() {
    let lab = Lab::new(vec![Double::new("a")]);
    lab.hub.logins(700);
    let (running, login) = settled(&lab).await;
    assert_eq!((login, lab.doubles[0].users()), (701, vec![701]));
    running.stop().await.unwrap();
}

/// A kill within the first two seconds once made the next start a first one again, which told nothing of what lay between.
#[tokio::test]
async fn a_first_start_that_is_killed_at_once_is_not_made_again() {
    let lab = Lab::new(vec![Double::new("a")]);
    lab.hub.logins(3);
    let running = lab.start().await;
    eventually("the hub to be followed", || (lab.hub.subscriptions() > 1).then_some(())).await;
    running.kill().await;
    lab.hub.logins(2);
    let running = lab.start().await;
    has(&lab.doubles[0], 5).await;
    assert_eq!(lab.doubles[0].users(), [4, 5]);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn what_happened_while_it_was_down_is_told_and_nothing_twice() {
    let lab = Lab::new(vec![Double::new("a"), Double::new("b")]);
    let (running, mut last) = settled(&lab).await;
    for _ in 0..3 {
        lab.hub.logins(20);
        last += 20;
        has(&lab.doubles[0], last).await;
    }
    has(&lab.doubles[1], last).await;
    running.stop().await.unwrap();
    lab.hub.logins(30);
    last += 30;
    let running = lab.start().await;
    for double in &lab.doubles {
        has(double, last).await;
        let users = double.users();
        assert!(users.is_sorted() && users.windows(2).all(|two| two[0] + 1 == two[1]), "{users:?}");
    }
    running.stop().await.unwrap();
}

#[tokio::test]
async fn killed_at_any_moment_it_loses_nothing_and_repeats_what_was_on_its_way() {
    let slow = Duration::from_millis(2);
    let lab = Lab::new(vec![Double::new("a").slow(slow), Double::new("b").slow(slow / 2)]);
    let (mut running, mut last) = settled(&lab).await;
    let first = last;
    has(&lab.doubles[0], first).await;
    has(&lab.doubles[1], first).await;
    for round in 0..25u64 {
        lab.hub.logins(12);
        last += 12;
        // Here and there, from the reading on to the last commit.
        tokio::time::sleep(Duration::from_micros(700 * (round * 7 % 25))).await;
        running.kill().await;
        running = lab.start().await;
    }
    for double in &lab.doubles {
        has(double, last).await;
        let users: Vec<u64> = double.users().into_iter().filter(|user| *user >= first).collect();
        let different: HashSet<u64> = users.iter().copied().collect();
        assert_eq!(different, (first..=last).collect(), "of {}", double.name());
        assert!(users.is_sorted(), "{users:?}");
        let repeats = users.len() - different.len();
        // A kill takes one call of each destination, and the answer of one that was not written yet.
        assert!(repeats <= 25, "{repeats} repeats, {} unheard", double.unheard());
    }
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_destination_that_never_answers_holds_up_no_other_and_no_end() {
    let lab = Lab::new(vec![Double::new("a"), Double::new("silent")]);
    lab.doubles[1].silent(true);
    let (running, mut last) = settled(&lab).await;
    lab.hub.logins(100);
    last += 100;
    has(&lab.doubles[0], last).await;
    running.stop().await.unwrap();
    lab.doubles[1].silent(false);
    let running = lab.start().await;
    has(&lab.doubles[1], last).await;
    assert!(lab.doubles[1].users().is_sorted());
    assert_eq!(lab.doubles[0].users().iter().collect::<HashSet<_>>().len(), lab.doubles[0].users().len());
    running.stop().await.unwrap();
}

#[tokio::test]
async fn an_outage_delays_and_reorders_nothing() {
    let lab = Lab::new(vec![Double::new("a")]);
    let (running, mut last) = settled(&lab).await;
    lab.doubles[0].fail([unreachable(), SendError::Busy { after: Some(Duration::from_millis(1_100)) }]);
    lab.hub.logins(10);
    last += 10;
    has(&lab.doubles[0], last).await;
    let users = lab.doubles[0].users();
    assert!(users.windows(2).all(|two| two[0] + 1 == two[1]), "{users:?}");
    assert!(failed::list(&lab.state()).unwrap().is_empty());
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_service_that_wants_us_to_wait_is_not_asked_again_by_a_restart() {
    let lab = Lab::new(vec![Double::new("a"), Double::new("busy")]);
    let (running, last) = settled(&lab).await;
    has(&lab.doubles[1], last).await;
    lab.doubles[1].fail_always(Some(SendError::Busy { after: Some(Duration::from_secs(3_000)) }));
    let before = lab.doubles[1].calls();
    lab.hub.logins(1);
    eventually("the busy one to be asked", || (lab.doubles[1].calls() > before).then_some(())).await;
    lab.hub.logins(1);
    has(&lab.doubles[0], last + 2).await;
    running.stop().await.unwrap();
    let asked = lab.doubles[1].calls();
    let running = lab.start().await;
    lab.hub.logins(1);
    has(&lab.doubles[0], last + 3).await;
    running.stop().await.unwrap();
    assert_eq!((asked, lab.doubles[1].calls()), (before + 1, before + 1));
    assert_eq!(failed::waiting(&lab.state()).unwrap(), 3);
}

#[tokio::test]
async fn what_is_refused_is_set_aside_and_goes_when_somebody_says_so() {
    let lab = Lab::new(vec![Double::new("a")]);
    let (running, last) = settled(&lab).await;
    let forbidden = SendError::Forbidden { reason: "the bot was blocked\u{202e}".to_owned() };
    lab.doubles[0].fail([forbidden]);
    lab.hub.logins(2);
    has(&lab.doubles[0], last + 2).await;
    assert!(!lab.doubles[0].users().contains(&(last + 1)));
    let aside = failed::list(&lab.state()).unwrap();
    assert_eq!(aside.len(), 1);
    let shown = failed::show(&lab.state(), &aside, false);
    assert!(
        shown.contains(&format!("user-{}", last + 1)) && shown.contains("the bot was blocked"),
        "{shown}"
    );
    assert!(!shown.contains('\u{202e}'), "{shown}");
    assert_eq!(failed::retry(&lab.state(), &[aside[0].id]).unwrap(), 1);
    has(&lab.doubles[0], last + 1).await;
    assert!(failed::list(&lab.state()).unwrap().is_empty());
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_hub_that_goes_and_comes_back_is_followed_on() {
    let mut lab = Lab::new(vec![Double::new("a")]);
    let (running, mut last) = settled(&lab).await;
    for _ in 0..3 {
        lab.hub.down();
        lab.hub.logins(5);
        last += 5;
        lab.hub.up();
        has(&lab.doubles[0], last).await;
    }
    let users = lab.doubles[0].users();
    assert!(users.windows(2).all(|two| two[0] + 1 == two[1]), "{users:?}");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_hub_that_will_never_have_it_ends_it() {
    let lab = Lab::new(vec![Double::new("a")]);
    lab.hub.refuse(Refusal::new(ErrorCode::NotPermitted, "you may not"));
    let error = lab.start().await.ended().await.unwrap_err().to_string();
    assert!(error.contains("you may not"), "{error}");
}

#[tokio::test]
async fn a_damaged_store_begins_anew_and_says_so_everywhere() {
    let lab = Lab::new(vec![Double::new("a"), Double::new("b")]);
    let (running, last) = settled(&lab).await;
    has(&lab.doubles[1], last).await;
    running.stop().await.unwrap();
    let file = run::file(&lab.state());
    std::fs::write(&file, b"no database at all".repeat(500)).unwrap();
    lab.hub.logins(5);
    let running = lab.start().await;
    for double in &lab.doubles {
        eventually("the damage to be told", || {
            double.titles().iter().any(|title| title.contains("store was damaged")).then_some(())
        })
        .await;
    }
    assert!(
        std::fs::read_dir(lab.state())
            .unwrap()
            .any(|file| { file.unwrap().file_name().to_string_lossy().contains("damaged-1") })
    );
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_mute_that_was_answered_is_on_the_disk_and_an_ended_notifier_answers_all_the_same() {
    let lab = Lab::new(vec![Double::new("a")]);
    let (running, _) = settled(&lab).await;
    let handle = running.handle.clone();
    handle.mute("a", UnixNanos(i64::MAX)).await;
    running.stop().await.unwrap();
    handle.mute("a", UnixNanos(0)).await;
}

#[tokio::test]
async fn samples_go_past_everything_and_each_destination_answers_for_itself() {
    let lab = Lab::new(vec![Double::new("a"), Double::new("b")]);
    lab.doubles[1].fail_always(Some(unreachable()));
    let (_notifier, _) = lab.open().unwrap();
    let destinations: Vec<secmon_notify::Destination> = lab
        .doubles
        .iter()
        .map(|double| secmon_notify::Destination {
            name: double.name().to_owned(),
            section: toml::from_str("").unwrap(),
            service: std::sync::Arc::new(double.clone()),
        })
        .collect();
    let results = run::test(&destinations, None).await;
    assert_eq!(results, [("a".to_owned(), Ok(())), ("b".to_owned(), Err(unreachable()))]);
    assert!(!lab.doubles[0].titles().is_empty());
    assert_eq!(run::test(&destinations, Some("a")).await.len(), 1);
}
