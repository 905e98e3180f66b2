//! The words of those who want their own: minijinja, checked at the start, bounded at every use.

use std::{io, sync::Arc};

use minijinja::{Environment, UndefinedBehavior, Value as Jinja, value::Serde};
use secmon_client::pattern::Patterns;
use secmon_protocol::text::{is_unsafe, printable};
use serde_json::Value;

use super::{
    BadRules, samples,
    text::{MAX_TEXT, MAX_TITLE, clip},
};
use crate::Notice;

/// The one template of an environment.
const NAME: &str = "template";
/// Longest template, in bytes.
const MAX_TEMPLATE: usize = 8 << 10;
/// Steps of one rendering: some thousand are a page of text; one that needs more loops.
const FUEL: u64 = 50_000;
/// Bytes that one rendering may make: more than the longest text can have.
const MAX_OUTPUT: usize = 4 * (MAX_TITLE + MAX_TEXT);

/// A template that was checked.
#[derive(Debug, Clone)]
pub(super) struct Template(Arc<Environment<'static>>);

impl Template {
    /// Reads it, and tries it on samples of all types that `types` match.
    pub(super) fn new(source: &str, types: &Patterns) -> Result<Self, BadRules> {
        if source.len() > MAX_TEMPLATE {
            return Err(BadRules(format!("the template is over {MAX_TEMPLATE} bytes")));
        }
        let wrong = |error: minijinja::Error| BadRules(format!("the template makes no sense: {error:#}"));
        let mut strict = Environment::new();
        strict.set_fuel(Some(FUEL));
        strict.set_undefined_behavior(UndefinedBehavior::Strict);
        strict.add_template_owned(NAME, source.to_owned()).map_err(wrong)?;
        let samples: Vec<Notice> = samples::every_type()
            .into_iter()
            .filter(|(kind, _)| types.matches(kind))
            .map(|(_, n)| n)
            .collect();
        // What one type has not, another may have; what none of them has, is a slip.
        let mut all = Value::Object(serde_json::Map::new());
        for sample in &samples {
            merge(&mut all, &variables(sample));
        }
        if let Err(error) = render(&strict, &all) {
            let named = strict.get_template(NAME).map(|template| template.undeclared_variables(true));
            let is_known = |name: &String| all.pointer(&format!("/{}", name.replace('.', "/"))).is_some();
            let mut unknown: Vec<String> =
                named.unwrap_or_default().into_iter().filter(|name| !is_known(name)).collect();
            unknown.sort_unstable();
            let BadRules(reason) = wrong(error);
            return Err(BadRules(match unknown.is_empty() {
                true => reason,
                false => format!("{reason}: nothing has {}", unknown.join(", ")),
            }));
        }
        let mut env = strict;
        env.set_undefined_behavior(UndefinedBehavior::Chainable);
        for sample in &samples {
            let text = render(&env, &variables(sample)).map_err(wrong)?;
            if text.trim().is_empty() {
                let kind = sample.json["secmon"]["type"].as_str().unwrap_or_default();
                return Err(BadRules(format!(
                    "the template says nothing of {kind}; name a type that it is for"
                )));
            }
        }
        Ok(Self(Arc::new(env)))
    }

    /// Puts its words into a notice; where it fails, ours stay, and the text says so.
    pub(super) fn apply(&self, notice: &mut Notice) {
        let failed = |notice: &mut Notice, reason: &str| {
            let note = format!("(the template failed: {})", clip(&printable(reason), MAX_TITLE));
            let room = MAX_TEXT - note.chars().count() - 1;
            notice.text = format!("{}\n{note}", clip(&notice.text, room)).trim_start().to_owned();
        };
        match render(&self.0, &variables(notice)) {
            Err(error) => failed(notice, &error.to_string()),
            Ok(text) => {
                let text: String =
                    text.chars().map(|c| if c != '\n' && is_unsafe(c) { '\u{fffd}' } else { c }).collect();
                let (title, rest) = text.trim().split_once('\n').unwrap_or((text.trim(), ""));
                if title.is_empty() {
                    return failed(notice, "it says nothing");
                }
                notice.title = clip(title.trim_end(), MAX_TITLE);
                notice.json["secmon"]["notice"]["title"] = notice.title.clone().into();
                notice.text = clip(rest.trim_end(), MAX_TEXT);
            }
        }
    }
}

/// What a template can name: the event in ECS, and `notice` beside it; all texts safe to print.
fn variables(notice: &Notice) -> Value {
    let mut out = notice.json.clone();
    let mut about = out["secmon"]["notice"].clone();
    // These are safe already; the rest of JSON is as it was reported.
    about["title"] = Value::Null;
    make_printable(&mut out);
    about["title"] = notice.title.clone().into();
    about["text"] = notice.text.clone().into();
    for field in &notice.fields {
        about["fields"][&field.name.replace(' ', "_")] = field.value.clone().into();
    }
    about["time"] = super::words::seconds(notice.time).into();
    out["notice"] = about;
    // `@timestamp` is no name that a template could have.
    out["timestamp"] = out["@timestamp"].clone();
    out
}

fn make_printable(json: &mut Value) {
    match json {
        Value::String(text) => *text = printable(text),
        Value::Array(list) => list.iter_mut().for_each(make_printable),
        Value::Object(map) => map.values_mut().for_each(make_printable),
        _ => {}
    }
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into @ Value::Null, from) => *into = from.clone(),
        _ => {}
    }
}

/// A writer that is full at some time.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT {
            return Err(io::Error::other("it says too much"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn render(env: &Environment<'_>, variables: &Value) -> Result<String, minijinja::Error> {
    let mut out = Bounded(vec![]);
    env.get_template(NAME)?.render_captured_to(Jinja::from(Serde(variables)), &mut out)?;
    Ok(String::from_utf8_lossy(&out.0).into_owned())
}
