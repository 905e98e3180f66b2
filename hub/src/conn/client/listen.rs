//! The Unix socket: made with its mode and group, removed at the end.

use std::{
    collections::{HashMap, hash_map::Entry},
    fs,
    io::{self, ErrorKind},
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown},
        net::UnixStream as StdStream,
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use nix::unistd::Group;
use secmon_protocol::message::{ErrorCode, Refusal, client::HubToClient};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    time::sleep,
};

use super::{
    super::report::{Door, Peer},
    Ending, Shared, serve, wire,
};
use crate::{HubError, access::Account};

/// Most clients at once; further ones wait in the system's queue.
const MAX_CLIENTS: usize = 1024;
/// Most of them that are of any user but root and the hub's own, so that these always find room.
const MAX_GUESTS: usize = MAX_CLIENTS - 64;
/// Most of one such user, so that nobody keeps the others out.
const MAX_OF_USER: usize = 128;
/// Most that are turned away for that and may take a moment to read why: a part of the room that is kept for root.
const MAX_LEAVING: usize = 16;
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
pub(crate) fn group(group: &Account) -> Result<u32, HubError> {
    let name = match group {
        Account::Number(number) => return Ok(*number),
        Account::Name(name) => name,
    };
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
    let guests = Guests::default();
    let leaving = Arc::new(Semaphore::new(MAX_LEAVING));
    loop {
        let Ok(permit) = clients.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = socket.listener.accept() => accepted,
            () = shared.stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let (task, leaving) = (shared.clone(), leaving.clone());
                let cred = stream.peer_cred();
                // SO_PEERCRED; a process of another namespace has no pid here.
                let who = cred.as_ref().map_or_else(
                    |_| "a client".to_owned(),
                    |cred| format!("uid {} pid {}", cred.uid(), cred.pid().unwrap_or_default()),
                );
                let guest = cred.ok().map(|cred| cred.uid()).filter(|uid| !shared.access.is_built_in(*uid));
                let place = guest.map(|uid| guests.place(uid)).transpose();
                shared.clients.spawn(async move {
                    let ending = match place {
                        Ok(_place) => Box::pin(serve(stream, &task)).await,
                        Err(refusal) => turn_away(stream, refusal, &leaving).await,
                    };
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

/// The clients of all but root and the hub's own user.
#[derive(Debug, Clone, Default)]
struct Guests(Arc<Mutex<Places>>);

#[derive(Debug, Default)]
struct Places {
    all: usize,
    of: HashMap<u32, usize>,
}

/// The place of one guest, until it is dropped.
#[derive(Debug)]
struct Place {
    guests: Guests,
    uid: u32,
}

impl Guests {
    /// A place for a user.
    ///
    /// # Errors
    /// He, or all guests together, have as many as there are.
    fn place(&self, uid: u32) -> Result<Place, Refusal> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, own) = (places.all, places.of.get(&uid).copied().unwrap_or(0));
        let message = match (all < MAX_GUESTS, own < MAX_OF_USER) {
            (true, true) => {
                places.all += 1;
                *places.of.entry(uid).or_default() += 1;
                return Ok(Place { guests: self.clone(), uid });
            }
            (_, false) => {
                format!("uid {uid} has {MAX_OF_USER} connections to this hub, which is the limit; end one")
            }
            (false, true) => {
                format!("this hub has {MAX_GUESTS} clients, which is the limit; try again later")
            }
        };
        Err(Refusal::new(ErrorCode::TooMany, message))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.guests.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.all -= 1;
        if let Entry::Occupied(mut of) = places.of.entry(self.uid) {
            *of.get_mut() -= 1;
            if *of.get() == 0 {
                of.remove();
            }
        }
    }
}

/// Says why, to one that has not said a word yet, and waits a moment until that is read, where not many are waited for.
async fn turn_away(mut stream: UnixStream, refusal: Refusal, leaving: &Semaphore) -> Ending {
    let reason = refusal.message.clone();
    let _ = wire::send(&mut stream, &HubToClient::Reject(refusal)).await;
    if let Ok(_place) = leaving.try_acquire() {
        wire::goodbye(&mut stream).await;
    }
    Ending::Bad(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_cannot_take_the_places_of_others_nor_all_users_those_of_root() {
        let guests = Guests::default();
        let mut held: Vec<Place> = (0..MAX_OF_USER).map(|_| guests.place(1).unwrap()).collect();
        assert!(guests.place(1).unwrap_err().message.contains("uid 1 has"));
        held.pop();
        held.push(guests.place(1).unwrap());
        let mut uid = 1;
        while held.len() < MAX_GUESTS {
            uid += 1;
            held.extend(guests.place(uid));
        }
        assert_eq!(guests.place(0).unwrap_err().code, ErrorCode::TooMany);
        const { assert!(MAX_GUESTS < MAX_CLIENTS) };
        drop(held);
        assert!(guests.0.lock().unwrap().of.is_empty());
        guests.place(1).unwrap();
    }

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
