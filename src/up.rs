//! `secmon up`: hub and node of this machine in one process, and a watch on both. For the first look, and
//! for one machine; everything is made on the first run.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use clap::Args;
use secmon_client::{
    Client,
    cli::{self, Failure, Form},
    render,
};
use secmon_hub::{Hub, HubConfig};
use secmon_node::identity::StateDir;
use secmon_protocol::{
    facet::FacetStatus,
    ids::NodeName,
    message::client::{Filter, From as StartFrom, NodeDetail, Presence},
    time::UnixNanos,
    token::JoinToken,
};
use tokio::{io::AsyncWriteExt as _, runtime::Builder, sync::oneshot, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::LevelFilter;

use crate::{
    config::{self, Config},
    roles::{self, Failed, Places},
};

/// `up` is for one machine, so nobody else can reach it, and any port will do.
const LOOPBACK: &str = "127.0.0.1:0";
/// How long the node may take to say what it can see before the watch begins without it.
const READY: Duration = Duration::from_secs(10);
/// Between two looks whether it has.
const LOOK: Duration = Duration::from_millis(50);
/// For the token that the node uses at once.
const TOKEN_VALID: Duration = Duration::from_secs(60);

/// Arguments of `up`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  secmon up
  secmon up --state-dir ./secmon-state
  secmon up --json | jq .secmon.type
  secmon up --listen 0.0.0.0:7373     other servers may join as well")]
pub(crate) struct UpArgs {
    #[command(flatten)]
    places: Places,
    /// Where other nodes may connect [default: nowhere; any port of the loopback]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Print one JSON object per event, in the Elastic Common Schema
    #[arg(long)]
    json: bool,
}

/// Runs both until a signal.
pub(crate) fn up(arguments: UpArgs, socket: Option<PathBuf>) -> Result<(), Failed> {
    let UpArgs { places, listen, json } = arguments;
    let mut config = Config::load(places.config.as_deref())?;
    config.hub.listen = match listen {
        Some(listen) => listen,
        None => LOOPBACK.parse().map_err(|e: std::net::AddrParseError| (e, 1))?,
    };
    let state = config::state_dir(places.state_dir.clone())?;
    let asked = socket.or_else(|| config.socket.path.clone());
    let socket_path = config::socket_path(asked, places.state_dir.as_deref(), &state);
    let hub = HubConfig {
        state_dir: state.join("hub"),
        socket_path,
        hub: std::mem::take(&mut config.hub),
        socket: std::mem::take(&mut config.socket),
    };
    roles::logs(LevelFilter::WARN);
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let cancel = roles::until_signalled()?;
        let hub = secmon_hub::start(hub).await.map_err(roles::hub_failed)?;
        Box::pin(together(hub, config, &state.join("node"), json, cancel)).await
    });
    // A thread that still waits to write to a reader that does not read would keep the process.
    runtime.shutdown_background();
    result
}

async fn together(
    hub: Hub,
    mut config: Config,
    node_dir: &Path,
    json: bool,
    cancel: CancellationToken,
) -> Result<(), Failed> {
    let (name, token) = name_and_token(&hub, node_dir).await?;
    let port = hub.address().port();
    if hub.address().ip().is_loopback() || hub.address().ip().is_unspecified() {
        // The port is another one each time; the one in the node's papers is of the first start.
        config.node.hub = Some(SocketAddr::new([127, 0, 0, 1].into(), port).to_string());
    }
    let socket = hub.socket().to_owned();
    let stop = cancel.child_token();
    let mut hub = tokio::spawn(hub.run(stop.clone()));
    let (ended, mut node) = oneshot::channel();
    let node_config = roles::node_config(config, node_dir.to_owned(), token);
    let node_stop = stop.clone();
    // A thread of its own: the node's tasks are made for one.
    let thread = thread::Builder::new().name("node".to_owned()).spawn(move || {
        let result = match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => {
                runtime.block_on(secmon_node::run(node_config, node_stop)).map_err(roles::node_failed)
            }
            Err(error) => Err(error.into()),
        };
        let _ = ended.send(result);
    })?;
    let result = tokio::select! {
        () = cancel.cancelled() => Ok(()),
        ended = &mut hub => flatten(ended),
        ended = &mut node => ended.unwrap_or(Ok(())),
        Err(failure) = watch(&socket, &name, json) => match failure {
            Failure::Closed => Ok(()),
            failure => Err(Failed(failure.to_string(), failure.exit_code())),
        },
    };
    stop.cancel();
    if !hub.is_finished() {
        let _ = hub.await;
    }
    // It ends within the time that its commands get to end.
    let _ = thread.join();
    result
}

