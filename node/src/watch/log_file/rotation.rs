//! Where the lines went when a log was rotated: the files beside it, and which of them were the log between
//! the one that was read last and the one that stands at the path now. Names are those of logrotate(8),
//! savelog(8) and busybox's syslogd.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    ops::RangeInclusive,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::position::{FileId, modified};

/// Ends of the names of compressed files.
const COMPRESSED: [&[u8]; 6] = [b".gz", b".xz", b".bz2", b".zst", b".lz4", b".Z"];
/// Most rotated files that are looked at; logrotate keeps a few dozen at the very most.
const MOST: usize = 1_000;

/// A file beside a log that was, or may have been, that log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::watch) struct Rotated {
    pub(in crate::watch) path: PathBuf,
    pub(in crate::watch) id: FileId,
    pub(in crate::watch) modified: i128,
    pub(in crate::watch) compressed: bool,
}

/// What stands beside the log at `path` now.
pub(in crate::watch) fn beside(path: &Path) -> Vec<Rotated> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Vec::new() };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let rotated = entries.flatten().filter_map(|entry| {
        let compressed = is_rotated(name, &entry.file_name())?;
        let meta = entry.metadata().ok().filter(fs::Metadata::is_file)?;
        Some(Rotated { path: entry.path(), id: FileId::from(&meta), modified: modified(&meta), compressed })
    });
    rotated.take(MOST).collect()
}

/// Whether `other` is what `name` is called after a rotation, and then whether it is compressed.
fn is_rotated(name: &OsStr, other: &OsStr) -> Option<bool> {
    let (name, other) = (name.as_bytes(), other.as_bytes());
    let plain = COMPRESSED.iter().find_map(|end| other.strip_suffix(*end)).unwrap_or(other);
    let compressed = plain.len() < other.len();
    let is_number =
        |text: &[u8]| matches!(text, [b'.' | b'-' | b'_', rest @ ..] if rest == b"old" || is_date(rest));
    if plain.strip_prefix(name).is_some_and(is_number) {
        return Some(compressed);
    }
    // logrotate's `extension .log`: auth-20261121.log.
    let dot = name.iter().rposition(|byte| *byte == b'.')?;
    let middle = plain.strip_prefix(&name[..dot])?.strip_suffix(&name[dot..])?;
    is_number(middle).then_some(compressed)
}

fn is_date(text: &[u8]) -> bool {
    text.first().is_some_and(u8::is_ascii_digit)
        && text.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'_' | b':' | b'T'))
}

/// Which rotated files were the log at other times than another one, that is, were written last within `times`;
/// oldest first, without those that are `known`. And whether one of them can no longer be read.
///
/// `ours` are the times at which the known files may have been compressed: what does that gives the result the
/// time of the log. `older` are those that had been rotated before, as they were then.
pub(in crate::watch) fn between(
    beside: &[Rotated],
    times: &RangeInclusive<i128>,
    known: &[FileId],
    ours: &[RangeInclusive<i128>],
    older: &BTreeSet<(FileId, i128)>,
) -> (Vec<Rotated>, bool) {
    let is_new = |file: &&Rotated| {
        // Its bounds as well: two files may be written within one tick of the file system's clock.
        times.contains(&file.modified)
            && !known.contains(&file.id)
            && !older.contains(&(file.id, file.modified))
    };
    let (compressed, mut plain): (Vec<_>, Vec<_>) =
        beside.iter().filter(is_new).cloned().partition(|file| file.compressed);
    plain.sort_by_key(|file| file.modified);
    // While the file itself is there it is being compressed this moment.
    let is_done = |file: &Rotated| beside.iter().all(|plain| plain.path != file.path.with_extension(""));
    let is_ours = |file: &Rotated| ours.iter().any(|times| times.contains(&file.modified));
    let unreadable = compressed.iter().any(|file| !is_ours(file) && is_done(file));
    (plain, unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_rotation_gives_are_known_and_no_others() {
        for (other, want) in [
            ("auth.log.1", Some(false)),
            ("auth.log.2.gz", Some(true)),
            ("auth.log-20261121", Some(false)),
            ("auth.log-20261121-1795251600.xz", Some(true)),
            ("auth-20261121.log", Some(false)),
            ("auth.1.log.zst", Some(true)),
            ("auth.log.old", Some(false)),
            ("auth.log", None),
            ("auth.log.json", None),
            ("auth.log.1.swp", None),
            ("auth.log.", None),
            ("xauth.log.1", None),
            ("auth.login.log", None),
            ("auth.log.gz", None),
        ] {
            assert_eq!(is_rotated("auth.log".as_ref(), other.as_ref()), want, "{other}");
        }
        assert_eq!(is_rotated("messages".as_ref(), "messages.0".as_ref()), Some(false));
        assert_eq!(is_rotated("secure".as_ref(), "secure-20261115".as_ref()), Some(false));
    }
}
