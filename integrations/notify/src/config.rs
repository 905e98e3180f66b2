//! The configuration that all notifying roles share: `[notify]`, and the rules of a destination. What the keys mean is in
//! `docs/notify.md`; how values are written is in `config::values`. That rules fit together is checked by
//! [`Core::new`](crate::core::Core::new).

mod values;

use secmon_protocol::session::SessionKind;
use serde::Deserialize;

pub use values::{Clock, Days, Limit, Network, OneOrMany, Repeat, Span};

use crate::Severity;

/// `[notify]`: for all destinations of a role.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NotifySection {
    /// The zone of hours and days: a name of the IANA database or a POSIX TZ string; none is the system's.
    pub zone: Option<String>,
    /// Whether secmon's own rules come behind those that are written here.
    pub defaults: bool,
    /// Rules for all destinations, behind the destinations' own.
    pub rules: Vec<RuleSection>,
    /// Who is new.
    pub first_seen: FirstSeenSection,
    /// Nodes, and the hub, that are away.
    pub away: AwaySection,
    /// What is less is not told, where a destination does not say otherwise.
    pub min_severity: Severity,
    /// Messages per time, where a destination does not say otherwise.
    pub limit: Limit,
    /// When to be quiet, where a destination does not say otherwise.
    pub quiet: OneOrMany<HoursSection>,
    /// How digests grow, where a destination does not say otherwise.
    pub digest: DigestSection,
    /// The words of single events, where neither a rule nor a destination has its own.
    pub template: Option<String>,
}

impl Default for NotifySection {
    fn default() -> Self {
        Self {
            zone: None,
            defaults: true,
            rules: vec![],
            first_seen: FirstSeenSection::default(),
            away: AwaySection::default(),
            min_severity: Severity::Info,
            limit: Limit::default(),
            quiet: OneOrMany::default(),
            digest: DigestSection::default(),
            template: None,
        }
    }
}

/// What every destination has beside what its service needs: rules, limits, quiet hours, templates. Flattened into a
/// service's own section by naming it there as `notify`. What it does not say, `[notify]` does.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DestinationSection {
    /// Its own rules, looked at first.
    pub rules: Vec<RuleSection>,
    /// Whether the rules of `[notify]` come behind them.
    pub common: Option<bool>,
    /// Whether secmon's own rules come last.
    pub defaults: Option<bool>,
    /// The zone of hours and days.
    pub zone: Option<String>,
    /// What is less is not told here.
    pub min_severity: Option<Severity>,
    /// Messages per time.
    pub limit: Option<Limit>,
    /// When to be quiet.
    pub quiet: Option<OneOrMany<HoursSection>>,
    /// How digests grow.
    pub digest: Option<DigestSection>,
    /// The words of single events.
    pub template: Option<String>,
}

/// `[[notify.rules]]`: what matches all that it says is treated as it says. Of several patterns one must match.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RuleSection {
    /// What people call it; the heading of its digests.
    pub name: Option<String>,
    /// Patterns of the event's type: `auth.*`.
    #[serde(rename = "type")]
    pub types: OneOrMany<String>,
    /// Patterns of the node's name, or its id.
    pub node: OneOrMany<String>,
    /// None of those.
    pub not_node: OneOrMany<String>,
    /// Patterns of who did it.
    pub user: OneOrMany<String>,
    /// None of those.
    pub not_user: OneOrMany<String>,
    /// Patterns of who they became, or whose account was changed.
    pub target_user: OneOrMany<String>,
    /// Networks that it came from.
    pub source: OneOrMany<Network>,
    /// It came from somewhere, and from none of those.
    pub not_source: OneOrMany<Network>,
    /// Patterns of the service that opened a session: `sshd`.
    pub service: OneOrMany<String>,
    /// Kinds of a session.
    pub kind: OneOrMany<Kind>,
    /// When it happened.
    pub time: Option<HoursSection>,
    /// It is at least that severe of itself.
    pub min_severity: Option<Severity>,
    /// Whether that user has not been seen there from that network with that key.
    pub first_seen: Option<bool>,
    /// Whether the node cannot see its auth log.
    pub without_auth_log: Option<bool>,
    /// Whether the line was not written by the program that it names.
    pub forged: Option<bool>,
    /// What becomes of it.
    pub action: Action,
    /// How severe it is here; else what it is of itself.
    pub severity: Option<Severity>,
    /// Its digests are kept apart by these.
    pub group_by: OneOrMany<GroupBy>,
    /// The words of single events.
    pub template: Option<String>,
}

/// What becomes of what a rule matches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// A message of its own, at once.
    #[default]
    Send,
    /// Counted in a digest.
    Digest,
    /// Nothing.
    Drop,
}

/// A kind of session, as rules name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Somebody at a terminal.
    Interactive,
    /// A graphical seat.
    Graphical,
    /// No terminal.
    Background,
}

impl From<Kind> for SessionKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Interactive => Self::Interactive,
            Kind::Graphical => Self::Graphical,
            Kind::Background => Self::Background,
        }
    }
}

/// What keeps digests apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupBy {
    /// The node.
    Node,
    /// Who did it.
    User,
    /// Where it came from.
    Source,
    /// The event's type.
    Type,
}

/// Hours of days: `{ days = ["mon-fri"], from = "22:00", to = "07:00" }`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HoursSection {
    /// The days on which they begin; none are all.
    pub days: Days,
    /// When they begin; midnight.
    pub from: Clock,
    /// When they end; on the next day, where that is not behind the beginning.
    pub to: Clock,
    /// The zone, where it is not that of the destination.
    pub zone: Option<String>,
}

/// `[notify.digest]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DigestSection {
    /// How long the first event waits for company before the digest is told.
    pub after: Span,
    /// Least time between two editions of a message that is edited.
    pub every: Span,
    /// A digest ends when nothing was added to it for this long …
    pub window: Span,
    /// … or when it is this old.
    pub longest: Span,
}

impl Default for DigestSection {
    fn default() -> Self {
        Self {
            after: Span::seconds(10),
            every: Span::seconds(20),
            window: Span::seconds(15 * 60),
            longest: Span::seconds(6 * 60 * 60),
        }
    }
}

/// `[notify.first_seen]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FirstSeenSection {
    /// Whether it is looked at.
    pub enabled: bool,
    /// Bits of an IPv4 address that make a network, up to 32.
    pub ipv4: u8,
    /// Bits of an IPv6 address that make a network, up to 128.
    pub ipv6: u8,
    /// Most that are remembered; those that were not seen for longest go first.
    pub remember: usize,
}

impl Default for FirstSeenSection {
    fn default() -> Self {
        Self { enabled: true, ipv4: 24, ipv6: 64, remember: 1_000_000 }
    }
}

/// `[notify.away]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AwaySection {
    /// How long a node, or the hub, must be away before that is told.
    pub after: Span,
    /// How often it is told again.
    pub repeat: Repeat,
    /// How severe it is that a node is away.
    pub severity: Severity,
    /// How severe it is that the hub cannot be reached.
    pub hub_severity: Severity,
}

impl Default for AwaySection {
    fn default() -> Self {
        Self {
            after: Span::seconds(120),
            repeat: Repeat::Every(Span::seconds(4 * 60 * 60)),
            severity: Severity::Warning,
            hub_severity: Severity::Critical,
        }
    }
}
