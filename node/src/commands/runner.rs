//! `secmon runner`: the executor as a process of its own, for a node that is not root. It has no network, and
//! reads nothing but the allowlist and what its one node says.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _},
        net::{UnixListener as StdListener, UnixStream as StdStream},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use nix::{
    fcntl::{AtFlags, OFlag, open},
    sys::stat::{Mode, SFlag, fstat, umask},
    unistd::{Uid, User, fchownat, geteuid},
};
use secmon_protocol::{
    message::{
        ErrorCode, Refusal,
        runner::{NodeToRunner, RunnerToNode, VERSION},
    },
    text::printable,
};
use serde::Deserialize;
use tokio::{
    net::{UnixListener, UnixStream},
    signal::unix::{SignalKind, signal},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    CommandsSection, DEFAULT_SOCKET, Executor,
    allowlist::Allowlist,
    engine,
    wire::{self, GREETING, Reader, WireError, Writer},
};
use crate::AGENT;

/// The user of the node where `runner.user` does not say.
pub const DEFAULT_USER: &str = "secmon";
/// Connections in their greeting, of the one user who may connect.
const GREETINGS: usize = 8;
/// How long a node may take to read how everything ended, once it has gone.
const LAST: Duration = Duration::from_secs(15);
/// The pause after the system refused a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// `[runner]` of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunnerSection {
    /// Where it listens; none: [`DEFAULT_SOCKET`].
    pub socket: Option<PathBuf>,
    /// The user of the node, by name or number, who alone may use it beside root; none: [`DEFAULT_USER`].
    pub user: Option<String>,
}

/// Why a runner could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// The node's user.
    #[error(
        "there is no user {0:?}; name the user that the node runs as by [runner] user = \"…\", or make it: \
         useradd --system --shell /usr/sbin/nologin {0}"
    )]
    NoUser(String),
    /// The node's user, looked up.
    #[error("cannot look up the user {name:?}: {source}")]
    User {
        /// Who.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// It is no socket, or a live runner has it.
    #[error("cannot listen at {path}: {why}", path = path.display())]
    Taken {
        /// The socket.
        path: PathBuf,
        /// What is there.
        why: &'static str,
    },
    /// The system refuses.
    #[error("cannot {what} {path}: {source}", path = path.display())]
    Socket {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Serves its one node until `cancel`, and ends what runs.
///
/// # Errors
/// It could not start; see [`RunnerError`].
pub async fn run(
    section: &RunnerSection,
    commands: &CommandsSection,
    cancel: CancellationToken,
) -> Result<(), RunnerError> {
    let user = section.user.as_deref().unwrap_or(DEFAULT_USER);
    let uid = resolve(user)?;
    let path = section.socket.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET));
    let socket = bind(&path, uid)?;
    // While no node is there, it would end the process.
    let _hangup = signal(SignalKind::hangup());
    // What is wrong with it is said at once, not when a node comes.
    drop(Allowlist::open(commands.allowlist.as_deref()));
    if !geteuid().is_root() {
        tracing::warn!(uid = %geteuid(), "this runner is not root: all its commands run as this user");
    }
    tracing::info!(socket = %path.display(), %user, "waiting for the node");

    let runner = Arc::new(Runner {
        uid,
        user: user.to_owned(),
        commands: commands.clone(),
        node: Semaphore::new(1),
        cancel: cancel.clone(),
    });
    let (tasks, greetings) = (TaskTracker::new(), Arc::new(Semaphore::new(GREETINGS)));
    loop {
        let accepted = tokio::select! {
            accepted = socket.listener.accept() => accepted,
            () = cancel.cancelled() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection");
                sleep(PAUSE).await;
                continue;
            }
        };
        // Closed at once where there are too many of them.
        let Ok(place) = Arc::clone(&greetings).try_acquire_owned() else { continue };
        let runner = Arc::clone(&runner);
        tasks.spawn(async move {
            match runner.greet(stream).await {
                Ok((reader, writer)) => {
                    drop(place);
                    Box::pin(runner.serve(reader, writer)).await;
                }
                Err(why) => tracing::warn!(why = %printable(&why), "a connection was turned away"),
            }
        });
    }
    tasks.close();
    tasks.wait().await;
    Ok(())
}

