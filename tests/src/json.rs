//! Reading the NDJSON that the product prints.

use serde_json::Value;

/// The value at a dotted path of nested objects, `secmon.session.user` say.
#[must_use]
pub fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(object, |value, key| value.get(key))
}

/// The text at a dotted path; empty when there is none or it is no text.
#[must_use]
pub fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    at(object, path).and_then(Value::as_str).unwrap_or_default()
}

/// The whole number at a dotted path.
#[must_use]
pub fn number(object: &Value, path: &str) -> Option<i64> {
    at(object, path).and_then(Value::as_i64)
}

/// One object per line.
///
/// # Panics
/// When a line is not JSON: stdout is for data only.
#[must_use]
#[track_caller]
pub fn lines(stdout: &[u8]) -> Vec<Value> {
    let parse = |line: &[u8]| {
        serde_json::from_slice(line)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {}", String::from_utf8_lossy(line)))
    };
    stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(parse).collect()
}
