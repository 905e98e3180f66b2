//! The older form: `LABEL=COMMAND` lines. A command is split into words as a shell does, and is fixed.

use super::{
    AllowlistError, Entries,
    entry::Entry,
    label,
    template::{Element, is_name},
};

/// What a shell would act upon, outside of quotes.
const OPERATORS: &str = "|&;<>()$`*?[~";

/// Reads the lines.
pub(super) fn parse(text: &str) -> Result<Entries, AllowlistError> {
    let mut entries = Entries::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let bad = |why: String| AllowlistError::Entry { place: format!("line {}", number + 1), why };
        let (name, entry) = parse_line(line).map_err(bad)?;
        if entries.insert(name.clone(), entry).is_some() {
            return Err(bad(format!("{name} stands there twice")));
        }
    }
    Ok(entries)
}

fn parse_line(line: &str) -> Result<(String, Entry), String> {
    let (name, command) = line.split_once('=').ok_or("it is not of the form LABEL=COMMAND")?;
    if command.trim_start().starts_with(['{', '[']) {
        return Err(
            "this looks like TOML, whose first line here must be a table, [commands.LABEL]".to_owned()
        );
    }
    if let Some(operator) = unquoted_operator(command) {
        return Err(format!(
            "commands run without a shell, so {operator:?} has no meaning here; quote it if the program is to see it, or \
             write the TOML form with run = [\"sh\", \"-c\", \"...\"]"
        ));
    }
    let name = name.trim();
    label(name)?;
    let argv = shlex::split(command).ok_or("a quote is not closed")?;
    if let Some(word) = argv.iter().find(|word| has_placeholder(word)) {
        return Err(format!(
            "{word:?} has a placeholder, and only the TOML form has arguments that fill one"
        ));
    }
    if argv.iter().any(|word| word.contains('\0')) {
        return Err("an argument cannot hold a NUL".to_owned());
    }
    let entry = Entry::of(argv.into_iter().map(Element::Fixed).collect());
    entry.check()?;
    Ok((name.to_owned(), entry))
}

/// `{name}`, as templates have it; all else with braces is plain text here.
fn has_placeholder(word: &str) -> bool {
    word.split('{').skip(1).filter_map(|rest| rest.split_once('}')).any(|(name, _)| is_name(name))
}

/// The first character that a shell would act upon; within double quotes those are `$` and the backtick.
fn unquoted_operator(command: &str) -> Option<char> {
    let mut quote = None;
    let mut characters = command.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (None | Some('"'), '\\') => {
                characters.next();
            }
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (None, c) if OPERATORS.contains(c) => return Some(c),
            (Some('"'), '$' | '`') => return Some(c),
            _ => {}
        }
    }
    None
}
