//! A damaged database is set aside, not removed: somebody may want to look, and a few are kept.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Damaged databases that are kept. Each may be as large as what waited in it.
const KEPT: u32 = 3;

fn named(db: &Path, suffix: &str) -> PathBuf {
    let mut name = db.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn missing_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Moves a database and the files that SQLite keeps beside it to `….damaged-N`, the highest N being the latest.
///
/// # Errors
/// The folder cannot be written.
pub(super) fn set_aside(db: &Path) -> io::Result<PathBuf> {
    let aside = |n: u32| named(db, &format!(".damaged-{n}"));
    let mut n = (1..=KEPT).find(|n| !aside(*n).exists()).unwrap_or(KEPT + 1);
    if n > KEPT {
        // The oldest goes.
        for beside in ["", "-wal"] {
            missing_is_fine(fs::remove_file(named(&aside(1), beside)))?;
            for n in 2..=KEPT {
                missing_is_fine(fs::rename(named(&aside(n), beside), named(&aside(n - 1), beside)))?;
            }
        }
        n = KEPT;
    }
    let to = aside(n);
    missing_is_fine(fs::rename(named(db, "-wal"), named(&to, "-wal")))?;
    missing_is_fine(fs::remove_file(named(db, "-shm")))?;
    fs::rename(db, &to)?;
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_damaged_ones_are_kept_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let db = dir.path().join("notify.db");
        for n in 0..6 {
            fs::write(&db, n.to_string()).unwrap();
            fs::write(named(&db, "-wal"), "").unwrap();
            set_aside(&db).unwrap();
        }
        let read = |n: u32| fs::read_to_string(named(&db, &format!(".damaged-{n}"))).unwrap();
        assert_eq!([read(1), read(2), read(3)], ["3", "4", "5"]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 6, "and the log of each beside it");
    }
}
