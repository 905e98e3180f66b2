//! What the rules that apply to one peer let it do. Pure.

use secmon_protocol::{
    ids::NodeName,
    limits::clip,
    message::{
        ErrorCode, Refusal,
        client::{Role, Rule},
    },
};
use wildmatch::WildMatch;

/// What stands in a refusal between what was asked, what that takes, and the rules; and at its end.
const TAKES: &str = ": that takes ";
const RULES: &str = "; your rules: ";
const ADVICE: &str = ". An [[access]] rule of the hub's configuration can allow it";
/// Most rules, and most patterns of each, that a refusal tells.
const TOLD: usize = 5;

/// What one client may do: the rules that apply to it, whose permissions add up.
#[derive(Debug, Clone)]
pub struct Grants {
    rules: Vec<Rule>,
    /// The patterns of each rule, ready to be matched.
    patterns: Vec<Patterns>,
}

#[derive(Debug, Clone)]
struct Patterns {
    nodes: Vec<WildMatch>,
    commands: Vec<WildMatch>,
}

impl PartialEq for Grants {
    fn eq(&self, other: &Self) -> bool {
        self.rules == other.rules
    }
}

impl Eq for Grants {}

impl Grants {
    /// Those of some rules; of none: nothing.
    #[must_use]
    pub fn of(rules: Vec<Rule>) -> Self {
        let ready = |patterns: &[String]| patterns.iter().map(|pattern| WildMatch::new(pattern)).collect();
        let patterns = rules
            .iter()
            .map(|rule| Patterns { nodes: ready(&rule.nodes), commands: ready(&rule.commands) })
            .collect();
        Self { rules, patterns }
    }

    /// Those of root and of the hub's own user: everything.
    #[must_use]
    pub fn everything(name: &str) -> Self {
        Self::of(vec![Rule { name: name.to_owned(), role: Role::Admin, nodes: vec![], commands: vec![] }])
    }

    /// The rules, as they are told.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether a node, its state and its events may be seen.
    #[must_use]
    pub fn may_view(&self, node: &NodeName) -> bool {
        self.covering(node).next().is_some()
    }

    /// Whether what is about the hub itself may be seen: with a rule that covers all nodes.
    #[must_use]
    pub fn may_view_hub(&self) -> bool {
        let all = |pattern: &String| pattern.chars().all(|c| c == '*');
        self.rules.iter().any(|rule| rule.nodes.is_empty() || rule.nodes.iter().any(all))
    }

    /// Whether a node of that name may be seen, there or not: who asks learns nothing of what is hidden from him.
    ///
    /// # Errors
    /// What is lacking.
    pub fn check_view(&self, node: &NodeName) -> Result<(), Refusal> {
        match self.may_view(node) {
            true => Ok(()),
            false => Err(self.lack(&format!("see {node}"), &format!("a viewer of {node}"))),
        }
    }

    /// Whether a command may be run on a node, and what it printed be read.
    ///
    /// # Errors
    /// What is lacking.
    pub fn may_run(&self, node: &NodeName, label: &str) -> Result<(), Refusal> {
        let runs = |(rule, patterns): (&Rule, &Patterns)| match rule.role {
            Role::Viewer => false,
            Role::Operator => any(&patterns.commands, label),
            Role::Admin => true,
        };
        if self.covering(node).any(runs) {
            return Ok(());
        }
        let label = clip(label);
        let needed = format!("an operator of {node} for the command {label}, or an admin of {node}");
        Err(self.lack(&format!("run {label} on {node}"), &needed))
    }

    /// Whether a node of that name may be enrolled or removed.
    ///
    /// # Errors
    /// What is lacking.
    pub fn may_administer(&self, node: &NodeName) -> Result<(), Refusal> {
        if self.covering(node).any(|(rule, _)| rule.role == Role::Admin) {
            return Ok(());
        }
        Err(self.lack(&format!("enroll or remove {node}"), &format!("an admin of {node}")))
    }

    /// Whether there is any node on which it has at least this role.
    ///
    /// # Errors
    /// What is lacking for what was asked, in words.
    pub fn check_role(&self, role: Role, asked: &str) -> Result<(), Refusal> {
        match self.rules.iter().any(|rule| rule.role >= role) {
            true => Ok(()),
            false => Err(self.lack(asked, &format!("the role {}", role.as_str()))),
        }
    }

