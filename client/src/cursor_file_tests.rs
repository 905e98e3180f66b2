use std::os::unix::fs::{PermissionsExt as _, symlink};

use secmon_protocol::ids::LogId;

use super::*;

fn cursor(n: u64) -> Cursor {
    Cursor { log: LogId(7), n }
}

#[test]
fn what_was_saved_is_there_again_for_its_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cursor");
    let file = CursorFile::open(&path).unwrap();
    assert_eq!(file.stored(), None);
    file.save(cursor(4)).unwrap();
    file.save(cursor(5)).unwrap();
    drop(file);
    assert_eq!(CursorFile::open(&path).unwrap().stored(), Some(cursor(5)));
    assert_eq!(fs::read_to_string(&path).unwrap(), "secmon-cursor 1 0000000000000007-5\n");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut left: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["cursor", "cursor.lock"]);
}

#[test]
fn of_two_writes_the_later_asked_for_stands() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cursor");
    let file = CursorFile::open(&path).unwrap();
    let writer = file.writer();
    let (early, late) = (writer.ticket(), writer.ticket());
    writer.write(late, cursor(9)).unwrap();
    writer.write(early, cursor(3)).unwrap();
    drop(file);
    assert_eq!(CursorFile::open(&path).unwrap().stored(), Some(cursor(9)));
}

#[test]
fn a_second_user_is_told_and_the_lock_ends_with_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cursor");
    let first = CursorFile::open(&path).unwrap();
    assert_eq!(CursorFile::open(&path).unwrap_err(), CursorFileError::InUse { path: path.clone() });
    drop(first);
    CursorFile::open(&path).unwrap();
}

#[test]
fn garbage_is_refused_with_what_to_do_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cursor");
    let good = b"secmon-cursor 1 0000000000000007-5\n";
    let torn = &good[..20];
    let mut long = good.to_vec();
    long.resize(1 << 20, b'x');
    for bad in [&b""[..], b"\xff\xfe", b"42\n", torn, &good[..good.len() - 1], &long] {
        fs::write(&path, bad).unwrap();
        let error = CursorFile::open(&path).unwrap_err();
        assert!(matches!(error, CursorFileError::Garbage { .. }), "{error}");
        assert!(error.to_string().contains("remove it to begin anew"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), bad);
    }
    fs::write(&path, good).unwrap();
    assert_eq!(CursorFile::open(&path).unwrap().stored(), Some(cursor(5)));
}

#[test]
fn a_folder_or_a_missing_one_is_an_error_and_nothing_is_written_through_a_link() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(
        CursorFile::open(&dir.path().join("none/cursor")).unwrap_err(),
        CursorFileError::Io { what: "create", .. }
    ));
    fs::create_dir(dir.path().join("folder")).unwrap();
    assert!(CursorFile::open(&dir.path().join("folder")).is_err());
    // A temporary file that is a link to something else is removed, not followed.
    let victim = dir.path().join("victim");
    fs::write(&victim, "mine").unwrap();
    let path = dir.path().join("cursor");
    symlink(&victim, dir.path().join("cursor.new")).unwrap();
    CursorFile::open(&path).unwrap().save(cursor(1)).unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "mine");
    assert_eq!(CursorFile::open(&path).unwrap().stored(), Some(cursor(1)));
}

#[test]
fn a_write_that_fails_leaves_the_old_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cursor");
    let file = CursorFile::open(&path).unwrap();
    file.save(cursor(1)).unwrap();
    // Not to be removed as a file.
    fs::create_dir(dir.path().join("cursor.new")).unwrap();
    assert!(file.save(cursor(2)).is_err());
    fs::remove_dir(dir.path().join("cursor.new")).unwrap();
    drop(file);
    assert_eq!(CursorFile::open(&path).unwrap().stored(), Some(cursor(1)));
}
