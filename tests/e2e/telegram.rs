//! `secmon telegram`: what happens is told in chats, and commands are run from there, as its users are promised.

use std::{fs::OpenOptions, io::Write as _, path::PathBuf, time::Duration};

use secmon_testkit::{
    fake::{
        faults::Fault,
        telegram::{BOT, Message, TOKEN, Telegram},
    },
    json::text,
    product::{Hub, Integration, Lab, Node, NodeSetup, Place, arg},
    wait::eventually,
};

/// How a syslog daemon writes a line by RFC 3164; the date is any, the product takes the nearest year.
const FRAME: &str = "Nov 21 03:00:00 web1 sshd[4711]: ";
const ALICE: i64 = 1001;
const VERA: i64 = 1002;
const STRANGER: i64 = 6666;
const OPS: i64 = -1_001_234;

const COMMANDS: &str = r#"
[commands.hello]
description = "Says <hello>"
run = ["echo", "hello"]

[commands.greet]
run = ["echo", "hello, {whom}", "{times}", "{loud}"]
args.whom = { type = "choice", values = ["world", "moon"] }
args.times = { type = "integer", min = 1, max = 9 }
args.loud = { type = "bool", default = false }

[commands.forbidden]
run = ["true"]

[commands.long]
run = ["seq", "1", "20000"]

[commands.ticks]
run = ["sh", "-c", "echo begun; sleep 1000 & wait"]
timeout = "10m"

[commands.flood]
run = ["sh", "-c", "i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); sleep 0.02; done"]
timeout = "10m"
"#;

/// A hub, a node whose auth log is a file, a Telegram, and a bot that is not started yet.
struct Scene {
    lab: Lab,
    hub: Hub<'static>,
    _node: Node<'static>,
    log: PathBuf,
    telegram: Telegram,
    bot: Integration<'static>,
}

impl Scene {
    fn new() -> Self {
        let lab = Lab::new();
        let log = lab.write("auth.log", "");
        let hub = Hub::start(&lab, Place::Here);
        let setup = NodeSetup::quiet(&lab).with_auth_file(&log).with_commands(COMMANDS);
        let node = Node::join(&lab, Place::Here, &hub, "web1", &setup);
        hub.wait_for_facet("web1", "auth_log", "ready");
        let telegram = Telegram::start(&[ALICE, VERA, OPS]);
        let config = format!(
            "token_file = {:?}\napi = {:?}\n\
             [[chats]]\nid = {OPS}\nname = 'ops'\n\
             [[users]]\nid = {ALICE}\nname = 'alice'\nrole = 'operator'\ncommands = ['hello', 'greet', 'long', 'ticks', 'flood']\n\
             [[users]]\nid = {VERA}\nname = 'vera'\nrole = 'viewer'\n",
            arg(&lab.secret("telegram.token", TOKEN)),
            telegram.url(),
        );
        let bot = Integration::new(&lab, &hub, "telegram", &config);
        Self { lab, hub, _node: node, log, telegram, bot }
    }

    fn start() -> Self {
        let mut scene = Self::new();
        scene.bot.start();
        scene.bot.wait_until_following();
        scene
    }

    fn login(&self, user: &str) {
        let mut file = OpenOptions::new().append(true).open(&self.log).unwrap();
        writeln!(file, "{FRAME}Accepted password for {user} from 192.0.2.9 port 50000 ssh2").unwrap();
    }

    /// Has Alice run a command in a chat, up to the question whether to run it.
    #[track_caller]
    fn confirm(&self, chat: i64, line: &str) -> Message {
        let said = self.telegram.say(ALICE, chat, line);
        self.telegram.wait_for(chat, "the question whether to run it", |message| {
            message.reply_to == Some(said) && message.button("▶ Run").is_some()
        })
    }

    /// The message when `text` is in it.
    #[track_caller]
    fn until(&self, message: &Message, text: &str) -> Message {
        self.telegram.wait_for(message.chat, &format!("{text:?} in a message"), |now| {
            now.id == message.id && now.text.contains(text)
        })
    }

    fn finished(&self) -> Vec<serde_json::Value> {
        let mut watch = self.hub.watch(&["--since", "boot", "--type", "command.finished"]);
        vec![watch.find_type("command.finished")]
    }
}