    fn covering(&self, node: &NodeName) -> impl Iterator<Item = (&Rule, &Patterns)> {
        let covers = |(_, patterns): &(&Rule, &Patterns)| {
            patterns.nodes.is_empty() || any(&patterns.nodes, node.as_str())
        };
        self.rules.iter().zip(&self.patterns).filter(covers)
    }

    fn lack(&self, asked: &str, needed: &str) -> Refusal {
        let message = format!("you may not {asked}{TAKES}{needed}{RULES}{}{ADVICE}", self.told());
        Refusal::new(ErrorCode::NotPermitted, message)
    }

    /// The rules in words.
    fn told(&self) -> String {
        if self.rules.is_empty() {
            return "none".to_owned();
        }
        let mut told: Vec<String> = self.rules.iter().take(TOLD).map(in_words).collect();
        if self.rules.len() > TOLD {
            told.push(format!("{} more", self.rules.len() - TOLD));
        }
        told.join("; ")
    }
}

/// What the log says of a refusal, behind who was denied what: the same, without what was asked and without advice.
#[must_use]
pub fn in_the_log(refusal: &Refusal) -> String {
    let message = refusal.message.as_str();
    let denial = message.strip_suffix(ADVICE).and_then(|message| message.split_once(TAKES));
    match denial.and_then(|(_, lack)| lack.rsplit_once(RULES)) {
        Some((needed, rules)) if refusal.code == ErrorCode::NotPermitted => {
            clip(&format!("it takes {needed}; rules: {rules}")).to_owned()
        }
        _ => clip(message).to_owned(),
    }
}

fn in_words(rule: &Rule) -> String {
    let nodes = if rule.nodes.is_empty() { "all nodes".to_owned() } else { some(&rule.nodes) };
    let commands = match rule.commands.is_empty() {
        true => String::new(),
        false => format!(" for {}", some(&rule.commands)),
    };
    format!("{}: {} of {nodes}{commands}", rule.name, rule.role.as_str())
}

fn some(patterns: &[String]) -> String {
    let mut told: Vec<&str> = patterns.iter().take(TOLD).map(String::as_str).collect();
    if patterns.len() > TOLD {
        told.push("…");
    }
    told.join(", ")
}

