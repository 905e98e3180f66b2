//! Conversations, without Telegram and without a hub.

use std::collections::BTreeMap;

use secmon_protocol::{
    command::{ArgInfo, ArgKind},
    ids::NodeId,
    message::node::HostFacts,
};

use super::*;
use crate::{
    api::{Chat, ReplyTo, User},
    config::Config,
    text::tests::parsed,
};

const ALICE: i64 = 1;
const VIEWER: i64 = 2;
const STRANGER: i64 = 9;
const OPS: i64 = -100;
const START: i64 = 1_800_000_000;

/// A core, its clock, and what it has said.
struct Talk {
    core: Core,
    /// Seconds.
    now: i64,
    next: i64,
}

/// What came out, in a form that a test can look at.
#[derive(Debug, Default)]
struct Said {
    texts: Vec<String>,
    keyboard: Keyboard,
    answers: Vec<Option<String>>,
    asked: Vec<Ask>,
    orders: Vec<Order>,
    cancelled: Vec<Id>,
    muted: BTreeMap<String, UnixNanos>,
    strangers: usize,
}

impl Talk {
    fn new() -> Self {
        let config: Config = toml::from_str(
            r#"
            [[chats]]
            id = -100
            name = "ops"
            [[users]]
            id = 1
            name = "alice"
            role = "operator"
            nodes = ["web*"]
            commands = ["tail", "up*"]
            [[users]]
            id = 2
            name = "vera"
            role = "viewer"
            "#,
        )
        .unwrap();
        let ops = Spot { chat: ChatId(OPS), thread: None };
        let access = Access::new(&config.chats, &config.users);
        let mut core = Core::new(access, vec![(ops, "ops".into())], 0xffff_fffe);
        core.named("secmon_bot".into());
        Self { core, now: START, next: 1000 }
    }

    fn at(&self) -> UnixNanos {
        UnixNanos(self.now * 1_000_000_000)
    }

    fn message(&mut self, user: i64, chat: i64, text: &str) -> Message {
        self.next += 1;
        Message {
            message_id: MessageId(self.next),
            from: Some(User { id: UserId(user), is_bot: false, username: None }),
            sender_chat: None,
            chat: Chat { id: ChatId(chat) },
            date: self.now,
            text: Some(text.into()),
            message_thread_id: None,
            is_topic_message: false,
            reply_to_message: None,
            migrate_to_chat_id: None,
        }
    }

    fn take(&mut self, message: Message) -> Said {
        let update = Update { update_id: 1, message: Some(message), callback_query: None };
        let effects = self.core.handle(&update, self.at());
        self.note(effects)
    }

    fn say(&mut self, user: i64, chat: i64, text: &str) -> Said {
        let message = self.message(user, chat, text);
        self.take(message)
    }

    fn press_data(&mut self, user: i64, chat: i64, data: &str) -> Said {
        let message = self.message(0, chat, "");
        let from = User { id: UserId(user), is_bot: false, username: None };
        let press = Press { id: "p".into(), from, message: Some(message), data: Some(data.into()) };
        let update = Update { update_id: 1, message: None, callback_query: Some(press) };
        let effects = self.core.handle(&update, self.at());
        self.note(effects)
    }

    #[track_caller]
    fn press(&mut self, user: i64, chat: i64, said: &Said, text: &str) -> Said {
        let button = said.keyboard.iter().flatten().find(|button| button.text.starts_with(text));
        let data = button.unwrap_or_else(|| panic!("no {text:?} in {said:#?}")).data.clone();
        self.press_data(user, chat, &data)
    }

    /// The hub answers what was asked.
    #[track_caller]
    fn heard(&mut self, said: &Said, answer: Answer) -> Said {
        let effects = self.core.heard(&said.asked[0], answer, self.at());
        self.note(effects)
    }

    fn note(&mut self, effects: Vec<Effect>) -> Said {
        let mut said = Said::default();
        for effect in effects {
            match effect {
                Effect::Say { html, markup, board, .. } => {
                    said.texts.push(parsed(html.as_str()));
                    if let Some(Markup::Inline { inline_keyboard }) = markup {
                        said.keyboard = inline_keyboard;
                    }
                    self.next += 1;
                    if let Some(id) = board {
                        self.core.sent(id, MessageId(self.next));
                    }
                }
                Effect::Redraw { html, keyboard, .. } => {
                    said.texts.push(parsed(html.as_str()));
                    said.keyboard = keyboard;
                }
                Effect::Answer { words, .. } => said.answers.push(words),
                Effect::Ask(ask) => said.asked.push(*ask),
                Effect::Run(order) => said.orders.push(*order),
                Effect::CancelRun(id) => said.cancelled.push(id),
                Effect::Output { .. } => {}
                Effect::Mute { destination, until } => {
                    said.muted.insert(destination, until);
                }
                Effect::Stranger { .. } => said.strangers += 1,
            }
        }
        for button in said.keyboard.iter().flatten() {
            assert!(button.data.len() <= 64 && !button.text.is_empty(), "{button:?}");
        }
        said
    }
}

