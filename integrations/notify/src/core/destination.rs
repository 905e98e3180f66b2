//! One destination: what its rules say of each thing, and how that gets out: at once, in a digest, or later.

use std::{cell::Cell, collections::BTreeMap};

use jiff::tz::TimeZone;
use secmon_client::pattern::Patterns;
use secmon_protocol::time::UnixNanos;
use serde::{Deserialize, Serialize};

use super::{
    BadRules, Target, Thread,
    critical::Critical,
    defaults,
    digest::{Digest, Pace, Step, Why},
    facts::{Facts, NodeNews, Subject},
    fleet,
    hours::{self, Hours},
    quota::{Quota, Rate},
    rules::{Rules, Verdict},
    seen::fingerprint,
    shared::{MAX_OPEN, Shared},
    summary,
    template::Template,
    words::{self, Decided},
};
use crate::{
    Notice, Severity,
    config::{Action, GroupBy, NotifySection},
};

/// Nodes that are told one by one; more of them at once share a message.
const FEW_NODES: usize = 3;
/// The digest of what may not be told now.
const HELD: &str = "held";
/// The digest of what is over the limit, and of what would open more digests than there may be.
const LIMIT: &str = "limit";

/// A destination, ready.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) name: String,
    edits: bool,
    rules: Rules,
    template: Option<Template>,
    min_severity: Severity,
    rate: Option<Rate>,
    quiet: Vec<Hours>,
    /// Whether the minute is quiet that was asked for last, and until when: hours begin and end with a minute.
    minute: Cell<(i64, Option<UnixNanos>)>,
    pace: Pace,
    zone: TimeZone,
    pub(super) state: State,
    /// When something is due.
    pub(super) due: Option<UnixNanos>,
}

/// What a restart needs of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct State {
    quota: Quota,
    critical: Critical,
    muted: Option<UnixNanos>,
    pub(super) digests: BTreeMap<String, Digest>,
}

impl Destination {
    pub(super) fn new(section: &NotifySection, target: &Target, state: State) -> Result<Self, BadRules> {
        let own = &target.section;
        let name = &target.name;
        let at = |BadRules(reason)| BadRules(format!("{name}: {reason}"));
        let zone = match own.zone.as_ref().or(section.zone.as_ref()) {
            Some(zone) => hours::zone(zone).map_err(at)?,
            None => TimeZone::system(),
        };
        let mut rules = vec![];
        for (i, rule) in own.rules.iter().enumerate() {
            rules.push((format!("rule {} of {name}", i + 1), rule.clone()));
        }
        if own.common.unwrap_or(true) {
            for (i, rule) in section.rules.iter().enumerate() {
                rules.push((format!("rule {} of [notify]", i + 1), rule.clone()));
            }
        }
        if own.defaults.unwrap_or(section.defaults) {
            rules.extend(defaults::rules().into_iter().map(|rule| ("secmon's own rules".to_owned(), rule)));
        }
        let template = match own.template.as_ref().or(section.template.as_ref()) {
            Some(text) => Some(Template::new(text, &Patterns::default()).map_err(at)?),
            None => None,
        };
        let quiet = own.quiet.as_ref().unwrap_or(&section.quiet);
        Ok(Self {
            name: name.clone(),
            edits: target.edits,
            rules: Rules::new(rules, &zone)?,
            template,
            min_severity: own.min_severity.unwrap_or(section.min_severity),
            rate: Rate::new(own.limit.unwrap_or(section.limit)),
            quiet: quiet
                .iter()
                .map(|hours| Hours::new(hours, &zone))
                .collect::<Result<_, _>>()
                .map_err(at)?,
            minute: Cell::new((i64::MIN, None)),
            pace: Pace::new(own.digest.as_ref().unwrap_or(&section.digest)).map_err(at)?,
            zone,
            state,
            due: None,
        })
    }

