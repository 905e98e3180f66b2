//! JSON as it is printed: safe for a terminal, and the same value for who parses it.

use proptest::prelude::*;
use secmon_protocol::{ecs, text::is_unsafe};
use serde_json::{Value, json};

/// A C1 control, DEL, an override, a zero-width character, a separator and one above U+FFFF, which JSON's own
/// escaping leaves as they are.
const HOSTILE: &str = "a\u{9b}1m\u{7f}\u{202e}\u{200b}\u{2028}\u{e0041}\x1b[2J\\u009b\"z";

#[test]
fn what_could_steer_a_terminal_is_an_escape_of_json() {
    assert_eq!(
        ecs::line(&json!({ "user": HOSTILE })),
        r#"{"user":"a\u009b1m\u007f\u202e\u200b\u2028\udb40\udc41\u001b[2J\\u009b\"z"}"#
    );
}

#[test]
fn a_text_that_is_harmless_is_printed_as_it_is() {
    let harmless = json!(["漢 ünï 🦀", { "n": -1, "nothing": null, "yes": true }]);
    assert_eq!(ecs::line(&harmless), r#"["漢 ünï 🦀",{"n":-1,"nothing":null,"yes":true}]"#);
}

fn texts() -> impl Strategy<Value = String> {
    let hostile = prop::sample::select(HOSTILE.chars().collect::<Vec<_>>());
    prop::collection::vec(prop_oneof![any::<char>(), hostile], 0..12)
        .prop_map(|all| all.into_iter().collect())
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        texts().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(texts(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_line_holds_nothing_unsafe_and_parses_to_the_same_value(value in values()) {
        let line = ecs::line(&value);
        prop_assert!(!line.contains(is_unsafe), "{:?}", line);
        prop_assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
    }
}
