//! What a shell offers while a command is typed: nodes, labels, arguments, jobs. The hub is asked, with a short deadline,
//! and silence where it does not answer; nobody waits for a suggestion.
//!
//! A shell puts what is offered here into its line as it is. So only words of harmless characters are offered, whatever a
//! node calls its things.

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use clap_complete::{CompletionCandidate, env::Shells};
use secmon_protocol::{
    command::{ArgInfo, ArgKind, CommandInfo},
    event::EventType,
    message::client::{JobFilter, Presence},
};

use super::{AGENT, Common, EXIT_CODES, Failure, screen::print};
use crate::{Client, ClientError};

/// Longer than that is a pause that one notices.
const WITHIN: Duration = Duration::from_millis(500);
/// Most jobs that are offered.
const JOBS: u32 = 100;
/// The variable that makes the binary complete instead of run.
const VARIABLE: &str = "COMPLETE";
/// Options of `run` whose value is a word of its own.
const WITH_VALUE: [&str; 4] = ["--socket", "--parallel", "--rolling", "--queue-for"];

const EXAMPLES: &str = "\
Examples:
  secmon completions fish | source
  echo 'source <(secmon completions bash)' >> ~/.bashrc
  echo 'source <(secmon completions zsh)' >> ~/.zshrc";

/// Arguments of `completions`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_parser = ["bash", "zsh", "fish", "elvish", "powershell"])]
    shell: String,
}

pub(super) fn completions(args: &CompletionsArgs) -> Result<u8, Failure> {
    let shells = Shells::builtins();
    let mut script = vec![];
    if let Some(shell) = shells.completer(&args.shell) {
        shell
            .write_registration(VARIABLE, "secmon", "secmon", "secmon", &mut script)
            .map_err(Failure::Output)?;
    }
    print(&String::from_utf8_lossy(&script))?;
    Ok(0)
}

/// A node's name.
pub(super) fn node(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return vec![] };
    candidates(nodes(), "", current)
}

/// A type of events, or a group of them.
pub(super) fn event_type(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return vec![] };
    let names: Vec<&str> = EventType::ALL.iter().map(|kind| kind.as_str()).collect();
    let mut all: Vec<(String, String)> = vec![];
    for name in names {
        if let Some((group, _)) = name.split_once('.')
            && !all.iter().any(|(known, _)| *known == format!("{group}.*"))
        {
            all.push((format!("{group}.*"), String::new()));
        }
        all.push((name.to_owned(), String::new()));
    }
    all.retain(|(name, _)| name.starts_with(current));
    all.into_iter().map(|(name, _)| CompletionCandidate::new(name)).collect()
}

/// A job's number.
pub(super) fn job(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return vec![] };
    let jobs = ask(async |client| {
        let (jobs, _) = client.jobs(JobFilter { limit: JOBS, ..JobFilter::default() }).await?;
        Ok(jobs)
    });
    let jobs = jobs.unwrap_or_default();
    let ids = crate::render::shortest_ids(&jobs);
    let all = jobs.iter().zip(ids).map(|(job, id)| {
        let words = format!("{} on {}, {}", job.run.label, job.name, job.state.as_str());
        // Who has typed more digits than are needed gets all of them.
        let id = if current.len() > id.len() { job.run.job.to_string() } else { id };
        (id, words)
    });
    candidates(all.collect(), "", current)
}

/// The next word of `run`, or of `commands`: a node, a label, an argument.
pub(super) fn run_word(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return vec![] };
    let Some(line) = Line::read(words(), current) else { return vec![] };
    let stripped = line.word.strip_suffix(current).unwrap_or("").to_owned();
    match line.want {
        Want::Node => {
            // Of several with commas between them the last is being typed.
            let before = line.word.rfind(',').map_or("", |at| &line.word[..=at]).to_owned();
            let all = nodes().into_iter().map(|(name, help)| (format!("{before}{name}"), help)).collect();
            candidates(all, &stripped, &line.word)
        }
        Want::Label { node } => {
            let all = commands(node).into_iter().map(|info| (info.label, info.description)).collect();
            candidates(all, &stripped, &line.word)
        }
        Want::Arg { node, label, given } => {
            let infos = commands(node);
            let Some(info) = infos.into_iter().find(|info| info.label == label) else { return vec![] };
            candidates(arguments(&info.args, &given, &line.word), &stripped, &line.word)
        }
    }
}

