//! `list`, `show` and `commands`: what the hub knows of its nodes.

use clap::Args;
use clap_complete::ArgValueCompleter;
use secmon_protocol::{ecs, message::client::Presence};

use super::{
    Common, EXIT_CODES, Failure, complete,
    run::given::near,
    screen::{look, note, now, print, print_json},
};
use crate::render;

/// Arguments of `list`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  secmon list\n  secmon list --json | jq -r '.host.name'",
    after_long_help = format!("Examples:\n  secmon list\n  secmon list --json | jq -r '.host.name'\n\n{EXIT_CODES}")
)]
pub struct ListArgs {
    /// Print one JSON object per node
    #[arg(long)]
    json: bool,
}

/// Arguments of `show`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  secmon show web-1\n  secmon show 0199f3 --json | jq '.secmon.sessions'",
    after_long_help = format!(
        "Examples:\n  secmon show web-1\n  secmon show 0199f3 --json | jq '.secmon.sessions'\n\n{EXIT_CODES}"
    )
)]
pub struct ShowArgs {
    /// The node: its name, its id, or a beginning of its id that no other node has
    #[arg(add = ArgValueCompleter::new(complete::node))]
    node: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const COMMANDS_EXAMPLES: &str = "\
Examples:
  secmon commands web-1               labels, and which arguments each takes
  secmon commands web-1 tail          one of them in full
  secmon commands web-1 --json";

/// Arguments of `commands`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = COMMANDS_EXAMPLES,
    after_long_help = format!("{COMMANDS_EXAMPLES}\n\n{EXIT_CODES}")
)]
pub struct CommandsArgs {
    /// The node: its name, its id, or a beginning of its id that no other node has
    #[arg(add = ArgValueCompleter::new(complete::node))]
    node: String,
    /// Show this command alone, in full
    #[arg(add = ArgValueCompleter::new(complete::run_word))]
    label: Option<String>,
    /// Print one JSON object per command
    #[arg(long)]
    json: bool,
}

pub(super) async fn list(args: &ListArgs, common: &Common) -> Result<u8, Failure> {
    let nodes = common.connect().await?.list().await?;
    if nodes.is_empty() {
        note("no nodes yet; `secmon enroll NAME` prints the line to paste on the first server");
    }
    if args.json {
        print_json(nodes.iter().map(ecs::node_summary))?;
    } else {
        print(&render::list(&nodes, now(), &look()))?;
    }
    Ok(0)
}

pub(super) async fn show(args: &ShowArgs, common: &Common) -> Result<u8, Failure> {
    let node = common.connect().await?.get(&args.node).await?;
    if args.json {
        print_json([ecs::node_detail(&node)])?;
    } else {
        print(&render::show(&node, now(), &look()))?;
    }
    Ok(0)
}

pub(super) async fn commands(args: &CommandsArgs, common: &Common) -> Result<u8, Failure> {
    let node = common.connect().await?.get(&args.node).await?;
    if node.commands.is_empty() {
        let name = &node.summary.name;
        note(&match node.summary.presence {
            Presence::Online { .. } => {
                format!("{name} offers no commands; its allowlist, a file on {name} itself, adds them")
            }
            _ => format!("{name} is not connected, and no commands of it are known"),
        });
    }
    let Some(label) = &args.label else {
        if args.json {
            print_json(ecs::commands(&node.commands))?;
        } else {
            print(&render::commands(&node.commands, &look()))?;
        }
        return Ok(0);
    };
    let name = &node.summary.name;
    let Some(command) = node.commands.iter().find(|command| command.label == *label) else {
        let near = near(label, node.commands.iter().map(|command| command.label.as_str()));
        let hint = match near.as_slice() {
            [] => format!("`secmon commands {name}` lists what it offers"),
            near => format!("did you mean {}?", near.join(", ")),
        };
        return Err(Failure::Other {
            message: format!("{name} offers no command \"{label}\"; {hint}"),
            code: 1,
        });
    };
    if args.json {
        print_json(ecs::commands(std::slice::from_ref(command)))?;
    } else {
        print(&render::command(command, &look()))?;
    }
    Ok(0)
}
