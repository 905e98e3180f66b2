//! A notice as a message of Discord: one embed and nothing else. Pure.
//!
//! There is no `content`, so no text of ours can mention anybody, and no link in it is unfurled: previews are made of `content`
//! alone. `allowed_mentions` says so once more.

use secmon_notify::{Kind, Notice, Severity};
use serde_json::{Map, Value, json};

use super::escape::{Lines, escaped, len, plain};

/// Limits of an embed, <https://discord.com/developers/docs/resources/message#embed-object-embed-limits>.
const TITLE: usize = 256;
const DESCRIPTION: usize = 4096;
const FIELDS: usize = 25;
const NAME: usize = 256;
const VALUE: usize = 1024;
const FOOTER: usize = 2048;
/// Of title, description, names, values and footer together.
const TOTAL: usize = 6000;
/// What fields may take of [`TOTAL`], so that no number of them leaves a description without room.
const ALL_FIELDS: usize = 3000;
/// Longest value that stands beside others rather than in a line of its own.
const INLINE: usize = 40;

/// How a webhook appears, where it is not to be as Discord's own settings of it say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Look {
    /// Its name.
    pub(crate) username: Option<String>,
    /// The address of its picture.
    pub(crate) avatar: Option<String>,
}

/// The body of a request that sends a notice.
pub(crate) fn sent(notice: &Notice, look: &Look) -> Value {
    let mut body = edited(notice);
    for (key, value) in [("username", &look.username), ("avatar_url", &look.avatar)] {
        if let Some(value) = value {
            body[key] = json!(value);
        }
    }
    body
}

/// The body of a request that edits a message into a notice. Mentions are said again: an edit without them parses with Discord's
/// default.
pub(crate) fn edited(notice: &Notice) -> Value {
    json!({ "embeds": [embed(notice)], "allowed_mentions": { "parse": [] } })
}

fn embed(notice: &Notice) -> Value {
    let title = match escaped(&notice.title, TITLE, Lines::One) {
        title if title.is_empty() => "secmon".to_owned(),
        title => title,
    };
    let footer = plain(&footer(notice), FOOTER);
    let fields = fields(notice);
    let used: usize = len(&title)
        + len(&footer)
        + fields
            .iter()
            .flat_map(|field| [&field["name"], &field["value"]])
            .filter_map(Value::as_str)
            .map(len)
            .sum::<usize>();
    let description = escaped(&notice.text, DESCRIPTION.min(TOTAL - used), Lines::Many);
    let mut embed = Map::new();
    embed.insert("title".into(), json!(title));
    if !description.is_empty() {
        embed.insert("description".into(), json!(description));
    }
    embed.insert("color".into(), json!(colour(notice)));
    if !fields.is_empty() {
        embed.insert("fields".into(), json!(fields));
    }
    embed.insert("timestamp".into(), json!(time(notice)));
    embed.insert("footer".into(), json!({ "text": footer }));
    Value::Object(embed)
}

/// Those that fit, in order. One whose name or value is blank would make Discord refuse all.
fn fields(notice: &Notice) -> Vec<Value> {
    let mut room = ALL_FIELDS;
    let field = |field: &secmon_notify::Field| {
        let name = escaped(&field.name, NAME, Lines::One);
        let value = escaped(&field.value, VALUE, Lines::Many);
        let units = len(&name) + len(&value);
        // What the text says at length need not be said twice.
        let said = field.value.len() >= INLINE / 2 && notice.text.contains(&field.value);
        if said || name.is_empty() || value.is_empty() || units > room {
            return None;
        }
        room -= units;
        let inline = len(&value) <= INLINE;
        Some(json!({ "name": name, "value": value, "inline": inline }))
    };
    notice.fields.iter().filter_map(field).take(FIELDS).collect()
}

fn footer(notice: &Notice) -> String {
    let severity = notice.severity.as_str();
    match notice.kind {
        Kind::Digest { open: true, count } => format!("secmon, {severity}, {count} so far"),
        Kind::Digest { open: false, count } => format!("secmon, {severity}, {count} in all"),
        Kind::Test => "secmon, a sample".to_owned(),
        Kind::Event | Kind::Away | Kind::Back | Kind::Missing => format!("secmon, {severity}"),
    }
}

/// ISO 8601 in milliseconds, as Discord's own times have no more than microseconds.
fn time(notice: &Notice) -> String {
    notice.time.timestamp().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// As 0xRRGGBB.
fn colour(notice: &Notice) -> u32 {
    match (notice.kind, notice.severity) {
        (Kind::Back, _) => 0x2e_cc_71,
        (_, Severity::Info) => 0x34_98_db,
        (_, Severity::Warning) => 0xf3_9c_12,
        (_, Severity::Critical) => 0xe7_4c_3c,
    }
}

#[cfg(test)]
#[path = "embed_tests.rs"]
mod tests;
