//! What is told to a destination: made by the core, put into a service's own form by that service.

use secmon_client::render::duration;
use secmon_protocol::time::UnixNanos;
use serde::{Deserialize, Serialize};

/// How much something matters. The order is that of the variants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    #[default]
    Info,
    /// Worth a look.
    Warning,
    /// Worth being woken for: no quiet hours, no limit, no mute holds it back.
    Critical,
}

impl Severity {
    /// The word used outward.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// One step up, as far as there is one.
    #[must_use]
    pub fn raised(self) -> Self {
        match self {
            Self::Info => Self::Warning,
            Self::Warning | Self::Critical => Self::Critical,
        }
    }
}

/// What kind of message a notice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One event.
    Event,
    /// Several events that are told together; the message grows while `open`.
    Digest {
        /// Whether more may come.
        open: bool,
        /// How many events it stands for.
        count: u64,
    },
    /// A node, or the hub, is away, or is still away.
    Away,
    /// It is back.
    Back,
    /// Something is missing, and what.
    Missing,
    /// Somebody asked for a sample.
    Test,
}

/// A name and a value beside a notice's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// Such as `user`.
    pub name: String,
    /// Safe to print.
    pub value: String,
}

/// What is told later than this says so.
const LATE: i64 = 2 * 60 * 1_000_000_000;
/// A digest of one event may well take a few minutes.
const LATE_DIGEST: i64 = 10 * 60 * 1_000_000_000;

/// A message to one destination, in no service's form. All texts have gone through
/// [`printable`](secmon_protocol::text::printable) (line ends of `text` apart); none of them is escaped for HTML or Markdown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// The same after a restart, and never that of another notice: the event's id, or the digest's with the number
    /// of the edition behind it. At most 200 bytes.
    pub id: String,
    /// What kind of message it is.
    pub kind: Kind,
    /// How much it matters.
    pub severity: Severity,
    /// One line that says it all: `web-1: accepted publickey for alice from 192.0.2.9`. At most 300 characters.
    pub title: String,
    /// The rest, in lines; may be empty. At most 3,000 characters. Where the destination has a template, what that made, and
    /// `title` is its first line.
    pub text: String,
    /// The same in parts: `node`, `user`, `source`, `key`, `first seen` … At most 12, of at most 200 characters each.
    pub fields: Vec<Field>,
    /// The node that it is about, where it is about one.
    pub node: Option<String>,
    /// When what it tells happened: of a digest, its latest event.
    pub time: UnixNanos,
    /// The same for machines: the event in ECS, with what notify adds under `secmon.notice`; of a digest what it counts. At
    /// most 32 KiB as JSON.
    pub json: serde_json::Value,
}

impl Notice {
    /// For services whose messages show when they came and not when something happened: that, in a line, where the one is long before the other.
    /// The service, the hub or the node was away meanwhile, or it was quiet.
    #[must_use]
    pub fn late(&self, now: UnixNanos) -> Option<String> {
        let by = now.0.saturating_sub(self.time.0);
        let is_late = match self.kind {
            Kind::Event | Kind::Away | Kind::Back | Kind::Missing => by > LATE,
            Kind::Digest { count: 1, .. } => by > LATE_DIGEST,
            // Says of itself when it was.
            Kind::Digest { .. } | Kind::Test => false,
        };
        let when = self.time.timestamp().strftime("%Y-%m-%d %H:%M:%S UTC");
        is_late.then(|| format!("This was {} ago: {when}", duration(by)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After an hour without the service each login looked as if it had just been.
    #[test]
    fn what_comes_late_says_when_it_was() {
        let mut notice = Notice {
            id: "x".to_owned(),
            kind: Kind::Event,
            severity: Severity::Info,
            title: "x".to_owned(),
            text: String::new(),
            fields: vec![],
            node: None,
            time: UnixNanos(1_700_000_000_123_456_789),
            json: serde_json::Value::Null,
        };
        let after = |seconds: i64| UnixNanos((1_700_000_000 + seconds) * 1_000_000_000);
        assert_eq!(notice.late(after(-5)), None, "its clock is ahead");
        assert_eq!(notice.late(after(120)), None);
        let said = notice.late(after(3_605));
        assert_eq!(said.as_deref(), Some("This was 1h ago: 2023-11-14 22:13:20 UTC"));
        notice.kind = Kind::Digest { open: false, count: 1 };
        assert!(notice.late(after(305)).is_none() && notice.late(after(3_605)).is_some());
        notice.kind = Kind::Digest { open: false, count: 2 };
        assert_eq!(notice.late(after(3_605)), None);
    }
}
