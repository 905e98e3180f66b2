//! Rules, checked and ready to be asked: the first that matches decides.

use secmon_client::pattern::Patterns;
use secmon_protocol::event::EventType;

use jiff::tz::TimeZone;

use super::{
    BadRules,
    facts::{Facts, OWN_TYPES},
    hours::Hours,
    template::Template,
};
use crate::{
    Severity,
    config::{Action, GroupBy, Network, OneOrMany, RuleSection},
};

/// Most rules of a destination, all together: each event is held against them, in turn.
const MAX_RULES: usize = 1_000;
/// Longest name of a rule, in characters: it stands in titles.
const MAX_NAME: usize = 60;

/// The rules of a destination.
#[derive(Debug)]
pub(super) struct Rules(Vec<Rule>);

/// One rule.
#[derive(Debug)]
pub(super) struct Rule {
    /// Where it is written, by which its digests are known.
    pub(super) place: String,
    section: RuleSection,
    types: Patterns,
    node: Patterns,
    not_node: Option<Patterns>,
    user: Option<Patterns>,
    not_user: Option<Patterns>,
    target_user: Option<Patterns>,
    service: Option<Patterns>,
    time: Option<Hours>,
    /// The words of single events.
    pub(super) template: Option<Template>,
}

/// What the rules say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verdict<'r> {
    /// Never [`Action::Drop`].
    pub(super) action: Action,
    pub(super) severity: Severity,
    pub(super) rule: &'r Rule,
}

impl Rules {
    /// `place` is where they are written, for errors.
    pub(super) fn new(sections: Vec<(String, RuleSection)>, zone: &TimeZone) -> Result<Self, BadRules> {
        if sections.len() > MAX_RULES {
            return Err(BadRules(format!(
                "{} rules for one destination are over {MAX_RULES}",
                sections.len()
            )));
        }
        let rule = |(i, (place, section)): (usize, (String, RuleSection))| {
            let known = format!("{i} {place}");
            Rule::new(known, section, zone).map_err(|BadRules(reason)| BadRules(format!("{place}: {reason}")))
        };
        Ok(Self(sections.into_iter().enumerate().map(rule).collect::<Result<_, _>>()?))
    }