fn resolve(user: &str) -> Result<u32, RunnerError> {
    if let Ok(uid) = user.parse() {
        return Ok(uid);
    }
    let found = User::from_name(user)
        .map_err(|error| RunnerError::User { name: user.to_owned(), source: error.into() })?;
    found.map(|user| user.uid.as_raw()).ok_or_else(|| RunnerError::NoUser(user.to_owned()))
}

struct Runner {
    /// Of the node.
    uid: u32,
    user: String,
    commands: CommandsSection,
    /// Has its one permit while no node is being served.
    node: Semaphore,
    cancel: CancellationToken,
}

impl Runner {
    /// Finds out who is there. An error is for the log: who it is of has been told.
    async fn greet(&self, stream: UnixStream) -> Result<(Reader<NodeToRunner>, Writer), String> {
        let peer = stream.peer_cred().map_err(|error| format!("its user is not known: {error}"))?;
        let (uid, pid) = (peer.uid(), peer.pid().unwrap_or_default());
        let (mut reader, mut writer) = wire::split(stream);
        let refused = if uid != self.uid && uid != 0 {
            // The file's mode keeps them out as well; this does not depend on it.
            let message = format!(
                "uid {uid} may not use this runner; it serves {user} (uid {own}), see [runner] user",
                user = self.user,
                own = self.uid
            );
            Refusal::new(ErrorCode::NotPermitted, message)
        } else {
            match timeout(GREETING, reader.next()).await {
                Ok(Ok(NodeToRunner::Hello { version, agent })) if version >= VERSION => {
                    tracing::info!(uid, pid, agent = %printable(&agent), "a node is here");
                    return Ok((reader, writer));
                }
                Ok(Ok(NodeToRunner::Hello { version, .. })) => {
                    let message =
                        format!("this runner speaks version {VERSION}, not {version}; update the node");
                    Refusal::new(ErrorCode::Version, message)
                }
                Ok(Ok(_)) => Refusal::new(ErrorCode::Protocol, "the first message is Hello"),
                Ok(Err(error)) => return Err(format!("uid {uid}, pid {pid}: {error}")),
                Err(_) => return Err(format!("uid {uid}, pid {pid}: it says nothing")),
            }
        };
        let why = format!("pid {pid}: {}", refused.message);
        let _ = writer.send(&RunnerToNode::Reject(refused), GREETING).await;
        Err(why)
    }

    /// One node, until it goes; all that it started is ended then.
    async fn serve(&self, mut reader: Reader<NodeToRunner>, mut writer: Writer) {
        // The newcomer waits: two nodes would use the same numbers, and one that starts again has only to wait until
        // what it ran before has ended.
        let Ok(_only) = self.node.try_acquire() else {
            let message = "another node is connected, or what it ran has not ended yet; try again soon";
            let refusal = Refusal::new(ErrorCode::TooMany, message);
            let _ = writer.send(&RunnerToNode::Reject(refusal), GREETING).await;
            return tracing::warn!("a second node was turned away");
        };
        let welcome = RunnerToNode::Welcome { version: VERSION, agent: AGENT.to_owned() };
        if writer.send(&welcome, GREETING).await.is_err() {
            return;
        }
        let Executor { orders, mut news } = engine::start(&self.commands, self.cancel.child_token());
        let read = async {
            let end = loop {
                match reader.next().await {
                    Err(end) => break end,
                    Ok(order) => {
                        if orders.send(order).await.is_err() {
                            return;
                        }
                    }
                }
            };
            if !matches!(end, WireError::Closed) {
                tracing::warn!(error = %printable(&end.to_string()), "the node's connection is ended");
            }
        };
        let write = async {
            let mut listens = true;
            while let Some(message) = news.recv().await {
                // One that does not listen any more is waited for nonetheless: for the end of what it started.
                if listens {
                    listens = pass(&mut writer, message, news.is_empty()).await.is_ok();
                }
            }
        };
        tokio::pin!(write);
        tokio::select! {
            () = &mut write => {}
            () = read => {
                // All orders are in: what runs is ended.
                drop(orders);
                if timeout(LAST, write).await.is_err() {
                    tracing::warn!("the node did not read how everything ended");
                }
            }
        }
        tracing::info!("the node is gone");
    }
}