    /// Takes something that may be told. `first` is that it is the first of its kind, in words.
    pub(super) fn offer(
        &mut self,
        now: UnixNanos,
        subject: &Subject<'_>,
        facts: &Facts<'_>,
        first: Option<&str>,
        shared: &mut Shared,
    ) {
        let Some(verdict) = self.rules.verdict(facts, self.min_severity) else { return };
        let decided = Decided {
            severity: verdict.severity,
            rule: verdict.rule.name(),
            first,
            template: verdict.rule.template.as_ref().or(self.template.as_ref()),
        };
        let whole = |shared: &mut Shared| {
            let unique = shared.unique(now);
            words::notice(words::id(subject, &unique), subject, facts, &decided)
        };
        if verdict.severity == Severity::Critical {
            let notice = whole(shared);
            self.critical(now, notice, shared);
            self.refresh(now);
            return;
        }
        let counted = match verdict.action {
            Action::Digest => Some((Why::Rule, key(&verdict, facts))),
            _ => match self.silence(now) {
                Some((_, why)) => Some((why, HELD.to_owned())),
                None if self.state.quota.take(self.rate, now) => None,
                None => Some((Why::Limit, LIMIT.to_owned())),
            },
        };
        let Some((why, key)) = counted else {
            let notice = whole(shared);
            shared.tell(&self.name, notice, None);
            return;
        };
        let line = || {
            let title = words::title(subject);
            if first.is_some() { format!("{title} (first time)") } else { title }
        };
        let (severity, rule) = (verdict.severity, verdict.rule.name().map(str::to_owned));
        self.count(now, (why, key), rule.as_deref(), facts, severity, line, shared);
        self.refresh(now);
    }

    /// Takes news of several nodes at once; `severity` is how severe it is that one is away, `more` that there are more than are known.
    pub(super) fn offer_nodes(
        &mut self,
        now: UnixNanos,
        news: &[NodeNews<'_>],
        severity: Severity,
        more: bool,
        shared: &mut Shared,
    ) {
        let single = |this: &mut Self, news: &[NodeNews<'_>], shared: &mut Shared| {
            for one in news {
                let subject = Subject::Node(*one);
                if let Some(facts) = Facts::of(&subject, severity, severity) {
                    this.offer(now, &subject, &facts, None, shared);
                }
            }
        };
        if news.len() <= FEW_NODES {
            return single(self, news, shared);
        }
        let (mut critical, mut told, mut rest) = (vec![], vec![], vec![]);
        let mut most = Severity::Info;
        for one in news {
            let Some(facts) = Facts::of(&Subject::Node(*one), severity, severity) else { continue };
            let Some(verdict) = self.rules.verdict(&facts, self.min_severity) else { continue };
            match (verdict.severity, verdict.action) {
                (Severity::Critical, _) => critical.push(*one),
                (severity, Action::Send) => {
                    most = most.max(severity);
                    told.push(*one);
                }
                _ => rest.push(*one),
            }
        }
        if critical.len() <= FEW_NODES {
            single(self, &std::mem::take(&mut critical), shared);
        }
        // Each of them in full, in as many messages as that takes.
        for notice in fleet::all(&critical, more, || shared.unique(now)) {
            shared.tell(&self.name, notice, None);
        }
        let may = told.len() > FEW_NODES && self.silence(now).is_none();
        if may && self.state.quota.take(self.rate, now) {
            let notice = fleet::short(&told, most, more, &shared.unique(now));
            shared.tell(&self.name, notice, None);
        } else {
            single(self, &told, shared);
        }
        single(self, &rest, shared);
    }

    fn critical(&mut self, now: UnixNanos, notice: Notice, shared: &mut Shared) {
        // Who wants no limit, a machine most of all, gets each alone.
        let may_share = self.rate.is_some();
        let list = format!("critical-{}", shared.unique(now));
        for notice in self.state.critical.take(now, notice, may_share, || list) {
            shared.tell(&self.name, notice, None);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "each is another thing, and there is one caller")]
    fn count(
        &mut self,
        now: UnixNanos,
        (mut why, mut key): (Why, String),
        mut rule: Option<&str>,
        facts: &Facts<'_>,
        severity: Severity,
        line: impl FnOnce() -> String,
        shared: &mut Shared,
    ) {
        if why == Why::Rule && !self.state.digests.contains_key(&key) {
            if shared.open >= MAX_OPEN {
                (why, key) = (Why::Limit, LIMIT.to_owned());
            } else {
                shared.open += 1;
            }
        }
        if why != Why::Rule {
            rule = None;
        }
        let digest = self.state.digests.entry(key).or_insert_with(|| {
            let id = format!("digest-{}", shared.unique(now));
            Digest::new(id, why, rule, facts.time, now)
        });
        digest.add(now, facts, severity, line, &mut shared.room);
    }

    /// Until when nothing but what is critical is told, and why.
    fn silence(&self, now: UnixNanos) -> Option<(UnixNanos, Why)> {
        let muted = self.state.muted.filter(|until| *until > now);
        let minute = now.0.div_euclid(60_000_000_000);
        if self.minute.get().0 != minute {
            let end = self.quiet.iter().filter_map(|hours| hours.end(now)).max();
            self.minute.set((minute, end));
        }
        let quiet = self.minute.get().1;
        match (muted, quiet) {
            (None, None) => None,
            (None, Some(until)) => Some((until, Why::Quiet)),
            (Some(until), quiet) => Some((quiet.map_or(until, |quiet| quiet.max(until)), Why::Muted)),
        }
    }

    /// Keeps it quiet until then; the past ends it.
    pub(super) fn mute(&mut self, now: UnixNanos, until: UnixNanos) {
        self.state.muted = (until > now).then_some(until);
        self.refresh(now);
    }

    /// Does what is due.
    pub(super) fn advance(&mut self, now: UnixNanos, shared: &mut Shared) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        if self.state.critical.due().is_some_and(|due| due <= now) {
            let id = format!("critical-{}", shared.unique(now));
            if let Some(notice) = self.state.critical.tell(id) {
                shared.tell(&self.name, notice, None);
            }
        }
        let keys: Vec<String> = self.state.digests.keys().cloned().collect();
        for key in keys {
            self.advance_digest(now, &key, shared);
        }
        self.refresh(now);
    }

