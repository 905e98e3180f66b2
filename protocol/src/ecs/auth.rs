//! Auth events in ECS.

use super::{Doc, source_host, source_ip};
use crate::auth::{AuthAction, AuthEvent, Outcome, SourceHost};

pub(super) fn render(out: &mut Doc, e: &AuthEvent) {
    out.set(
        "event.outcome",
        match e.outcome {
            Outcome::Success => "success",
            Outcome::Failure => "failure",
            Outcome::Unknown => "unknown",
        },
    );
    out.set("message", &*e.message);
    out.set("process.name", &*e.program);
    out.option("process.pid", e.pid);
    out.option("user.name", e.user.as_deref());
    out.option("user.target.name", e.target_user.as_deref());
    out.option("group.name", e.group.as_deref());
    if let Some(source) = &e.source {
        match &source.host {
            SourceHost::Ip(ip) => source_ip(out, *ip),
            SourceHost::Name(name) => source_host(out, name),
        }
        out.option("source.port", source.port);
    }
    out.option("event.reason", e.reason.as_deref());
    out.option("secmon.ssh.method", e.method.as_deref());
    out.option("secmon.ssh.fingerprint", e.fingerprint.as_deref());
    if e.preauth {
        out.set("secmon.ssh.preauth", true);
    }
    out.option("secmon.tty", e.tty.as_deref());
    out.option("secmon.cwd", e.cwd.as_deref());
    out.option("secmon.pam.service", e.service.as_deref());
    if matches!(e.action, AuthAction::Sudo | AuthAction::SudoDenied) {
        out.option("secmon.sudo.command", e.command.as_deref());
        out.set("secmon.sudo.program", &*e.program);
    } else {
        out.option("process.command_line", e.command.as_deref());
    }
    if e.count != 1 {
        out.set("secmon.count", e.count);
    }
    out.option("secmon.trusted", e.trusted);
}
