//! `remove`: a node is locked out and forgotten.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use clap::Args;
use clap_complete::ArgValueCompleter;

use super::{Common, EXIT_CODES, Failure, complete, screen::note};

const EXAMPLES: &str = "\
Examples:
  secmon remove web-1
  secmon remove web-1 --yes      from a script";

/// Arguments of `remove`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub struct RemoveArgs {
    /// The node: its name, its id, or a beginning of its id that no other node has
    #[arg(add = ArgValueCompleter::new(complete::node))]
    node: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

pub(super) async fn remove(args: &RemoveArgs, common: &Common) -> Result<u8, Failure> {
    let client = common.connect().await?;
    let node = client.get(&args.node).await?.summary;
    if !args.yes {
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            let message = format!("to remove {} without being asked, say --yes", node.name);
            return Err(Failure::Other { message, code: 2 });
        }
        let _ = write!(
            io::stderr(),
            "Remove {} ({})? It is locked out at once, its state and its waiting jobs are forgotten. [y/N] ",
            node.name,
            node.id
        );
        // Nothing else goes on meanwhile; Ctrl-C ends the program as ever.
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            note("nothing was done");
            return Ok(1);
        }
    }
    // By its id: another node may have got the name meanwhile.
    let (_, name) = client.remove(&node.id.to_string()).await?;
    note(&format!("{name} is removed; `secmon enroll {name}` lets it in again"));
    Ok(0)
}
