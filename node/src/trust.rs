//! Who could change a file: what lies on this server decides what the node is and what it runs.

use std::{fs::Metadata, os::unix::fs::MetadataExt as _, path::Path};

use nix::unistd::geteuid;

/// Others than root and the node's own user could change it.
#[derive(Debug)]
pub(crate) struct Untrusted {
    /// The owner or the mode that makes it so.
    pub why: String,
    /// What to do.
    pub remedy: String,
}

/// Whether it belongs to root or to the node's own user.
pub(crate) fn owner(path: &Path, metadata: &Metadata) -> Result<(), Untrusted> {
    match metadata.uid() {
        uid if uid == 0 || uid == geteuid().as_raw() => Ok(()),
        uid => Err(Untrusted {
            why: format!("its owner is uid {uid}"),
            remedy: format!("chown {} {}", geteuid(), path.display()),
        }),
    }
}

/// Whether only its owner may write it.
pub(crate) fn mode(path: &Path, metadata: &Metadata) -> Result<(), Untrusted> {
    const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
    match metadata.mode() & GROUP_OR_OTHERS_WRITE {
        0 => Ok(()),
        _ => Err(Untrusted {
            why: format!("its mode is {:04o}", metadata.mode() & 0o7777),
            remedy: format!("chmod go-w {}", path.display()),
        }),
    }
}