/// What may stand for a word that begins so: names with `=`, and behind that values where they are known.
fn arguments(infos: &[ArgInfo], given: &[String], word: &str) -> Vec<(String, String)> {
    let Some((name, _)) = word.split_once('=') else {
        let left = infos.iter().filter(|info| !given.contains(&info.name));
        return left.map(|info| (format!("{}=", info.name), info.description.clone())).collect();
    };
    let Some(info) = infos.iter().find(|info| info.name == name) else { return vec![] };
    let values: Vec<String> = match &info.kind {
        ArgKind::Choice { values } => values.clone(),
        ArgKind::Bool => vec!["true".to_owned(), "false".to_owned()],
        ArgKind::Integer { .. } | ArgKind::String { .. } | ArgKind::Path { .. } => {
            info.default.iter().cloned().collect()
        }
    };
    values.into_iter().map(|value| (format!("{name}={value}"), String::new())).collect()
}

/// Those that begin with `word`, without `stripped`, which the shell has already put behind it.
fn candidates(all: Vec<(String, String)>, stripped: &str, word: &str) -> Vec<CompletionCandidate> {
    let harmless = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "._/:@%+,=-".contains(c));
    all.into_iter()
        .filter(|(text, _)| text.starts_with(word) && harmless(text))
        .filter_map(|(text, help)| {
            let help = secmon_protocol::text::printable(&help);
            let help = (!help.is_empty()).then(|| help.into());
            Some(CompletionCandidate::new(text.strip_prefix(stripped)?.to_owned()).help(help))
        })
        .collect()
}

/// What stands in the line so far.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    want: Want,
    /// The word that is being typed, as it would stand alone: a shell may break words at `=`.
    word: String,
}

/// What is to be typed next.
#[derive(Debug, PartialEq, Eq)]
enum Want {
    Node,
    Label { node: Option<String> },
    Arg { node: Option<String>, label: String, given: Vec<String> },
}

impl Line {
    /// Out of the words before the one that is being typed.
    fn read(before: Vec<String>, current: &str) -> Option<Self> {
        let mut words = before.into_iter().skip_while(|word| word != "run" && word != "commands");
        words.next()?;
        let (mut all, mut said) = (false, Vec::<String>::new());
        let mut joins = false;
        while let Some(word) = words.next() {
            if word == "=" || joins {
                // bash breaks `a=b` into `a`, `=` and `b`.
                let Some(last) = said.last_mut() else { continue };
                last.push_str(&word);
                joins = word == "=" && !joins;
            } else if WITH_VALUE.contains(&word.as_str()) {
                words.next();
            } else if word == "--all" {
                all = true;
            } else if !word.starts_with('-') {
                said.push(word);
            }
        }
        let mut said = said.into_iter();
        let node = if all { None } else { said.next() };
        let label = if all || node.is_some() { said.next() } else { None };
        let mut given: Vec<String> = said.collect();
        let begun = match given.last() {
            // The word before is what bash broke off of this one.
            Some(last) if last.ends_with('=') || (current.is_empty() && !last.contains('=')) => given.pop(),
            _ => None,
        };
        let word = match begun {
            Some(begun) if begun.ends_with('=') => begun + current,
            Some(begun) => begun + "=",
            None => current.to_owned(),
        };
        let names = |word: &String| word.split_once('=').map_or(word.clone(), |(name, _)| name.to_owned());
        let want = match (node, label) {
            (None, None) if !all => Want::Node,
            (node, None) => Want::Label { node },
            (node, Some(label)) => Want::Arg { node, label, given: given.iter().map(names).collect() },
        };
        Some(Self { want, word })
    }
}

/// The words before the one that is being typed, as the shell's script hands them to us: behind `--`.
fn words() -> Vec<String> {
    let words: Vec<OsString> = std::env::args_os().skip_while(|word| word != "--").skip(1).collect();
    let index = std::env::var("_CLAP_COMPLETE_INDEX").ok().and_then(|index| index.parse().ok());
    let index = index.unwrap_or(words.len().saturating_sub(1));
    words.into_iter().take(index).map(|word| word.to_string_lossy().into_owned()).collect()
}

fn nodes() -> Vec<(String, String)> {
    let nodes = ask(async |client| client.list().await).unwrap_or_default();
    let status = |presence| match presence {
        Presence::Online { .. } => "online",
        Presence::Away { .. } => "away",
        Presence::Expected { .. } => "expected",
    };
    nodes.into_iter().map(|node| (node.name.to_string(), status(node.presence).to_owned())).collect()
}

