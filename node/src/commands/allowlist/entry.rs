//! One entry: what it says, whether that makes sense, and what becomes of it with the arguments of a run.
//!
//! The argv of a run has the template's elements, in their order: an argument fills its place in one of them, is refused,
//! or, where it is a `bool` that is false, leaves its element out. It never adds an element, and never begins an option.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::unistd::{Uid, geteuid};
use secmon_protocol::command::{Arg, CommandInfo, MAX_DESCRIPTION, RunFailure, check_args};

use super::{
    arg::{ArgSpec, Kind, shown},
    invocation::{Invocation, Stdin},
    program, script,
    template::Element,
    user,
};

/// Most elements of `run`. Far more than people write; with their length it keeps argv well below ARG_MAX (execve(2)).
pub(super) const MAX_ELEMENTS: usize = 256;
/// Longest element of `run`, in bytes: a script of some pages. The kernel's limit is 128 KiB (MAX_ARG_STRLEN).
pub(super) const MAX_ELEMENT: usize = 32 << 10;

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// For people; may be empty.
    pub description: String,
    /// The program and its arguments; the first is fixed.
    pub run: Vec<Element>,
    /// What it takes, in the order of the file.
    pub args: Vec<ArgSpec>,
    /// As whom it runs; none: as whoever starts it.
    pub user: Option<String>,
    /// The folder that it starts in.
    pub cwd: PathBuf,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// How long it may run.
    pub timeout: Duration,
    /// How many bytes it may print.
    pub max_output: Option<u64>,
    /// How many runs of it may go on side by side.
    pub concurrency: Option<u32>,
    /// Its niceness.
    pub nice: Option<i32>,
    /// Its file mode creation mask.
    pub umask: u32,
    /// What it reads.
    pub stdin: Stdin,
}

impl Entry {
    /// An entry that says nothing but what is run.
    pub(super) fn of(run: Vec<Element>) -> Self {
        Self {
            description: String::new(),
            run,
            args: Vec::new(),
            user: None,
            cwd: "/".into(),
            env: BTreeMap::new(),
            timeout: super::DEFAULT_TIMEOUT,
            max_output: None,
            concurrency: None,
            nice: None,
            umask: super::DEFAULT_UMASK,
            stdin: Stdin::None,
        }
    }

    /// What is started when it is run with these arguments. May block: it asks the file system and the user database.
    ///
    /// # Errors
    /// An argument is not allowed, or the system lacks what the entry names; in words.
    pub fn fill(&self, args: &[Arg]) -> Result<Invocation, (RunFailure, String)> {
        self.fill_as(args, geteuid())
    }

    /// [`Entry::fill`] for one who starts it as `euid`.
    pub(super) fn fill_as(&self, args: &[Arg], euid: Uid) -> Result<Invocation, (RunFailure, String)> {
        let argv = self.argv(args).map_err(|why| (RunFailure::BadArgument, why))?;
        let user = match &self.user {
            None => None,
            Some(name) => user::run_as(name, euid).map_err(|why| (RunFailure::Refused, why))?,
        };
        let spawn = |why| (RunFailure::Spawn, why);
        let program = program::find(argv.first().map_or("", String::as_str)).map_err(spawn)?;
        folder(&self.cwd).map_err(spawn)?;
        Ok(Invocation {
            program,
            argv,
            user,
            cwd: self.cwd.clone(),
            env: self.env.clone(),
            timeout: self.timeout,
            max_output: self.max_output,
            concurrency: self.concurrency,
            nice: self.nice,
            umask: self.umask,
            stdin: self.stdin,
        })
    }

