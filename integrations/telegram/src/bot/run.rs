//! One command that runs: its output shown in a message that is edited as it grows, and its end.
//!
//! While an edit is on its way nothing is read, so that a slow Telegram slows the command by its credit, and what is kept has a bound.

use std::time::Duration;

use secmon_client::{ClientError, Run, RunEvent, RunOptions};
use secmon_protocol::command::{RunEnd, Usage};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    ask::{Hub, in_words},
    core::{Order, cancel_keyboard},
    view::{self, Kept},
};
use crate::{
    api::{Api, ApiError, Keyboard, MessageId, Outgoing, Sound},
    patience::{Patience, patiently},
    text::Html,
};

/// Between two edits of a run's message: in a group 20 messages a minute are allowed, some of which others need.
const EDIT_EVERY: Duration = Duration::from_millis(2500);
const EDIT_EVERY_IN_GROUPS: Duration = Duration::from_secs(4);
/// The longest that this becomes where Telegram is slow.
const EDIT_SELDOM: Duration = Duration::from_secs(30);
/// Credit of a run, in bytes: a chat shows a few lines every few seconds.
const WINDOW: u32 = 128 << 10;
/// How long a cancelled command may take to end: the node sends TERM, waits, and then sends KILL.
const CANCEL_WITHIN: Duration = Duration::from_secs(15);
/// The same when we are stopped ourselves: the hub ends what we leave behind.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// How a run was to us.
enum Outcome {
    Ended(RunEnd, Option<Usage>),
    Broken(String),
    /// We are to end.
    Stopped,
}

/// The signals that a run heeds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signals {
    /// Somebody pressed Cancel.
    pub(crate) cancel: CancellationToken,
    /// The bot ends.
    pub(crate) stop: CancellationToken,
}

/// Runs it and shows it; true when its message shows its end.
pub(crate) async fn run(order: &Order, api: &Api, hub: &Hub, signals: &Signals) -> bool {
    let mut shown = Message { api, order, id: order.message, last: Html::new() };
    let mut kept = Kept::default();
    let first = view::running(&order.what, 0, false, &kept);
    // Nothing is started that nobody could see or cancel.
    if let Err(error) = shown.show(first, cancel_keyboard(order.id), Patience::Some, &signals.stop).await {
        tracing::warn!(%error, node = order.node, command = order.label, "a command was not started, for its message cannot be shown");
        return true;
    }
    let outcome = Box::pin(follow(order, &mut shown, hub, signals, &mut kept)).await;
    let (html, file) = match &outcome {
        Outcome::Ended(end, usage) => {
            view::ended(&order.what, end, usage.as_ref().map(|usage| usage.wall_ns), &kept)
        }
        Outcome::Broken(why) => view::broken(&order.what, why, &kept),
        Outcome::Stopped => {
            view::broken(&order.what, "The bot was stopped, and with it this was ended.", &kept)
        }
    };
    let patience = if matches!(outcome, Outcome::Stopped) { Patience::One } else { Patience::Long };
    if let Err(error) = shown.show(html, vec![], patience, &signals.stop).await {
        tracing::warn!(%error, node = order.node, command = order.label, "the end of a command could not be shown");
        // What waits for a better time is shown by the next start.
        return error.again_after().is_none();
    }
    if file {
        let name = view::file_name(&order.label, &order.node);
        send_file(api, order.spot, &name, &kept, Some(shown.id), &signals.stop).await;
    }
    true
}

/// Sends output as a file, as long as that has a prospect.
pub(crate) async fn send_file(
    api: &Api,
    spot: crate::api::Spot,
    name: &str,
    kept: &Kept,
    reply_to: Option<MessageId>,
    stop: &CancellationToken,
) {
    let file = kept.file();
    let send = || async {
        api.turn(spot.chat, Duration::from_secs(70)).await?;
        api.send_file_now(spot, name, file.clone(), reply_to).await
    };
    if let Err(error) = patiently(Patience::Some, stop, send).await {
        tracing::warn!(%error, "a file with output could not be sent");
        let words = Html::new().said("⚠️ The output could not be sent as a file: ").text(&error.to_string());
        let words = Outgoing::new(words);
        let _ = patiently(Patience::One, stop, || api.send(spot, &words)).await;
    }
}