fn node(name: &str) -> NodeDetail {
    let arg = |name: &str, kind, default: Option<&str>| ArgInfo {
        name: name.into(),
        description: String::new(),
        kind,
        default: default.map(str::to_owned),
    };
    let mut tail = CommandInfo::plain("tail", "The end of a log", 10_000);
    tail.args = vec![
        arg("lines", ArgKind::Integer { min: 1, max: 1000 }, Some("100")),
        arg("file", ArgKind::Choice { values: vec!["syslog".into(), "auth.log".into()] }, None),
    ];
    let commands =
        vec![CommandInfo::plain("restart", "", 1000), tail, CommandInfo::plain("uptime", "", 1000)];
    let summary = NodeSummary {
        id: NodeId::mint(1, [7; 10]),
        name: name.parse().unwrap(),
        presence: Presence::Online { since: UnixNanos((START - 60) * 1_000_000_000) },
        agent: "0.1.0".into(),
        address: String::new(),
        facts: HostFacts::default(),
        clock_offset: 0,
        facets: vec![],
        commands: 3,
        stale: false,
    };
    NodeDetail { summary, commands, entries: vec![] }
}

fn answer(name: &str) -> Answer {
    Answer::Node(Box::new(node(name)))
}

#[test]
fn a_stranger_gets_nothing_and_is_logged_once() {
    let mut talk = Talk::new();
    let first = talk.say(STRANGER, STRANGER, "/start");
    assert_eq!((first.strangers, first.texts.len()), (1, 0));
    for text in ["/start", "/nodes", "hello"] {
        let said = talk.say(STRANGER, STRANGER, text);
        assert_eq!((said.strangers, said.texts.len(), said.asked.len()), (0, 0, 0));
    }
    let known_elsewhere = talk.say(ALICE, -555, "/nodes");
    assert!(known_elsewhere.asked.is_empty() && known_elsewhere.strangers == 1);
    let pressed = talk.press_data(STRANGER, OPS, "00000001.1.g");
    assert!(pressed.answers.is_empty(), "not even that");
    // Whoever speaks as the group is nobody.
    let mut anonymous = talk.message(ALICE, OPS, "/nodes");
    anonymous.sender_chat = Some(Chat { id: ChatId(OPS) });
    assert!(talk.take(anonymous).asked.is_empty());
}

#[test]
fn strangers_without_number_cost_no_memory_without_bound() {
    let mut talk = Talk::new();
    let logged: usize = (0..5000).map(|n| talk.say(1000 + n, 1000 + n, "/start").strangers).sum();
    assert_eq!((logged, talk.core.strangers.len()), (MAX_STRANGERS, MAX_STRANGERS));
}

#[test]
fn a_command_is_put_together_by_buttons_and_runs_only_when_run_is_pressed() {
    let mut talk = Talk::new();
    let asked = talk.say(ALICE, OPS, "/run");
    assert_eq!(asked.asked[0].question, Question::Nodes(None));
    let list = ["db-1", "web-1", "web-2"].map(|name| node(name).summary).to_vec();
    let nodes = talk.heard(&asked, Answer::Nodes(list));
    let texts =
        |said: &Said| -> Vec<String> { said.keyboard.iter().flatten().map(|b| b.text.clone()).collect() };
    assert_eq!(texts(&nodes), ["web-1", "web-2", "✖ No"], "not those on which she may run nothing");

    let chosen = talk.press(ALICE, OPS, &nodes, "web-1");
    let labels = talk.heard(&chosen, answer("web-1"));
    assert_eq!(texts(&labels), ["tail", "uptime", "✖ No"]);
    let lines = talk.press(ALICE, OPS, &labels, "tail");
    assert_eq!(texts(&lines), ["100 (default)", "✖ No"]);
    assert_eq!(lines.texts.last().unwrap(), "Answer with lines");

    let us = User { id: UserId(7), is_bot: true, username: Some("secmon_bot".into()) };
    let mut answer_to = |from: &User, text: &str| {
        let prompt = ReplyTo { message_id: MessageId(talk.next), from: Some(from.clone()) };
        let mut message = talk.message(ALICE, OPS, text);
        message.reply_to_message = Some(prompt);
        talk.take(message)
    };
    let somebody = User { id: UserId(VIEWER), is_bot: false, username: Some("vera".into()) };
    assert!(answer_to(&somebody, "5").texts.is_empty(), "said to somebody else");
    assert_eq!(answer_to(&us, "many").texts, ["lines: a number from 1 to 1000"]);
    let file = answer_to(&us, "5");
    assert_eq!(file.texts[0], "lines = 5");
    let confirm = talk.press(ALICE, OPS, &file, "auth.log");
    assert!(confirm.texts[0].starts_with("Run tail on web-1\nlines = 5\nfile = auth.log\n"), "{confirm:?}");
    assert!(confirm.orders.is_empty());

    let run = talk.press(ALICE, OPS, &confirm, "▶ Run");
    let order = &run.orders[0];
    let args: Vec<String> = order.args.iter().map(|arg| format!("{}={}", arg.name, arg.value)).collect();
    assert_eq!(
        (order.node.as_str(), order.label.as_str(), args.join(" ")),
        ("web-1", "tail", "lines=5 file=auth.log".into())
    );
    let again = talk.press(ALICE, OPS, &confirm, "▶ Run");
    assert!(again.orders.is_empty(), "pressed twice, run once");
    // It was told to send the command again, which would have run it twice.
    assert_eq!(again.answers, [None]);
    let no = talk.press(ALICE, OPS, &confirm, "✖ No");
    assert_eq!(no.answers, [Some("It runs already: Cancel ends it.".to_owned())]);
    talk.core.run_over(order.id);
    assert_eq!(talk.press(ALICE, OPS, &confirm, "▶ Run").answers, [None], "it is over meanwhile");
}

