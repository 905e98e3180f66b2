//! Texts and JSON within their bounds.

use serde_json::Value;

/// Most characters of a title.
pub(super) const MAX_TITLE: usize = 300;
/// Most characters of a text.
pub(super) const MAX_TEXT: usize = 3_000;
/// Most fields.
pub(super) const MAX_FIELDS: usize = 12;
/// Most characters of a field's value.
pub(super) const MAX_VALUE: usize = 200;
/// Most bytes of a notice's JSON, less than the 32 KiB that it may have by the title of a template: far below what any receiver of
/// webhooks takes, far over what an ordinary event has.
pub(super) const MAX_JSON: usize = 30 << 10;

/// At most `most` characters; where some are left out, the last is `…`.
pub(super) fn clip(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => {
            let end = text.char_indices().nth(most - 1).map_or(0, |(at, _)| at);
            format!("{}…", &text[..end])
        }
    }
}

/// The same JSON within [`MAX_JSON`]: where it is over, long texts and lists are cut, and then more of them, until it fits. Whether
/// something was cut.
pub(super) fn within(mut json: Value) -> (Value, bool) {
    for (characters, items) in [(1_024, 64), (256, 32), (64, 16), (16, 4)] {
        if json.to_string().len() <= MAX_JSON {
            return (json, characters != 1_024);
        }
        cut(&mut json, characters, items);
    }
    (json, true)
}

fn cut(json: &mut Value, characters: usize, items: usize) {
    match json {
        Value::String(text) => *text = clip(text, characters),
        Value::Array(list) => {
            list.truncate(items);
            list.iter_mut().for_each(|one| cut(one, characters, items));
        }
        Value::Object(map) => map.values_mut().for_each(|one| cut(one, characters, items)),
        _ => {}
    }
}

/// `1 node`, `2 nodes`, `4,990 nodes`.
pub(super) fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(n), if n == 1 { one } else { many })
}

/// `4,990`.
pub(super) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_too_long_is_cut_at_a_character_and_says_so() {
        assert_eq!(clip("häh", 3), "häh");
        assert_eq!(clip("hähä", 3), "hä…");
        assert_eq!([0, 999, 1_000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn json_of_any_size_is_brought_within_its_bound() {
        let (small, was_cut) = within(json!({ "a": "b" }));
        assert!(!was_cut && small == json!({ "a": "b" }));
        let hostile = "\u{1}".repeat(4_096);
        let list = vec![hostile.clone(); 1_000];
        let (large, was_cut) = within(json!({ "a": hostile, "b": { "c": list } }));
        assert!(was_cut && large.to_string().len() <= MAX_JSON);
        assert!(large["b"]["c"][0].is_string());
    }
}