fn any(patterns: &[WildMatch], text: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(role: Role, nodes: &[&str], commands: &[&str]) -> Rule {
        let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        Rule { name: "[[access]] 1 (user a)".into(), role, nodes: texts(nodes), commands: texts(commands) }
    }

    fn name(text: &str) -> NodeName {
        text.parse().unwrap()
    }

    #[test]
    fn no_rule_allows_nothing_and_the_built_in_one_everything() {
        let (nothing, all) = (Grants::of(vec![]), Grants::everything("root"));
        assert!(!nothing.may_view(&name("a")) && !nothing.may_view_hub());
        assert!(nothing.may_run(&name("a"), "x").is_err() && nothing.may_administer(&name("a")).is_err());
        assert!(all.may_view(&name("a")) && all.may_view_hub());
        all.may_run(&name("a"), "x").unwrap();
        all.may_administer(&name("a")).unwrap();
    }

    #[test]
    fn several_rules_add_up_and_none_lends_its_commands_to_the_nodes_of_another() {
        let grants = Grants::of(vec![
            rule(Role::Viewer, &["db-*"], &[]),
            rule(Role::Operator, &["web-?"], &["restart-*"]),
            rule(Role::Operator, &["mail"], &["*"]),
        ]);
        for seen in ["db-1", "web-1", "mail"] {
            assert!(grants.may_view(&name(seen)), "{seen}");
        }
        for hidden in ["web-10", "db", "xdb-1", "Mail"] {
            assert!(!grants.may_view(&name(hidden)), "{hidden}");
        }
        assert!(!grants.may_view_hub());
        grants.may_run(&name("web-1"), "restart-web").unwrap();
        grants.may_run(&name("mail"), "anything").unwrap();
        for (node, label) in [("web-1", "stop-web"), ("db-1", "restart-web"), ("other", "restart-web")] {
            assert_eq!(grants.may_run(&name(node), label).unwrap_err().code, ErrorCode::NotPermitted);
        }
        assert!(grants.may_administer(&name("web-1")).is_err());
    }

    #[test]
    fn an_admin_of_some_nodes_administers_those_and_no_others() {
        let grants = Grants::of(vec![rule(Role::Admin, &["web-*"], &[])]);
        grants.may_administer(&name("web-7")).unwrap();
        grants.may_run(&name("web-7"), "x").unwrap();
        assert!(grants.may_administer(&name("db-1")).is_err());
        assert!(!grants.may_view_hub());
    }

    fn any_rule() -> impl Strategy<Value = Rule> {
        let role = prop_oneof![Just(Role::Viewer), Just(Role::Operator), Just(Role::Admin)];
        let patterns = || proptest::collection::vec("[ab*?]{1,3}", 0..3);
        (role, patterns(), proptest::collection::vec("[xy*?]{1,3}", 1..3)).prop_map(
            |(role, nodes, commands)| Rule {
                name: "any".into(),
                role,
                nodes,
                commands: if role == Role::Operator { commands } else { vec![] },
            },
        )
    }

    proptest! {
        #[test]
        fn each_permission_brings_the_lesser_ones_and_a_further_rule_takes_none_away(
            rules in proptest::collection::vec(any_rule(), 0..4),
            more in any_rule(),
            node in "[ab]{1,3}",
            label in "[xy]{1,3}",
        ) {
            let may = |rules: &[Rule]| {
                let (grants, node) = (Grants::of(rules.to_vec()), name(&node));
                [
                    grants.may_view_hub(),
                    grants.may_view(&node),
                    grants.may_run(&node, &label).is_ok(),
                    grants.may_administer(&node).is_ok(),
                ]
            };
            let [hub, view, run, administer] = may(&rules);
            prop_assert!([(hub, view), (run, view), (administer, run)].iter().all(|(more, less)| *less || !more));
            let alone = may(std::slice::from_ref(&more));
            let with_more = may(&rules.iter().cloned().chain([more]).collect::<Vec<_>>());
            for (at, both) in with_more.into_iter().enumerate() {
                prop_assert_eq!(both, [hub, view, run, administer][at] || alone[at]);
            }
        }
    }

    #[test]
    fn a_refusal_says_what_was_asked_what_is_lacking_and_which_rules_there_are() {
        let grants = Grants::of(vec![rule(Role::Operator, &["db-*"], &["restart-*"])]);
        let refusal = grants.may_run(&name("web-1"), "restart-web").unwrap_err();
        assert_eq!(
            refusal.message,
            "you may not run restart-web on web-1: that takes an operator of web-1 for the command restart-web, or an \
             admin of web-1; your rules: [[access]] 1 (user a): operator of db-* for restart-*. An [[access]] rule of the \
             hub's configuration can allow it"
        );
        assert_eq!(
            in_the_log(&refusal),
            "it takes an operator of web-1 for the command restart-web, or an admin of web-1; rules: [[access]] 1 (user a): \
             operator of db-* for restart-*"
        );
        let other = Refusal::new(ErrorCode::UnknownNode, "no node is called \"x\"");
        assert_eq!(in_the_log(&other), other.message);
    }

    /// A label is a client's text, and stands in what is said of it.
    #[test]
    fn what_somebody_asks_for_takes_nothing_away_from_what_is_logged() {
        let grants = Grants::of(vec![rule(Role::Viewer, &["*"], &[])]);
        for label in [TAKES, RULES, ADVICE, ": that takes nothing; your rules: all"] {
            let logged = in_the_log(&grants.may_run(&name("a"), label).unwrap_err());
            assert!(
                logged.starts_with("it takes ") && logged.contains("an admin of a; rules: [[access]] 1"),
                "{logged}"
            );
        }
    }

    #[test]
    fn a_refusal_stays_short_however_many_rules_there_are() {
        let patterns: Vec<String> = (0..64).map(|n| format!("{n}-{}", "x".repeat(200))).collect();
        let rule = Rule { nodes: patterns, ..rule(Role::Viewer, &[], &[]) };
        let refusal = Grants::of(vec![rule; 256]).may_run(&name("a"), &"y".repeat(64)).unwrap_err();
        assert!(refusal.message.len() < 8 << 10 && refusal.message.contains("251 more"));
    }
}
