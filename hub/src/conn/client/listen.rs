//! The Unix socket: made with its mode and group, removed at the end.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown},
        net::UnixStream as StdStream,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use nix::unistd::Group;
use tokio::{net::UnixListener, sync::Semaphore, time::sleep};

use super::{
    super::report::{Door, Peer},
    Shared, serve,
};
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
    /// Device and inode of the file.
    file: (u64, u64),
}

impl Socket {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Another hub that started at the same moment may have taken this one for dead and put its own
        // socket there. The inode of this one is not used again as long as the listener is open.
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino()))
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
    let bound = identity(path).map_err(file("look at"))?;
    let socket = Socket { listener, path: path.to_owned(), file: bound };
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
                shared.clients.spawn(async move {
                    let ending = Box::pin(serve(stream, &task)).await;
                    task.report.ended(Peer::Client, &who, &ending);
                    drop(permit);
                });
            }
            Err(error) => {
                shared.report.refused(Door::Socket, &error);
                sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_socket_goes_with_its_hub_and_another_hubs_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hub.sock");
        drop(bind(&path, 0o600, None).unwrap());
        assert!(!path.exists());
        let loser = bind(&path, 0o600, None).unwrap();
        // As a hub does that looked before this one listened.
        fs::remove_file(&path).unwrap();
        let winner = bind(&path, 0o600, None).unwrap();
        drop(loser);
        StdStream::connect(&path).unwrap();
        drop(winner);
        assert!(!path.exists());
    }
}
