//! What an event says, as a sentence for people.

use secmon_protocol::{
    auth::{AuthAction, AuthEvent, Source, SourceHost},
    command::RunEnd,
    event::{Detail, EventType},
    facet::{FacetId, FacetStatus},
    hub_event::{CommandRun, HubEvent, Requester},
    session::Session,
    state_event::StateEntry,
    text::printable,
    wireguard::{WgPeer, WgPeerKey},
};

use super::{list::presence, why};

/// The sentence, safe to print, on one line.
#[must_use]
pub fn sentence(detail: &Detail) -> String {
    match detail {
        Detail::Facet(facet, FacetStatus::Unavailable(u)) => {
            format!("cannot see {}: {}", facet_words(*facet), why(&u.reason, &u.remedy))
        }
        Detail::Facet(facet, _) => format!("now sees {}", facet_words(*facet)),
        Detail::Session(kind, _, s) => session(*kind, s),
        Detail::Wg(kind, key, peer) => wireguard(*kind, key, peer),
        Detail::Auth(e) => auth(e),
        Detail::Hub(e) => hub(e),
        Detail::State(entry) => state(entry),
        Detail::Lost(lost) => {
            let words = if lost.count == 1 { "record of the node is" } else { "records of the node are" };
            format!("{} {words} lost: {}", lost.count, printable(&lost.reason))
        }
        Detail::Gap(gap) if gap.after.log == gap.to.log => format!(
            "{} records are missing here: {}",
            gap.to.n.saturating_sub(gap.after.n),
            printable(&gap.reason)
        ),
        Detail::Gap(gap) => format!("records are missing here: {}", printable(&gap.reason)),
        Detail::Unreadable { types, reason } => {
            let types: Vec<String> = types.iter().map(|t| printable(t)).collect();
            format!("a record ({}) that this secmon cannot read: {}", types.join(", "), printable(reason))
        }
    }
}

pub(super) fn facet_words(facet: FacetId) -> String {
    match facet {
        FacetId::SESSIONS => "sessions".to_owned(),
        FacetId::WG_PEERS => "WireGuard peers".to_owned(),
        FacetId::AUTH_LOG => "the auth log".to_owned(),
        other => other.to_string(),
    }
}

/// What stands; since when, and what a reader must know beside it, is said by the line.
fn state(entry: &StateEntry) -> String {
    match entry {
        StateEntry::Node(node) => presence(node.presence).0.to_owned(),
        StateEntry::Facet(f) => match &f.status {
            FacetStatus::Unavailable(u) => {
                format!("cannot see {}: {}", facet_words(f.facet), why(&u.reason, &u.remedy))
            }
            FacetStatus::Ready if f.facet == FacetId::AUTH_LOG => "reads the auth log".to_owned(),
            FacetStatus::Ready => format!("sees {}: {}", facet_words(f.facet), f.entries),
            FacetStatus::NotMonitored => format!("does not watch {}", facet_words(f.facet)),
            FacetStatus::Pending => format!("has not looked at {} yet", facet_words(f.facet)),
        },
        StateEntry::Session(_, s) => session_with(" is logged in", s),
        StateEntry::Wg(key, peer) => {
            let kind = if peer.online { EventType::WgPeerOnline } else { EventType::WgPeerOffline };
            wireguard(kind, key, peer)
        }
    }
}

fn session(kind: EventType, s: &Session) -> String {
    session_with(if kind == EventType::SessionClosed { " logged out" } else { " logged in" }, s)
}

fn session_with(what: &str, s: &Session) -> String {
    let mut out = printable(s.named_user().unwrap_or("somebody"));
    out.push_str(what);
    part(&mut out, " on ", s.tty.as_deref());
    part(&mut out, " from ", s.remote.as_deref());
    let sources: Vec<&str> = s.sources.iter().map(|s| s.as_str()).collect();
    if !sources.is_empty() {
        out.push_str(&format!(" ({})", sources.join(", ")));
    }
    out
}

fn wireguard(kind: EventType, key: &WgPeerKey, peer: &WgPeer) -> String {
    let mut out = format!("{} peer {}", printable(&key.interface), key.public_key);
    out.push_str(match kind {
        EventType::WgPeerAdded => " was added",
        EventType::WgPeerRemoved => " was removed",
        EventType::WgPeerChanged => " was changed",
        EventType::WgPeerOnline => " is online",
        _ => " is offline",
    });
    if let Some(endpoint) = peer.endpoint {
        out.push_str(&format!(", endpoint {endpoint}"));
    }
    if kind != EventType::WgPeerOnline && kind != EventType::WgPeerOffline && !peer.allowed_ips.is_empty() {
        let networks: Vec<String> = peer.allowed_ips.iter().map(|n| printable(n)).collect();
        out.push_str(&format!(", networks {}", networks.join(" ")));
    }
    out
}

