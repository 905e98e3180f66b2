//! An entry of `journalctl -o json`, systemd.journal-fields(7): every field is a string, an array of
//! bytes where it is not UTF-8, null where it was too long, or an array of these where it was given
//! more than once.

use std::{borrow::Cow, fmt};

use secmon_protocol::{limits, time::UnixNanos};
use serde::{
    Deserialize,
    de::{Deserializer, IgnoredAny, SeqAccess, Visitor},
};

use super::{
    frame::{Framed, Writer},
    shape::number,
};

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow, rename = "MESSAGE")]
    message: Option<Text<'a>>,
    #[serde(borrow, rename = "SYSLOG_IDENTIFIER")]
    identifier: Option<Text<'a>>,
    #[serde(borrow, rename = "_PID")]
    pid: Option<Text<'a>>,
    #[serde(borrow, rename = "SYSLOG_PID")]
    syslog_pid: Option<Text<'a>>,
    #[serde(borrow, rename = "_COMM")]
    comm: Option<Text<'a>>,
    #[serde(borrow, rename = "_EXE")]
    exe: Option<Text<'a>>,
    #[serde(borrow, rename = "_UID")]
    uid: Option<Text<'a>>,
    #[serde(borrow, rename = "__REALTIME_TIMESTAMP")]
    time: Option<Text<'a>>,
    #[serde(borrow, rename = "__CURSOR")]
    cursor: Option<Text<'a>>,
}

/// The entry's line, its time and its cursor; none when it is no entry with a message.
pub(super) fn entry(line: &[u8]) -> Option<(Framed<'_>, Option<UnixNanos>, Option<String>)> {
    let entry: Entry<'_> = serde_json::from_slice(line).ok()?;
    let text = |field: Option<Text<'_>>| field.and_then(|f| number::<u32>(&f.0));
    let cursor = entry.cursor.map(|c| c.0.into_owned());
    let mut message = entry.message.map_or(Cow::Borrowed(""), |m| m.0);
    let cut = message.len() > limits::MAX_LINE;
    if cut {
        let end = (0..=limits::MAX_LINE).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
        message = Cow::Owned(message[..end].to_owned());
    }
    let time = entry
        .time
        .and_then(|t| number::<i64>(&t.0))
        .and_then(|micros| micros.checked_mul(1000))
        .map(UnixNanos);
    let framed = Framed {
        program: entry.identifier.or(entry.comm).map_or(Cow::Borrowed(""), |i| i.0),
        pid: text(entry.pid).or(text(entry.syslog_pid)),
        message,
        cut,
        writer: Writer { exe: entry.exe.map(|e| e.0), uid: text(entry.uid) },
    };
    // An entry without a message still moves the cursor on.
    (cursor.is_some() || !framed.message.is_empty()).then_some((framed, time, cursor))
}

/// A field's text: the first, where it was given more than once.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, an array of bytes, or an array of these")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Text(Cow::Borrowed("")))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut bytes = Vec::new();
        let mut first = None;
        while first.is_none()
            && let Some(item) = items.next_element::<Item<'de>>()?
        {
            match item {
                Item::Byte(byte) => bytes.push(byte),
                Item::Text(text) => first = Some(text.0),
            }
        }
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Text(first.unwrap_or_else(|| Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()))))
    }
}

enum Item<'a> {
    Byte(u8),
    Text(Text<'a>),
}

impl<'de: 'a, 'a> Deserialize<'de> for Item<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ItemVisitor;
        impl<'de> Visitor<'de> for ItemVisitor {
            type Value = Item<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a byte or a text")
            }

            fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Item::Byte(u8::try_from(number).unwrap_or(b'?')))
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Item::Text(Text(Cow::Borrowed(text))))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Item::Text(Text(Cow::Owned(text.to_owned()))))
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Item::Text(Text(Cow::Borrowed(""))))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
                TextVisitor.visit_seq(items).map(Item::Text)
            }
        }
        deserializer.deserialize_any(ItemVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_every_form_that_journald_gives_them() {
        let line = br#"{"MESSAGE":[104,105,255],"SYSLOG_IDENTIFIER":["sshd","x"],"SYSLOG_PID":"7","_UID":"0",
            "_EXE":"/usr/sbin/sshd","__REALTIME_TIMESTAMP":"1795232051949307","__CURSOR":"s=1","PRIORITY":"6"}"#;
        let (framed, time, cursor) = entry(line).unwrap();
        assert_eq!(framed.message, "hi\u{fffd}");
        assert_eq!(framed.program, "sshd");
        assert_eq!(framed.pid, Some(7));
        assert_eq!(framed.writer, Writer { exe: Some("/usr/sbin/sshd".into()), uid: Some(0) });
        assert_eq!(time, Some(UnixNanos(1_795_232_051_949_307_000)));
        assert_eq!(cursor.as_deref(), Some("s=1"));
    }

    #[test]
    fn a_message_that_was_too_long_leaves_the_cursor() {
        let (framed, _, cursor) = entry(br#"{"MESSAGE":null,"__CURSOR":"s=2"}"#).unwrap();
        assert_eq!((framed.message.as_ref(), cursor.as_deref()), ("", Some("s=2")));
        let (framed, _, _) = entry(br#"{"MESSAGE":[[255],"b"],"_PID":"9"}"#).unwrap();
        assert_eq!((framed.message.as_ref(), framed.pid), ("\u{fffd}", Some(9)));
    }
}