    /// What the program is told.
    pub(super) fn argv(&self, args: &[Arg]) -> Result<Vec<String>, String> {
        check_args(args)?;
        if let Some(strange) = args.iter().find(|arg| self.arg(&arg.name).is_none()) {
            let names: Vec<_> = self.args.iter().map(|arg| arg.name.as_str()).collect();
            return Err(match names.is_empty() {
                true => format!("it takes no argument, and {} was given", shown(&strange.name)),
                false => {
                    format!("it takes no argument {}; it takes {}", shown(&strange.name), names.join(", "))
                }
            });
        }
        let mut argv = Vec::with_capacity(self.run.len());
        for element in &self.run {
            match element {
                Element::Fixed(text) => argv.push(text.clone()),
                Element::Filled { before, arg, after } => {
                    let spec = self.arg(arg).ok_or_else(|| format!("{arg} is no argument of it"))?;
                    let given =
                        args.iter().find(|given| given.name == *arg).map(|given| given.value.as_str());
                    let value = given.or(spec.default.as_deref()).ok_or_else(|| {
                        format!("the argument {arg} must be given: {}", spec.kind.allowed())
                    })?;
                    if let Some(word) = spec.word(value)? {
                        argv.push(fill(before, spec, &word, after)?);
                    }
                }
            }
        }
        Ok(argv)
    }

    fn arg(&self, name: &str) -> Option<&ArgSpec> {
        self.args.iter().find(|arg| arg.name == name)
    }

    /// As it is told to others.
    pub(super) fn info(&self, label: &str) -> CommandInfo {
        CommandInfo {
            label: label.to_owned(),
            description: self.description.clone(),
            args: self.args.iter().map(ArgSpec::info).collect(),
            timeout_ms: u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX),
            max_output: self.max_output,
            concurrency: self.concurrency,
            stdin: self.stdin == Stdin::Client,
        }
    }

    /// Whether it makes sense as a whole, defaults included.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.run.len() > MAX_ELEMENTS {
            return Err(format!("run has {} elements, over {MAX_ELEMENTS}", self.run.len()));
        }
        self.program()?;
        if self.run.iter().any(|element| element.fixed().len() > MAX_ELEMENT) {
            return Err(format!("an element of run has more than {MAX_ELEMENT} bytes"));
        }
        for arg in &self.args {
            let places =
                self.run.iter().filter(|e| matches!(e, Element::Filled { arg: a, .. } if *a == arg.name));
            match places.count() {
                1 => {}
                0 => return Err(format!("run has no {{{0}}} for the argument {0} to fill", arg.name)),
                _ => return Err(format!("run has {{{}}} twice, and an argument fills one place", arg.name)),
            }
        }
        let mut operands = false;
        for element in &self.run {
            match element {
                Element::Fixed(text) => operands |= text == "--",
                Element::Filled { before, arg, after } => {
                    let spec = self.arg(arg).ok_or_else(|| {
                        format!("{{{arg}}} in run is no argument; declare it as args.{arg}, or write {{{{ for a brace")
                    })?;
                    fits(spec, before, after, operands).map_err(|why| format!("{{{arg}}} in run: {why}"))?;
                    if let Some(default) = &spec.default {
                        let bad = |why| format!("args.{arg}: the default, {}: {why}", shown(default));
                        spec.kind.form(default).map_err(bad)?;
                        if !matches!(spec.kind, Kind::Bool(_) | Kind::Path(_)) {
                            fill(before, spec, default, after).map_err(bad)?;
                        }
                    }
                }
            }
        }
        if let (Stdin::Client, Some(interpreter)) = (self.stdin, script::reads_program(&self.run)) {
            return Err(format!(
                "{interpreter} reads its program from its input, and with stdin = \"client\" a client could run anything; \
                 give it a script, as in run = [\"sh\", \"/usr/local/lib/x.sh\"]"
            ));
        }
        let worded = self.worded();
        if let Some((interpreter, arg)) =
            script::written_by(&self.run).or_else(|| script::written_by(&worded))
        {
            return Err(format!(
                "{{{arg}}} stands in what {interpreter} reads as a program, so a value could run anything; hand it over \
                 as an argument of its own, as in run = [\"sh\", \"-c\", \"ls -- \\\"$1\\\"\", \"sh\", \"{{{arg}}}\"]"
            ));
        }
        Ok(())
    }

    /// `run` where every bool is true: its word may be the option that makes code of what follows.
    fn worded(&self) -> Vec<Element> {
        let word = |element: &Element| match element {
            Element::Filled { arg, .. } => match self.arg(arg).map(|spec| &spec.kind) {
                Some(Kind::Bool(word)) => Element::Fixed(word.clone()),
                _ => element.clone(),
            },
            Element::Fixed(_) => element.clone(),
        };
        self.run.iter().map(word).collect()
    }

    /// The program that it runs, as it is written.
    pub(super) fn program(&self) -> Result<&str, String> {
        let program = match self.run.first() {
            Some(Element::Fixed(program)) => program.as_str(),
            Some(Element::Filled { .. }) => {
                return Err("the program, the first element of run, can have no placeholder".to_owned());
            }
            None => "",
        };
        if program.is_empty() {
            return Err("it names no program".to_owned());
        }
        if program.contains('=') {
            return Err(format!(
                "{program:?} is no program; an environment is set by env = {{ NAME = \"VALUE\" }}"
            ));
        }
        if program.contains('/') && !program.starts_with('/') {
            return Err(format!("{program:?} must be an absolute path or a plain name"));
        }
        Ok(program)
    }
}

