//! `secmon parse`: the auth log's parser by hand, to see what secmon makes of a line.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Read as _, Write},
    process::ExitCode,
};

use clap::Args;
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use secmon_client::{cli, render};
use secmon_node::watch::auth::parse::{Context, Parsed, parse_line};
use secmon_protocol::{
    ecs,
    event::{Detail, Event},
    limits::MAX_LINE,
};

/// Arguments of `parse`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  secmon parse /var/log/auth.log
  secmon parse --json /var/log/auth.log | jq 'select(.secmon.type == \"auth.failed\")'
  journalctl -o json -t sshd-session | secmon parse -")]
pub(crate) struct ParseArgs {
    /// A log file, or - for standard input; lines of syslog, or of `journalctl -o json`
    file: String,
    /// Print one JSON object per event, in the Elastic Common Schema, with the line's number in secmon.line
    #[arg(long)]
    json: bool,
}

/// What became of the lines.
#[derive(Debug, Default)]
struct Counts {
    lines: u64,
    events: u64,
    known: u64,
    unknown: u64,
}

/// Prints the events of a log. What it makes of the lines without one is said on stderr, as numbers.
pub(crate) fn parse(arguments: &ParseArgs) -> ExitCode {
    let complain = |what: &str, error: io::Error| {
        eprintln!("secmon: cannot {what}: {error}");
        ExitCode::FAILURE
    };
    let name = if arguments.file == "-" { "standard input" } else { &arguments.file };
    let input: Box<dyn io::Read> = match arguments.file.as_str() {
        "-" => Box::new(io::stdin()),
        file => match File::open(file) {
            Ok(file) => Box::new(file),
            Err(error) => return complain(&format!("open {name}"), error),
        },
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let counts = match lines(BufReader::new(input), &mut out, arguments.json) {
        Ok(counts) => counts,
        Err(Broken::Input(error)) => return complain(&format!("read {name}"), error),
        Err(Broken::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
        Err(Broken::Output(error)) => return complain("write the output", error),
    };
    if !arguments.json {
        let Counts { lines, events, known, unknown } = counts;
        eprintln!(
            "{lines} lines: {events} events, {known} understood that are no event, {unknown} not of interest"
        );
    }
    ExitCode::SUCCESS
}

enum Broken {
    Input(io::Error),
    Output(io::Error),
}

fn lines(
    mut input: BufReader<Box<dyn io::Read>>,
    out: &mut impl Write,
    json: bool,
) -> Result<Counts, Broken> {
    let context = Context::new(Timestamp::now(), TimeZone::system());
    let look = cli::look();
    let (mut counts, mut line, mut day) = (Counts::default(), Vec::new(), None);
    loop {
        // On a live pipe nothing may be held back while the next line is awaited.
        if input.buffer().is_empty() {
            out.flush().map_err(Broken::Output)?;
        }
        if !next_line(&mut input, &mut line).map_err(Broken::Input)? {
            break;
        }
        counts.lines += 1;
        let event = match parse_line(&line, &context) {
            Parsed::Known => {
                counts.known += 1;
                continue;
            }
            Parsed::Unknown => {
                counts.unknown += 1;
                continue;
            }
            Parsed::Event(event) => event,
        };
        counts.events += 1;
        let time = event.time;
        let event = Event { id: String::new(), cursor: None, node: None, time, detail: Detail::Auth(*event) };
        let printed = if json {
            let mut value = ecs::event(&event);
            if let Some(secmon) = value.get_mut("secmon").and_then(|secmon| secmon.as_object_mut()) {
                secmon.insert("line".to_owned(), counts.lines.into());
            }
            writeln!(out, "{}", ecs::line(&value))
        } else {
            let date: Date = time.timestamp().to_zoned(look.zone.clone()).date();
            let headed = match day.replace(date) == Some(date) {
                true => Ok(()),
                false => writeln!(out, "--- {date} ---"),
            };
            headed.and_then(|()| writeln!(out, "{:>6}  {}", counts.lines, render::event_line(&event, &look)))
        };
        printed.map_err(Broken::Output)?;
    }
    out.flush().map_err(Broken::Output)?;
    Ok(counts)
}

/// The next line with its end; of one over [`MAX_LINE`] as much as tells the parser that it is. False at
/// the end of the input.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    input.take(MAX_LINE as u64 + 2).read_until(b'\n', line)?;
    if line.len() > MAX_LINE && line.last() != Some(&b'\n') {
        input.skip_until(b'\n')?;
    }
    Ok(!line.is_empty())
}