fn auth(e: &AuthEvent) -> String {
    let user = e.user.as_deref().map_or_else(|| "somebody".to_owned(), printable);
    let method = e.method.as_deref().map(printable);
    let mut out = match e.action {
        AuthAction::Accepted => format!("accepted {} for {user}", method.as_deref().unwrap_or("login")),
        AuthAction::Failed => format!("failed {} for {user}", method.as_deref().unwrap_or("login")),
        AuthAction::InvalidUser => match (method, &e.reason) {
            (Some(method), _) => format!("failed {method} for invalid user {user}"),
            // It exists, and is kept out.
            (None, Some(_)) => format!("{user} may not log in"),
            (None, None) => format!("invalid user {user}"),
        },
        AuthAction::Disconnected => match &e.user {
            Some(_) => format!("{user} disconnected"),
            None => "connection ended".to_owned(),
        },
        AuthAction::SessionOpened => pam_session("opened", e),
        AuthAction::SessionClosed => pam_session("closed", e),
        AuthAction::Sudo => {
            let mut out = match e.command.as_deref() {
                Some(command) => format!("{user} ran {}", printable(command)),
                None => format!("{user} used {}", printable(&e.program)),
            };
            part(&mut out, " as ", e.target_user.as_deref());
            out
        }
        AuthAction::SudoDenied => {
            let mut out = format!("{user} may not run ");
            out.push_str(&e.command.as_deref().map_or_else(|| printable(&e.program), printable));
            part(&mut out, " as ", e.target_user.as_deref());
            out
        }
        AuthAction::Su | AuthAction::SuFailed => {
            let done = e.action == AuthAction::Su;
            let target = e.target_user.as_deref().map_or_else(|| "somebody else".to_owned(), printable);
            match e.command.as_deref().map(printable) {
                // doas says what was run.
                Some(command) if done => format!("{user} ran {command} as {target}"),
                Some(command) => format!("{user} may not run {command}"),
                None => format!("{user} {} {target}", if done { "became" } else { "failed to become" }),
            }
        }
        // What these say differs from program to program; the program's own words say it best.
        AuthAction::AccountChanged | AuthAction::Probe => {
            format!("{}: {}", printable(&e.program), printable(&e.message))
        }
    };
    let own_words = matches!(e.action, AuthAction::AccountChanged | AuthAction::Probe);
    if !own_words {
        part(&mut out, " on ", e.tty.as_deref());
        part(&mut out, " in ", e.cwd.as_deref());
        if let Some(from) = &e.source {
            out.push_str(&source(from));
        }
        part(&mut out, ", key ", e.fingerprint.as_deref());
        part(&mut out, ": ", e.reason.as_deref());
    } else if let Some(from) = &e.source
        && !e.message.contains(&host(from))
    {
        // Another line of the same connection said where it came from.
        out.push_str(&source(from));
    }
    if e.count > 1 {
        out.push_str(&format!(" ({} times)", e.count));
    }
    if e.trusted == Some(false) {
        out.push_str(&format!(" [FORGED: not written by {}]", printable(&e.program)));
    }
    out
}

fn pam_session(verb: &str, e: &AuthEvent) -> String {
    let mut out = printable(e.service.as_deref().unwrap_or(&e.program));
    out.push_str(&format!(" session {verb}"));
    match (&e.target_user, &e.user) {
        (Some(target), Some(by)) if target != by => {
            out.push_str(&format!(" for {} by {}", printable(target), printable(by)));
        }
        (Some(user), _) | (None, Some(user)) => out.push_str(&format!(" for {}", printable(user))),
        (None, None) => {}
    }
    out
}

fn host(source: &Source) -> String {
    match &source.host {
        SourceHost::Ip(ip) => ip.to_string(),
        SourceHost::Name(name) => printable(name),
    }
}

fn source(source: &Source) -> String {
    let host = host(source);
    source.port.map_or_else(|| format!(" from {host}"), |port| format!(" from {host} port {port}"))
}