    /// What becomes of something; none where nothing does, or where it is less than `least`.
    pub(super) fn verdict(&self, facts: &Facts<'_>, least: Severity) -> Option<Verdict<'_>> {
        let mut verdict = self.decide(facts)?;
        let mut severity = verdict.severity;
        if let Some(gone) = facts.gone {
            // Who was told that it is away, or was woken by that, wants to hear that it is back.
            let away = Facts { kind: "node.away", severity: gone, gone: None, ..facts.clone() };
            severity = severity.max(self.decide(&away).map_or(severity, |away| away.severity));
            if severity == Severity::Critical && verdict.rule.section.severity.is_none() {
                (verdict.severity, verdict.action) = (severity, Action::Send);
            }
        }
        (severity >= least).then_some(verdict)
    }

    fn decide(&self, facts: &Facts<'_>) -> Option<Verdict<'_>> {
        let rule = self.0.iter().find(|rule| rule.matches(facts))?;
        if rule.section.action == Action::Drop {
            return None;
        }
        let severity = rule.section.severity.unwrap_or(facts.severity);
        // Who asks for what is new has said how severe that is.
        let raise = facts.first == Some(true)
            && !(rule.section.severity.is_some() && rule.section.first_seen.is_some());
        let severity = if raise { severity.raised() } else { severity };
        // What is critical is never merely counted.
        let action = if severity == Severity::Critical { Action::Send } else { rule.section.action };
        Some(Verdict { action, severity, rule })
    }
}

impl Rule {
    fn new(place: String, section: RuleSection, zone: &TimeZone) -> Result<Self, BadRules> {
        if let Some(name) = &section.name
            && (name.trim().is_empty() || name.chars().count() > MAX_NAME)
        {
            return Err(BadRules(format!("a name has 1 to {MAX_NAME} characters")));
        }
        for pattern in section.types.iter() {
            let one = Patterns::new(std::slice::from_ref(pattern));
            if !types().any(|known| one.matches(known)) {
                return Err(BadRules(format!(
                    "no event has the type {pattern:?}; they are {}",
                    types().collect::<Vec<_>>().join(", ")
                )));
            }
        }
        if section.action == Action::Digest && section.severity == Some(Severity::Critical) {
            return Err(BadRules(
                "what is critical is told at once and in full, so action = \"digest\" cannot go with it"
                    .to_owned(),
            ));
        }
        if section.action != Action::Digest && !section.group_by.is_empty() {
            return Err(BadRules("group_by is for rules with action = \"digest\"".to_owned()));
        }
        let some = |list: &OneOrMany<String>| (!list.is_empty()).then(|| Patterns::new(list));
        let template = match &section.template {
            Some(text) => Some(Template::new(text, &Patterns::new(&section.types))?),
            None => None,
        };
        Ok(Self {
            types: Patterns::new(&section.types),
            node: Patterns::new(&section.node),
            not_node: some(&section.not_node),
            user: some(&section.user),
            not_user: some(&section.not_user),
            target_user: some(&section.target_user),
            service: some(&section.service),
            time: section.time.as_ref().map(|hours| Hours::new(hours, zone)).transpose()?,
            template,
            place,
            section,
        })
    }

    /// What it is called, where it has a name.
    pub(super) fn name(&self) -> Option<&str> {
        self.section.name.as_deref()
    }

    /// What keeps its digests apart.
    pub(super) fn group_by(&self) -> &[GroupBy] {
        &self.section.group_by
    }

    fn matches(&self, facts: &Facts<'_>) -> bool {
        let is = |patterns: &Option<Patterns>, text: Option<&str>| {
            patterns.as_ref().is_none_or(|p| text.is_some_and(|text| p.matches(text)))
        };
        let not = |patterns: &Option<Patterns>, text: Option<&str>| {
            patterns.as_ref().is_none_or(|p| !text.is_some_and(|text| p.matches(text)))
        };
        let section = &self.section;
        self.types.matches(facts.kind)
            && self.node_matches(facts)
            && is(&self.user, facts.user)
            && not(&self.not_user, facts.user)
            && is(&self.target_user, facts.target)
            && is(&self.service, facts.service)
            && self.source_matches(facts)
            && (section.kind.is_empty()
                || section.kind.iter().any(|kind| Some((*kind).into()) == facts.session))
            && section.min_severity.is_none_or(|least| facts.severity >= least)
            && section.first_seen.is_none_or(|first| facts.first == Some(first))
            && section.without_auth_log.is_none_or(|blind| facts.blind == blind)
            && section.forged.is_none_or(|forged| facts.forged == forged)
            && self.time.as_ref().is_none_or(|hours| hours.end(facts.time).is_some())
    }

    fn node_matches(&self, facts: &Facts<'_>) -> bool {
        if self.section.node.is_empty() && self.not_node.is_none() {
            return true;
        }
        let Some((id, name)) = facts.node else {
            // What is about the hub is on none of them.
            return self.node.matches_all();
        };
        let id = id.to_string();
        let one_of = |p: &Patterns| p.matches(name) || p.matches(&id);
        one_of(&self.node) && !self.not_node.as_ref().is_some_and(one_of)
    }

    fn source_matches(&self, facts: &Facts<'_>) -> bool {
        let within = |nets: &[Network]| facts.ip.is_some_and(|ip| nets.iter().any(|net| net.0.contains(&ip)));
        // A name lies in no network: whoever comes by one is not from within.
        let from_somewhere = facts.ip.is_some() || facts.host.is_some();
        (self.section.source.is_empty() || within(&self.section.source))
            && (self.section.not_source.is_empty() || from_somewhere && !within(&self.section.not_source))
    }
}

/// All types that something told can have.
pub(super) fn types() -> impl Iterator<Item = &'static str> {
    EventType::ALL.iter().map(|kind| kind.as_str()).chain(OWN_TYPES)
}
