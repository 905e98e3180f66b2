//! The verdict in words: what was done, what was seen, and on failure what went on around the first breach.

use std::collections::BTreeMap;

use crate::{
    judge::{Breach, BreachKind},
    run::{Play, Setup},
    sink::lock,
    stage::Seat,
    writer::Writer,
};

/// Breaches that are printed.
const SHOWN: usize = 20;

/// Prints it; whether every promise was kept.
pub(crate) fn tell(setup: &Setup, play: &Play, resumes: bool) -> bool {
    let judge = lock(&play.judge);
    let written: u64 = play.writers.iter().map(Writer::last).sum();
    let count = |counts: &BTreeMap<String, u64>| -> String {
        let counts: Vec<_> = counts.iter().map(|(what, count)| format!("{what} {count}")).collect();
        if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") }
    };
    println!("done: {}", count(&play.done));
    println!("ended by themselves: {}", count(&play.fell));
    let returns: usize = play.stage.nodes.iter().map(Seat::returns_to_disk).sum();
    println!("nodes that went on in memory were back on their disk {returns} times");
    let tally = judge.tally;
    println!(
        "{written} lines written; {} seen by {} subscribers, {} in {} gaps, {} again at another cursor",
        tally.seen,
        play.watches.len() + 3,
        tally.told,
        tally.gaps,
        tally.repeats
    );
    if tally.excused > 0 {
        println!(
            "{} of those may: a node without its disk went on in memory and was killed, or had a power cut",
            tally.excused
        );
    }
    let mut reasons: Vec<_> = judge.reasons.iter().collect();
    reasons.sort();
    for (reason, count) in reasons {
        println!("  gap, {count} times: {reason}");
    }
    if !resumes {
        println!("`watch` has no --since: each of its lives was judged by itself");
    }
    let panics: Vec<_> = std::iter::once(&play.stage.hub)
        .chain(&play.stage.nodes)
        .filter_map(|seat: &Seat| {
            let log = seat.log();
            let panic = log.lines().find(|line| line.contains("panicked at"))?.to_owned();
            Some(format!("{} panicked: {panic}", seat.name))
        })
        .collect();
    for panic in &panics {
        println!("BROKEN: {panic}");
    }
    for breach in judge.breaches.iter().take(SHOWN) {
        println!("BROKEN: {}", sentence(breach, play));
    }
    if judge.breaches.len() > SHOWN {
        println!("… and {} more", judge.breaches.len() - SHOWN);
    }
    if let Some(first) = judge.breaches.iter().min_by_key(|breach| since(breach, play)) {
        println!(
            "around the first, {}:\n{}",
            sentence(first, play),
            play.timeline.around(since(first, play), first.at)
        );
    }
    let last: Vec<u64> = play.writers.iter().map(Writer::last_login).collect();
    let arrived = play.bot.judge(&last, tally.told > 0);
    println!(
        "{} logins: {} told in {} messages, {} of them again",
        last.iter().sum::<u64>(),
        arrived.logins,
        arrived.messages,
        arrived.repeats
    );
    for broken in &arrived.broken {
        println!("BROKEN: {broken}");
    }
    if let Some(panic) = play.bot.log().lines().find(|line| line.contains("panicked at")) {
        println!("BROKEN: the bot panicked: {panic}");
    }
    let well = arrived.broken.is_empty() && !play.bot.log().contains("panicked at");
    let kept = judge.breaches.is_empty() && panics.is_empty() && well;
    println!("chaos: {} (seed {})", if kept { "every promise was kept" } else { "FAILED" }, setup.seed);
    kept
}

/// When what a breach is about began: when its number was written.
fn since(breach: &Breach, play: &Play) -> u64 {
    let written = breach.number.and_then(|(node, number)| play.writers[node].written(number));
    written.unwrap_or(breach.at).min(breach.at)
}

fn sentence(breach: &Breach, play: &Play) -> String {
    let Breach { watch, number, at, kind } = breach;
    let seconds = |millis: u64| format!("{:.3} s", millis as f64 / 1_000.0);
    let subject = match number {
        Some((node, number)) => {
            let written = play.writers[*node].written(*number).map_or("never".to_owned(), seconds);
            let until = match kind {
                BreachKind::Silent { missing, .. } if *missing > 1 => format!(" to {}", number + missing - 1),
                _ => String::new(),
            };
            format!("n{node} {number}{until} (written at {written})")
        }
        None => "its stream".to_owned(),
    };
    format!("w{watch}, {}: {subject}: {kind}", seconds(*at))
}
