//! A command being put together by buttons: node, label, arguments, confirm. Each stage is a message and a keyboard. Pure.

use secmon_client::{cli::given, render};
use secmon_protocol::command::{Arg, ArgInfo, ArgKind, CommandInfo};

use crate::{
    api::{Button, Keyboard, MessageId, Spot, UserId},
    text::{Html, button},
};

/// Choices on one page of a keyboard, in rows of [`COLUMNS`]: what a phone shows without scrolling.
const PAGE: usize = 12;
const COLUMNS: usize = 2;

/// A number by which buttons name their dialog or run.
pub(crate) type Id = u32;

/// What a button does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Chooses one of what is offered.
    Choose(usize),
    /// Turns to a page.
    Page(usize),
    /// Takes an argument's default.
    Default,
    /// Runs it.
    Go,
    /// Ends the dialog.
    Quit,
    /// Ends the run.
    Cancel,
}

/// The data of a button: at most 64 bytes. The step tells a keyboard that was drawn over from the present one.
pub(crate) fn data(id: Id, step: u32, action: Action) -> String {
    let action = match action {
        Action::Choose(n) => n.to_string(),
        Action::Page(n) => format!("p{n}"),
        Action::Default => "d".to_owned(),
        Action::Go => "g".to_owned(),
        Action::Quit => "q".to_owned(),
        Action::Cancel => "c".to_owned(),
    };
    format!("{id:08x}.{step}.{action}")
}

/// Reads it again; it is a stranger's until then.
pub(crate) fn read(data: &str) -> Option<(Id, u32, Action)> {
    let mut parts = data.splitn(3, '.');
    let id = Id::from_str_radix(parts.next()?, 16).ok()?;
    let step = parts.next()?.parse().ok()?;
    let action = match parts.next()? {
        "d" => Action::Default,
        "g" => Action::Go,
        "q" => Action::Quit,
        "c" => Action::Cancel,
        other => match other.strip_prefix('p') {
            Some(page) => Action::Page(page.parse().ok()?),
            None => Action::Choose(other.parse().ok()?),
        },
    };
    Some((id, step, action))
}

/// Where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Stage {
    /// Which node? Those that are online and on which the person may run something.
    Node { names: Vec<String> },
    /// Which command? Those that the person may run.
    Label { node: String, commands: Vec<CommandInfo> },
    /// Which value for the next argument?
    Args { node: String, info: Box<CommandInfo>, given: Vec<Given> },
    /// Really?
    Confirm { node: String, info: Box<CommandInfo>, given: Vec<Given> },
    /// The hub is asked; there is nothing to press.
    Waiting,
}

/// An argument that is settled: with a value, or by its default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
}

/// One person's dialog.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dialog {
    pub(crate) id: Id,
    pub(crate) owner: UserId,
    pub(crate) spot: Spot,
    /// The message with the keyboard, once it was sent.
    pub(crate) board: Option<MessageId>,
    /// The message that asks for a value, once it was sent.
    pub(crate) prompt: Option<MessageId>,
    /// Grows with every change.
    pub(crate) step: u32,
    pub(crate) page: usize,
    /// When somebody last pressed or typed, in seconds since 1970.
    pub(crate) touched: i64,
    pub(crate) stage: Stage,
}

impl Dialog {
    pub(crate) fn to(&mut self, stage: Stage) {
        (self.stage, self.page) = (stage, 0);
        self.step += 1;
    }

    /// A command was chosen: on to its arguments, or to the question whether to run it. Arguments that are `given` are settled; with `typed`, so are those
    /// that have a default, for who types a command leaves out what he does not mind.
    pub(crate) fn chose(&mut self, node: String, info: CommandInfo, args: Vec<Arg>, typed: bool) {
        let mut given: Vec<Given> =
            args.into_iter().map(|arg| Given { name: arg.name, value: Some(arg.value) }).collect();
        if typed {
            let left: Vec<Given> = info
                .args
                .iter()
                .filter(|arg| arg.default.is_some() && !given.iter().any(|g| g.name == arg.name))
                .map(|arg| Given { name: arg.name.clone(), value: None })
                .collect();
            given.extend(left);
        }
        self.settle(node, Box::new(info), given);
    }

    fn settle(&mut self, node: String, info: Box<CommandInfo>, given: Vec<Given>) {
        let stage = match next(&info, &given) {
            Some(_) => Stage::Args { node, info, given },
            None => Stage::Confirm { node, info, given },
        };
        self.to(stage);
    }

    /// The argument that is asked for.
    pub(crate) fn asked(&self) -> Option<&ArgInfo> {
        match &self.stage {
            Stage::Args { info, given, .. } => next(info, given),
            _ => None,
        }
    }

    /// Whether it can be pressed alone.
    pub(crate) fn wants_text(&self) -> bool {
        self.asked().is_some_and(|arg| !matches!(arg.kind, ArgKind::Choice { .. } | ArgKind::Bool))
    }

