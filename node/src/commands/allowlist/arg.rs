//! What an argument may be, and what is made of a value that somebody gave: the word that stands in argv, or none.
//!
//! A value is hostile. What its kind does not allow is refused; nothing is cut, quoted or mended. Where in argv it goes
//! is `entry`'s business.

use regex::{Regex, RegexBuilder};
use secmon_protocol::{
    command::{ArgInfo, ArgKind, MAX_ARG, MAX_PATTERN},
    text::{is_unsafe, printable},
};

use super::below::Below;

/// Most memory that one compiled pattern takes, in bytes: a pattern of 256 bytes for ordinary texts needs a tenth; one
/// that counts high (`\w{1000}`) is refused.
const PATTERN_MEMORY: usize = 512 << 10;
/// How many characters of a value are shown in a message.
const SHOWN: usize = 48;

/// One argument that an entry takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgSpec {
    /// Its name.
    pub name: String,
    /// For people; may be empty.
    pub description: String,
    /// What may be given.
    pub kind: Kind,
    /// What is taken where nothing is given; it was checked when the file was read.
    pub default: Option<String>,
}

/// What may be given for an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A decimal number.
    Integer {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// One of these.
    Choice(Vec<String>),
    /// A text.
    String {
        /// What all of it matches.
        pattern: Pattern,
        /// Least length, in characters.
        min: u32,
        /// Greatest length, in characters.
        max: u32,
    },
    /// `true` adds this word, `false` nothing.
    Bool(String),
    /// A path that exists below a folder, all links followed.
    Path(Below),
}

/// A regular expression that a text matches as a whole. It was compiled when the file was read, and is again for each
/// run, which takes far less time than to start a process: kept, those of a large file would be most of a node's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    pub(super) fn new(source: &str) -> Result<Self, String> {
        if source.is_empty() || source.len() > MAX_PATTERN {
            return Err(format!("a pattern has 1 to {MAX_PATTERN} bytes, this one has {}", source.len()));
        }
        if source.chars().any(char::is_control) {
            return Err("a pattern is one line without control characters".to_owned());
        }
        let wrong = |error: regex::Error| match error {
            regex::Error::CompiledTooBig(_) => "it is too large when compiled; let it count less".to_owned(),
            // The last line says what, those before it draw where.
            error => error.to_string().lines().last().unwrap_or_default().trim().to_owned(),
        };
        // By itself first: `a)|(?:b` closes what anchors it, and would match a part.
        compile(source).map_err(wrong)?;
        let pattern = Self(source.to_owned());
        pattern.whole().map_err(wrong)?;
        Ok(pattern)
    }

    fn whole(&self) -> Result<Regex, regex::Error> {
        compile(&format!(r"\A(?:{})\z", self.0))
    }

    /// Whether it matches all of a text. The engine knows no backtracking: it takes time linear in the text.
    pub(super) fn takes(&self, text: &str) -> bool {
        self.whole().is_ok_and(|pattern| pattern.is_match(text))
    }

    /// As the file has it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).size_limit(PATTERN_MEMORY).dfa_size_limit(PATTERN_MEMORY).build()
}

impl ArgSpec {
    /// What stands in argv for a value: a word, or nothing at all.
    pub(super) fn word(&self, given: &str) -> Result<Option<String>, String> {
        self.kind.word(given).map_err(|why| format!("{} = {}: {why}", self.name, shown(given)))
    }

    /// As it is told to others.
    pub(super) fn info(&self) -> ArgInfo {
        ArgInfo {
            name: self.name.clone(),
            description: self.description.clone(),
            kind: self.kind.info(),
            default: self.default.clone(),
        }
    }
}

impl Kind {
    /// What stands in argv for a value.
    fn word(&self, given: &str) -> Result<Option<String>, String> {
        self.form(given)?;
        Ok(match self {
            // As the number is written plainly: `007` is 7.
            Self::Integer { .. } => given.parse::<i64>().ok().map(|number| number.to_string()),
            Self::Choice(_) | Self::String { .. } => Some(given.to_owned()),
            Self::Bool(word) => (given == "true").then(|| word.clone()),
            Self::Path(below) => Some(below.resolve(given).map_err(|why| self.not(&why))?),
        })
    }

    /// Whether a value could be one, as far as can be said without a look at the system.
    pub(super) fn form(&self, given: &str) -> Result<(), String> {
        if given.len() > MAX_ARG {
            return Err(self.not(&format!("it has {} bytes, over {MAX_ARG}", given.len())));
        }
        let good = match self {
            Self::Integer { min, max } => {
                let digits = given.strip_prefix('-').unwrap_or(given);
                let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
                plain && given.parse().is_ok_and(|number: i64| (*min..=*max).contains(&number))
            }
            Self::Choice(values) => values.iter().any(|value| value == given),
            Self::String { pattern, min, max } => {
                if given.chars().any(char::is_control) {
                    return Err(self.not("it has control characters"));
                }
                let length = given.chars().count();
                (*min as usize..=*max as usize).contains(&length) && pattern.takes(given)
            }
            Self::Bool(_) => matches!(given, "true" | "false"),
            Self::Path(below) => return below.form(given).map_err(|why| self.not(&why)),
        };
        if good { Ok(()) } else { Err(self.not("")) }
    }

