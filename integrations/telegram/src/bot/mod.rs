//! The task that owns the conversations: it takes updates over from Telegram, has them looked at by the pure [`core`], and has done what comes
//! out, in tasks of their own: one per update, one per running command. The queue to it is bounded, and so are the tasks.

mod ask;
pub(crate) mod core;
mod dialog;
mod inbox;
mod run;
mod show;
mod view;
mod words;

use std::{collections::HashMap, path::Path, time::Duration};

use secmon_notify::run::Handle;
use secmon_protocol::time::UnixNanos;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

pub use self::inbox::InboxError;
use self::{
    ask::Hub,
    core::{Answer, Ask, Core, Effect, Order, Slot},
    dialog::Id,
    inbox::{Inbox, Shown},
    run::Signals,
    view::Kept,
};
use crate::{
    api::{Api, ApiError, ChatId, MessageId, Outgoing, Spot, Update},
    patience::{Patience, jittered, patiently},
    text::Html,
};

/// Updates that are worked on side by side; while there are as many, no more are taken from Telegram, which keeps them.
const MAX_TASKS: usize = 64;
/// Messages of tasks to their owner: two of each at most wait.
const QUEUE: usize = 2 * MAX_TASKS;
/// How long tasks may take to end when the bot does: a run has a few seconds to say so.
const DRAIN_WITHIN: Duration = Duration::from_secs(8);
/// After another program has taken our updates.
const CONFLICT_PAUSE: Duration = Duration::from_secs(30);
/// First and longest pause where Telegram cannot be reached.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What tasks tell their owner.
#[derive(Debug)]
enum Told {
    /// Our name.
    Named(String),
    /// Updates, and who waits for them to be taken over, for the number behind the last.
    Updates(Vec<Update>, oneshot::Sender<i64>),
    /// A message has an id.
    Sent(Id, Slot, MessageId),
    /// The hub has answered, for an update.
    Heard(Option<i64>, Box<Ask>, Box<Answer>),
    /// An update is done with.
    Done(Option<i64>),
    /// A run ended; whether its message says so.
    RunOver(Id, bool),
    /// Telegram will never have us.
    Fatal(ApiError),
}

/// Why the bot ends by itself.
#[derive(Debug, thiserror::Error)]
pub enum BotError {
    /// Telegram does not want us.
    #[error("{0}")]
    Telegram(String),
    /// What must be kept cannot be.
    #[error(transparent)]
    Inbox(#[from] InboxError),
}

/// What tasks share.
#[derive(Debug, Clone)]
struct Shared {
    api: Api,
    hub: Hub,
    notify: Option<Handle>,
    told: mpsc::Sender<Told>,
    stop: CancellationToken,
}

/// The bot, not running yet.
#[derive(Debug)]
pub(crate) struct Bot {
    shared: Shared,
    inbox: Inbox,
    core: Core,
    inputs: mpsc::Receiver<Told>,
    tasks: JoinSet<()>,
    runs: HashMap<Id, CancellationToken>,
    /// Whose menus are set.
    menus: Vec<ChatId>,
}

/// What a bot is made of.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) api: Api,
    pub(crate) socket: std::path::PathBuf,
    pub(crate) agent: String,
    pub(crate) state_dir: &'a Path,
    pub(crate) notify: Option<Handle>,
    pub(crate) access: crate::access::Access,
    pub(crate) destinations: Vec<(Spot, String)>,
}

fn now() -> UnixNanos {
    let now = jiff::Timestamp::now().as_nanosecond();
    UnixNanos(i64::try_from(now).unwrap_or(i64::MAX))
}

impl Bot {
    pub(crate) fn new(parts: Parts<'_>, stop: CancellationToken) -> Result<Self, BotError> {
        let (told, inputs) = mpsc::channel(QUEUE);
        let menus = parts.access.spoken_in();
        let hub = Hub { socket: parts.socket, agent: parts.agent };
        Ok(Self {
            shared: Shared { api: parts.api, hub, notify: parts.notify, told, stop },
            inbox: Inbox::open(parts.state_dir)?,
            core: Core::new(parts.access, parts.destinations, rand::random()),
            inputs,
            tasks: JoinSet::new(),
            runs: HashMap::new(),
            menus,
        })
    }

