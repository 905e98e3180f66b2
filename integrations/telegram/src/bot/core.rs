//! The conversation: what came in and the time go in, what is to be done comes out. Pure.
//!
//! [`Core::handle`] takes an update and [`Core::heard`] what the hub said to an [`Effect::Ask`]; the ids of messages that an effect made come
//! back by [`Core::sent`], and the end of a run by [`Core::run_over`]. Whom the configuration does not know gets no effect but a line in the log.

mod draw;
mod heard;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use secmon_client::cli::given;
use secmon_protocol::{
    command::{Arg, CommandInfo},
    message::client::{JobSummary, NodeDetail, NodeSummary, Presence},
    time::UnixNanos,
};

pub(crate) use self::draw::cancel_keyboard;
use self::draw::{draw, help, ids, prompt, redraw};
use super::{
    dialog::{self, Action, Dialog, Id, Stage},
    show, words,
};
use crate::{
    access::{Access, Person, Role},
    api::{Button, ChatId, Keyboard, Markup, Message, MessageId, Press, Spot, Update, User, UserId},
    text::{Html, cut},
};

/// How old a command may be, in seconds, and still be run: who sent one before that, while we were away, does not expect it any more.
const OLD: i64 = 5 * 60;
/// How long a keyboard waits to be pressed, in seconds.
const STALE: i64 = 10 * 60;
/// Most keyboards at once; the one that was touched longest ago goes.
const MAX_DIALOGS: usize = 256;
/// Most commands at once, of all and of one person: each has up to [`super::view::MAX_KEPT`] in memory.
const MAX_RUNS: usize = 16;
const MAX_RUNS_OF_ONE: usize = 4;
/// Dialogs and runs that are remembered a little longer than they are.
const MAX_OVER: usize = 64;
/// Strangers that are logged, once each; later ones are not, until a restart. An operator looks for one that he knows of.
const MAX_STRANGERS: usize = 256;
/// Most words that are told about old commands: one per chat in so many seconds.
const OLD_EVERY: i64 = 60;
/// Chats for which that is remembered; those that are configured are fewer.
const MAX_OLD: usize = 1024;
/// Most jobs in an answer.
pub(crate) const JOBS: u32 = 20;

/// Somebody's question to the hub, on its way.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) person: Person,
    pub(crate) spot: Spot,
    pub(crate) reply_to: MessageId,
    pub(crate) question: Question,
    /// For a dialog: which.
    pub(crate) dialog: Option<(Id, Vec<Arg>, Option<String>)>,
}

/// What the hub is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Question {
    /// The nodes that match a pattern.
    Nodes(Option<String>),
    /// One with everything.
    Node(String),
    /// All that match a pattern, with everything.
    Who(Option<String>),
    Wg(Option<String>),
    Jobs(Option<String>),
    Job(String),
}

/// What it said.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Nodes(Vec<NodeSummary>),
    Node(Box<NodeDetail>),
    Details(Vec<NodeDetail>),
    Jobs(Vec<JobSummary>, bool),
    Job(Box<JobSummary>),
    /// The question failed, in words for people.
    Failed(String),
}

/// A command that was confirmed.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) id: Id,
    pub(crate) person: Person,
    pub(crate) spot: Spot,
    /// The message that shows it.
    pub(crate) message: MessageId,
    pub(crate) node: String,
    pub(crate) label: String,
    pub(crate) args: Vec<Arg>,
    /// What runs, with all arguments.
    pub(crate) what: Html,
}

/// What is to be done.
#[derive(Debug, Clone)]
pub(crate) enum Effect {
    /// Send a message; where it is the board of a dialog, its id is awaited by that.
    Say { spot: Spot, reply_to: Option<MessageId>, html: Html, markup: Option<Markup>, board: Option<Id> },
    /// Change one of ours.
    Redraw { chat: ChatId, message: MessageId, html: Html, keyboard: Keyboard },
    /// Answer a button.
    Answer { press: String, words: Option<String> },
    /// Ask the hub.
    Ask(Box<Ask>),
    /// Run a command.
    Run(Box<Order>),
    /// End one.
    CancelRun(Id),
    /// Send what a job has printed.
    Output { person: Person, spot: Spot, job: String },
    /// Keep a destination quiet.
    Mute { destination: String, until: UnixNanos },
    /// Somebody unknown has written.
    Stranger { user: UserId, chat: ChatId },
}

