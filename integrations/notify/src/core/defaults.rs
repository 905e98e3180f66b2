//! What is told where nobody says otherwise. What no rule matches is dropped.

use crate::config::{Action, Kind, OneOrMany, RuleSection};

fn rule(name: &str, types: &[&str], action: Action) -> RuleSection {
    RuleSection {
        name: Some(name.to_owned()),
        types: OneOrMany(types.iter().map(|&t| t.to_owned()).collect()),
        action,
        ..RuleSection::default()
    }
}

/// The rules, the first to match first.
pub(super) fn rules() -> Vec<RuleSection> {
    let everywhere = ["0.0.0.0/0", "::/0"].iter().filter_map(|net| net.parse().ok()).collect();
    vec![
        rule("logins", &["auth.accepted"], Action::Send),
        // Where the auth log says who logs in, the session of the same login would be a second message.
        RuleSection {
            without_auth_log: Some(true),
            kind: OneOrMany(vec![Kind::Interactive, Kind::Graphical]),
            ..rule("logins", &["session.opened"], Action::Send)
        },
        // A command over ssh has no terminal, and a cron job comes from nowhere.
        RuleSection {
            without_auth_log: Some(true),
            source: OneOrMany(everywhere),
            ..rule("logins", &["session.opened"], Action::Send)
        },
        rule("sudo denied", &["auth.sudo_denied"], Action::Send),
        rule("su", &["auth.su", "auth.su_failed"], Action::Send),
        rule("account changes", &["auth.account_changed"], Action::Send),
        rule("presence", &["node.away", "node.back", "hub.lost", "hub.back"], Action::Send),
        rule("new WireGuard peers", &["wg.peer_added"], Action::Send),
        rule("missing", &["gap", "unreadable"], Action::Send),
        rule("failed logins", &["auth.failed", "auth.invalid_user"], Action::Digest),
        rule("probes", &["auth.probe"], Action::Digest),
        rule("denied requests", &["access.denied"], Action::Digest),
        // A monitor that went blind is not one that sees nobody; a fleet that is updated says it once.
        rule("out of sight", &["facet.unavailable"], Action::Digest),
    ]
}
