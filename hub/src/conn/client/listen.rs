//! The Unix socket: made with its mode and group, removed at the end.

use std::{
    fs,
    io::ErrorKind,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _, chown},
        net::UnixStream as StdStream,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use nix::unistd::Group;
use tokio::{net::UnixListener, sync::Semaphore, time::sleep};
use tracing::warn;

use super::{super::report::Peer, Shared, serve};
use crate::HubError;

/// Most clients at once; further ones wait in the system's queue.
const MAX_CLIENTS: usize = 1024;
/// The pause after the system refused a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// The socket; its file goes with it.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Makes the socket. A file that a dead hub left behind is removed, nothing else.
///
/// # Errors
/// A live hub has it, the path is of something else, or the system refuses.
pub(crate) fn bind(path: &Path, mode: u32, group: Option<u32>) -> Result<Socket, HubError> {
    let file = |what| move |source| HubError::file(what, path, source);
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(|source| HubError::file("make the folder", dir, source))?;
    }
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => {
            if StdStream::connect(path).is_ok() {
                return Err(HubError::SocketInUse { path: path.to_owned() });
            }
            fs::remove_file(path).map_err(file("remove the socket of a dead hub,"))?;
        }
        Ok(_) => {
            let reason = format!("{} is there and is not a socket; choose another path", path.display());
            return Err(HubError::config("socket.path", reason));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(file("look at")(error)),
    }
    let listener = UnixListener::bind(path).map_err(file("make the socket"))?;
    let socket = Socket { listener, path: path.to_owned() };
    chown(path, None, group).map_err(file("set the group of"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(file("set the mode of"))?;
    Ok(socket)
}

/// The number of a group.
///
/// # Errors
/// There is no such group.
pub(crate) fn group(name: &str) -> Result<u32, HubError> {
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => Err(HubError::config("socket.group", format!("there is no group called {name:?}"))),
        Err(error) => {
            Err(HubError::config("socket.group", format!("cannot look up group {name:?}: {error}")))
        }
    }
}

/// Takes clients until the hub stops.
pub(crate) async fn run(socket: Socket, shared: Arc<Shared>) {
    let clients = Arc::new(Semaphore::new(MAX_CLIENTS));
    loop {
        let Ok(permit) = clients.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = socket.listener.accept() => accepted,
            () = shared.stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let task = shared.clone();
                // SO_PEERCRED; a process of another namespace has no pid here.
                let who = stream.peer_cred().map_or_else(
                    |_| "a client".to_owned(),
                    |cred| format!("uid {} pid {}", cred.uid(), cred.pid().unwrap_or_default()),
                );
                shared.tasks.spawn(async move {
                    let ending = Box::pin(serve(stream, &task)).await;
                    task.report.ended(Peer::Client, &who, &ending);
                    drop(permit);
                });
            }
            Err(error) => {
                warn!(%error, "cannot take a client");
                sleep(PAUSE).await;
            }
        }
    }
}