/// What a node offers. Of several, or all, the first that is there speaks for the others.
fn commands(node: Option<String>) -> Vec<CommandInfo> {
    let found = ask(async |client| {
        let one = match node {
            Some(node) if !node.contains([',', '*', '?']) => node,
            other => {
                let targets = other.map_or(super::run::targets::Targets::All, |text| {
                    super::run::targets::Targets::parse(&text)
                });
                let found = targets.resolve(&client.list().await?).unwrap_or_default();
                let Some(first) = found.iter().find(|target| target.online) else { return Ok(vec![]) };
                first.id.to_string()
            }
        };
        client.commands(&one).await
    });
    found.unwrap_or_default()
}

/// Asks the hub, in a runtime of its own: completion is all that this process does.
fn ask<T>(question: impl AsyncFnOnce(&Client) -> Result<T, ClientError>) -> Option<T> {
    let words = words();
    let after = words.iter().position(|word| word == "--socket").and_then(|at| words.get(at + 1));
    let joined = words.iter().find_map(|word| word.strip_prefix("--socket="));
    let socket = after.map(PathBuf::from).or(joined.map(PathBuf::from));
    let socket =
        Common { socket: socket.or_else(|| std::env::var_os("SECMON_SOCKET").map(PathBuf::from)) }.socket();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let answer = runtime.block_on(async {
        tokio::time::timeout(WITHIN, async {
            let client = Client::connect(&socket, AGENT).await?;
            question(&client).await
        })
        .await
    });
    answer.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(before: &str, current: &str) -> Line {
        let before = before.split(' ').map(str::to_owned).collect();
        Line::read(before, current).unwrap()
    }

    fn arg(given: &[&str], word: &str) -> Line {
        let given = given.iter().map(|name| (*name).to_owned()).collect();
        let want = Want::Arg { node: Some("web-1".into()), label: "tail".into(), given };
        Line { want, word: word.into() }
    }

    #[test]
    fn each_place_in_the_line_wants_something_else() {
        assert_eq!(line("secmon run", "we"), Line { want: Want::Node, word: "we".into() });
        assert_eq!(line("secmon run --parallel 4 --group", "").want, Want::Node);
        assert_eq!(line("secmon run web-1", "t").want, Want::Label { node: Some("web-1".into()) });
        assert_eq!(line("secmon run --all", "t").want, Want::Label { node: None });
        assert_eq!(line("secmon run web-1 tail", "li"), arg(&[], "li"));
        assert_eq!(line("secmon run web-1 tail lines=5", "file=s"), arg(&["lines"], "file=s"));
    }

    /// bash breaks words at `=`, and hands an empty word for one that is `=` alone.
    #[test]
    fn words_that_the_shell_broke_are_put_together() {
        assert_eq!(line("secmon run web-1 tail file =", "sys"), arg(&[], "file=sys"));
        assert_eq!(line("secmon run web-1 tail file", ""), arg(&[], "file="));
        assert_eq!(line("secmon run web-1 tail lines = 5 file =", "s"), arg(&["lines"], "file=s"));
        assert_eq!(line("secmon run web-1 tail lines = 5", ""), arg(&["lines"], ""));
    }

    #[test]
    fn only_harmless_words_are_offered() {
        let all = ["web-1", "web-2", "we$(id)", "we b", "we;x", "we\x1b", "db"]
            .map(|t| (t.to_owned(), String::new()));
        let offered = candidates(all.to_vec(), "", "we");
        let offered: Vec<_> = offered.iter().map(|c| c.get_value().to_string_lossy().into_owned()).collect();
        assert_eq!(offered, ["web-1", "web-2"]);
    }

    #[test]
    fn arguments_are_offered_once_and_then_their_values() {
        let info =
            |name: &str, kind| ArgInfo { name: name.into(), description: String::new(), kind, default: None };
        let infos = [
            info("file", ArgKind::Choice { values: vec!["syslog".into(), "auth.log".into()] }),
            info("all", ArgKind::Bool),
        ];
        let of = |given: &[String], word| {
            arguments(&infos, given, word).into_iter().map(|(text, _)| text).collect::<Vec<_>>()
        };
        assert_eq!(of(&[], ""), ["file=", "all="]);
        assert_eq!(of(&["file".into()], ""), ["all="]);
        assert_eq!(of(&[], "file=s"), ["file=syslog", "file=auth.log"]);
        assert_eq!(of(&[], "all="), ["all=true", "all=false"]);
    }
}
