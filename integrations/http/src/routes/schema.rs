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

/// Some events, and where the next question begins.
#[derive(Serialize, ToSchema)]
pub(super) struct Events {
    events: Vec<Event>,
    /// A cursor: give it as `after`.
    #[schema(example = "0199aa00bb11cc22-1041")]
    after: String,
}

/// Arguments and input of a run.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct With {
    /// Each a text, a whole number, true or false.
    #[schema(value_type = Option<Object>, example = json!({ "lines": 5 }))]
    args: Value,
    /// Bytes for its standard input, in Base64.
    stdin: Option<String>,
}

/// A run that has ended.
#[derive(Serialize, ToSchema)]
pub(super) struct Ran {
    /// Its number.
    job: String,
    /// `exited`, `signalled`, `timed_out`, `cancelled`, `too_much_output` or `failed`.
    end: String,
    /// Where it exited.
    exit_code: Option<i32>,
    /// Where a signal ended it.
    signal: Option<i32>,
    /// Where it failed.
    message: Option<String>,
    /// What it took.
    usage: Option<Usage>,
    /// What it printed, in Base64.
    stdout: String,
    /// The same of its standard error.
    stderr: String,
    /// Whether some of the output was dropped.
    truncated: bool,
}

/// What a run took.
#[derive(Serialize, ToSchema)]
pub(super) struct Usage {
    /// From start to end, in nanoseconds.
    wall_ns: u64,
    /// In the program, in nanoseconds.
    user_ns: u64,
    /// In the kernel, in nanoseconds.
    system_ns: u64,
    /// Most memory of one of its processes.
    max_rss_bytes: u64,
    /// What it printed.
    output_bytes: u64,
}

/// Where a job stands.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "for the document")]
pub(super) enum JobState {
    Queued,
    Sent,
    Running,
    Finished,
    Failed,
    Cancelled,
    Expired,
    Lost,
}

/// Jobs.
#[derive(Serialize, ToSchema)]
pub(super) struct Jobs {
    jobs: Vec<Job>,
    /// Whether there are others.
    more: bool,
}

/// A job: `secmon job show --json`.
#[derive(Serialize, ToSchema)]
pub(super) struct Job {
    host: Host,
    /// Who asked for it.
    #[schema(value_type = Object)]
    user: Value,
    /// `command.{job,label,args,…}` and `job.{state,made,started,ended,…}`.
    #[schema(value_type = Object)]
    secmon: Value,
}