#[test]
fn who_says_no_twice_is_not_told_to_begin_anew() {
    let mut talk = Talk::new();
    let asked = talk.say(ALICE, OPS, "/run web-1");
    let board = talk.heard(&asked, answer("web-1"));
    assert_eq!(talk.press(ALICE, OPS, &board, "✖ No").texts, ["✖ Nothing was run."]);
    assert_eq!(talk.press(ALICE, OPS, &board, "✖ No").answers, [None]);
}

#[test]
fn a_typed_command_is_confirmed_as_well_and_what_it_lacks_is_asked_for() {
    let mut talk = Talk::new();
    let asked = talk.say(ALICE, ALICE, "/run web-1 tail lines=5");
    let file = talk.heard(&asked, answer("web-1"));
    assert!(file.texts[0].contains("Which file?"), "{file:?}");
    let confirm = talk.press(ALICE, ALICE, &file, "syslog");
    assert!(confirm.texts[0].contains("lines = 5\nfile = syslog"), "{confirm:?}");
    let run = talk.press(ALICE, ALICE, &confirm, "▶ Run");
    assert_eq!(run.orders.len(), 1);
    let id = run.orders[0].id;
    let cancel = cancel_keyboard(id)[0][0].data.clone();
    assert_eq!(talk.press_data(VIEWER, OPS, &cancel).cancelled, [] as [Id; 0]);
    assert_eq!(talk.press_data(ALICE, ALICE, &cancel).cancelled, [id]);
    talk.core.run_over(id);
    assert_eq!(talk.press_data(ALICE, ALICE, &cancel).answers, [Some("It is over already.".to_owned())]);
}