#[test]
fn a_login_is_told_in_its_chat_and_a_hostile_name_is_text_there() {
    let scene = Scene::start();
    scene.login("<b>eve</b>&amp;");
    let told = scene.telegram.wait_for_text(OPS, "<b>eve</b>&amp;");
    assert!(told.text.contains("web1") && told.html.contains("&lt;b&gt;eve"), "{told:?}");
    let output = scene.bot.process().terminate();
    assert_eq!(output.code(), 0, "{output}");
    let printed = format!("{}{}", output.out(), output.err());
    assert!(!printed.contains(TOKEN) && !printed.contains("AAF-"), "{printed}");
    assert!(scene.telegram.menus().contains(&OPS));
}

#[test]
fn a_sample_is_sent_to_each_chat_on_request() {
    let scene = Scene::new();
    let output = scene.bot.command(&["test"]);
    assert_eq!((output.code(), output.out().as_str()), (0, "ops: sent\n"), "{output}");
    assert!(!scene.telegram.messages(OPS).is_empty());
    scene.telegram.block(OPS, true);
    let output = scene.bot.command(&["test", "ops"]);
    assert_eq!(output.code(), 1, "{output}");
    assert!(output.err().contains("bot was kicked from the group chat"), "{output}");
}

#[test]
fn a_token_that_telegram_does_not_know_is_a_clear_end() {
    let mut scene = Scene::new();
    scene.lab.secret("telegram.token", "123456789:AAF-another_one");
    scene.bot.start();
    let output = scene.bot.process().wait();
    assert_eq!(output.code(), 1, "{output}");
    assert!(output.err().contains("Telegram knows no bot with this token"), "{output}");
    assert!(!output.err().contains("another_one"), "{output}");
}

#[test]
fn whoever_is_not_known_gets_nothing_and_is_logged_by_number() {
    let scene = Scene::start();
    for text in ["/start", "/nodes", "/run web1 hello", "my secret text"] {
        scene.telegram.say(STRANGER, STRANGER, text);
    }
    scene.telegram.say(ALICE, -777, "/nodes");
    // What was sent behind it is answered, so it was looked at.
    scene.telegram.say(ALICE, ALICE, "/nodes");
    scene.telegram.wait_for_text(ALICE, "web1");
    assert!(scene.telegram.messages(STRANGER).is_empty() && scene.telegram.messages(-777).is_empty());
    let err = scene.bot.process().output().err();
    let lines: Vec<&str> = err.lines().filter(|line| line.contains("user_id=6666")).collect();
    assert_eq!(lines.len(), 1, "{err}");
    assert!(!err.contains("my secret text"), "{err}");
}

#[test]
fn questions_are_answered_for_viewers_as_well() {
    let scene = Scene::start();
    for (text, answer) in [
        ("/nodes", "🟢 web1"),
        ("/node web1", "▶"),
        ("/node web2", "web2"),
        ("/who", "Nobody is logged in"),
        ("/wg", "no WireGuard peers"),
        ("/jobs", "no jobs"),
        ("/help", "alice, operator"),
        ("/id", "1001"),
    ] {
        let said = scene.telegram.say(ALICE, ALICE, text);
        scene.telegram.wait_for(ALICE, &format!("an answer to {text}"), |message| {
            message.reply_to == Some(said) && message.text.contains(answer)
        });
    }
    scene.telegram.say(VERA, VERA, "/run web1 hello");
    scene.telegram.wait_for_text(VERA, "operators");
    scene.telegram.say(ALICE, ALICE, "/run web1 forbidden");
    scene.telegram.wait_for_text(ALICE, "has no command forbidden that you may run");
}

