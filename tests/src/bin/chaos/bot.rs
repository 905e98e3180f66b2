//! The bot at the end of it all: a real `secmon telegram`, killed like the others, before a Telegram that fails at times; and what of the
//! logins arrived in its chats. A node has a chat, a login is a message.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use axum::http::{HeaderMap, StatusCode};
use rand::{Rng as _, rngs::StdRng};
use secmon_testkit::{
    fake::{
        faults::Fault,
        telegram::{TOKEN, Telegram},
    },
    product::{Place, arg},
    wait::within,
};

use crate::{
    HEAL, plan,
    program::{Program, Stdout, undaunted},
    writer::logins_in,
};

/// The chat of node 0; that of the next node is one further.
const FIRST_CHAT: i64 = 9_000;
/// Logins of these are told, one message each, as soon as they come; and what says that something is missing.
const RULES: &str = "\
[notify]
defaults = false
limit = \"none\"
first_seen.enabled = false

[[notify.rules]]
type = [\"auth.accepted\", \"gap\"]
action = \"send\"
";

/// See the module.
pub(crate) struct Bot {
    pub(crate) service: Telegram,
    config: PathBuf,
    state: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    program: Option<Program>,
    chance: StdRng,
    nodes: usize,
    /// Answers that were cut, or came too late: each may be a message that comes again.
    cuts: u64,
    kills: u64,
    /// Logins that a node may report again under another id: node, from, to.
    excused: Vec<(usize, u64, u64)>,
}

/// What arrived.
#[derive(Debug, Default)]
pub(crate) struct Arrived {
    pub(crate) messages: u64,
    pub(crate) logins: u64,
    pub(crate) repeats: u64,
    pub(crate) excused: u64,
    /// What was promised and not kept.
    pub(crate) broken: Vec<String>,
}

impl Bot {
    pub(crate) fn new(seed: u64, folder: &Path, socket: &Path, nodes: usize) -> anyhow::Result<Self> {
        let chats: Vec<i64> = (0..nodes).map(chat).collect();
        let service = Telegram::start(&chats);
        let token = folder.join("bot.token");
        fs::write(&token, TOKEN)?;
        fs::set_permissions(&token, Permissions::from_mode(0o600))?;
        let mut text = format!("api = \"{}\"\ntoken_file = \"{}\"\n\n{RULES}", service.url(), arg(&token));
        for node in 0..nodes {
            let chat = chat(node);
            text.push_str(&format!(
                "\n[[chats]]\nid = {chat}\nname = \"n{node}\"\n\n[chats.notify]\n\n[[chats.notify.rules]]\nnode = \"n{node}\"\n\
                 type = \"auth.accepted\"\naction = \"send\"\n\n[[chats.notify.rules]]\ntype = \"auth.*\"\naction = \"drop\"\n"
            ));
        }
        let config = folder.join("telegram.toml");
        fs::write(&config, text)?;
        Ok(Self {
            service,
            config,
            state: folder.join("bot"),
            socket: socket.to_owned(),
            log: folder.join("bot.log"),
            program: None,
            chance: plan::chance(seed, "service", 0),
            nodes,
            cuts: 0,
            kills: 0,
            excused: Vec::new(),
        })
    }

    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        ensure!(self.program.is_none(), "the bot runs already");
        let mut command = Place::Here.secmon();
        command.args(["telegram", "--config", arg(&self.config), "--state-dir", arg(&self.state)]);
        command.args(["--socket", arg(&self.socket)]);
        self.program = Some(Program::start(&mut undaunted(&command), &self.log, &Stdout::Log)?);
        Ok(())
    }

    /// Waits until it follows the hub.
    pub(crate) fn wait(&self) -> anyhow::Result<()> {
        within(HEAL, || self.log().contains("following the hub").then_some(()))
            .with_context(|| format!("the bot does not follow the hub\n{}", self.log()))
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut program) = self.program.take() {
            program.kill();
            self.kills += 1;
        }
    }

    /// How it ended, if it did so by itself.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let ended = self.program.as_mut()?.ended()?;
        self.program = None;
        let log = self.log();
        let last: String = log.lines().last().unwrap_or_default().chars().take(300).collect();
        Some(format!("{ended} ({last})"))
    }

    pub(crate) fn log(&self) -> String {
        fs::read(&self.log).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }

    /// The next few messages have a fault each.
    pub(crate) fn harm(&mut self) -> String {
        let faults = self.chance.random_range(1..4);
        let mut done = Vec::new();
        for _ in 0..faults {
            let (word, fault) = match self.chance.random_range(0..6) {
                0 => ("429", too_many(self.chance.random_range(1..3))),
                1 => (
                    "500",
                    answer(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        "{\"ok\":false,\"error_code\":500,\"description\":\"Internal Server Error\"}",
                    ),
                ),
                2 => ("502", answer(StatusCode::BAD_GATEWAY, "<html>bad gateway</html>")),
                3 => ("cut", Fault::Cut),
                4 => ("slow", Fault::Slow(Duration::from_millis(self.chance.random_range(50..1_500)))),
                _ => {
                    self.cuts += 1;
                    ("cut answer", Fault::CutAnswer)
                }
            };
            self.service.faults.next("/sendMessage", fault);
            done.push(word);
        }
        done.join(", ")
    }

    /// It is left alone from now on.
    pub(crate) fn spare(&self) {
        self.service.faults.clear();
    }

    /// Logins of a node from this one to that may come again.
    pub(crate) fn excuse(&mut self, node: usize, from: u64, to: u64) {
        self.excused.push((node, from, to));
    }

    /// Whether the last login of every node has arrived.
    pub(crate) fn has(&self, last: &[u64]) -> bool {
        last.iter().enumerate().all(|(node, last)| self.logins(node).contains(last))
    }

    /// The messages of a node's chat, in their order.
    fn texts(&self, node: usize) -> Vec<String> {
        self.service.messages(chat(node)).into_iter().map(|message| message.text).collect()
    }

    fn logins(&self, node: usize) -> Vec<u64> {
        self.texts(node).iter().flat_map(|text| logins_in(text, node)).collect()
    }

    /// What arrived, and what of that is wrong. `told` says whether records of nodes are missing by the hub's own word.
    pub(crate) fn judge(&self, last: &[u64], told: bool) -> Arrived {
        let mut arrived = Arrived::default();
        for (node, last) in last.iter().enumerate().take(self.nodes) {
            let texts = self.texts(node);
            arrived.messages += texts.len() as u64;
            let mut next = 1;
            for number in texts.iter().flat_map(|text| logins_in(text, node)) {
                if number < next {
                    arrived.repeats += 1;
                    let excused =
                        |(of, from, to): &(usize, u64, u64)| *of == node && (*from..=*to).contains(&number);
                    arrived.excused += u64::from(self.excused.iter().any(excused));
                    continue;
                }
                arrived.logins += 1;
                if number > next && !told {
                    arrived.broken.push(format!("login {next} to {} of n{node} came to no chat", number - 1));
                }
                next = number + 1;
            }
            if next <= *last {
                arrived.broken.push(format!("login {next} to {last} of n{node} came to no chat by the end"));
            }
        }
        // A message each was in flight, in each chat, when the bot was killed or an answer was cut.
        let may = self.cuts + self.kills * self.nodes as u64;
        if arrived.repeats - arrived.excused > may {
            arrived.broken.push(format!(
                "{} messages came again, of which {} may for what a node told again, and {may} for what was in flight",
                arrived.repeats, arrived.excused
            ));
        }
        arrived
    }
}

fn chat(node: usize) -> i64 {
    FIRST_CHAT + i64::try_from(node).unwrap_or(0)
}

fn answer(status: StatusCode, body: &str) -> Fault {
    Fault::Answer { status, headers: HeaderMap::new(), body: body.to_owned() }
}

/// As <https://core.telegram.org/bots/api#responseparameters> has it.
fn too_many(seconds: u64) -> Fault {
    let body = format!(
        "{{\"ok\":false,\"error_code\":429,\"description\":\"Too Many Requests: retry after {seconds}\",\
         \"parameters\":{{\"retry_after\":{seconds}}}}}"
    );
    answer(StatusCode::TOO_MANY_REQUESTS, &body)
}