/// A run that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Going {
    owner: UserId,
}

/// The conversations.
#[derive(Debug)]
pub(crate) struct Core {
    access: Access,
    /// What is told where.
    destinations: Vec<(Spot, String)>,
    our_name: String,
    dialogs: HashMap<Id, Dialog>,
    runs: HashMap<Id, Going>,
    /// What ended lately, by a button or as a run: its last button may have been pressed twice.
    over: VecDeque<Id>,
    strangers: HashSet<(UserId, ChatId)>,
    told_old: HashMap<ChatId, i64>,
    next: Id,
}

/// A message as the core looks at it: of somebody known, somewhere.
struct From<'a> {
    person: Person,
    spot: Spot,
    message: &'a Message,
    now: UnixNanos,
}

fn seconds(now: UnixNanos) -> i64 {
    now.0.div_euclid(1_000_000_000)
}

fn spot(message: &Message) -> Spot {
    // A thread that is no topic is a row of replies, into which nothing can be sent.
    Spot { chat: message.chat.id, thread: message.message_thread_id.filter(|_| message.is_topic_message) }
}

impl Core {
    /// `first` is random, so that no keyboard from before a restart means one of this life.
    pub(crate) fn new(access: Access, destinations: Vec<(Spot, String)>, first: Id) -> Self {
        Self {
            access,
            destinations,
            our_name: String::new(),
            dialogs: HashMap::new(),
            runs: HashMap::new(),
            over: VecDeque::new(),
            strangers: HashSet::new(),
            told_old: HashMap::new(),
            next: first,
        }
    }

    /// Our own name, as Telegram has it.
    pub(crate) fn named(&mut self, name: String) {
        self.our_name = name;
    }

    /// Takes what came in.
    #[must_use]
    pub(crate) fn handle(&mut self, update: &Update, now: UnixNanos) -> Vec<Effect> {
        if let Some(message) = &update.message {
            return self.message(message, now);
        }
        update.callback_query.as_ref().map_or_else(Vec::new, |press| self.press(press, now))
    }

    fn stranger(&mut self, user: UserId, chat: ChatId) -> Vec<Effect> {
        if self.strangers.len() < MAX_STRANGERS && self.strangers.insert((user, chat)) {
            return vec![Effect::Stranger { user, chat }];
        }
        vec![]
    }

    fn message(&mut self, message: &Message, now: UnixNanos) -> Vec<Effect> {
        let (Some(text), Some(user)) = (&message.text, &message.from) else { return vec![] };
        // A chat that speaks for itself is nobody: an anonymous administrator cannot be told from another.
        let person = match message.sender_chat {
            None if !user.is_bot => self.access.person(user.id, message.chat.id),
            _ => None,
        };
        let Some(person) = person else { return self.stranger(user.id, message.chat.id) };
        let from = From { person, spot: spot(message), message, now };
        let Some(typed) = words::typed(text, &self.our_name) else {
            return if text.trim_start().starts_with('/') { vec![] } else { self.plain(&from, text) };
        };
        let old = seconds(now).saturating_sub(message.date) > OLD;
        match typed {
            _ if old => self.old(&from),
            Err(wrong) => vec![say(&from, Html::new().said(&wrong))],
            Ok(typed) => self.command(&from, typed),
        }
    }

    /// A command from the time when we were away.
    fn old(&mut self, from: &From<'_>) -> Vec<Effect> {
        let (chat, now) = (from.spot.chat, seconds(from.now));
        if self.told_old.get(&chat).is_some_and(|at| now.saturating_sub(*at) < OLD_EVERY) {
            return vec![];
        }
        if self.told_old.len() >= MAX_OLD {
            self.told_old.clear();
        }
        self.told_old.insert(chat, now);
        let minutes = OLD / 60;
        vec![say(
            from,
            Html::new().said(&format!(
                "⏳ I was away when this was sent. Commands that are older than {minutes} minutes are not run: send it again if you still mean it."
            )),
        )]
    }

