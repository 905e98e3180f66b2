//! Templates: what one element of `run` says. `{name}` is a placeholder, `{{` and `}}` are braces.

use secmon_protocol::command::MAX_ARG_NAME;

/// One element of argv, before it is filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Element {
    /// As it is.
    Fixed(String),
    /// An argument, with fixed text around it.
    Filled {
        /// What stands before it; may be empty.
        before: String,
        /// The argument's name.
        arg: String,
        /// What stands behind it; may be empty.
        after: String,
    },
}

impl Element {
    /// Reads an element.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (before, rest) = literal(text)?;
        let Some(rest) = rest else { return Ok(Self::Fixed(before)) };
        let placeholder = rest.split_once('}').filter(|(name, _)| is_name(name));
        let Some((arg, rest)) = placeholder else {
            return Err("\"{\" begins a placeholder, as {name}; write \"{{\" for a brace".to_owned());
        };
        let (after, more) = literal(rest)?;
        match more {
            None => Ok(Self::Filled { before, arg: arg.to_owned(), after }),
            Some(_) => Err("it has two placeholders, and an element has one at most".to_owned()),
        }
    }

    /// All of its fixed text.
    pub(super) fn fixed(&self) -> &str {
        match self {
            Self::Fixed(text) => text,
            Self::Filled { before, .. } => before,
        }
    }
}

/// Whether an argument may have this name.
pub(super) fn is_name(name: &str) -> bool {
    name.len() <= MAX_ARG_NAME
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Text up to a placeholder, and what follows its opening brace.
fn literal(text: &str) -> Result<(String, Option<&str>), String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        match (brace, rest.strip_prefix(brace)) {
            (_, Some(behind)) => {
                out.push_str(brace);
                rest = behind;
            }
            ("{", None) => return Ok((out, Some(rest))),
            _ => return Err("\"}\" ends no placeholder; write \"}}\" for a brace".to_owned()),
        }
    }
    out.push_str(rest);
    Ok((out, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_fixed_or_has_one_placeholder() {
        let fixed = |text: &str| Element::Fixed(text.to_owned());
        let filled = |before: &str, arg: &str, after: &str| Element::Filled {
            before: before.to_owned(),
            arg: arg.to_owned(),
            after: after.to_owned(),
        };
        for (text, element) in [
            ("", fixed("")),
            ("-n", fixed("-n")),
            ("{{ print }}", fixed("{ print }")),
            ("{{{{", fixed("{{")),
            ("{n}", filled("", "n", "")),
            ("/var/log/{file}.1", filled("/var/log/", "file", ".1")),
            ("{{{a_1}}}", filled("{", "a_1", "}")),
            ("ä{n}ö", filled("ä", "n", "ö")),
        ] {
            assert_eq!(Element::parse(text).unwrap(), element, "{text}");
        }
        for wrong in
            ["{", "}", "{}", "{ n }", "{N}", "{1}", "{a-b}", "{a}{b}", "{a}-{a}", "a}b", "{a", "{a}}", "{{a}"]
        {
            assert!(Element::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Element::parse(&format!("{{{}}}", "a".repeat(MAX_ARG_NAME + 1))).is_err());
    }
}
