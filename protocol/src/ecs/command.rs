//! Commands, runs, jobs and permissions as JSON: what `commands`, `run`, `jobs`, `job show` and `whoami` print.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::{Doc, command as run_into, run_end, run_end_word};
use crate::{
    command::{Arg, ArgInfo, ArgKind, CommandInfo, OutputStream, RunEnd, Usage},
    message::client::{JobSummary, Rule, WhoAmI},
};

/// Commands as JSON objects: `label`, `description`, `timeout_ms`, `max_output_bytes`, `concurrency`, `stdin`, and `args`
/// with `name`, `description`, `type`, `default` and what its type has.
#[must_use]
pub fn commands(commands: &[CommandInfo]) -> Vec<Value> {
    commands
        .iter()
        .map(|c| {
            let args: Vec<_> = c.args.iter().map(arg).collect();
            let mut out = Doc::default();
            out.set("label", &*c.label);
            out.set("description", &*c.description);
            out.set("args", args);
            out.set("timeout_ms", c.timeout_ms);
            out.option("max_output_bytes", c.max_output);
            out.option("concurrency", c.concurrency);
            out.set("stdin", c.stdin);
            Value::Object(out.0)
        })
        .collect()
}

fn arg(arg: &ArgInfo) -> Value {
    let mut out = Doc::default();
    out.set("name", &*arg.name);
    out.set("description", &*arg.description);
    out.set("type", arg.kind.as_str());
    out.option("default", arg.default.as_ref().map(|default| json!(default)));
    match &arg.kind {
        ArgKind::Integer { min, max } => {
            out.set("min", *min);
            out.set("max", *max);
        }
        ArgKind::Choice { values } => out.set("values", json!(values)),
        ArgKind::String { pattern, min, max } => {
            out.set("pattern", &**pattern);
            out.set("min_length", *min);
            out.set("max_length", *max);
        }
        ArgKind::Bool => {}
        ArgKind::Path { below } => out.set("below", &**below),
    }
    Value::Object(out.0)
}

/// Arguments by name.
pub(super) fn args(args: &[Arg]) -> Value {
    Value::Object(args.iter().map(|arg| (arg.name.clone(), json!(arg.value))).collect::<Map<_, _>>())
}

/// A piece of a run's output as JSON: `stream` (`stdout`, `stderr`) and `data`, its bytes in Base64 (RFC 4648 §4).
#[must_use]
pub fn run_output(stream: OutputStream, data: &[u8]) -> Value {
    json!({ "stream": stream.as_str(), "data": STANDARD.encode(data) })
}

/// The end of a run as JSON: `end`, and `exit_code`, `signal` or `message` with it, and `usage` where a process ran.
#[must_use]
pub fn run_ended(end: &RunEnd, usage: Option<&Usage>) -> Value {
    let word = run_end_word(end);
    let mut line = match end {
        RunEnd::Exited(code) => json!({ "end": word, "exit_code": code }),
        RunEnd::Signalled(signal) => json!({ "end": word, "signal": signal }),
        RunEnd::Failed { message, .. } => json!({ "end": word, "message": message }),
        RunEnd::TimedOut | RunEnd::Cancelled | RunEnd::TooMuchOutput => json!({ "end": word }),
    };
    if let Some(taken) = usage {
        line["usage"] = self::usage(taken);
    }
    line
}

/// What a run took, as one JSON object.
#[must_use]
pub fn usage(usage: &Usage) -> Value {
    json!({
        "wall_ns": usage.wall_ns,
        "user_ns": usage.user_ns,
        "system_ns": usage.system_ns,
        "max_rss_bytes": usage.max_rss,
        "output_bytes": usage.output,
    })
}

/// A job as one JSON object: `host.*`, `user.*`, `secmon.command.*` as in the events, and `secmon.job.*`.
#[must_use]
pub fn job(job: &JobSummary) -> Value {
    let mut out = Doc::default();
    out.set("host.id", job.node.to_string());
    out.set("host.name", job.name.as_str());
    run_into(&mut out, &job.run);
    out.set("secmon.job.state", job.state.as_str());
    out.set("secmon.job.made", job.made.rfc3339());
    out.option("secmon.job.expires", job.expires.map(|time| time.rfc3339()));
    out.option("secmon.job.started", job.started.map(|time| time.rfc3339()));
    out.option("secmon.job.ended", job.ended.map(|time| time.rfc3339()));
    out.set("secmon.job.output_bytes", job.output);
    out.set("secmon.job.dropped_bytes", job.dropped);
    if let Some(end) = &job.end {
        run_end(&mut out, end);
    }
    if let Some(taken) = &job.usage {
        out.set("secmon.command.usage", usage(taken));
    }
    Value::Object(out.0)
}

/// Who one is to the hub: `user.*` and `secmon.access.*`.
#[must_use]
pub fn who_am_i(who: &WhoAmI) -> Value {
    let mut out = Doc::default();
    out.set("user.id", who.uid.to_string());
    out.option("user.name", who.user.as_deref());
    let group = |(gid, name): &(u32, Option<String>)| {
        let mut out = Doc::default();
        out.set("id", gid.to_string());
        out.option("name", name.as_deref());
        Value::Object(out.0)
    };
    out.set("user.group", who.groups.iter().map(group).collect::<Vec<_>>());
    out.set("secmon.access.rules", who.rules.iter().map(rule).collect::<Vec<_>>());
    Value::Object(out.0)
}

fn rule(rule: &Rule) -> Value {
    json!({ "rule": rule.name, "role": rule.role.as_str(), "nodes": rule.nodes, "commands": rule.commands })
}