#[test]
fn what_makes_no_sense_or_is_not_allowed_is_said_and_not_run() {
    let mut talk = Talk::new();
    let mut of = |text: &str| {
        let asked = talk.say(ALICE, ALICE, text);
        match asked.asked.is_empty() {
            true => asked.texts.join("\n"),
            false => talk.heard(&asked, answer("web-1")).texts.join("\n"),
        }
    };
    let all = [
        "/run web-1 restart",
        "/run web-1 tial",
        "/run web-1 tail lines=0",
        "/run web-1 tail line=1",
        "/run web-1 tail lines",
        "/run web-1 lines=1",
        "/run 'web-1",
        "/frobnicate",
        "hello",
    ]
    .map(&mut of);
    insta::assert_snapshot!(all.join("\n"), @r#"
    web-1 has no command restart that you may run; /node and its name lists them.
    web-1 has no command tial that you may run; did you mean tail?
    lines=0 is not allowed: a number from 1 to 1000
    tail has no argument line; did you mean lines?
    "lines" is not an argument: write NAME=VALUE, as in lines=50 (several nodes have commas between them, and a pattern for nodes stands in quotes: 'web*')
    First the server, then the command, then arguments: /run web-1 tail lines=5
    a ' is opened and never closed
    I do not know /frobnicate; /help says what I know.
    I understand commands alone: /help
    "#);
    let viewer = talk.say(VIEWER, VIEWER, "/run");
    assert!(viewer.asked.is_empty() && viewer.texts[0].contains("operators"), "{viewer:?}");
    let elsewhere = talk.say(ALICE, ALICE, "/run web-9 tail");
    let unseen = talk.heard(&elsewhere, answer("db-1"));
    assert!(unseen.texts[0].starts_with("There is no server db-1"), "{unseen:?}");
}

#[test]
fn only_who_began_may_press_and_only_for_ten_minutes() {
    let mut talk = Talk::new();
    let asked = talk.say(ALICE, OPS, "/run web-1 uptime");
    let confirm = talk.heard(&asked, answer("web-1"));
    let other = talk.press(VIEWER, OPS, &confirm, "▶ Run");
    assert!(
        other.orders.is_empty()
            && other.answers[0].as_deref().is_some_and(|words| words.contains("who sent"))
    );
    talk.now += STALE + 1;
    let late = talk.press(ALICE, OPS, &confirm, "▶ Run");
    assert!(
        late.orders.is_empty() && late.answers[0].as_deref().is_some_and(|words| words.contains("too old"))
    );
    for data in ["", "12345678.1.g", "nonsense", "fffffffe.0.p99999999999999999999"] {
        let said = talk.press_data(ALICE, OPS, data);
        assert!(said.orders.is_empty() && said.answers[0].is_some(), "{data}");
    }
}

#[test]
fn a_command_from_the_time_when_we_were_away_is_not_run_but_said_so_once() {
    let mut talk = Talk::new();
    let mut sent = vec![];
    for text in ["/run web-1 uptime", "/nodes", "/run web-1 tail"] {
        let mut message = talk.message(ALICE, ALICE, text);
        message.date -= OLD + 1;
        let said = talk.take(message);
        assert!(said.asked.is_empty());
        sent.extend(said.texts);
    }
    assert_eq!(sent.len(), 1);
    assert!(sent[0].contains("not run"), "{sent:?}");
    assert_eq!(talk.say(ALICE, ALICE, "/nodes").asked.len(), 1);
}

#[test]
fn keyboards_and_runs_are_bounded() {
    let mut talk = Talk::new();
    for _ in 0..1000 {
        let asked = talk.say(ALICE, ALICE, "/run web-1 uptime");
        talk.heard(&asked, answer("web-1"));
    }
    assert_eq!(talk.core.dialogs.len(), MAX_DIALOGS);
    let mut started = 0;
    let mut refused = None;
    for _ in 0..MAX_RUNS_OF_ONE + 1 {
        let asked = talk.say(ALICE, ALICE, "/run web-1 uptime");
        let confirm = talk.heard(&asked, answer("web-1"));
        let run = talk.press(ALICE, ALICE, &confirm, "▶ Run");
        started += run.orders.len();
        refused = run.answers[0].clone();
    }
    assert_eq!(started, MAX_RUNS_OF_ONE);
    assert!(refused.unwrap().contains("Too many"));
}

#[test]
fn a_chat_is_muted_for_a_while_by_an_operator() {
    let mut talk = Talk::new();
    let said = talk.say(ALICE, OPS, "/mute 1h");
    assert_eq!(said.muted["ops"], UnixNanos((START + 3600) * 1_000_000_000));
    assert!(said.texts[0].contains("Quiet here for 1h"), "{said:?}");
    assert_eq!(talk.say(ALICE, OPS, "/mute off").muted["ops"], UnixNanos(0));
    assert!(talk.say(VIEWER, OPS, "/mute 1h").muted.is_empty());
    assert!(talk.say(ALICE, ALICE, "/mute 1h").texts[0].contains("Nothing is told here"));
}

#[test]
fn what_one_may_not_see_is_not_shown() {
    let mut talk = Talk::new();
    let asked = talk.say(ALICE, OPS, "/nodes");
    let list = ["db-1", "web-1"].map(|name| node(name).summary).to_vec();
    let said = talk.heard(&asked, Answer::Nodes(list));
    assert_eq!(said.texts[0], "1 server: 1 online\n🟢 web-1 online for 1m");
    let asked = talk.say(ALICE, OPS, "/node db-1");
    assert!(talk.heard(&asked, answer("db-1")).texts[0].starts_with("There is no server"));
    let asked = talk.say(ALICE, OPS, "/who");
    let said = talk.heard(&asked, Answer::Details(vec![node("db-1")]));
    assert_eq!(said.texts[0], "Nobody is logged in, as far as you may see.");
}

#[test]
fn help_and_ids_are_for_those_who_are_known() {
    let mut talk = Talk::new();
    assert!(talk.say(ALICE, OPS, "/help@secmon_bot").texts[0].contains("/run"));
    assert!(!talk.say(VIEWER, OPS, "/help").texts[0].contains("/run"));
    assert_eq!(talk.say(ALICE, OPS, "/id").texts[0], "This chat: -100\nYou: 1");
    assert!(talk.say(ALICE, OPS, "/help@other_bot").texts.is_empty());
    assert!(talk.say(ALICE, OPS, "/unknown").texts.is_empty(), "it may be another bot's");
    assert!(talk.say(ALICE, OPS, "what a day").texts.is_empty());
}