fn flatten(ended: Result<Result<(), secmon_hub::HubError>, tokio::task::JoinError>) -> Result<(), Failed> {
    ended.map_err(|error| (error, 1))?.map_err(roles::hub_failed)
}

/// This machine's name at the hub, and a token where it has to join.
async fn name_and_token(hub: &Hub, node_dir: &Path) -> Result<(NodeName, Option<JoinToken>), Failed> {
    let papers = StateDir::open(node_dir)
        .and_then(|state| state.identity())
        .map_err(|error| roles::node_failed(error.into()))?;
    let refused = |refusal| Failed::from((refusal, 1));
    let name = match papers {
        Some(papers) if hub.knows(&papers.name).await.map_err(refused)? => return Ok((papers.name, None)),
        Some(papers) => papers.name,
        None => host_name(),
    };
    let enrolment = hub.enroll(name.clone(), TOKEN_VALID, true).await.map_err(refused)?;
    Ok((
        name,
        Some(enrolment.token.0.parse().map_err(|error: secmon_protocol::token::TokenError| (error, 1))?),
    ))
}

/// The host name without its domain, as far as it is a node's name.
fn host_name() -> NodeName {
    let host = nix::unistd::gethostname().unwrap_or_default();
    let host = host.to_string_lossy();
    let label: String = host.split('.').next().unwrap_or_default().chars().take(63).collect();
    // "this-machine" is a name by every rule; the fallback's fallback is never reached.
    label.parse().or_else(|_| "this-machine".parse()).unwrap_or_else(|_| unreachable!("a constant name"))
}

/// Shows this machine as it is, says how to go on, and then prints events.
async fn watch(socket: &Path, name: &NodeName, json: bool) -> Result<std::convert::Infallible, Failure> {
    let client = Client::connect(socket, concat!("secmon ", env!("CARGO_PKG_VERSION"))).await?;
    let node = ready(&client, name).await?;
    // Before the state is shown, so that nothing between the two is missed.
    let subscription = client.subscribe(StartFrom::Now, Filter::default()).await?;
    let form = if json { Form::Json } else { Form::Text(cli::look()) };
    if let (Form::Text(look), Some(node)) = (&form, &node) {
        let text = render::show(node, now(), look);
        let mut stdout = tokio::io::stdout();
        stdout.write_all(format!("{text}\n").as_bytes()).await?;
        stdout.flush().await?;
    }
    eprintln!("{}", hints(socket, name));
    cli::watch_lines(subscription, &[], &form, &mut tokio::io::stdout()).await
}

/// The node once it has said what it can see; none when it takes too long.
async fn ready(client: &Client, name: &NodeName) -> Result<Option<NodeDetail>, Failure> {
    let wait = async {
        loop {
            if let Ok(node) = client.get(name.as_str()).await {
                let pending = node.summary.facets.iter().any(|facet| facet.status == FacetStatus::Pending);
                if matches!(node.summary.presence, Presence::Online { .. })
                    && !pending
                    && !node.summary.facets.is_empty()
                    && !node.summary.stale
                {
                    return node;
                }
            }
            sleep(LOOK).await;
        }
    };
    Ok(tokio::time::timeout(READY, wait).await.ok())
}

fn hints(socket: &Path, name: &NodeName) -> String {
    let program = std::env::args().next().unwrap_or_else(|| "secmon".to_owned());
    let socket = match cli::default_socket() == socket {
        true => String::new(),
        false => format!(" --socket {}", socket.display()),
    };
    format!("Live from here; Ctrl-C ends. In another terminal: {program} show {name}{socket}")
}

fn now() -> UnixNanos {
    jiff::Timestamp::now().into()
}