    fn command(&mut self, from: &From<'_>, typed: words::Typed) -> Vec<Effect> {
        let first = typed.words.first().cloned();
        match typed.command.as_str() {
            "start" | "help" => vec![say(from, help(&from.person))],
            "id" => vec![say(from, ids(from))],
            "nodes" | "list" => vec![ask(from, Question::Nodes(first))],
            "who" => vec![ask(from, Question::Who(first))],
            "wg" => vec![ask(from, Question::Wg(first))],
            "jobs" => vec![ask(from, Question::Jobs(first))],
            "node" | "show" => match first {
                Some(node) => vec![ask(from, Question::Node(node))],
                None => vec![say(from, Html::new().said("Which? /node web-1; /nodes lists them."))],
            },
            "job" => match first {
                Some(job) => vec![ask(from, Question::Job(job))],
                None => vec![say(from, Html::new().said("Which? /job and its number; /jobs lists them."))],
            },
            "mute" => self.mute(from, &typed.words),
            "run" => self.run(from, &typed.words),
            other if typed.to_us || from.spot.chat.is_private() => {
                let html = Html::new()
                    .said("I do not know /")
                    .text(&cut(other, 32))
                    .said("; /help says what I know.");
                vec![say(from, html)]
            }
            _ => vec![],
        }
    }

    fn mute(&self, from: &From<'_>, typed: &[String]) -> Vec<Effect> {
        let refused = |words: &str| vec![say(from, Html::new().said(words))];
        if !from.spot.chat.is_private() && !from.person.rights.runs_something() {
            return refused("In a group, an operator decides what is quiet.");
        }
        let time = match words::mute(typed) {
            Ok(time) => time,
            Err(wrong) => return refused(&wrong),
        };
        let here: Vec<&String> = self
            .destinations
            .iter()
            .filter(|(spot, _)| {
                spot.chat == from.spot.chat && (spot.thread.is_none() || spot.thread == from.spot.thread)
            })
            .map(|(_, name)| name)
            .collect();
        if here.is_empty() {
            return refused("Nothing is told here, so there is nothing to mute.");
        }
        let until = match time {
            None => UnixNanos(0),
            Some(time) => UnixNanos(from.now.0.saturating_add(nanos(time))),
        };
        let words = match time {
            None => "🔔 Not quiet any more.".to_owned(),
            Some(time) => {
                let time = secmon_client::render::duration(nanos(time));
                format!("🔕 Quiet here for {time}, but for what is critical. /mute off ends it.")
            }
        };
        let mut effects: Vec<Effect> =
            here.into_iter().map(|name| Effect::Mute { destination: name.clone(), until }).collect();
        effects.push(say(from, Html::new().said(&words)));
        effects
    }

    fn run(&mut self, from: &From<'_>, typed: &[String]) -> Vec<Effect> {
        let refused = |words: String| vec![say(from, Html::new().text(&words))];
        if !from.person.rights.runs_something() {
            return refused("You may ask, and run nothing: that is for operators.".to_owned());
        }
        let (node, label, rest) = match typed {
            [] => (None, None, &[][..]),
            [node] => (Some(node), None, &[][..]),
            [node, label, rest @ ..] => (Some(node), Some(label), rest),
        };
        if label.is_some_and(|label| label.contains('=')) {
            return refused(
                "First the server, then the command, then arguments: /run web-1 tail lines=5".to_owned(),
            );
        }
        let args = match given::parse(rest) {
            Ok(args) => args,
            Err(wrong) => return refused(wrong),
        };
        if let Some(node) = node
            && !from.person.rights.runs_on(node)
            && from.person.rights.sees(node)
        {
            return refused(format!("You may not run anything on {node}."));
        }
        let id = self.begin(from);
        let question = node.map_or(Question::Nodes(None), |node| Question::Node(node.clone()));
        let dialog = Some((id, args, label.cloned()));
        vec![Effect::Ask(Box::new(Ask {
            person: from.person.clone(),
            spot: from.spot,
            reply_to: from.message.message_id,
            question,
            dialog,
        }))]
    }

    /// A dialog, and room for it.
    fn begin(&mut self, from: &From<'_>) -> Id {
        let now = seconds(from.now);
        self.dialogs.retain(|_, dialog| now.saturating_sub(dialog.touched) <= STALE);
        if self.dialogs.len() >= MAX_DIALOGS
            && let Some(oldest) =
                self.dialogs.values().min_by_key(|dialog| dialog.touched).map(|dialog| dialog.id)
        {
            self.dialogs.remove(&oldest);
        }
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        let dialog = Dialog {
            id,
            owner: from.person.id,
            spot: from.spot,
            board: None,
            began: from.message.message_id,
            step: 0,
            page: 0,
            touched: now,
            stage: Stage::Waiting,
        };
        self.dialogs.insert(id, dialog);
        id
    }