    /// Works until it is stopped.
    pub(crate) async fn run(mut self) -> Result<(), BotError> {
        let stop = self.shared.stop.clone();
        let offset = self.inbox.offset();
        self.tasks.spawn(poll(self.shared.clone(), offset, std::mem::take(&mut self.menus)));
        for shown in self.inbox.runs() {
            self.tasks.spawn(was_interrupted(self.shared.clone(), shown));
        }
        for update in self.inbox.open_updates() {
            self.take(&update)?;
        }
        let result = loop {
            tokio::select! {
                () = stop.cancelled() => break Ok(()),
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a task of the bot has failed");
                    }
                }
                Some(told) = self.inputs.recv() => {
                    if let Err(error) = self.told(told) {
                        break Err(error);
                    }
                }
            }
        };
        stop.cancel();
        self.drain().await;
        result
    }

    /// Lets tasks come to their end, and hears what they say of it.
    async fn drain(&mut self) {
        let deadline = Instant::now() + DRAIN_WITHIN;
        while !self.tasks.is_empty() {
            tokio::select! {
                ended = timeout_at(deadline, self.tasks.join_next()) => {
                    if ended.is_err() {
                        tracing::warn!(tasks = self.tasks.len(), "the bot ends before what it was at");
                        break;
                    }
                }
                Some(told) = self.inputs.recv() => {
                    if let Told::RunOver(id, true) = told {
                        // It is shown as interrupted by the next start if this fails.
                        let _ = self.inbox.ended(id);
                    } else if let Told::Done(Some(update)) = told {
                        let _ = self.inbox.answered(update);
                    }
                }
            }
        }
        while let Ok(told) = self.inputs.try_recv() {
            if let Told::RunOver(id, true) = told {
                let _ = self.inbox.ended(id);
            }
        }
    }

    fn told(&mut self, told: Told) -> Result<(), BotError> {
        match told {
            Told::Named(name) => self.core.named(name),
            Told::Updates(updates, taken) => {
                for update in self.inbox.take(updates)? {
                    self.take(&update)?;
                }
                // The poller is gone only when we end.
                let _ = taken.send(self.inbox.offset());
            }
            Told::Sent(id, slot, message) => self.core.sent(id, slot, message),
            Told::Heard(update, ask, answer) => {
                let effects = self.core.heard(&ask, *answer, now());
                self.perform(update, effects)?;
            }
            Told::Done(Some(update)) => self.inbox.answered(update)?,
            Told::Done(None) => {}
            Told::RunOver(id, is_shown) => {
                self.core.run_over(id);
                self.runs.remove(&id);
                if is_shown {
                    self.inbox.ended(id)?;
                }
            }
            Told::Fatal(error) => return Err(BotError::Telegram(error.to_string())),
        }
        Ok(())
    }

    fn take(&mut self, update: &Update) -> Result<(), BotError> {
        let mut update = update.clone();
        let api = &self.shared.api;
        for message in update
            .message
            .iter_mut()
            .chain(update.callback_query.iter_mut().filter_map(|press| press.message.as_mut()))
        {
            message.chat.id = api.configured(message.chat.id);
            if let Some(to) = message.migrate_to_chat_id {
                api.has_moved(message.chat.id, to);
            }
        }
        let effects = self.core.handle(&update, now());
        self.perform(Some(update.update_id), effects)
    }

    /// Has effects done, in their order, and the update counted as done behind the last.
    fn perform(&mut self, update: Option<i64>, effects: Vec<Effect>) -> Result<(), BotError> {
        let mut rest = vec![];
        for effect in effects {
            match effect {
                Effect::Run(order) => self.start(update, *order)?,
                Effect::CancelRun(id) => {
                    if let Some(cancel) = self.runs.get(&id) {
                        cancel.cancel();
                    }
                }
                Effect::Stranger { user, chat } => tracing::warn!(
                    user_id = user.0,
                    chat_id = chat.0,
                    "somebody who is not in the configuration writes to the bot, and gets no answer; add the ids to [[users]] or [[chats]] if they are yours"
                ),
                other => rest.push(other),
            }
        }
        if rest.is_empty() {
            return match update {
                Some(update) => Ok(self.inbox.answered(update)?),
                None => Ok(()),
            };
        }
        self.tasks.spawn(perform(self.shared.clone(), update, rest));
        Ok(())
    }

    fn start(&mut self, update: Option<i64>, order: Order) -> Result<(), BotError> {
        let what = format!("{} on {}", order.label, order.node);
        let shown = Shown { run: order.id, spot: order.spot, message: order.message, what };
        self.inbox.starts(update, shown)?;
        let cancel = CancellationToken::new();
        self.runs.insert(order.id, cancel.clone());
        tracing::info!(
            user = order.person.name,
            user_id = order.person.id.0,
            node = order.node,
            command = order.label,
            "a command is run"
        );
        let shared = self.shared.clone();
        self.tasks.spawn(async move {
            let signals = Signals { cancel, stop: shared.stop.clone() };
            let is_shown = Box::pin(run::run(&order, &shared.api, &shared.hub, &signals)).await;
            shared.tell(Told::RunOver(order.id, is_shown)).await;
        });
        Ok(())
    }
}

impl Shared {
    async fn tell(&self, told: Told) {
        // The owner is gone only when everything ends.
        let _ = self.told.send(told).await;
    }
}

/// Does what is to be done for one update.
async fn perform(shared: Shared, update: Option<i64>, effects: Vec<Effect>) {
    let mut is_done = true;
    for effect in effects {
        if let Effect::Ask(ask) = effect {
            let answer = Box::pin(shared.hub.answer(&ask)).await;
            shared.tell(Told::Heard(update, ask, Box::new(answer))).await;
            is_done = false;
        } else if let Err(error) = Box::pin(one(&shared, effect)).await {
            tracing::warn!(%error, "an answer could not be given");
        }
    }
    // What is cut off by our end is answered after the next start.
    if is_done && !shared.stop.is_cancelled() {
        shared.tell(Told::Done(update)).await;
    }
}

