//! How dialogs are drawn, and what is said to everybody alike.

use super::*;

/// A dialog's message with its keyboard: the one that stands there is changed, or a new one sent; and a question beside it where a text is wanted.
pub(super) fn draw(dialog: &Dialog, reply_to: MessageId) -> Vec<Effect> {
    let mut effects = redraw(dialog);
    if effects.is_empty() {
        effects.push(Effect::Say {
            spot: dialog.spot,
            reply_to: Some(reply_to),
            html: dialog.html(),
            markup: Some(Markup::Inline { inline_keyboard: dialog.keyboard() }),
            board: Some(dialog.id),
        });
    }
    if let Some(arg) = dialog.asked()
        && dialog.wants_text()
    {
        effects.push(prompt(dialog, Html::new().said("Answer with ").code(&arg.name), reply_to));
    }
    effects
}

pub(super) fn redraw(dialog: &Dialog) -> Vec<Effect> {
    dialog
        .board
        .map(|message| Effect::Redraw {
            chat: dialog.spot.chat,
            message,
            html: dialog.html(),
            keyboard: dialog.keyboard(),
        })
        .into_iter()
        .collect()
}

/// A message that opens an answer to itself: in a group, a bot is shown nothing but commands and answers.
pub(super) fn prompt(dialog: &Dialog, html: Html, reply_to: MessageId) -> Effect {
    let hint = dialog.asked().map(|arg| cut(&secmon_client::render::argument(arg), 60)).unwrap_or_default();
    Effect::Say {
        spot: dialog.spot,
        reply_to: Some(reply_to),
        html,
        markup: Some(Markup::ForceReply {
            force_reply: true,
            selective: true,
            input_field_placeholder: hint,
        }),
        board: None,
    }
}

/// The Cancel button of a run.
pub(crate) fn cancel_keyboard(id: Id) -> Keyboard {
    vec![vec![Button { text: "✖ Cancel".to_owned(), data: dialog::data(id, 0, Action::Cancel) }]]
}

pub(super) fn help(person: &Person) -> Html {
    let role = person.rights.role().map_or("nobody", Role::as_str);
    let mut html = Html::new()
        .said_bold("secmon")
        .said(" · you are ")
        .bold(&person.name)
        .said(&format!(", {role} here\n"));
    let running = person.rights.runs_something();
    for item in words::MENU.iter().filter(|item| running || item.command != "run") {
        html = html.said(&format!("\n/{} ", item.command)).said(item.description);
    }
    if running {
        html = html
            .said("\n\nIn one line: ")
            .code("/run web-1 tail lines=5")
            .said(". Nothing runs before you press Run.");
    }
    html
}

pub(super) fn ids(from: &From<'_>) -> Html {
    let mut html = Html::new().said("This chat: ").code(&from.spot.chat.0.to_string());
    if let Some(thread) = from.spot.thread {
        html = html.said("\nThis topic (thread): ").code(&thread.to_string());
    }
    html.said("\nYou: ").code(&from.person.id.0.to_string())
}
