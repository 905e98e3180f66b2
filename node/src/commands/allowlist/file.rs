//! The file: who may have written it, what is in it, and whether it is still the one that was read.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use nix::fcntl::OFlag;

use crate::trust;

use super::{AllowlistError, Entries, parse};

/// Largest file, in bytes.
const MAX_FILE: u64 = 1 << 20;

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
    let path = fs::canonicalize(path).ok()?;
    let m = fs::metadata(&path).ok()?;
    let folders = path.ancestors().skip(1).map(|folder| {
        let m = fs::metadata(folder).ok()?;
        Some((m.ino(), m.uid(), m.mode()))
    });
    Some(Stamp {
        inode: (m.dev(), m.ino()),
        changed: (m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()),
        size: m.size(),
        folders: folders.collect::<Option<_>>()?,
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
    for folder in real.ancestors().skip(1) {
        trusted(folder, &fs::metadata(folder)?)?;
    }
    let mut text = String::new();
    file.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(AllowlistError::TooLarge("1 MiB"));
    }
    parse(&text)
}

/// Whether only root and the node's own user may write it. In a folder with the sticky bit (`/tmp`) others
/// cannot replace what is not theirs.
pub(super) fn trusted(path: &Path, metadata: &Metadata) -> Result<(), AllowlistError> {
    const STICKY: u32 = 0o1000;
    let sticky = metadata.is_dir() && metadata.mode() & STICKY != 0;
    trust::owner(path, metadata)
        .and_then(|()| if sticky { Ok(()) } else { trust::mode(path, metadata) })
        .map_err(|trust::Untrusted { why, remedy }| AllowlistError::Untrusted {
            what: path.display().to_string(),
            why,
            remedy,
        })
}
