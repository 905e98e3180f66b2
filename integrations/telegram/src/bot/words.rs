//! What people type. Pure.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};

use crate::api::MenuCommand;

/// Longest time for which a chat can be muted: a week. Who wants it quiet for good says so in the configuration.
const LONGEST_MUTE: Duration = Duration::from_secs(7 * 24 * 3600);

/// What everybody may ask, as the menu of a chat shows it.
pub(crate) const MENU: [MenuCommand; 10] = [
    MenuCommand { command: "nodes", description: "The servers, and which are away" },
    MenuCommand { command: "node", description: "One server: /node web-1" },
    MenuCommand { command: "who", description: "Who is logged in: /who web*" },
    MenuCommand { command: "wg", description: "WireGuard peers" },
    MenuCommand { command: "run", description: "Run a command" },
    MenuCommand { command: "jobs", description: "Commands in the background" },
    MenuCommand { command: "job", description: "One of them, with what it printed" },
    MenuCommand { command: "mute", description: "Quiet for a while: /mute 1h, /mute off" },
    MenuCommand { command: "id", description: "The numbers of this chat and of you" },
    MenuCommand { command: "help", description: "What I can do" },
];

/// A command, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Typed {
    /// Without the slash, in lower case.
    pub(crate) command: String,
    /// Whether it names us: `/nodes@our_bot`.
    pub(crate) to_us: bool,
    pub(crate) words: Vec<String>,
}

/// A command, unless it is a plain text or meant for another bot.
pub(crate) fn typed(text: &str, our_name: &str) -> Option<Result<Typed, String>> {
    let rest = text.trim().strip_prefix('/')?;
    let (head, words) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let (command, whom) = head.split_once('@').map_or((head, None), |(command, whom)| (command, Some(whom)));
    if whom.is_some_and(|whom| !whom.eq_ignore_ascii_case(our_name)) {
        return None;
    }
    // Phones make quotes round.
    let straight: String = words
        .chars()
        .map(|c| match c {
            '“' | '”' | '„' | '«' | '»' => '"',
            '‘' | '’' => '\'',
            c => c,
        })
        .collect();
    Some(split(&straight).map(|words| Typed {
        command: command.to_lowercase(),
        to_us: whom.is_some(),
        words,
    }))
}

/// Words between spaces; what stands in quotes is one.
fn split(text: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quote) = (vec![], None::<String>, None);
    for c in text.chars() {
        match (quote, c) {
            (Some(end), c) if c == end => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if let Some(quote) = quote {
        return Err(format!("a {quote} is opened and never closed"));
    }
    words.extend(word);
    Ok(words)
}

/// For how long to be quiet; none: not any more.
pub(crate) fn mute(words: &[String]) -> Result<Option<Duration>, String> {
    let [word] = words else { return Err("say for how long: /mute 30m, /mute 8h, /mute off".to_owned()) };
    if word == "off" {
        return Ok(None);
    }
    let span = word.parse::<Span>().and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()));
    let time = span.ok().and_then(|time| Duration::try_from(time).ok());
    match time {
        Some(time) if !time.is_zero() && time <= LONGEST_MUTE => Ok(Some(time)),
        Some(_) => Err("for at least a second, and at most 7d".to_owned()),
        None => Err("write a time with its unit: /mute 30m, /mute 8h, /mute 2d, or /mute off".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_ours_unless_they_name_somebody_else() {
        let of = |text| typed(text, "secmon_bot").map(|typed| typed.unwrap());
        let nodes = of("/Nodes@SECMON_bot  web* ").unwrap();
        assert_eq!(
            (nodes.command.as_str(), nodes.to_us, nodes.words),
            ("nodes", true, vec!["web*".to_owned()])
        );
        assert_eq!(of("/nodes@other_bot"), None);
        assert_eq!(of("hello"), None);
        let run = of("/run web-1 say text=“a b” x='' y=1").unwrap();
        assert_eq!(run.words, ["web-1", "say", "text=a b", "x=", "y=1"]);
        assert!(typed("/run \"x", "b").unwrap().is_err());
    }

    #[test]
    fn quiet_has_an_end() {
        let of = |word: &str| mute(&[word.to_owned()]);
        assert_eq!(of("1h"), Ok(Some(Duration::from_secs(3600))));
        assert_eq!(of("7d"), Ok(Some(LONGEST_MUTE)));
        assert_eq!(of("off"), Ok(None));
        for bad in ["8d", "0s", "-1h", "1", "soon", ""] {
            assert!(of(bad).is_err(), "{bad}");
        }
        assert!(mute(&[]).is_err());
    }
}
