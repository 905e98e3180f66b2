//! What is critical: told at once, and where it comes in floods several in one message, each in full; never held back, never merely
//! counted.

use secmon_protocol::time::UnixNanos;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    quota::{Quota, Rate},
    text::{counted, within},
};
use crate::{Field, Kind, Notice, Severity};

/// Five at once, and six a minute for long: who must act on more of them reads a list.
pub(super) const SINGLE: Rate = Rate::of(5, 10_000_000_000);
/// How long the first of a list waits for others.
const GATHER: i64 = 10_000_000_000;
/// Bytes of a list, with its line ends: within what a restart may keep of each destination, and what one message of any service shows.
const MAX_LIST: usize = 1_400;

/// What waits to be told, and what was told alone.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Critical {
    quota: Quota,
    /// Title and text of each.
    list: Vec<String>,
    /// How many events they stand for: a line that was repeated is several.
    count: u64,
    /// When the first of the list came, and the last happened.
    since: Option<UnixNanos>,
    time: Option<UnixNanos>,
}

impl Critical {
    /// Takes one: what is to be told now, none or up to two. `id` is for the list, where one is to be told; `shared` says whether it may
    /// be told in one.
    pub(super) fn take(
        &mut self,
        now: UnixNanos,
        notice: Notice,
        shared: bool,
        id: impl FnOnce() -> String,
    ) -> Vec<Notice> {
        let entry = entry(&notice);
        if !shared
            || entry.len() > MAX_LIST
            || (self.list.is_empty() && self.quota.take_any(Some(SINGLE), now))
        {
            // In their order, as far as that goes.
            return vec![notice];
        }
        let length: usize = self.list.iter().map(|one| one.len() + 1).sum();
        let full = (length + entry.len() > MAX_LIST).then(|| self.tell(id())).flatten();
        self.list.push(entry);
        self.count += notice.json["secmon"]["notice"]["count"].as_u64().unwrap_or(1);
        self.since.get_or_insert(now);
        self.time = Some(self.time.map_or(notice.time, |time| time.max(notice.time)));
        full.into_iter().collect()
    }

    /// When the list is due.
    pub(super) fn due(&self) -> Option<UnixNanos> {
        self.since.map(|since| UnixNanos(since.0.saturating_add(GATHER)))
    }

    /// The list as one notice, where there is one.
    pub(super) fn tell(&mut self, id: String) -> Option<Notice> {
        let (list, count) = (std::mem::take(&mut self.list), std::mem::take(&mut self.count));
        let (_, time) = (self.since.take(), self.time.take()?);
        if let [one] = list.as_slice() {
            let (title, text) = one.split_once('\n').unwrap_or((one, ""));
            return Some(Self::notice(id, title.to_owned(), text.to_owned(), time, &list, count));
        }
        let title = counted(count, "critical event", "critical events");
        Some(Self::notice(id, title, list.join("\n"), time, &list, count))
    }

    fn notice(
        id: String,
        title: String,
        text: String,
        time: UnixNanos,
        list: &[String],
        count: u64,
    ) -> Notice {
        let (json, _) = within(json!({
            "@timestamp": time.rfc3339(),
            "event": { "kind": "alert", "action": "digest" },
            "secmon": { "type": "digest", "notice": {
                "id": id, "why": "critical", "severity": "critical", "title": title, "count": count, "open": false,
                "events": list.iter().map(|one| json!({ "title": one })).collect::<Vec<_>>(),
            } },
        }));
        Notice {
            id,
            kind: Kind::Digest { open: false, count },
            severity: Severity::Critical,
            title,
            text,
            fields: vec![Field { name: "events".to_owned(), value: count.to_string() }],
            node: None,
            time,
            json,
        }
    }

    /// The clock was set back.
    pub(super) fn set_back(&mut self, now: UnixNanos) {
        self.quota.set_back(Some(SINGLE), now);
        self.since = self.since.map(|since| since.min(now));
    }
}

/// All that a notice says, in lines.
fn entry(notice: &Notice) -> String {
    let mut out = notice.title.clone();
    for line in notice.text.lines().filter(|line| !line.trim().is_empty()) {
        out.push_str("\n  ");
        out.push_str(line);
    }
    out
}