    /// The board of a dialog has an id.
    pub(crate) fn sent(&mut self, id: Id, message: MessageId) {
        if let Some(dialog) = self.dialogs.get_mut(&id) {
            dialog.board = Some(message);
        }
    }

    /// A run has ended.
    pub(crate) fn run_over(&mut self, id: Id) {
        self.runs.remove(&id);
        self.is_over(id);
    }

    fn is_over(&mut self, id: Id) {
        if self.over.len() >= MAX_OVER {
            self.over.pop_front();
        }
        self.over.push_back(id);
    }

    /// Text that is no command: a value that was asked for, or nothing for us.
    fn plain(&mut self, from: &From<'_>, text: &str) -> Vec<Effect> {
        let reply = from.message.reply_to_message.as_ref();
        let ours = |user: &User| user.is_bot && user.username.as_deref() == Some(&self.our_name);
        let reply_to_us = reply.is_some_and(|reply| reply.from.as_ref().is_some_and(ours));
        let now = seconds(from.now);
        let wanted = self
            .dialogs
            .values_mut()
            .filter(|d| d.owner == from.person.id && d.spot.chat == from.spot.chat && d.wants_text())
            .filter(|d| now.saturating_sub(d.touched) <= STALE)
            .filter(|d| match reply {
                // Any of ours since it began: the number of the latest may not have come to us before the answer to it.
                Some(reply) => reply_to_us && reply.message_id > d.began,
                None => from.spot.chat.is_private(),
            })
            .max_by_key(|d| (d.touched, d.id));
        let Some(dialog) = wanted else {
            return match from.spot.chat.is_private() && reply.is_none() {
                true => vec![say(from, Html::new().said("I understand commands alone: /help"))],
                false => vec![],
            };
        };
        dialog.touched = now;
        let name = dialog.asked().map(|arg| arg.name.clone()).unwrap_or_default();
        if let Err(wrong) = dialog.value(Some(text.to_owned())) {
            let html = Html::new().code(&name).said(": ").text(&wrong);
            return vec![prompt(dialog, html, from.message.message_id)];
        }
        // The board stands further up by now: it is closed, and the next one comes below.
        let mut effects = vec![];
        if let Some(board) = dialog.board.take() {
            let html = Html::new().code(&name).said(" = ").code(&cut(text, 200));
            effects.push(Effect::Redraw { chat: from.spot.chat, message: board, html, keyboard: vec![] });
        }
        effects.extend(draw(dialog, from.message.message_id));
        effects
    }

    fn press(&mut self, press: &Press, now: UnixNanos) -> Vec<Effect> {
        let Some(message) = &press.message else { return vec![] };
        let chat = message.chat.id;
        let Some(person) = self.access.person(press.from.id, chat) else {
            return self.stranger(press.from.id, chat);
        };
        let answer =
            |words: Option<&str>| Effect::Answer { press: press.id.clone(), words: words.map(str::to_owned) };
        let stale =
            || vec![answer(Some("This keyboard is too old, or from before a restart: send /run again."))];
        let Some((id, step, action)) = press.data.as_deref().and_then(dialog::read) else { return stale() };
        if action == Action::Cancel {
            return match self.runs.get(&id) {
                None => vec![answer(Some("It is over already."))],
                Some(going) if going.owner != person.id && person.rights.role() != Some(Role::Admin) => {
                    vec![answer(Some("Only who began it may cancel it, or an admin."))]
                }
                Some(_) => vec![answer(None), Effect::CancelRun(id)],
            };
        }
        let Some(dialog) = self.dialogs.get_mut(&id).filter(|dialog| dialog.spot.chat == chat) else {
            // Pressed twice by somebody impatient, who is not to send it again; or another button, too late.
            return match self.runs.contains_key(&id) {
                true if action == Action::Quit => vec![answer(Some("It runs already: Cancel ends it."))],
                true => vec![answer(None)],
                false if self.over.contains(&id) => vec![answer(None)],
                false => stale(),
            };
        };
        if dialog.owner != person.id {
            return vec![answer(Some("These buttons are of who sent the command."))];
        }
        if seconds(now).saturating_sub(dialog.touched) > STALE {
            self.dialogs.remove(&id);
            return stale();
        }
        if dialog.step != step {
            // Pressed twice, or before the keyboard was drawn anew.
            return vec![answer(None)];
        }
        dialog.touched = seconds(now);
        dialog.board = Some(message.message_id);
        match action {
            Action::Quit => {
                self.dialogs.remove(&id);
                self.is_over(id);
                let html = Html::new().said("✖ Nothing was run.");
                vec![
                    answer(None),
                    Effect::Redraw { chat, message: message.message_id, html, keyboard: vec![] },
                ]
            }
            Action::Page(page) => {
                (dialog.page, dialog.step) = (page, dialog.step + 1);
                let mut effects = vec![answer(None)];
                effects.extend(redraw(dialog));
                effects
            }
            Action::Default => self.took(id, None, answer(None)),
            Action::Choose(at) => match dialog.choices().get(at) {
                Some(value) => {
                    let value = value.clone();
                    self.took(id, Some(value), answer(None))
                }
                None => stale(),
            },
            Action::Go => self.go(id, person, press),
            Action::Cancel => vec![],
        }
    }