/// Whether a folder is one, as far as whoever starts a command can see.
pub(super) fn folder(path: &Path) -> Result<(), String> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(format!("cannot start in {}: it is no folder", path.display())),
        Err(error) => Err(format!("cannot start in {}: {error}", path.display())),
    }
}

/// One line for people.
pub(super) fn description(text: &str) -> Result<(), String> {
    if text.len() > MAX_DESCRIPTION || text.chars().any(char::is_control) {
        return Err(format!("a description is one line of at most {MAX_DESCRIPTION} bytes"));
    }
    Ok(())
}

/// Whether an argument of this kind may stand between these two: before any value is known, what no value could do well.
/// `operands` is whether a `--` stands before it.
fn fits(spec: &ArgSpec, before: &str, after: &str, operands: bool) -> Result<(), String> {
    let dashes = !before.is_empty() && before.bytes().all(|b| b == b'-');
    match &spec.kind {
        Kind::Bool(_) if !before.is_empty() || !after.is_empty() => {
            Err("a bool adds its word or nothing, so it stands alone in its element".to_owned())
        }
        Kind::Integer { min: ..0, .. } if dashes || (before.is_empty() && !operands) => Err(format!(
            "a negative number would be taken for an option; write it as \"--…={{{0}}}\", or put the element \"--\" before \
             it, or let min be 0",
            spec.name
        )),
        Kind::String { .. } | Kind::Path(_) if dashes || (before.starts_with("--") && !before.contains('=')) => {
            Err(format!(
                "the value would choose the option; write \"--…={{{}}}\", or make it a choice of options",
                spec.name
            ))
        }
        Kind::Path(_) if !after.is_empty() => {
            Err("what stands behind a path would make it another one than was checked".to_owned())
        }
        Kind::Path(_) if !leads_to_a_path(before) => Err(
            "a path is absolute when it fills in: let it stand alone, or behind an option, as in \"--file={path}\""
                .to_owned(),
        ),
        _ => Ok(()),
    }
}

/// Whether a whole path may follow: nothing, `if=`, `--file=`, `-f`, `@`.
fn leads_to_a_path(before: &str) -> bool {
    before.is_empty()
        || before.ends_with(['=', ':', ',', '@'])
        || (before.starts_with('-') && !before.contains('/'))
}

/// An element, filled. What a value may not do in its place is refused here; values that the file itself lists are its
/// author's words.
fn fill(before: &str, spec: &ArgSpec, word: &str, after: &str) -> Result<String, String> {
    let filled = format!("{before}{word}{after}");
    if let Kind::String { .. } = spec.kind {
        let bad = |why: &str| Err(format!("{} = {}: {why}", spec.name, shown(word)));
        if before.is_empty() && filled.starts_with('-') {
            return bad("it would be taken for an option; it may not begin with \"-\"");
        }
        // `/var/log/{file}` does not mean /etc, whatever its pattern forgot.
        let climbs = |text: &str| text.split('/').filter(|part| *part == "..").count();
        if (before.contains('/') || after.contains('/'))
            && climbs(&filled) > climbs(&format!("{before}_{after}"))
        {
            return bad("it may not climb out of the folder with \"..\"");
        }
    }
    Ok(filled)
}
