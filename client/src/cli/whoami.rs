//! `whoami`: who one is to the hub, and what one may do.

use clap::Args;
use secmon_protocol::ecs;

use super::{
    Common, EXIT_CODES, Failure,
    screen::{look, print, print_json},
};
use crate::render;

const EXAMPLES: &str = "\
Examples:
  secmon whoami
  secmon whoami --json | jq '.secmon.access.rules[].role'";

/// Arguments of `whoami`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub struct WhoAmIArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn whoami(args: &WhoAmIArgs, common: &Common) -> Result<u8, Failure> {
    let who = common.connect().await?.who_am_i().await?;
    if args.json {
        print_json([ecs::who_am_i(&who)])?;
    } else {
        print(&render::who_am_i(&who, &look()))?;
    }
    Ok(0)
}