    fn not(&self, why: &str) -> String {
        match why {
            "" => format!("it must be {}", self.allowed()),
            why => format!("{why}; it must be {}", self.allowed()),
        }
    }

    /// What is allowed, for people: `an integer from 1 to 1000`.
    #[must_use]
    pub fn allowed(&self) -> String {
        match self {
            Self::Integer { min, max: i64::MAX } => format!("an integer of at least {min}"),
            Self::Integer { min, max } => format!("an integer from {min} to {max}"),
            Self::Choice(values) => {
                let values: Vec<_> = values.iter().map(|value| shown(value)).collect();
                format!("one of {}", values.join(", "))
            }
            Self::String { pattern, min, max } => {
                format!("a text of {min} to {max} characters, all of it matching {}", pattern.0)
            }
            Self::Bool(_) => "true or false".to_owned(),
            Self::Path(below) => format!("a path that exists below {}", below.folder()),
        }
    }

    fn info(&self) -> ArgKind {
        match self {
            Self::Integer { min, max } => ArgKind::Integer { min: *min, max: *max },
            Self::Choice(values) => ArgKind::Choice { values: values.clone() },
            Self::String { pattern, min, max } => {
                ArgKind::String { pattern: pattern.0.clone(), min: *min, max: *max }
            }
            Self::Bool(_) => ArgKind::Bool,
            Self::Path(below) => ArgKind::Path { below: below.folder().to_owned() },
        }
    }
}

/// A hostile text for a message: its beginning, in quotes, what could steer a terminal escaped. A backslash stays as it
/// is, for whoever shows the message escapes those.
pub(super) fn shown(text: &str) -> String {
    let mut shown = String::from("\"");
    for c in text.chars().take(SHOWN) {
        match is_unsafe(c) {
            true => shown.push_str(&printable(c.encode_utf8(&mut [0; 4]))),
            false => shown.push(c),
        }
    }
    shown.push_str(if text.chars().nth(SHOWN).is_some() { "…\"" } else { "\"" });
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(pattern: &str) -> Kind {
        Kind::String { pattern: Pattern::new(pattern).unwrap(), min: 1, max: 8 }
    }

    #[test]
    fn a_pattern_matches_all_of_a_text_or_nothing_whatever_its_author_left_out() {
        for pattern in ["[a-z]+", "^[a-z]+$", "^[a-z]+", "a|abc|[a-z]+", "(?m)^[a-z]+$", "(?i)[A-Z]+"] {
            assert!(text(pattern).form("abc").is_ok(), "{pattern}");
            for wrong in ["abc;", ";abc", "abc d", "abc\n", "\nabc", "abc\nabc"] {
                assert!(text(pattern).form(wrong).is_err(), "{pattern} {wrong:?}");
            }
        }
    }

    #[test]
    fn a_pattern_that_undoes_its_anchors_or_grows_without_bound_is_refused() {
        for wrong in ["", "a)|(?:b", "(", "a\nb", "(?x)a # c", r"\w{1000}{100}", "(?P<a>x)(?P<a>y)"] {
            assert!(Pattern::new(wrong).is_err(), "{wrong}");
        }
        assert!(Pattern::new(&"a".repeat(MAX_PATTERN + 1)).is_err());
    }

    #[test]
    fn control_characters_are_in_no_text_even_where_the_pattern_would_take_them() {
        for wrong in ["a\0", "a\n", "a\tb", "\u{7f}", "\u{9b}1m", "\r"] {
            assert!(text("(?s).*").form(wrong).unwrap_err().contains("control"), "{wrong:?}");
        }
    }

    #[test]
    fn a_number_fills_in_as_the_number_that_it_is() {
        let of = |given: &str| Kind::Integer { min: -5, max: 100 }.word(given);
        assert_eq!(of("007").unwrap().unwrap(), "7");
        assert_eq!(of("-0").unwrap().unwrap(), "0");
        for wrong in
            ["", "-", "+1", "1.0", " 1", "1 ", "0x1", "1e1", "101", "-6", "٣", "99999999999999999999"]
        {
            assert!(of(wrong).unwrap_err().contains("an integer from -5 to 100"), "{wrong}");
        }
    }

    #[test]
    fn lengths_are_of_characters_and_over_long_values_are_not_even_looked_at() {
        assert!(text("ä+").form(&"ä".repeat(8)).is_ok());
        assert!(text("ä+").form(&"ä".repeat(9)).is_err());
        assert!(text("a+").form(&"a".repeat(1 << 20)).unwrap_err().contains("1048576 bytes"));
        assert!(shown(&"\u{202e}x".repeat(100)).len() < 1024);
    }
}