#[test]
fn a_command_is_put_together_by_buttons_runs_and_is_named_for_who_pressed() {
    let scene = Scene::start();
    let telegram = &scene.telegram;
    let said = telegram.say(ALICE, OPS, "/run");
    let board = telegram.wait_for(OPS, "a keyboard", |message| message.reply_to == Some(said));
    let press = telegram.press(VERA, &board, "web1");
    assert!(telegram.answer_to(&press).contains("who sent the command"));
    telegram.press(ALICE, &board, "web1");
    let board = scene.until(&board, "which command?");
    assert!(board.text.contains("hello: Says <hello>") && board.button("forbidden").is_none(), "{board:?}");
    telegram.press(ALICE, &board, "greet");
    let board = scene.until(&board, "Which whom?");
    telegram.press(ALICE, &board, "moon");
    scene.until(&board, "Which times?");
    let prompt = telegram.wait_for(OPS, "a prompt", |message| message.force_reply);
    telegram.reply(ALICE, OPS, prompt.id, "12");
    let prompt = telegram.wait_for_text(OPS, "a number from 1 to 9");
    telegram.reply(ALICE, OPS, prompt.id, "3");
    let board = telegram.wait_for_text(OPS, "Which loud?");
    telegram.press(ALICE, &board, "false (default)");
    let board = scene.until(&board, "Run it?");
    assert!(
        board.text.starts_with("Run greet on web1\nwhom = moon\ntimes = 3\nloud = false (default)\n"),
        "{board:?}"
    );
    telegram.press(ALICE, &board, "▶ Run");
    let ended = scene.until(&board, "exited with 0");
    assert!(ended.text.contains("hello, moon 3 false") && ended.buttons.is_empty(), "{ended:?}");
    let finished = &scene.finished()[0];
    let agent = finished.to_string();
    assert!(agent.contains("secmon-telegram 0.1.0 (alice 1001)"), "{finished:#}");
    assert_eq!(text(finished, "secmon.command.label"), "greet");
}

#[test]
fn long_output_comes_as_a_file_with_its_end_in_view() {
    let scene = Scene::start();
    let board = scene.confirm(ALICE, "/run web1 long");
    scene.telegram.press(ALICE, &board, "▶ Run");
    let ended = scene.until(&board, "exited with 0");
    assert!(ended.text.ends_with("\n19999\n20000"), "{ended:?}");
    let file = scene.telegram.wait_for(ALICE, "a file", |message| message.file.is_some());
    let (name, data) = file.file.unwrap();
    let whole: String = (1..=20_000).map(|n| format!("{n}\n")).collect();
    assert_eq!((name.as_str(), String::from_utf8(data).unwrap() == whole), ("web1-long.txt", true));
    assert_eq!(file.reply_to, Some(board.id));
}

#[test]
fn output_is_shown_as_it_comes_within_telegrams_limits() {
    let scene = Scene::start();
    scene.telegram.enforce_limits();
    let board = scene.confirm(OPS, "/run web1 flood");
    scene.telegram.press(ALICE, &board, "▶ Run");
    let during = scene.telegram.wait_for(OPS, "output while it runs", |message| {
        message.id == board.id && message.text.contains("running for") && message.text.contains("line ")
    });
    assert!(during.button("✖ Cancel").is_some(), "{during:?}");
    let ended = scene.until(&board, "exited with 0");
    assert!(ended.text.contains("line 399"), "{ended:?}");
    assert_eq!(scene.telegram.violations(), 0);
}

#[test]
fn cancel_ends_what_runs_on_the_node() {
    let scene = Scene::start();
    let board = scene.confirm(ALICE, "/run web1 ticks");
    scene.telegram.press(ALICE, &board, "▶ Run");
    let running = scene.until(&board, "begun");
    scene.telegram.press(ALICE, &running, "✖ Cancel");
    let ended = scene.until(&board, "was cancelled");
    assert!(ended.buttons.is_empty() && ended.text.contains("begun"), "{ended:?}");
    assert_eq!(text(&scene.finished()[0], "secmon.command.end"), "cancelled");
    let cancel = running.button("✖ Cancel").unwrap();
    let press = scene.telegram.press_data(ALICE, &ended, &cancel.data);
    assert_eq!(scene.telegram.answer_to(&press), "It is over already.");
}

#[test]
fn a_bot_that_is_killed_in_mid_run_says_so_later_and_repeats_nothing() {
    let mut scene = Scene::start();
    let board = scene.confirm(ALICE, "/run web1 ticks");
    scene.telegram.press(ALICE, &board, "▶ Run");
    scene.until(&board, "begun");
    let stale = scene.confirm(ALICE, "/run web1 hello");
    scene.bot.process().kill();
    let late = scene.telegram.said_before(ALICE, ALICE, "/run web1 hello", Duration::from_secs(3600));
    let now = scene.telegram.say(ALICE, ALICE, "/nodes");
    scene.bot.start();
    let ended = scene.until(&board, "was restarted while this ran");
    assert!(ended.buttons.is_empty(), "{ended:?}");
    let told =
        scene.telegram.wait_for(ALICE, "a word on the old command", |message| message.reply_to == Some(late));
    assert!(told.text.contains("not run"), "{told:?}");
    scene
        .telegram
        .wait_for(ALICE, "an answer to what came meanwhile", |message| message.reply_to == Some(now));
    let press = scene.telegram.press(ALICE, &stale, "▶ Run");
    assert!(scene.telegram.answer_to(&press).contains("before a restart"));
    let finished = scene.finished();
    assert_eq!(text(&finished[0], "secmon.command.end"), "cancelled", "the hub ended it with its client");
}

