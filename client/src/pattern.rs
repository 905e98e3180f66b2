//! Patterns for names and event types: `*` stands for any text, `?` for one character.
//!
//! The same rule as a subscription's filter; an empty list matches everything.

use wildmatch::WildMatch;

/// A list of patterns, ready to be matched.
#[derive(Debug, Clone, Default)]
pub struct Patterns(Vec<WildMatch>);

impl Patterns {
    /// From texts such as `auth.*`.
    #[must_use]
    pub fn new(patterns: &[String]) -> Self {
        Self(patterns.iter().map(|p| WildMatch::new(p)).collect())
    }

    /// Whether one of them matches `text`, or there is none.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|p| p.matches(text))
    }

    /// The patterns as they were written; none: everything matches.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        self.0.iter().map(WildMatch::pattern).collect()
    }

    /// Whether nothing is left out: there is no pattern, or one of them is `*`.
    #[must_use]
    pub fn matches_all(&self) -> bool {
        self.0.is_empty() || self.0.iter().any(|p| p.pattern() == "*")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_pattern_matches_everything_and_each_of_several_counts() {
        assert!(Patterns::default().matches("anything"));
        let some = Patterns::new(&["auth.*".into(), "wg.peer_o?line".into(), "web-1".into()]);
        for yes in ["auth.failed", "auth.", "wg.peer_online", "web-1"] {
            assert!(some.matches(yes), "{yes}");
        }
        for no in ["session.opened", "wg.peer_added", "web-10", "xauth.failed", ""] {
            assert!(!some.matches(no), "{no}");
        }
    }
}
