//! Messages about many nodes at once: a switch that fails takes thousands with it.

use secmon_client::render::duration;
use serde_json::json;

use super::{
    facts::{NodeNews, Presence},
    text::{MAX_TEXT, clip, counted, thousands, within},
    words::{named, seconds},
};
use crate::{Field, Kind, Notice, Severity};

/// Names that a message shows where it need not show all.
const SOME: usize = 40;
/// Characters of a message that shows all of its names; the rest goes into another.
const MAX_NAMES: usize = MAX_TEXT - 200;

/// One message, with some of the names. `more` says that there are others, which are not known.
pub(super) fn short(news: &[NodeNews<'_>], severity: Severity, more: bool, unique: &str) -> Notice {
    let mut text: Vec<String> = news.iter().take(SOME).map(named).collect();
    if news.len() > SOME || more {
        let rest = thousands(news.len().saturating_sub(SOME) as u64);
        text.push(format!("and {rest}{} more", if more { "+" } else { "" }));
    }
    notice(news, news.len(), severity, more, unique, &text.join(", "))
}

/// As many messages as it takes to name each.
pub(super) fn all(news: &[NodeNews<'_>], more: bool, mut unique: impl FnMut() -> String) -> Vec<Notice> {
    let mut out = vec![];
    let mut rest = news;
    while !rest.is_empty() {
        let mut length = 0;
        let fits = rest.iter().take_while(|one| {
            length += named(one).chars().count() + 2;
            length <= MAX_NAMES
        });
        let (these, others) = rest.split_at(fits.count().max(1));
        let names: Vec<String> = these.iter().map(named).collect();
        out.push(notice(these, news.len(), Severity::Critical, more, &unique(), &names.join(", ")));
        rest = others;
    }
    out
}

/// `total` are all that the messages tell together, `news` those of this one.
fn notice(
    news: &[NodeNews<'_>],
    total: usize,
    severity: Severity,
    more: bool,
    unique: &str,
    text: &str,
) -> Notice {
    let what = news.first().map_or(Presence::Away, |one| one.what);
    let (kind, word, verb) = match what {
        Presence::Away => (Kind::Away, "away", "away"),
        Presence::StillAway => (Kind::Away, "still-away", "still away"),
        Presence::Back => (Kind::Back, "back", "back"),
    };
    let many = counted(total as u64, "node", "nodes");
    let (number, noun) = many.split_once(' ').unwrap_or((&many, ""));
    let mut title = format!("{number}{} {noun} are {verb}", if more { "+" } else { "" });
    if news.len() < total {
        title.push_str(&format!(" ({} of them here)", thousands(news.len() as u64)));
    }
    let time = news.iter().map(|one| one.at).max().unwrap_or(secmon_protocol::time::UnixNanos(0));
    let longest = news.iter().map(|one| one.at.0.saturating_sub(one.since.0)).max().unwrap_or(0);
    let id = format!("nodes-{word}-{unique}");
    let names: Vec<&str> = news.iter().take(500).map(|one| one.name).collect();
    let (json, _) = within(json!({
        "@timestamp": time.rfc3339(),
        "event": { "kind": "alert", "action": if what == Presence::Back { "node.back" } else { "node.away" }, "category": ["host"] },
        "secmon": {
            "type": if what == Presence::Back { "node.back" } else { "node.away" },
            "since": news.iter().map(|one| one.since).min().map(seconds),
            "notice": {
                "id": id, "severity": severity.as_str(), "title": title, "count": news.len(), "total": total, "nodes": names,
            },
        },
    }));
    Notice {
        id,
        kind,
        severity,
        title,
        text: clip(text, MAX_TEXT),
        fields: vec![
            Field { name: "nodes".to_owned(), value: thousands(news.len() as u64) },
            Field { name: "longest".to_owned(), value: duration(longest) },
        ],
        node: None,
        time,
        json,
    }
}
