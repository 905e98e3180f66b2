//! The file: who may have written it, what is in it, and whether it is still the one that was read.

use std::{
    collections::{BTreeMap, VecDeque},
    ffi::OsString,
    fs::{self, File, Metadata},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Component, Path, PathBuf},
};

use nix::fcntl::OFlag;

use crate::trust;

use super::{AllowlistError, Entries, parse};

/// Largest file, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// Most links on the way to it, as the kernel has it: path_resolution(7).
const MAX_LINKS: usize = 40;

/// What makes two looks at the file the same: where it lies, what it is, and who might change it or a folder above.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    path: PathBuf,
    inode: (u64, u64),
    changed: (i64, i64, i64, i64),
    size: u64,
    folders: Vec<(u64, u32, u32)>,
}

/// Looks at the file; none: it is not there, or cannot be looked at.
pub(super) fn stamp(path: &Path) -> Option<Stamp> {
    let mut passed = way(path).ok()?;
    let path = fs::canonicalize(path).ok()?;
    let m = passed.remove(&path)?;
    Some(Stamp {
        inode: (m.dev(), m.ino()),
        changed: (m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()),
        size: m.size(),
        folders: passed.values().map(|m| (m.ino(), m.uid(), m.mode())).collect(),
        path,
    })
}

/// Reads and checks a file.
///
/// # Errors
/// See [`AllowlistError`].
pub fn load(path: &Path) -> Result<Entries, AllowlistError> {
    let real = fs::canonicalize(path)?;
    // Whoever may put a fifo or a link there between the two calls may put anything there; but reading must not hang.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = File::options().read(true).custom_flags(flags.bits()).open(&real)?;
    // Of what was opened, not of what may lie there by now.
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file").into());
    }
    trusted(&real, &metadata)?;
    // Also what leads there: whoever can turn a link to another file decides what is read.
    for (passed, metadata) in way(path)? {
        trusted(&passed, &metadata)?;
    }
    let mut text = String::new();
    file.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(AllowlistError::TooLarge("1 MiB"));
    }
    parse(&text)
}

/// All that the kernel passes on its way to a file, and the file: folders and links, with what they are.
fn way(path: &Path) -> io::Result<BTreeMap<PathBuf, Metadata>> {
    let path = std::path::absolute(path)?;
    let mut rest: VecDeque<OsString> = path.components().map(part).collect();
    let (mut at, mut passed, mut links) = (PathBuf::from("/"), BTreeMap::new(), 0);
    passed.insert(at.clone(), fs::metadata(&at)?);
    while let Some(next) = rest.pop_front() {
        if next == ".." {
            at.pop();
            continue;
        }
        let next = at.join(next);
        let metadata = fs::symlink_metadata(&next)?;
        if metadata.is_symlink() {
            links += 1;
            if links > MAX_LINKS {
                return Err(nix::errno::Errno::ELOOP.into());
            }
            let to = fs::read_link(&next)?;
            to.components().rev().for_each(|component| rest.push_front(part(component)));
        } else {
            at = next.clone();
        }
        passed.insert(next, metadata);
    }
    Ok(passed)
}

/// `/` joined to a path is `/`.
fn part(component: Component<'_>) -> OsString {
    component.as_os_str().to_owned()
}

/// Whether only root and the node's own user may write it. In a folder with the sticky bit (`/tmp`) others
/// cannot replace what is not theirs; a link is replaced, and not written.
pub(super) fn trusted(path: &Path, metadata: &Metadata) -> Result<(), AllowlistError> {
    const STICKY: u32 = 0o1000;
    let by_owner = metadata.is_symlink() || (metadata.is_dir() && metadata.mode() & STICKY != 0);
    trust::owner(path, metadata)
        .and_then(|()| if by_owner { Ok(()) } else { trust::mode(path, metadata) })
        .map_err(|trust::Untrusted { why, remedy }| AllowlistError::Untrusted {
            what: path.display().to_string(),
            why,
            remedy,
        })
}