/// What comes in a row goes out together.
async fn pass(writer: &mut Writer, message: RunnerToNode, is_last: bool) -> Result<(), WireError> {
    writer.feed(&message).await?;
    if is_last { writer.flush().await } else { Ok(()) }
}

/// The socket; its file goes with it.
struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file.
    file: (u64, u64),
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Another runner may have taken this one for dead and put its own socket there.
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino()))
}

/// Gives the socket to the node's user, and nothing else: who may change its folder could have put a link to another
/// file in its place by now.
fn hand_over(path: &Path, uid: u32) -> io::Result<()> {
    let socket = open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
    let found = fstat(&socket)?;
    let is_socket = SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == SFlag::S_IFSOCK;
    if !is_socket || found.st_nlink != 1 || found.st_uid != geteuid().as_raw() {
        let why = "something else lies there now; its folder must be one that only root may write";
        return Err(io::Error::other(why));
    }
    Ok(fchownat(&socket, c"", Some(Uid::from_raw(uid)), None, AtFlags::AT_EMPTY_PATH)?)
}

/// Makes the socket, for root and `uid` alone. One that a dead runner left behind is removed, nothing else.
fn bind(path: &Path, uid: u32) -> Result<Socket, RunnerError> {
    let failed = |what| move |source| RunnerError::Socket { what, path: path.to_owned(), source };
    let taken = |why| Err(RunnerError::Taken { path: path.to_owned(), why });
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(failed("make the folder of"))?;
    }
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => {
            if StdStream::connect(path).is_ok() {
                return taken("another runner listens there");
            }
            fs::remove_file(path).map_err(failed("remove the socket of a dead runner,"))?;
        }
        Ok(_) => {
            return taken("something is there that is no socket; choose another path by [runner] socket");
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed("look at")(error)),
    }
    // Nobody's but its owner's from the first moment. Nothing else of this process makes files meanwhile.
    let mask = umask(Mode::from_bits_truncate(0o177));
    let listener = StdListener::bind(path);
    umask(mask);
    let listener = listener.map_err(failed("listen at"))?;
    if geteuid() != Uid::from_raw(uid) {
        hand_over(path, uid).map_err(failed("hand to the node's user"))?;
    }
    listener.set_nonblocking(true).map_err(failed("listen at"))?;
    let listener = UnixListener::from_std(listener).map_err(failed("listen at"))?;
    let file = identity(path).map_err(failed("look at"))?;
    Ok(Socket { listener, path: path.to_owned(), file })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// chown(2) follows links: a runner whose socket's folder was the node user's could be made to give it any file.
    #[test]
    fn only_the_socket_itself_is_handed_to_the_nodes_user() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("shadow"), "").unwrap();
        symlink(path("shadow"), path("link")).unwrap();
        let _socket = StdListener::bind(path("socket")).unwrap();
        fs::hard_link(path("socket"), path("second")).unwrap();
        symlink(path("socket"), path("to-socket")).unwrap();
        let other = geteuid().as_raw() + 1;
        for wrong in ["shadow", "link", "socket", "second", "to-socket", "gone"] {
            assert!(hand_over(&path(wrong), other).is_err(), "{wrong}");
        }
        fs::remove_file(path("second")).unwrap();
        if geteuid().is_root() {
            hand_over(&path("socket"), other).unwrap();
            assert_eq!(fs::symlink_metadata(path("socket")).unwrap().uid(), other);
        }
        assert_eq!(fs::metadata(path("shadow")).unwrap().uid(), geteuid().as_raw());
    }
}