fn hub(e: &HubEvent) -> String {
    match e {
        HubEvent::Enrolled { replaced: false } => "enrolled".to_owned(),
        HubEvent::Enrolled { replaced: true } => "enrolled anew; its old papers are refused".to_owned(),
        HubEvent::Removed => "removed".to_owned(),
        HubEvent::Connected { address, agent } => {
            format!("connected from {} (version {})", printable(address), printable(agent))
        }
        HubEvent::Disconnected { reason } => format!("disconnected: {}", printable(reason)),
        HubEvent::Gap { from, to, reason } => format!(
            "{} records of the node are missing: {}",
            to.0.saturating_sub(from.0).saturating_add(1),
            printable(reason)
        ),
        HubEvent::CommandStarted(run) => {
            format!("{} started {} (job {})", requester(&run.by), command(run), run.job)
        }
        HubEvent::CommandFinished { run, end, .. } => {
            format!("{} of {} {} (job {})", command(run), requester(&run.by), run_end(end), run.job)
        }
        HubEvent::CommandRefused { run, reason } => {
            format!("{} was refused {}: {}", requester(&run.by), command(run), printable(reason))
        }
        HubEvent::CommandQueued { run, expires } => {
            let until = expires.timestamp().strftime("%Y-%m-%dT%H:%M:%SZ");
            format!("{} queued {} until {until} (job {})", requester(&run.by), command(run), run.job)
        }
        HubEvent::Denied { by, request, reason, unlogged } => {
            let more = if *unlogged > 0 { format!(" ({unlogged} more before this)") } else { String::new() };
            format!("{} was denied {}: {}{more}", requester(by), printable(request), printable(reason))
        }
    }
}

/// `tail lines=50 file=auth.log`.
pub(super) fn command(run: &CommandRun) -> String {
    let mut out = printable(&run.label);
    for arg in &run.args {
        out.push_str(&format!(" {}={}", printable(&arg.name), value(&arg.value)));
    }
    out
}

/// A value as one word: in quotes where it could be taken for more than one, or for none.
fn value(text: &str) -> String {
    let plain = |c: char| !c.is_whitespace() && !matches!(c, '=' | '"' | '\'');
    match !text.is_empty() && text.chars().all(plain) {
        true => printable(text),
        false => format!("\"{}\"", printable(text).replace('"', "\\\"")),
    }
}

pub(super) fn requester(by: &Requester) -> String {
    by.user.as_deref().map_or_else(|| format!("uid {}", by.uid), printable)
}

/// How a run ended: `exited with 3`. Safe to print.
#[must_use]
pub fn run_end(end: &RunEnd) -> String {
    match end {
        RunEnd::Exited(code) => format!("exited with {code}"),
        RunEnd::Signalled(signal) => format!("was ended by signal {signal}"),
        RunEnd::TimedOut => "was ended by its timeout".to_owned(),
        RunEnd::Cancelled => "was cancelled".to_owned(),
        RunEnd::TooMuchOutput => "was ended because it printed too much".to_owned(),
        RunEnd::Failed { message, .. } => format!("failed: {}", printable(message)),
    }
}

fn part(out: &mut String, before: &str, text: Option<&str>) {
    if let Some(text) = text {
        out.push_str(before);
        out.push_str(&printable(text));
    }
}

#[cfg(test)]
mod tests {
    use secmon_protocol::{command::Arg, ids::JobId};

    use super::*;

    /// The line of an audited run showed `lines=1 file=/etc/shadow` for one argument whose value went on so.
    #[test]
    fn no_value_looks_like_a_further_argument() {
        let arg = |name: &str, value: &str| Arg { name: name.into(), value: value.into() };
        let by = Requester { uid: 7, user: None, pid: None, agent: String::new() };
        let of = |args| {
            command(&CommandRun { job: JobId(1), label: "x".into(), args, by: by.clone(), detached: false })
        };
        assert_eq!(of(vec![arg("a", "/var/log/ä.log"), arg("b", "")]), "x a=/var/log/ä.log b=\"\"");
        assert_eq!(of(vec![arg("a", "1 file=/etc/shadow")]), "x a=\"1 file=/etc/shadow\"");
        assert_eq!(
            of(vec![arg("a", "1\u{a0}b"), arg("b", "x\" c=\"y")]),
            "x a=\"1\u{a0}b\" b=\"x\\\" c=\\\"y\""
        );
        assert_eq!(of(vec![arg("a", "\x1b[2J\\\"")]), "x a=\"\\x1b[2J\\\\\\\"\"");
    }
}
