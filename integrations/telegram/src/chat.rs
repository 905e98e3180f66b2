//! A chat that is told what happens: notices in Telegram's form.

use std::time::Duration;

use jiff::Timestamp;
use secmon_notify::{Kind, Notice, Receipt, SendError, Sending, Service, Severity};
use secmon_protocol::time::UnixNanos;

use crate::{
    api::{Api, ApiError, ChatId, MessageId, Outgoing, Sound, Spot},
    text::Html,
};

/// Longest wait for a turn within one attempt; a call ends within a minute.
const TURN_WITHIN: Duration = Duration::from_secs(20);

/// One chat, or a topic of one.
#[derive(Debug, Clone)]
pub(crate) struct Chat {
    pub(crate) api: Api,
    pub(crate) spot: Spot,
}

impl Service for Chat {
    fn edits(&self) -> bool {
        true
    }

    fn send<'a>(&'a self, notice: &'a Notice) -> Sending<'a, Receipt> {
        Box::pin(async move {
            let mut message = Outgoing::new(render(notice, Timestamp::now().into()));
            message.sound = sound(notice);
            self.api.turn(self.spot.chat, TURN_WITHIN).await?;
            let id = self.api.send_now(self.spot, &message).await?;
            Ok(Receipt(format!("{}:{}", self.spot.chat.0, id.0)))
        })
    }

    fn edit<'a>(&'a self, receipt: &'a Receipt, notice: &'a Notice) -> Sending<'a, ()> {
        Box::pin(async move {
            let Some((chat, id)) = read(receipt) else { return Err(SendError::Vanished) };
            if chat != self.spot.chat {
                // The configuration names another chat now.
                return Err(SendError::Vanished);
            }
            self.api.turn(chat, TURN_WITHIN).await?;
            match self.api.edit_now(chat, id, &render(notice, Timestamp::now().into()), &vec![]).await {
                // Message numbers of a group that became a supergroup are no longer valid.
                Err(ApiError::Moved { .. }) => Err(SendError::Vanished),
                other => Ok(other?),
            }
        })
    }
}

fn read(receipt: &Receipt) -> Option<(ChatId, MessageId)> {
    let (chat, id) = receipt.0.split_once(':')?;
    Some((ChatId(chat.parse().ok()?), MessageId(id.parse().ok()?)))
}

/// What is only worth knowing makes no sound.
fn sound(notice: &Notice) -> Sound {
    if notice.severity == Severity::Info && notice.kind != Kind::Test { Sound::Off } else { Sound::On }
}

fn icon(notice: &Notice) -> &'static str {
    match (notice.severity, notice.kind) {
        (_, Kind::Test) => "🧪",
        (_, Kind::Back) => "✅",
        (Severity::Critical, _) => "🚨",
        (_, Kind::Missing) => "🕳",
        (_, Kind::Away) => "🔌",
        (Severity::Warning, _) => "⚠️",
        (Severity::Info, _) => "🔹",
    }
}

/// A notice as a message. Its texts are printable already.
fn render(notice: &Notice, now: UnixNanos) -> Html {
    let mut html = Html::new().said(icon(notice)).said(" ").said_bold(&notice.title);
    if let Some(late) = notice.late(now) {
        html = html.said("\n🕒 ").said(&late);
    }
    // Where there is a template, its first line is the title.
    let text = notice.text.strip_prefix(&notice.title).unwrap_or(&notice.text).trim_matches('\n');
    if !text.trim().is_empty() {
        html = html.said("\n").said(text);
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{MAX_MESSAGE, tests::parsed, units};

    fn notice(title: &str, text: &str) -> Notice {
        Notice {
            id: "x".into(),
            kind: Kind::Event,
            severity: Severity::Warning,
            title: title.into(),
            text: text.into(),
            fields: vec![],
            node: None,
            time: UnixNanos(0),
            json: serde_json::Value::Null,
        }
    }

    #[test]
    fn a_notice_is_a_line_in_bold_and_the_rest_below_it() {
        let rendered = render(
            &notice("web-1: sudo denied for <b>eve</b> & co", "command  rm -rf /\nfirst seen \u{202e}"),
            UnixNanos(0),
        );
        insta::assert_snapshot!(rendered.as_str(), @"
        ⚠️ <b>web-1: sudo denied for &lt;b&gt;eve&lt;/b&gt; &amp; co</b>
        command  rm -rf /
        first seen �
        ");
        assert_eq!(render(&notice("one\\x1b", ""), UnixNanos(0)).as_str(), "⚠️ <b>one\\x1b</b>");
        assert_eq!(
            render(&notice("first", "first\nsecond"), UnixNanos(0)).as_str(),
            "⚠️ <b>first</b>\nsecond"
        );
    }

    #[test]
    fn what_comes_late_says_so_below_its_line() {
        let late = render(&notice("web-1: a login", "more"), UnixNanos(3_600_000_000_000));
        insta::assert_snapshot!(late.as_str(), @"
        ⚠️ <b>web-1: a login</b>
        🕒 This was 1h ago: 1970-01-01 00:00:00 UTC
        more
        ");
    }

    #[test]
    fn the_longest_notice_fits() {
        let long = render(&notice(&"😀".repeat(300), &"&\u{10ffff}".repeat(3000)), UnixNanos(i64::MAX));
        assert!(units(&parsed(long.as_str())) <= MAX_MESSAGE);
    }

    #[test]
    fn what_is_only_worth_knowing_is_silent() {
        let mut sample = notice("x", "");
        assert_eq!(sound(&sample), Sound::On);
        sample.severity = Severity::Info;
        assert_eq!(sound(&sample), Sound::Off);
        sample.kind = Kind::Test;
        assert_eq!(sound(&sample), Sound::On);
    }
}