    /// A value for the argument that is asked for; none: its default.
    ///
    /// # Errors
    /// It is not allowed: what would be.
    pub(crate) fn value(&mut self, value: Option<String>) -> Result<(), String> {
        let Stage::Args { node, info, given } = &self.stage else { return Ok(()) };
        let Some(arg) = next(info, given) else { return Ok(()) };
        match &value {
            Some(text) => given::value(&arg.kind, text)?,
            None if arg.default.is_none() => return Err("it must be given".to_owned()),
            None => {}
        }
        let (node, info, mut given) = (node.clone(), info.clone(), given.clone());
        given.push(Given { name: arg.name.clone(), value });
        self.settle(node, info, given);
        Ok(())
    }

    /// The values of the buttons to choose from.
    pub(crate) fn choices(&self) -> Vec<String> {
        match &self.stage {
            Stage::Node { names } => names.clone(),
            Stage::Label { commands, .. } => commands.iter().map(|info| info.label.clone()).collect(),
            Stage::Args { .. } => match self.asked().map(|arg| &arg.kind) {
                Some(ArgKind::Choice { values }) => values.clone(),
                Some(ArgKind::Bool) => vec!["true".into(), "false".into()],
                _ => vec![],
            },
            Stage::Confirm { .. } | Stage::Waiting => vec![],
        }
    }

    /// The message.
    pub(crate) fn html(&self) -> Html {
        match &self.stage {
            Stage::Waiting => Html::new().said("…"),
            Stage::Node { .. } => Html::new().said_bold("Run a command").said(" · on which server?"),
            Stage::Label { node, commands } => {
                let html = Html::new().said_bold("Run on ").bold(node).said(" · which command?\n");
                let lines: Vec<Html> = commands
                    .iter()
                    .filter(|info| !info.description.is_empty())
                    .map(|info| Html::new().code(&info.label).said(": ").text(&info.description))
                    .collect();
                html.items(&lines, 0)
            }
            Stage::Args { node, info, given } => {
                let html = what(node, info, given);
                let Some(arg) = self.asked() else { return html };
                let html = html.said("\n\nWhich ").code(&arg.name).said("?");
                let html =
                    if arg.description.is_empty() { html } else { html.said(" ").text(&arg.description) };
                // What may be given was made printable where it was made.
                html.said("\n").said(&render::argument(arg))
            }
            Stage::Confirm { node, info, given } => {
                let html = what(node, info, given);
                let html =
                    if info.description.is_empty() { html } else { html.said("\n").text(&info.description) };
                let seconds = i64::try_from(info.timeout_ms).unwrap_or(i64::MAX).saturating_mul(1_000_000);
                html.said(&format!("\nIt is ended after {}.\n\nRun it?", render::duration(seconds)))
            }
        }
    }

    /// The buttons.
    pub(crate) fn keyboard(&self) -> Keyboard {
        let make =
            |text: &str, action| Button { text: text.to_owned(), data: data(self.id, self.step, action) };
        let choices = self.choices();
        let pages = choices.len().div_ceil(PAGE).max(1);
        let page = self.page.min(pages - 1);
        let shown: Vec<Button> = choices
            .iter()
            .enumerate()
            .skip(page * PAGE)
            .take(PAGE)
            .map(|(at, text)| make(&button(text), Action::Choose(at)))
            .collect();
        let mut rows: Keyboard = shown.chunks(COLUMNS).map(<[Button]>::to_vec).collect();
        if pages > 1 {
            let turn = |to: usize| make(if to < page { "‹ back" } else { "more ›" }, Action::Page(to));
            let to = [page.checked_sub(1), Some(page + 1).filter(|next| *next < pages)];
            rows.push(to.into_iter().flatten().map(turn).collect());
        }
        if let Some(default) = self.asked().and_then(|arg| arg.default.as_deref()) {
            rows.push(vec![make(&button(&format!("{default} (default)")), Action::Default)]);
        }
        match &self.stage {
            Stage::Waiting => {}
            Stage::Confirm { .. } => rows.push(vec![make("▶ Run", Action::Go), make("✖ No", Action::Quit)]),
            _ => rows.push(vec![make("✖ No", Action::Quit)]),
        }
        rows
    }
}

/// The first argument that is not settled.
fn next<'a>(info: &'a CommandInfo, given: &[Given]) -> Option<&'a ArgInfo> {
    info.args.iter().find(|arg| !given.iter().any(|g| g.name == arg.name))
}

