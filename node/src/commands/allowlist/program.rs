//! Where programs are found.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where a program without a path is looked for; the hub's and the node's own PATH play no part.
pub const SEARCH: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// The program's file: as it is when it has a path, else the first in [`SEARCH`].
///
/// # Errors
/// There is none, in words.
pub(super) fn find(program: &str) -> Result<PathBuf, String> {
    if program.contains('/') {
        return match fs::metadata(program) {
            Ok(found) if !found.is_file() => Err(format!("{program} is no file")),
            Err(error) => Err(format!("cannot run {program}: {error}")),
            Ok(_) => Ok(program.into()),
        };
    }
    let found = SEARCH.iter().map(|dir| Path::new(dir).join(program)).find(|path| path.is_file());
    found.ok_or_else(|| format!("there is no program {program} in {}", SEARCH.join(":")))
}