async fn one(shared: &Shared, effect: Effect) -> Result<(), ApiError> {
    let (api, stop) = (&shared.api, &shared.stop);
    match effect {
        Effect::Say { spot, reply_to, html, markup, slot } => {
            let mut message = Outgoing::new(html);
            (message.markup, message.reply_to) = (markup, reply_to);
            let id = patiently(Patience::Some, stop, || api.send(spot, &message)).await?;
            if let Some((dialog, slot)) = slot {
                shared.tell(Told::Sent(dialog, slot, id)).await;
            }
            Ok(())
        }
        Effect::Redraw { chat, message, html, keyboard } => {
            match patiently(Patience::Some, stop, || api.edit(chat, message, &html, &keyboard)).await {
                // Whoever deleted it does not miss it.
                Err(ApiError::Vanished) => Ok(()),
                other => other,
            }
        }
        Effect::Answer { press, words } => match api.answer_press(&press, words.as_deref()).await {
            // Telegram forgets a press after a while, and then nobody waits for the answer.
            Err(ApiError::Refused { .. }) => Ok(()),
            other => other,
        },
        Effect::Output { person, spot, job } => {
            let mut kept = Kept::default();
            let read = shared.hub.job_output(&person, &job, |data| kept.push(data)).await;
            let html = match read {
                Ok(()) => Html::new(),
                Err(why) => Html::new().said("⚠️ ").text(&why),
            };
            let (html, file) = kept.below(html);
            if !html.is_empty() {
                let message = Outgoing::new(html);
                patiently(Patience::Some, stop, || api.send(spot, &message)).await?;
            }
            if file {
                run::send_file(api, spot, &format!("job-{job}.txt"), &kept, None, stop).await;
            }
            Ok(())
        }
        Effect::Mute { destination, until } => {
            if let Some(notify) = &shared.notify {
                notify.mute(&destination, until).await;
            }
            Ok(())
        }
        // These are their owner's.
        Effect::Ask(_) | Effect::Run(_) | Effect::CancelRun(_) | Effect::Stranger { .. } => Ok(()),
    }
}

/// A message that says of a command that it runs, from before a restart.
async fn was_interrupted(shared: Shared, shown: Shown) {
    let html = Html::new().said("⚠️ ").code(&shown.what).said(
        "\nThe bot was restarted while this ran, and with that it was ended. What it printed is not known.",
    );
    let keyboard = vec![];
    let edit = || shared.api.edit(shown.spot.chat, shown.message, &html, &keyboard);
    let result = patiently(Patience::Long, &shared.stop, edit).await;
    let is_shown = result.as_ref().err().is_none_or(|error| error.again_after().is_none());
    shared.tell(Told::RunOver(shown.run, is_shown)).await;
}

/// Takes updates from Telegram, for ever.
async fn poll(shared: Shared, mut offset: i64, menus: Vec<ChatId>) {
    let (mut pause, mut failing, mut known) = (PAUSE, false, false);
    while !shared.stop.is_cancelled() {
        let step = async {
            if !known {
                let me = shared.api.get_me().await?;
                let name = me.username.unwrap_or_default();
                tracing::info!(bot = name, "connected to Telegram");
                shared.tell(Told::Named(name)).await;
            }
            Ok::<_, ApiError>(if known { shared.api.get_updates(offset).await? } else { vec![] })
        };
        let result = tokio::select! {
            result = step => result,
            () = shared.stop.cancelled() => return,
        };
        let wait = match result {
            Ok(updates) => {
                if !known {
                    known = true;
                    set_menus(&shared, &menus).await;
                }
                if failing {
                    tracing::info!("Telegram can be reached again");
                }
                (failing, pause) = (false, PAUSE);
                if !updates.is_empty() {
                    let (taken, then) = oneshot::channel();
                    shared.tell(Told::Updates(updates, taken)).await;
                    match then.await {
                        Ok(next) => offset = next,
                        Err(_) => return,
                    }
                }
                continue;
            }
            Err(error @ ApiError::Token) => return shared.tell(Told::Fatal(error)).await,
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "no updates from Telegram; trying again");
                    failing = true;
                }
                match error {
                    ApiError::Conflict { .. } => CONFLICT_PAUSE,
                    ApiError::Busy { after } => after,
                    _ => {
                        let wait = jittered(pause);
                        pause = (pause * 2).min(LONGEST_PAUSE);
                        wait
                    }
                }
            }
        };
        tokio::select! {
            () = sleep(wait) => {}
            () = shared.stop.cancelled() => return,
        }
    }
}

/// Shows the commands in the menus of those chats alone that may use them. A chat that has never spoken with the bot has none.
async fn set_menus(shared: &Shared, chats: &[ChatId]) {
    for chat in chats {
        if let Err(error) = shared.api.set_commands(*chat, &words::MENU).await {
            tracing::debug!(%error, chat_id = chat.0, "the menu of a chat is not set");
        }
    }
}
