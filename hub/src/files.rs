//! Files that only the hub's user may read, and the lock of the state folder.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use nix::unistd::geteuid;

use crate::HubError;

/// The file whose lock says that a hub works in the folder.
const LOCK: &str = "hub.lock";

/// Makes the state folder (mode 0700) and locks it for as long as the file lives.
///
/// # Errors
/// The folder cannot be made or locked, another hub has it, or others than the hub's user may write it.
pub(crate) fn open_state_dir(dir: &Path) -> Result<File, HubError> {
    if !dir.is_dir() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|source| HubError::file("make the state folder", dir, source))?;
    }
    let meta = fs::metadata(dir).map_err(|source| HubError::file("look at the state folder", dir, source))?;
    trusted(&dir.display().to_string(), meta.uid(), meta.mode(), geteuid().as_raw())
        .map_err(|reason| HubError::StateDir { path: dir.to_owned(), reason })?;
    let path = dir.join(LOCK);
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .map_err(|source| HubError::file("open", &path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(HubError::Locked { path: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(HubError::file("lock", &path, source)),
    }
}

/// Whether only root and the hub's own user may write a folder: whoever else may could put a CA of their
/// own there, or take the hub's. `mode` and `uid` are those of stat(2).
fn trusted(folder: &str, uid: u32, mode: u32, own: u32) -> Result<(), String> {
    const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
    if uid != 0 && uid != own {
        return Err(format!(
            "it belongs to uid {uid}, who could change what is in it; run the hub as that user, or `chown {own} {folder}`"
        ));
    }
    if mode & GROUP_OR_OTHERS_WRITE != 0 {
        let mode = mode & 0o7777;
        return Err(format!("others may write it (mode {mode:04o}); run `chmod go-w {folder}`"));
    }
    Ok(())
}

/// Writes a file that is there whole or not at all, with mode 0600 from its first moment.
///
/// # Errors
/// As the system has them; a half-written temporary file is removed.
pub(crate) fn write_secret(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    // A temporary file left behind by a crash was never in use.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = (|| {
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        match path.parent() {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Takes a secret away from all but its owner. Gives the mode that it had, where others could use it.
///
/// # Errors
/// As the system has them: the file is another user's, or lies where nothing can be changed.
pub(crate) fn tighten(file: &File) -> io::Result<Option<u32>> {
    const GROUP_OR_OTHERS: u32 = 0o077;
    let mode = file.metadata()?.mode() & 0o7777;
    if mode & GROUP_OR_OTHERS == 0 {
        return Ok(None);
    }
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    Ok(Some(mode))
}

/// Makes sure that a file is there and that only its owner may use it.
///
/// # Errors
/// As the system has them.
pub(crate) fn private(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_hub_on_the_same_folder_is_told_so() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let held = open_state_dir(&state).unwrap();
        assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
        let error = open_state_dir(&state).unwrap_err();
        assert!(matches!(error, HubError::Locked { .. }), "{error}");
        drop(held);
        open_state_dir(&state).unwrap();
    }

    #[test]
    fn a_folder_that_others_may_write_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        for (mode, good) in [(0o755, true), (0o700, true), (0o770, false), (0o1777, false)] {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
            match open_state_dir(dir.path()) {
                Ok(_) => assert!(good, "{mode:o}"),
                Err(error) => {
                    let said = format!("chmod go-w {}", dir.path().display());
                    assert!(!good && error.to_string().contains(&said), "{error}");
                }
            }
        }
        for (owner, own, good) in [(0, 990, true), (990, 990, true), (1000, 990, false), (1000, 0, false)] {
            assert_eq!(trusted("/x", owner, 0o40700, own).is_ok(), good, "{owner} {own}");
        }
    }

    #[test]
    fn a_secret_is_for_its_owner_only_and_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        fs::write(path.with_extension("tmp"), "left behind").unwrap();
        for content in ["one", "two"] {
            write_secret(&path, content.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