#[test]
fn a_bot_that_is_stopped_says_so_in_the_message_of_what_runs() {
    let scene = Scene::start();
    let board = scene.confirm(ALICE, "/run web1 ticks");
    scene.telegram.press(ALICE, &board, "▶ Run");
    scene.until(&board, "begun");
    assert_eq!(scene.bot.process().terminate().code(), 0);
    let ended = scene.telegram.message(ALICE, board.id).unwrap();
    assert!(ended.text.contains("The bot was stopped") && ended.buttons.is_empty(), "{ended:?}");
}

#[test]
fn a_hub_that_goes_away_is_said_and_what_ran_is_not_taken_for_ended_well() {
    let scene = Scene::start();
    let board = scene.confirm(ALICE, "/run web1 ticks");
    scene.telegram.press(ALICE, &board, "▶ Run");
    scene.until(&board, "begun");
    scene.hub.process().kill();
    let ended = scene.until(&board, "the connection to the hub was lost");
    assert!(ended.text.starts_with('⚠') && ended.buttons.is_empty(), "{ended:?}");
    let said = scene.telegram.say(ALICE, ALICE, "/nodes");
    let told = scene.telegram.wait_for(ALICE, "an answer", |message| message.reply_to == Some(said));
    assert!(told.text.contains("the hub cannot be reached") && !told.text.contains('/'), "{told:?}");
}

#[test]
fn what_telegram_does_not_take_now_comes_later_and_once() {
    let scene = Scene::start();
    scene.telegram.too_many("sendMessage", 1, 1);
    scene.telegram.faults.next("getUpdates", Fault::Cut);
    let gateway =
        Fault::Answer { status: 502.try_into().unwrap(), headers: Default::default(), body: "<html>".into() };
    scene.telegram.faults.next("sendMessage", gateway);
    let said = scene.telegram.say(ALICE, ALICE, "/nodes");
    scene.telegram.wait_for(ALICE, "an answer", |message| message.reply_to == Some(said));
    scene.login("bob");
    scene.telegram.wait_for_text(OPS, "bob");
    scene.telegram.say(ALICE, ALICE, "/id");
    scene.telegram.wait_for_text(ALICE, "This chat");
    let answers =
        scene.telegram.messages(ALICE).iter().filter(|message| message.reply_to == Some(said)).count();
    assert_eq!(answers, 1);
}

#[test]
fn a_chat_that_blocks_the_bot_is_set_aside_with_a_reason_and_the_rest_goes_on() {
    let scene = Scene::start();
    scene.telegram.block(OPS, true);
    scene.login("bob");
    eventually("the message to be set aside", || {
        let failed = scene.bot.notify(&["failed"]);
        (failed.out().contains("bot was kicked from the group chat") && failed.out().contains("bob"))
            .then_some(())
    });
    scene.telegram.say(ALICE, ALICE, "/nodes");
    scene.telegram.wait_for_text(ALICE, "web1");
    scene.telegram.block(OPS, false);
    let retried = scene.bot.notify(&["retry", "--all"]);
    assert_eq!(retried.code(), 0, "{retried}");
    scene.telegram.wait_for_text(OPS, "bob");
}

#[test]
fn a_group_that_becomes_a_supergroup_is_followed() {
    let scene = Scene::start();
    scene.telegram.migrate(OPS, -1_009_999);
    scene.login("bob");
    scene.telegram.wait_for_text(-1_009_999, "bob");
    scene.bot.process().wait_for_log("what to do", |line| {
        line.contains("new_id=-1009999") && line.contains("configuration")
    });
    let said = scene.telegram.say(ALICE, -1_009_999, &format!("/nodes@{BOT}"));
    scene.telegram.wait_for(-1_009_999, "an answer", |message| message.reply_to == Some(said));
}

#[test]
fn a_muted_chat_is_quiet() {
    let scene = Scene::start();
    scene.telegram.say(ALICE, OPS, "/mute 1h");
    scene.telegram.wait_for_text(OPS, "Quiet here for 1h");
    scene.login("bob");
    scene.telegram.say(ALICE, OPS, "/mute off");
    scene.telegram.wait_for_text(OPS, "Not quiet any more");
}
