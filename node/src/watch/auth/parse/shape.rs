//! What a shape is, what it finds, and the small readers that the shapes of all programs share.

use secmon_protocol::{
    auth::{AuthAction, AuthEvent, Outcome, Source, SourceHost},
    limits::clip,
};

use super::{Role, frame::Body};

/// One kind of message of one program.
pub(super) struct Shape {
    /// What the message starts with.
    pub prefix: &'static str,
    /// A real message of this shape, for the reader, the tests and the benchmark.
    pub example: &'static str,
    /// What the example's line gives; none where the shape is no event.
    #[cfg_attr(not(test), expect(dead_code, reason = "read by people and by the tests"))]
    pub gives: Option<(AuthAction, Role)>,
    /// The parts of the example that somebody who may be an attacker chose. The tests put their own into
    /// each of them.
    #[cfg_attr(not(test), expect(dead_code, reason = "read by people and by the tests"))]
    pub theirs: &'static [&'static str],
    /// Reads what follows the prefix; none when it does not fit after all.
    pub rest: Reader,
}

/// Reads the rest of a message.
pub(super) type Reader = for<'m> fn(&'m str, &Body<'m>) -> Option<Found<'m>>;

/// What a shape's example gives, and who chose what of it: the last arguments of the tables' entries.
pub(super) const fn shape(
    prefix: &'static str,
    example: &'static str,
    gives: Option<(AuthAction, Role)>,
    theirs: &'static [&'static str],
    rest: Reader,
) -> Shape {
    Shape { prefix, example, gives, theirs, rest }
}

impl Shape {
    /// What the message says, if it has this shape.
    pub(super) fn read<'m>(&self, body: &Body<'m>) -> Option<Found<'m>> {
        (self.rest)(body.text.strip_prefix(self.prefix)?, body)
    }
}

/// The first of `shapes` that fits.
pub(super) fn first<'m>(shapes: &[Shape], body: &Body<'m>) -> Option<Found<'m>> {
    // Most prefixes already differ in their first byte.
    let start = body.text.as_bytes().first();
    shapes
        .iter()
        .filter(|shape| shape.prefix.is_empty() || shape.prefix.as_bytes().first() == start)
        .find_map(|shape| shape.read(body))
}

/// What a fitting shape makes of a message.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "lives on the stack while one line is read, and a box would cost more"
)]
pub(super) enum Found<'m> {
    /// Understood, and no event of its own.
    Nothing,
    /// An event, or a part of one.
    Event(Fields<'m>),
}

/// The fields that a message says, still in the message: nothing is allocated before a shape has fitted.
#[derive(Debug)]
pub(super) struct Fields<'m> {
    pub action: AuthAction,
    pub role: Role,
    pub user: Option<&'m str>,
    pub target: Option<&'m str>,
    pub group: Option<&'m str>,
    pub source: Option<Source>,
    pub method: Option<&'m str>,
    pub fingerprint: Option<&'m str>,
    pub tty: Option<&'m str>,
    pub cwd: Option<&'m str>,
    pub command: Option<&'m str>,
    pub service: Option<&'m str>,
    pub reason: Option<&'m str>,
    /// How many attempts the line itself speaks of.
    pub times: Option<u32>,
    /// Whether what usually succeeds has failed.
    pub failed: bool,
}

impl<'m> Fields<'m> {
    /// Of the carrier of what happened.
    pub(super) fn new(action: AuthAction) -> Self {
        Self {
            action,
            role: Role::Carrier,
            user: None,
            target: None,
            group: None,
            source: None,
            method: None,
            fingerprint: None,
            tty: None,
            cwd: None,
            command: None,
            service: None,
            reason: None,
            times: None,
            failed: false,
        }
    }

    /// Of a line with another role.
    pub(super) fn of(action: AuthAction, role: Role) -> Self {
        Self { role, ..Self::new(action) }
    }

    /// Moves the fields into `event`; an empty text is absent, a long one is cut.
    pub(super) fn fill(self, event: &mut AuthEvent) {
        let own = |text: Option<&str>| text.filter(|t| !t.is_empty()).map(|t| clip(t).to_owned());
        event.user = own(self.user);
        event.target_user = own(self.target);
        event.group = own(self.group);
        event.source = self.source;
        event.method = own(self.method);
        event.fingerprint = own(self.fingerprint);
        event.tty = own(self.tty.and_then(terminal));
        event.cwd = own(self.cwd);
        event.command = own(self.command);
        event.service = own(self.service);
        event.reason = own(self.reason);
        if self.failed {
            event.outcome = Outcome::Failure;
        }
    }
}

impl<'m> From<Fields<'m>> for Option<Found<'m>> {
    fn from(fields: Fields<'m>) -> Self {
        Some(Found::Event(fields))
    }
}

/// Fits whatever follows the prefix, and makes nothing of it.
pub(super) fn nothing<'m>(_: &'m str, _: &Body<'m>) -> Option<Found<'m>> {
    Some(Found::Nothing)
}

/// A terminal's name without `/dev/`; the words that programs write when there is none are none.
fn terminal(tty: &str) -> Option<&str> {
    let tty = tty.strip_prefix("/dev/").unwrap_or(tty);
    (!matches!(tty, "" | "none" | "unknown" | "???" | "?")).then_some(tty)
}

/// The source that `host` and `port` name; sshd's word for an address it could not get is none.
pub(super) fn source(host: &str, port: Option<u16>) -> Option<Source> {
    if host.is_empty() || host.eq_ignore_ascii_case("unknown") || host == "?" {
        return None;
    }
    let host = match host.parse::<std::net::IpAddr>() {
        Ok(ip) => SourceHost::Ip(ip.to_canonical()),
        Err(_) => SourceHost::Name(clip(host).to_owned()),
    };
    Some(Source { host, port })
}

/// Reads `… A port P` from the end: what stands before the address (with its space), and the source.
/// Only the last three words are looked at, so that a name before them cannot take their place.
pub(super) fn address_at_end(text: &str) -> Option<(&str, Option<Source>)> {
    let (text, port) = text.rsplit_once(' ')?;
    let port = number(port)?;
    let text = text.strip_suffix(" port")?;
    let start = text.rfind(' ').map_or(0, |at| at + 1);
    let (before, host) = text.split_at(start);
    (!host.is_empty()).then(|| (before, source(host, Some(port))))
}

/// Reads `A:P` as dropbear writes it, without brackets around an IPv6 address, or `[A]:P`.
pub(super) fn colon_source(text: &str) -> Option<Source> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if host.contains(' ') {
        return None;
    }
    source(host, Some(number(port)?))
}

/// The text between the quotes at the start of `text`, and what follows them: `'T'REST`, where T may not
/// hold a quote.
pub(super) fn quoted(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix('\'')?.split_once('\'')
}

/// A decimal number without sign.
pub(super) fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_what_stands_last() {
        let (before, source) = address_at_end("x 10.0.0.1 port 22 ::ffff:192.0.2.1 port 5").unwrap();
        assert_eq!(before, "x 10.0.0.1 port 22 ");
        assert_eq!(
            source,
            Some(Source { host: SourceHost::Ip("192.0.2.1".parse().unwrap()), port: Some(5) })
        );
        assert!(address_at_end("192.0.2.1 port 70000").is_none());
        assert!(address_at_end("192.0.2.1 port +5").is_none());
        assert_eq!(address_at_end("UNKNOWN port 65535").unwrap(), ("", None));
        let scoped = address_at_end("fe80::1%eth0 port 1").unwrap().1.unwrap();
        assert_eq!(scoped.host, SourceHost::Name("fe80::1%eth0".into()));
    }
}