async fn follow(
    order: &Order,
    shown: &mut Message<'_>,
    hub: &Hub,
    signals: &Signals,
    kept: &mut Kept,
) -> Outcome {
    let started = async {
        let client = hub.connect(&order.person).await?;
        let options = RunOptions { stdin: false, window: WINDOW };
        client.run(&order.node, &order.label, order.args.clone(), options).await
    };
    let mut run = match started.await {
        Ok(run) => run,
        Err(error) => return broken(&error, false),
    };
    let began = Instant::now();
    let mut every = if order.spot.chat.is_private() { EDIT_EVERY } else { EDIT_EVERY_IN_GROUPS };
    let (mut next_edit, mut news) = (began + every, false);
    let (mut is_started, mut cancelled_at) = (false, None::<Instant>);
    loop {
        let give_up = cancelled_at.map(|at| at + CANCEL_WITHIN);
        tokio::select! {
            event = run.next() => match event {
                Ok(Some(RunEvent::Started { .. })) => is_started = true,
                Ok(Some(RunEvent::Output { data, .. })) => {
                    kept.push(&data);
                    news = true;
                }
                Ok(Some(RunEvent::InputWanted)) => {}
                Ok(Some(RunEvent::Exit { end, usage })) => return Outcome::Ended(end, usage),
                Ok(None) => return Outcome::Broken("its end was not seen".to_owned()),
                Err(error) => return broken(&error, is_started),
            },
            () = sleep_until(next_edit), if news => {
                news = false;
                let html = view::running(&order.what, began.elapsed().as_secs(), cancelled_at.is_some(), kept);
                let edited = shown.edit_if_it_is_our_turn(html, cancel_keyboard(order.id)).await;
                if !edited {
                    every = (every * 2).min(EDIT_SELDOM);
                    news = true;
                }
                next_edit = Instant::now() + every;
            }
            () = signals.cancel.cancelled(), if cancelled_at.is_none() => {
                cancelled_at = Some(Instant::now());
                // A connection that is gone says so above.
                let _ = run.cancel().await;
            }
            () = sleep_until(give_up.unwrap_or(began)), if give_up.is_some() => {
                return Outcome::Broken("It was cancelled, and its node does not say that it has ended.".to_owned());
            }
            () = signals.stop.cancelled() => {
                let _ = timeout(STOP_WITHIN, drain(&mut run)).await;
                return Outcome::Stopped;
            }
        }
    }
}

/// Has it ended, and hears of that.
async fn drain(run: &mut Run) -> Result<(), ClientError> {
    run.cancel().await?;
    while run.next().await?.is_some() {}
    Ok(())
}

fn broken(error: &ClientError, is_started: bool) -> Outcome {
    let words = in_words(error);
    Outcome::Broken(match (error, is_started) {
        (ClientError::Request(_) | ClientError::Rejected(_), _) => words,
        (_, true) => format!("{words}: the command is ended with it, and what it still printed is not known"),
        (_, false) => format!("{words}: it was not started, as far as is known"),
    })
}

/// The message that shows a run.
struct Message<'a> {
    api: &'a Api,
    order: &'a Order,
    id: MessageId,
    last: Html,
}

impl Message<'_> {
    /// Shows a state for certain; where the message is gone, in a new one.
    async fn show(
        &mut self,
        html: Html,
        keyboard: Keyboard,
        patience: Patience,
        stop: &CancellationToken,
    ) -> Result<(), ApiError> {
        let (api, spot, id) = (self.api, self.order.spot, self.id);
        let edited = patiently(patience, stop, || api.edit(spot.chat, id, &html, &keyboard)).await;
        match edited {
            Err(ApiError::Vanished) => {
                let mut message = Outgoing::new(html.clone());
                message.sound = Sound::Off;
                message.markup = Some(crate::api::Markup::Inline { inline_keyboard: keyboard });
                self.id = patiently(patience, stop, || api.send(spot, &message)).await?;
            }
            other => other?,
        }
        self.last = html;
        Ok(())
    }

    /// Shows a state if Telegram would take it now; false if it is to come less often.
    async fn edit_if_it_is_our_turn(&mut self, html: Html, keyboard: Keyboard) -> bool {
        if html == self.last {
            return true;
        }
        let chat = self.order.spot.chat;
        if !self.api.try_turn(chat) {
            return false;
        }
        match self.api.edit_now(chat, self.id, &html, &keyboard).await {
            Ok(()) => {
                self.last = html;
                true
            }
            Err(error) => {
                tracing::debug!(%error, "a run's message was not edited");
                false
            }
        }
    }
}