    fn advance_digest(&mut self, now: UnixNanos, key: &str, shared: &mut Shared) {
        let step = self.step(now, key);
        let Some(digest) = self.state.digests.get_mut(key) else { return };
        let last = match step {
            Step::Wait(_) => return,
            Step::End => true,
            Step::Tell { message, last } => {
                if message && !self.state.quota.take_any(self.rate, now) {
                    return;
                }
                // What cannot be edited says itself once at the start and once at the end.
                let thread = self.edits.then(|| Thread { id: digest.id.clone(), last });
                let notice = summary::notice(digest, !last, &self.zone);
                shared.tell(&self.name, notice, thread);
                digest.told(now);
                last
            }
        };
        if last && let Some(gone) = self.state.digests.remove(key) {
            shared.close(&gone);
        }
    }

    fn step(&self, now: UnixNanos, key: &str) -> Step {
        let quiet = self.silence(now).map(|(until, _)| until);
        let next = self.state.quota.next(self.rate);
        self.state
            .digests
            .get(key)
            .map_or(Step::End, |digest| digest.step(now, &self.pace, self.edits, quiet, next))
    }

    /// Finds out again when something is due.
    pub(super) fn refresh(&mut self, now: UnixNanos) {
        let digests = self.state.digests.keys().map(|key| match self.step(now, key) {
            Step::Wait(until) => until,
            Step::Tell { .. } | Step::End => now,
        });
        self.due = digests.chain(self.state.critical.due()).min();
    }

    /// The clock was set back.
    pub(super) fn set_back(&mut self, now: UnixNanos) {
        self.state.quota.set_back(self.rate, now);
        self.state.critical.set_back(now);
        self.state.digests.values_mut().for_each(|digest| digest.set_back(now));
        self.refresh(now);
    }
}

/// Which digest of a rule something belongs to.
fn key(verdict: &Verdict<'_>, facts: &Facts<'_>) -> String {
    let mut text = verdict.rule.place.clone();
    for part in verdict.rule.group_by() {
        text.push('\n');
        match part {
            GroupBy::Node => text.push_str(&facts.node.map(|(id, _)| id.to_string()).unwrap_or_default()),
            GroupBy::User => text.push_str(facts.user.unwrap_or_default()),
            GroupBy::Source => text.push_str(&facts.source().unwrap_or_default()),
            GroupBy::Type => text.push_str(facts.kind),
        }
    }
    format!("{:016x}", fingerprint(&text))
}
