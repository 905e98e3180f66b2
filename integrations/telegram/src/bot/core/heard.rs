//! What becomes of the hub's answers.

use super::*;

impl Core {
    /// The hub's answer.
    #[must_use]
    pub(crate) fn heard(&mut self, ask: &Ask, answer: Answer, now: UnixNanos) -> Vec<Effect> {
        if let Some((id, args, label)) = &ask.dialog {
            return self.heard_for_dialog(ask, *id, args, label.as_deref(), answer);
        }
        let rights = &ask.person.rights;
        let mut also = None;
        let html = match answer {
            Answer::Failed(reason) => failed(&reason),
            Answer::Nodes(mut nodes) => {
                nodes.retain(|node| rights.sees(node.name.as_str()));
                show::nodes(&nodes, now)
            }
            Answer::Details(mut details) => {
                details.retain(|node| rights.sees(node.summary.name.as_str()));
                match ask.question {
                    Question::Wg(_) => show::wg(&details, now),
                    _ => show::who(&details, now),
                }
            }
            Answer::Node(node) if !rights.sees(node.summary.name.as_str()) => {
                unseen(node.summary.name.as_str())
            }
            Answer::Node(node) => {
                let name = node.summary.name.as_str();
                show::node(&node, |label| rights.runs(name, label), now)
            }
            Answer::Jobs(mut jobs, more) => {
                jobs.retain(|job| rights.sees(job.name.as_str()));
                show::jobs(&jobs, more, now)
            }
            Answer::Job(job) if !rights.sees(job.name.as_str()) => Html::new().said("There is no such job."),
            Answer::Job(job) => {
                if job.output > 0 && rights.runs(job.name.as_str(), &job.run.label) {
                    let (person, spot) = (ask.person.clone(), ask.spot);
                    also = Some(Effect::Output { person, spot, job: job.run.job.to_string() });
                }
                show::job(&job, now)
            }
        };
        let reply =
            Effect::Say { spot: ask.spot, reply_to: Some(ask.reply_to), html, markup: None, board: None };
        [reply].into_iter().chain(also).collect()
    }

    fn heard_for_dialog(
        &mut self,
        ask: &Ask,
        id: Id,
        args: &[Arg],
        label: Option<&str>,
        answer: Answer,
    ) -> Vec<Effect> {
        let Some(dialog) = self.dialogs.get_mut(&id) else { return vec![] };
        let rights = &ask.person.rights;
        let board = dialog.board;
        let end = |html: Html| match board {
            Some(message) => vec![Effect::Redraw { chat: ask.spot.chat, message, html, keyboard: vec![] }],
            None => vec![Effect::Say {
                spot: ask.spot,
                reply_to: Some(ask.reply_to),
                html,
                markup: None,
                board: None,
            }],
        };
        let stage = match answer {
            Answer::Nodes(nodes) => {
                let online = |node: &&NodeSummary| {
                    matches!(node.presence, Presence::Online { .. }) && node.commands > 0
                };
                let names: Vec<String> = nodes
                    .iter()
                    .filter(|node| rights.runs_on(node.name.as_str()))
                    .filter(online)
                    .map(|node| node.name.to_string())
                    .collect();
                match names.is_empty() {
                    true => Err(Html::new().said("No server is online that has commands which you may run.")),
                    false => Ok(Stage::Node { names }),
                }
            }
            Answer::Node(node) => labels(&node, &ask.person, label, args, dialog),
            Answer::Failed(reason) => Err(failed(&reason)),
            Answer::Details(_) | Answer::Jobs(..) | Answer::Job(_) => {
                Err(failed("that was not an answer to this"))
            }
        };
        match stage {
            Err(html) => {
                let effects = end(html);
                self.dialogs.remove(&id);
                effects
            }
            Ok(stage) => {
                // A command that was chosen by name has moved the dialog on already.
                if stage != Stage::Waiting {
                    dialog.to(stage);
                }
                draw(dialog, ask.reply_to)
            }
        }
    }
}

/// What follows when a node is known: its commands to choose from, or, where one was named, that one ([`Stage::Waiting`]: the dialog is there already).
fn labels(
    node: &NodeDetail,
    person: &Person,
    label: Option<&str>,
    args: &[Arg],
    dialog: &mut Dialog,
) -> Result<Stage, Html> {
    let name = node.summary.name.as_str();
    if !person.rights.sees(name) {
        return Err(unseen(name));
    }
    if !matches!(node.summary.presence, Presence::Online { .. }) {
        return Err(Html::new().bold(name).said(" is away: nothing can be run there now."));
    }
    let commands: Vec<CommandInfo> =
        node.commands.iter().filter(|info| person.rights.runs(name, &info.label)).cloned().collect();
    let Some(label) = label else {
        return match commands.is_empty() {
            true => Err(Html::new().bold(name).said(" has no command that you may run.")),
            false => Ok(Stage::Label { node: name.to_owned(), commands }),
        };
    };
    let Some(info) = commands.iter().find(|info| info.label == label) else {
        let near = given::near(label, commands.iter().map(|info| info.label.as_str()));
        let html = Html::new().bold(name).said(" has no command ").code(label).said(" that you may run");
        return Err(match near.first() {
            Some(near) => html.said("; did you mean ").code(near).said("?"),
            None => html.said("; /node and its name lists them."),
        });
    };
    // What is missing is asked for; what is wrong is said.
    for arg in args {
        let one = std::slice::from_ref(arg);
        let known = info.args.iter().find(|known| known.name == arg.name);
        let wrong = match known {
            Some(known) => given::value(&known.kind, &arg.value)
                .err()
                .map(|allowed| format!("{}={} is not allowed: {allowed}", arg.name, arg.value)),
            None => given::check(info, one).err(),
        };
        if let Some(wrong) = wrong {
            return Err(Html::new().text(&wrong));
        }
    }
    dialog.chose(name.to_owned(), info.clone(), args.to_vec(), true);
    Ok(Stage::Waiting)
}

fn failed(reason: &str) -> Html {
    Html::new().said("⚠️ ").text(reason)
}

fn unseen(node: &str) -> Html {
    Html::new().said("There is no server ").bold(node).said(", or none that you may see.")
}
