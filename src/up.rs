//! `secmon up`: hub and node of this machine in one process, and a watch on both. For the first look, and
//! for one machine; everything is made on the first run.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use clap::Args;
use futures::TryStreamExt as _;
use secmon_client::{
    Client, Update,
    cli::{self, Failure, Form},
    render,
};
use secmon_hub::{Hub, HubConfig};
use secmon_node::identity::StateDir;
use secmon_protocol::{
    facet::FacetStatus,
    ids::NodeName,
    message::client::{FacetSummary, Filter, From as StartFrom, NodeDetail, Presence},
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
        log: std::mem::take(&mut config.log),
        jobs: std::mem::take(&mut config.jobs),
        socket: std::mem::take(&mut config.socket),
        access: std::mem::take(&mut config.access),
    };
    roles::logs(LevelFilter::WARN);
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let cancel = roles::until_signalled()?;
        roles::end_with_the_terminal(&cancel)?;
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
    // Whatever its papers say: the port may be another one each time.
    config.node.hub = Some(reachable(hub.address()).to_string());
    let socket = hub.socket().to_owned();
    // Two tokens, so that the node says goodbye while the hub still listens.
    let (stop_hub, stop_node) = (CancellationToken::new(), CancellationToken::new());
    let mut hub = tokio::spawn(hub.run(stop_hub.clone()));
    let (ended, mut node) = oneshot::channel();
    let node_config = roles::node_config(config, node_dir.to_owned(), token);
    let node_stop = stop_node.clone();
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
        biased;
        () = cancel.cancelled() => Ok(()),
        ended = &mut hub => flatten(ended),
        ended = &mut node => ended.unwrap_or_else(|_| Err(Failed("the node has failed".to_owned(), 1))),
        Err(failure) = watch(&socket, &name, json) => match failure {
            Failure::Closed => Ok(()),
            failure => Err(Failed(failure.to_string(), failure.exit_code())),
        },
    };
    stop_node.cancel();
    // It ends within the time that its commands get to end.
    let _ = tokio::task::spawn_blocking(|| thread.join()).await;
    stop_hub.cancel();
    if !hub.is_finished() {
        let _ = hub.await;
    }
    result
}

/// Where this machine reaches itself.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
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
    ready(&client, name).await;
    // Before the state is fetched, so that nothing between the two is missed.
    let subscription = client.subscribe(StartFrom::Now, Filter::default()).await?;
    let node = client.get(name.as_str()).await?;
    let form = if json { Form::Json } else { Form::Text(cli::look()) };
    if let Form::Text(look) = &form {
        let text = render::show(&node, now(), look);
        let mut stdout = tokio::io::stdout();
        stdout.write_all(format!("{text}\n").as_bytes()).await?;
        stdout.flush().await?;
    }
    eprintln!("{}", hints(socket, name));
    // Its hub is in this process: it does not come back without us.
    cli::watch_lines(subscription.map_ok(Update::Item), &[], &form, &mut tokio::io::stdout()).await
}

/// Waits until the node has said what it can see, but not for ever.
async fn ready(client: &Client, name: &NodeName) {
    let settled = |node: &NodeDetail| {
        let summary = &node.summary;
        let pending = |facet: &FacetSummary| facet.status == FacetStatus::Pending;
        matches!(summary.presence, Presence::Online { .. })
            && !summary.stale
            && !summary.facets.is_empty()
            && !summary.facets.iter().any(pending)
    };
    let wait = async {
        while !client.get(name.as_str()).await.is_ok_and(|node| settled(&node)) {
            sleep(LOOK).await;
        }
    };
    if tokio::time::timeout(READY, wait).await.is_err() {
        eprintln!("The node has not reported yet; see the warnings above.");
    }
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
