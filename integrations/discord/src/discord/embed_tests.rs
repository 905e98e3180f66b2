use proptest::prelude::*;
use secmon_notify::Field;
use secmon_protocol::time::UnixNanos;

use super::*;

fn notice() -> Notice {
    Notice {
        id: "0190-1-17-0".into(),
        kind: Kind::Event,
        severity: Severity::Warning,
        title: "web-1: accepted publickey for @everyone from 192.0.2.9".into(),
        text: "first seen on evil.example: not twice\n[click](https://evil.example)".into(),
        fields: vec![
            Field { name: "user".into(), value: "||<@1>||".into() },
            Field { name: "said".into(), value: "evil.example: not twice".into() },
            Field { name: "nothing".into(), value: " \u{3000} ".into() },
            Field { name: "key".into(), value: "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU".into() },
        ],
        node: Some("web-1".into()),
        time: UnixNanos(1_700_000_000_123_456_789),
        json: Value::Null,
    }
}

#[test]
fn a_notice_is_one_embed_in_which_hostile_names_are_text() {
    let look = Look { username: Some("secmon".into()), avatar: None };
    insta::assert_json_snapshot!(sent(&notice(), &look), @r#"
        {
          "embeds": [
            {
              "title": "web-1: accepted publickey for \\@everyone from 192.0.2.9",
              "description": "first seen on evil.example: not twice\n\\[click\\](https\\://evil.example)",
              "color": 15965202,
              "fields": [
                {
                  "name": "user",
                  "value": "\\|\\|\\<\\@1>\\|\\|",
                  "inline": true
                },
                {
                  "name": "key",
                  "value": "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
                  "inline": false
                }
              ],
              "timestamp": "2023-11-14T22:13:20.123Z",
              "footer": {
                "text": "secmon, warning"
              }
            }
          ],
          "allowed_mentions": {
            "parse": []
          },
          "username": "secmon"
        }
        "#);
}

#[test]
fn an_edition_says_that_it_grows_and_names_no_sender() {
    let mut notice = notice();
    notice.kind = Kind::Digest { open: true, count: 214 };
    let open = edited(&notice);
    assert_eq!(open["embeds"][0]["footer"]["text"], "secmon, warning, 214 so far");
    assert_eq!(open["allowed_mentions"], json!({ "parse": [] }));
    assert!(open.get("username").is_none() && open.get("content").is_none());
    notice.kind = Kind::Digest { open: false, count: 215 };
    assert_eq!(edited(&notice)["embeds"][0]["footer"]["text"], "secmon, warning, 215 in all");
}

#[test]
fn what_is_back_is_green_and_what_is_critical_red() {
    let with = |kind, severity| colour(&Notice { kind, severity, ..notice() });
    assert_eq!(with(Kind::Back, Severity::Info), 0x2e_cc_71);
    assert_eq!(with(Kind::Event, Severity::Critical), 0xe7_4c_3c);
}

/// As a service that counts by the strictest reading of its documentation.
fn accepted(body: &Value) -> Result<(), String> {
    let embed = &body["embeds"][0];
    let text = |at: &Value, limit: usize, what: &str| {
        let text = at.as_str().ok_or(format!("{what} is no text"))?;
        if text.trim().is_empty() {
            return Err(format!("{what} is blank"));
        }
        if len(text) > limit {
            return Err(format!("{what} is {} long", len(text)));
        }
        Ok(len(text))
    };
    let mut total = text(&embed["title"], 256, "title")? + text(&embed["footer"]["text"], 2048, "footer")?;
    if embed.get("description").is_some() {
        total += text(&embed["description"], 4096, "description")?;
    }
    let none = vec![];
    let fields = embed["fields"].as_array().unwrap_or(&none);
    if fields.len() > 25 {
        return Err("too many fields".into());
    }
    for field in fields {
        total += text(&field["name"], 256, "name")? + text(&field["value"], 1024, "value")?;
    }
    if total > 6000 { Err(format!("{total} in all")) } else { Ok(()) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_notice_is_within_the_limits(
        title in r"[*_\\@ \PC]{0,400}",
        text in r"([*_\\🦀a\n]|\PC){0,5000}",
        fields in proptest::collection::vec((r"[* \PC]{0,300}", r"[*🦀 \n]{0,700}"), 0..30),
    ) {
        let fields = fields.into_iter().map(|(name, value)| Field { name, value }).collect();
        let body = sent(&Notice { title, text, fields, ..notice() }, &Look::default());
        prop_assert_eq!(accepted(&body), Ok(()));
    }
}

#[test]
fn the_longest_texts_keep_a_description() {
    let stars = |n| "*".repeat(n);
    let fields = (0..12).map(|_| Field { name: stars(200), value: stars(200) }).collect();
    let body = sent(&Notice { title: stars(300), text: stars(3000), fields, ..notice() }, &Look::default());
    assert_eq!(accepted(&body), Ok(()));
    let description = body["embeds"][0]["description"].as_str().unwrap();
    assert!(len(description) > 2500 && description.ends_with('…'), "{}", len(description));
}
