//! Commands, jobs and permissions as JSON: what `commands`, `jobs`, `job show` and `whoami` print.

use serde_json::{Map, Value, json};

use super::{Doc, command as run_into, run_end};
use crate::{
    command::{Arg, ArgInfo, ArgKind, CommandInfo, Usage},
    message::client::{JobSummary, Rule, WhoAmI},
};

/// Commands as JSON objects: `label`, `description`, `timeout_ms`, `max_output`, `concurrency`, `stdin`, and `args`
/// with `name`, `description`, `type`, `default` and what its type has.
#[must_use]
pub fn commands(commands: &[CommandInfo]) -> Vec<Value> {
    commands
        .iter()
        .map(|c| {
            json!({
                "label": c.label,
                "description": c.description,
                "timeout_ms": c.timeout_ms,
                "max_output": c.max_output,
                "concurrency": c.concurrency,
                "stdin": c.stdin,
                "args": c.args.iter().map(arg).collect::<Vec<_>>(),
            })
        })
        .collect()
}

fn arg(arg: &ArgInfo) -> Value {
    let mut out = json!({
        "name": arg.name,
        "description": arg.description,
        "type": arg.kind.as_str(),
        "default": arg.default,
    });
    match &arg.kind {
        ArgKind::Integer { min, max } => {
            out["min"] = json!(min);
            out["max"] = json!(max);
        }
        ArgKind::Choice { values } => out["values"] = json!(values),
        ArgKind::String { pattern, min, max } => {
            out["pattern"] = json!(pattern);
            out["min_length"] = json!(min);
            out["max_length"] = json!(max);
        }
        ArgKind::Bool => {}
        ArgKind::Path { below } => out["below"] = json!(below),
    }
    out
}

/// Arguments by name.
pub(super) fn args(args: &[Arg]) -> Value {
    Value::Object(args.iter().map(|arg| (arg.name.clone(), json!(arg.value))).collect::<Map<_, _>>())
}

pub(super) fn usage(usage: &Usage) -> Value {
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
    let groups: Vec<Value> =
        who.groups.iter().map(|(gid, name)| json!({ "id": gid.to_string(), "name": name })).collect();
    out.set("user.group", groups);
    out.set("secmon.access.rules", who.rules.iter().map(rule).collect::<Vec<_>>());
    Value::Object(out.0)
}

fn rule(rule: &Rule) -> Value {
    json!({ "rule": rule.name, "role": rule.role.as_str(), "nodes": rule.nodes, "commands": rule.commands })
}
