//! The file of a Unix socket: made with its mode and group, removed at the end.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown},
        net::UnixStream as StdStream,
    },
    path::{Path, PathBuf},
};

use tokio::net::UnixListener;

/// A socket; its file goes with it.
#[derive(Debug)]
pub(super) struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file.
    file: (u64, u64),
}

impl Socket {
    /// Makes it. A file that a dead bridge left behind is removed, nothing else.
    ///
    /// # Errors
    /// A live one has it, the path is of something else, or the system refuses.
    pub(super) fn bind(path: &Path, mode: u32, group: Option<u32>) -> Result<Self, String> {
        let failed = |what: &'static str| {
            move |error: io::Error| format!("cannot {what} the socket {}: {error}", path.display())
        };
        match fs::symlink_metadata(path) {
            Ok(meta) if meta.file_type().is_socket() => {
                match StdStream::connect(path) {
                    Ok(_) => {
                        let path = path.display();
                        return Err(format!(
                            "another program listens on {path}; stop it, or choose another path"
                        ));
                    }
                    // Nobody listens there, connect(2). Whatever else it says, somebody may.
                    Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                        fs::remove_file(path).map_err(failed("remove what a dead bridge left,"))?;
                    }
                    Err(error) => return Err(failed("find out whether anybody listens on")(error)),
                }
            }
            Ok(_) => {
                return Err(format!("{} is there and is not a socket; choose another path", path.display()));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed("look at")(error)),
        }
        let listener = UnixListener::bind(path).map_err(failed("make"))?;
        let file = identity(path).map_err(failed("look at"))?;
        let socket = Self { listener, path: path.to_owned(), file };
        chown(path, None, group).map_err(failed("set the group of"))?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed("set the mode of"))?;
        Ok(socket)
    }

    pub(super) fn listener(&self) -> &UnixListener {
        &self.listener
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Another bridge that started at the same moment may have put its own there. The inode of this one is not used again
        // as long as the listener is open.
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_file_goes_with_its_bridge_and_what_is_somebody_elses_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("http.sock");
        let first = Socket::bind(&path, 0o620, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o620);
        assert!(Socket::bind(&path, 0o600, None).unwrap_err().contains("another program listens"));
        drop(first);
        assert!(!path.exists());
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        drop(Socket::bind(&path, 0o600, None).unwrap());
        fs::write(&path, "precious").unwrap();
        assert!(Socket::bind(&path, 0o600, None).unwrap_err().contains("is not a socket"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
