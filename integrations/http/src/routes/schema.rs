//! What the OpenAPI document says of bodies. The objects themselves are made by `protocol::ecs`; these types are for the
//! document alone. Further fields may come with every release, so nothing says that there are none.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// Where a node is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "for the document")]
pub(super) enum Status {
    /// Connected.
    Online,
    /// Not connected.
    Away,
    /// Enrolled, and never seen.
    Expected,
}

/// Nodes.
#[derive(Serialize, ToSchema)]
pub(super) struct Nodes {
    nodes: Vec<Node>,
}

/// A node: `secmon list --json`.
#[derive(Serialize, ToSchema)]
pub(super) struct Node {
    host: Host,
    /// `status`, `since`, `agent`, `address`, `clock_offset_ns`, `command_count`, `facets` and others; docs/protocol.md.
    #[schema(value_type = Object)]
    secmon: Value,
}

/// A node with its whole state: `secmon show --json`.
#[derive(Serialize, ToSchema)]
pub(super) struct NodeDetail {
    host: Host,
    /// As in the list, and `sessions`, `wg_peers`, `auth_log`, `commands`.
    #[schema(value_type = Object)]
    secmon: Value,
}

/// A server, in ECS.
#[derive(Serialize, ToSchema)]
pub(super) struct Host {
    /// The node's id.
    #[schema(example = "0199aa00-bb11-7c22-8d33-44ee55ff6677")]
    id: String,
    /// The node's name.
    #[schema(example = "web1")]
    name: String,
}

/// Commands.
#[derive(Serialize, ToSchema)]
pub(super) struct Commands {
    commands: Vec<Command>,
}

/// An entry of a node's allowlist: `secmon commands --json`.
#[derive(Serialize, ToSchema)]
pub(super) struct Command {
    /// By which it is run.
    label: String,
    /// For people.
    description: Option<String>,
    /// What it takes.
    args: Vec<CommandArg>,
    /// How long it may run, in milliseconds.
    timeout_ms: u64,
    /// How much it may print, in bytes.
    max_output_bytes: Option<u64>,
    /// How many may run side by side.
    concurrency: Option<u32>,
    /// Whether it reads input.
    stdin: bool,
}

/// An argument.
#[derive(Serialize, ToSchema)]
pub(super) struct CommandArg {
    /// Its name.
    name: String,
    /// For people.
    description: Option<String>,
    /// `integer` (with `min`, `max`), `choice` (`values`), `string` (`pattern`, `min_length`, `max_length`), `bool` or
    /// `path` (`below`).
    #[serde(rename = "type")]
    kind: String,
    /// What is taken where none is given.
    default: Option<String>,
}

/// An event in ECS: `secmon watch --json`.
#[derive(Serialize, ToSchema)]
pub(super) struct Event {
    /// When it happened.
    #[serde(rename = "@timestamp")]
    timestamp: String,
    /// `kind`, `id`, `sequence`, `category`, `type`, `action`, `outcome`.
    #[schema(value_type = Object)]
    event: Value,
    /// `type`, `cursor`, and what ECS has no name for.
    #[schema(value_type = Object)]
    secmon: Value,
}