/// Exactly what is to be run, as far as it is settled: the node, the command, and every argument with its value.
pub(crate) fn what(node: &str, info: &CommandInfo, given: &[Given]) -> Html {
    let mut html = Html::new().said_bold("Run ").code(&info.label).said_bold(" on ").bold(node);
    for arg in &info.args {
        let Some(g) = given.iter().find(|g| g.name == arg.name) else { continue };
        html = html.said("\n").code(&arg.name).said(" = ");
        html = match (&g.value, &arg.default) {
            (Some(value), _) if value.is_empty() => html.said("(nothing)"),
            (Some(value), _) => html.code(value),
            (None, Some(default)) => html.code(default).said(" (default)"),
            (None, None) => html,
        };
    }
    html
}

/// The arguments that are sent: those with a value.
pub(crate) fn args(given: &[Given]) -> Vec<Arg> {
    given.iter().filter_map(|g| Some(Arg { name: g.name.clone(), value: g.value.clone()? })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::ChatId, text::tests::parsed};

    fn dialog(stage: Stage) -> Dialog {
        let spot = Spot { chat: ChatId(1), thread: None };
        let (board, prompt, page, touched) = (None, None, 0, 0);
        Dialog { id: 0xfedc_ba98, owner: UserId(1), spot, board, prompt, step: 3, page, touched, stage }
    }

    fn tail() -> CommandInfo {
        let arg = |name: &str, kind, default: Option<&str>| ArgInfo {
            name: name.into(),
            description: String::new(),
            kind,
            default: default.map(str::to_owned),
        };
        let mut info = CommandInfo::plain("tail", "The end of a <log>", 90_000);
        info.args = vec![
            arg("lines", ArgKind::Integer { min: 1, max: 1000 }, Some("100")),
            arg("file", ArgKind::Choice { values: vec!["syslog".into(), "auth.log".into()] }, None),
            arg("quiet", ArgKind::Bool, Some("false")),
        ];
        info
    }

    #[test]
    fn buttons_say_what_they_do_in_64_bytes() {
        for action in [
            Action::Choose(99_999),
            Action::Page(9_999),
            Action::Default,
            Action::Go,
            Action::Quit,
            Action::Cancel,
        ] {
            let data = data(u32::MAX, u32::MAX, action);
            assert!(data.len() <= 64, "{data}");
            assert_eq!(read(&data), Some((u32::MAX, u32::MAX, action)));
        }
        for bad in ["", "x", "1.2", "1.2.", "1.2.y", "zz.1.d", "1.-1.d", "1.1.p", "1.1.1.1"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn arguments_are_asked_for_one_after_the_other_and_confirm_shows_what_will_run() {
        let mut dialog = dialog(Stage::Waiting);
        dialog.chose("web-1".into(), tail(), vec![], false);
        assert_eq!((dialog.asked().unwrap().name.as_str(), dialog.wants_text()), ("lines", true));
        assert_eq!(dialog.value(Some("0".into())).unwrap_err(), "a number from 1 to 1000");
        dialog.value(Some("5".into())).unwrap();
        assert_eq!((dialog.asked().unwrap().name.as_str(), dialog.wants_text()), ("file", false));
        assert!(dialog.value(None).is_err(), "it has no default");
        dialog.value(Some("auth.log".into())).unwrap();
        dialog.value(None).unwrap();
        insta::assert_snapshot!(parsed(dialog.html().as_str()), @"
        Run tail on web-1
        lines = 5
        file = auth.log
        quiet = false (default)
        The end of a <log>
        It is ended after 1m 30s.

        Run it?
        ");
        let Stage::Confirm { given, .. } = &dialog.stage else { panic!("{dialog:?}") };
        let sent: Vec<String> =
            args(given).into_iter().map(|arg| format!("{}={}", arg.name, arg.value)).collect();
        assert_eq!(sent, ["lines=5", "file=auth.log"]);
    }

    #[test]
    fn who_types_a_command_is_asked_for_what_is_missing_alone() {
        let mut dialog = dialog(Stage::Waiting);
        dialog.chose("web-1".into(), tail(), vec![Arg { name: "lines".into(), value: "7".into() }], true);
        assert_eq!(dialog.asked().unwrap().name, "file");
        dialog.value(Some("syslog".into())).unwrap();
        assert!(matches!(dialog.stage, Stage::Confirm { .. }));
    }

    #[test]
    fn many_are_paged() {
        let mut dialog = dialog(Stage::Node { names: (0..30).map(|n| format!("web-{n}")).collect() });
        let texts = |dialog: &Dialog| -> Vec<String> {
            dialog.keyboard().concat().into_iter().map(|b| b.text).collect()
        };
        let first = texts(&dialog);
        assert_eq!((first.len(), first[12].as_str()), (14, "more ›"));
        dialog.page = 1;
        assert_eq!(texts(&dialog)[12..], ["‹ back", "more ›", "✖ No"]);
        dialog.page = 99;
        assert_eq!(
            texts(&dialog),
            ["web-24", "web-25", "web-26", "web-27", "web-28", "web-29", "‹ back", "✖ No"]
        );
    }
}
