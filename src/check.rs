//! `secmon check`: an allowlist, explained entry by entry. What there is to say is the node's; here is how it looks.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anstyle::{AnsiColor, Style};
use clap::Args;
use secmon_node::commands::allowlist::{
    self, AllowlistError,
    explain::{Explained, explain},
};
use secmon_protocol::text::printable;

use crate::{
    config::Config,
    roles::{Failed, end},
};

/// Arguments of `check`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  secmon check                       the file that the node or runner of this machine reads
  secmon check ./commands.toml       a draft, before it is put in place

Exit status: 0 if the file is good, with or without warnings; 1 if it is refused, and then nothing may run.")]
pub(crate) struct CheckArgs {
    /// The allowlist [default: commands.allowlist of the configuration, or /etc/secmon/commands.toml]
    file: Option<PathBuf>,
    /// The configuration file [default: /etc/secmon/secmon.toml, if it is there]
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    config: Option<PathBuf>,
}

/// Prints what a file allows; how much, and how many warnings, is said on stderr.
pub(crate) fn check(arguments: CheckArgs) -> ExitCode {
    end(try_check(arguments))
}

fn try_check(arguments: CheckArgs) -> Result<(), Failed> {
    let path = match arguments.file {
        Some(file) => file,
        None => Config::load(arguments.config.as_deref())?
            .commands
            .allowlist
            .unwrap_or_else(|| Path::new(allowlist::DEFAULT_PATH).to_owned()),
    };
    let entries = allowlist::load(&path).map_err(|error| match error {
        AllowlistError::Io(error) if error.kind() == io::ErrorKind::NotFound => {
            Failed(format!("there is no allowlist {}, so nothing may run", path.display()), 1)
        }
        error => Failed(format!("{} is refused, and nothing may run: {error}", path.display()), 1),
    })?;
    let explained = explain(&entries);
    let text = render(&explained, crate::coloured(&io::stdout()));
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        // Whoever reads it has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        Err(error) => return Err(Failed(format!("cannot write the output: {error}"), 1)),
        Ok(()) => {}
    }
    let of = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let warnings = explained.iter().map(|entry| entry.warnings.len()).sum();
    eprintln!(
        "{}: {}, {}",
        printable(&path.display().to_string()),
        of(explained.len(), "command"),
        of(warnings, "warning")
    );
    Ok(())
}

/// All entries, one below the other.
fn render(explained: &[Explained], colour: bool) -> String {
    let paint = |style: Style, text: &str| match colour {
        true => format!("{style}{text}{style:#}"),
        false => text.to_owned(),
    };
    let (bold, yellow) = (Style::new().bold(), AnsiColor::Yellow.on_default());
    let mut out = String::new();
    // Writing to a String cannot fail.
    for (at, entry) in explained.iter().enumerate() {
        if at > 0 {
            out.push('\n');
        }
        let _ = write!(out, "{}", paint(bold, &printable(&entry.label)));
        if !entry.description.is_empty() {
            let _ = write!(out, "  {}", printable(&entry.description));
        }
        out.push('\n');
        let line = |out: &mut String, head: &str, text: &str| {
            let _ = writeln!(out, "  {head:<12} {}", printable(text));
        };
        line(&mut out, "runs", &entry.runs);
        for (head, text) in &entry.facts {
            line(&mut out, head, text);
        }
        for (name, said) in &entry.args {
            line(&mut out, &format!("<{name}>"), said);
        }
        for warning in &entry.warnings {
            let _ = writeln!(out, "  {} {}", paint(yellow, "warning:"), printable(warning));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_file_steers_the_terminal_of_whoever_checks_it() {
        let evil = "\u{1b}[2J\u{202e}\n".to_owned();
        let entry = Explained {
            label: "a".to_owned(),
            description: evil.clone(),
            runs: evil.clone(),
            facts: vec![("user", evil.clone())],
            args: vec![("x".to_owned(), evil.clone())],
            warnings: vec![evil],
        };
        let text = render(&[entry.clone(), entry], false);
        assert!(!text.contains(['\u{1b}', '\u{202e}']));
        assert_eq!(text.lines().count(), 2 * 5 + 1);
    }
}
