//! `secmon parse`: secmon's parsers by hand, to see what it makes of a log.
//!
//! What kinds of log there are is [`Source`]; each has a module with a `run` that reads an [`Input`] and prints
//! to a [`Printer`]. How things are printed is the printer's alone.

mod auth;
mod input;
mod logins;
mod output;

use std::{fmt, io, path::Path, process::ExitCode};

use clap::{Args, ValueEnum};

use self::{input::Input, output::Printer};

/// Arguments of `parse`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  secmon parse /var/log/auth.log
  secmon parse --join /var/log/auth.log            what a node would report of it
  secmon parse --unmatched /var/log/auth.log       what secmon does not know
  secmon parse --source utmp --join /var/log/wtmp  who logged in, and until when
  secmon parse --json /var/log/auth.log | jq 'select(.secmon.type == \"auth.failed\")'
  journalctl -o json -t sshd-session | secmon parse -")]
pub(crate) struct ParseArgs {
    /// A file, or - for standard input
    file: String,
    /// What it is a file of: lines of syslog or of `journalctl -o json` (auth), or records of logins
    #[arg(long, value_enum, default_value_t = Source::Auth)]
    source: Source,
    /// Print one JSON object per event, in the Elastic Common Schema, with the number of the line or record in secmon.line
    #[arg(long)]
    json: bool,
    /// Print the events that a node would report: one for each attempt or login, with what its other lines say
    #[arg(long, conflicts_with = "unmatched")]
    join: bool,
    /// Print the lines that secmon does not know, and nothing else
    #[arg(long)]
    unmatched: bool,
}

/// What a file is a file of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Source {
    /// The auth log
    Auth,
    /// utmp or wtmp: who logged in and out
    Utmp,
    /// btmp: who failed to
    Btmp,
    /// wtmpdb's database
    Wtmpdb,
}

/// What is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Show {
    /// Each line or record by itself.
    Each,
    /// The stream that a node would report.
    Joined,
    /// What is not known.
    Unmatched,
}

/// Why it came to an end before the input's.
enum Broken {
    Open(io::Error),
    Input(io::Error),
    Output(io::Error),
}

/// Prints what secmon makes of a file; what became of all its lines is said on stderr.
pub(crate) fn parse(arguments: &ParseArgs) -> ExitCode {
    let complain = |what: &str, name: &dyn fmt::Display, error: io::Error| {
        eprintln!("secmon: cannot {what} {name}: {error}");
        ExitCode::FAILURE
    };
    let name = if arguments.file == "-" { "standard input" } else { &arguments.file };
    let show = match (arguments.join, arguments.unmatched) {
        (true, _) => Show::Joined,
        (_, true) => Show::Unmatched,
        _ => Show::Each,
    };
    let mut printer = Printer::stdout(arguments.json);
    match read(arguments, &mut printer, show) {
        Ok(summary) => eprintln!("{summary}"),
        Err(Broken::Open(error)) => return complain("open", &name, error),
        Err(Broken::Input(error)) => return complain("read", &name, error),
        // Whoever reads the output has seen enough.
        Err(Broken::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
        Err(Broken::Output(error)) => return complain("write", &"the output", error),
    }
    ExitCode::SUCCESS
}

/// Reads all of it; what became of it.
fn read(arguments: &ParseArgs, out: &mut Printer, show: Show) -> Result<String, Broken> {
    let open = || Input::open(&arguments.file).map_err(Broken::Open);
    let summary = match arguments.source {
        Source::Auth => auth::run(open()?, out, show)?.to_string(),
        Source::Utmp => logins::utmp(open()?, out, show)?.to_string(),
        Source::Btmp => logins::btmp(open()?, out, show)?.to_string(),
        Source::Wtmpdb if arguments.file == "-" => {
            let error = "a database is no stream; give the name of its file";
            return Err(Broken::Open(io::Error::other(error)));
        }
        Source::Wtmpdb => logins::wtmpdb(Path::new(&arguments.file), out, show)?.to_string(),
    };
    out.flush()?;
    Ok(summary)
}