    /// Something was chosen.
    fn took(&mut self, id: Id, value: Option<String>, answer: Effect) -> Vec<Effect> {
        let Some(dialog) = self.dialogs.get_mut(&id) else { return vec![answer] };
        let reply_to = dialog.board.unwrap_or(MessageId(0));
        match (&dialog.stage, value) {
            (Stage::Node { .. }, Some(node)) => {
                dialog.to(Stage::Waiting);
                let Some(person) = self.access.person(dialog.owner, dialog.spot.chat) else {
                    return vec![answer];
                };
                let ask = Ask {
                    person,
                    spot: dialog.spot,
                    reply_to,
                    question: Question::Node(node),
                    dialog: Some((id, vec![], None)),
                };
                vec![answer, Effect::Ask(Box::new(ask))]
            }
            (Stage::Label { node, commands }, Some(label)) => {
                let Some(info) = commands.iter().find(|info| info.label == label).cloned() else {
                    return vec![answer];
                };
                let node = node.clone();
                dialog.chose(node, info, vec![], false);
                let mut effects = vec![answer];
                effects.extend(draw(dialog, reply_to));
                effects
            }
            (Stage::Args { .. }, value) => {
                let mut effects = vec![answer];
                // What is on a button is allowed; a default is what the node itself said.
                if dialog.value(value).is_ok() {
                    effects.extend(draw(dialog, reply_to));
                }
                effects
            }
            _ => vec![answer],
        }
    }

    /// Run it.
    fn go(&mut self, id: Id, person: Person, press: &Press) -> Vec<Effect> {
        let answer = |words: Option<String>| Effect::Answer { press: press.id.clone(), words };
        let Some(dialog) = self.dialogs.get(&id) else { return vec![answer(None)] };
        let (Stage::Confirm { node, info, given }, Some(message)) = (&dialog.stage, dialog.board) else {
            return vec![answer(None)];
        };
        if !person.rights.runs(node, &info.label) {
            return vec![answer(Some(format!("You may not run {} on {node}.", info.label)))];
        }
        let own = self.runs.values().filter(|going| going.owner == person.id).count();
        if own >= MAX_RUNS_OF_ONE || self.runs.len() >= MAX_RUNS {
            return vec![answer(Some(
                "Too many commands run through me already: wait for one to end, or cancel it.".to_owned(),
            ))];
        }
        let order = Order {
            id,
            person,
            spot: dialog.spot,
            message,
            node: node.clone(),
            label: info.label.clone(),
            args: dialog::args(given),
            what: dialog::what(node, info, given),
        };
        self.runs.insert(id, Going { owner: order.person.id });
        self.dialogs.remove(&id);
        vec![answer(None), Effect::Run(Box::new(order))]
    }
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

fn say(from: &From<'_>, html: Html) -> Effect {
    Effect::Say { spot: from.spot, reply_to: Some(from.message.message_id), html, markup: None, board: None }
}

fn ask(from: &From<'_>, question: Question) -> Effect {
    Effect::Ask(Box::new(Ask {
        person: from.person.clone(),
        spot: from.spot,
        reply_to: from.message.message_id,
        question,
        dialog: None,
    }))
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;
