//! The file: who may have written it, when it is read, and that the hub takes what it holds.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use secmon_protocol::{
    codec,
    limits::{MAX_ARGS, MAX_CHOICES},
    message::runner::RunnerToNode,
};

use super::*;

fn write(dir: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = dir.path().join("commands.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

#[test]
fn a_file_or_folder_that_others_may_write_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(&dir, "a=id\n");
    assert_eq!(load(&path).unwrap().len(), 1);
    for (what, mode) in [(path.as_path(), 0o620), (&path, 0o602), (dir.path(), 0o770), (dir.path(), 0o707)] {
        let before = fs::metadata(what).unwrap().permissions();
        fs::set_permissions(what, fs::Permissions::from_mode(mode)).unwrap();
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains("chmod go-w") && error.contains(&what.display().to_string()), "{error}");
        fs::set_permissions(what, before).unwrap();
    }
}

#[test]
fn a_changed_file_counts_at_once_and_a_refused_one_allows_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(&dir, "a=id\n");
    let mut list = Allowlist::open(Some(&path));
    assert!(list.find("a").is_ok());
    assert!(!list.refresh());
    write(&dir, "b=id\nc=id\n");
    assert!(list.refresh());
    assert_eq!(list.find("a").unwrap_err().0, RunFailure::UnknownLabel);
    assert!(list.find("a").unwrap_err().1.contains("b, c"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(list.refresh(), "a change of the mode is a change");
    assert_eq!(list.find("b").unwrap_err().0, RunFailure::Refused);
    assert!(list.infos().is_empty());
}

#[test]
fn a_mended_folder_is_enough_to_be_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(&dir, "a=id\n");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let mut list = Allowlist::open(Some(&path));
    assert_eq!(list.find("a").unwrap_err().0, RunFailure::Refused);
    assert!(!list.refresh());
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    assert!(list.refresh());
    assert!(list.find("a").is_ok());
}

#[test]
fn a_folder_that_others_may_write_since_is_noticed_without_a_change_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(&dir, "a=id\n");
    let mut list = Allowlist::open(Some(&path));
    assert!(list.find("a").is_ok() && !list.refresh());
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(list.refresh());
    assert_eq!(list.find("a").unwrap_err().0, RunFailure::Refused);
}

#[test]
fn a_link_counts_as_what_it_leads_to_and_what_is_no_file_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(&dir, "a=id\n");
    let open = dir.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::rename(&path, open.join("real")).unwrap();
    symlink("open/real", &path).unwrap();
    assert!(load(&path).is_ok());
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(load(&path).unwrap_err().to_string().contains("chmod go-w"));

    // Whoever may turn a link decides what is read, however well the file itself is kept: also one further on.
    fs::set_permissions(&open, fs::Permissions::from_mode(0o700)).unwrap();
    let way = dir.path().join("way");
    fs::create_dir(&way).unwrap();
    symlink("../open/real", way.join("link")).unwrap();
    symlink("way/link", dir.path().join("first")).unwrap();
    for link in ["way/link", "first", "open/../way/./link"] {
        let path = dir.path().join(link);
        assert!(load(&path).is_ok(), "{link}");
        let mut list = Allowlist::open(Some(&path));
        fs::set_permissions(&way, fs::Permissions::from_mode(0o777)).unwrap();
        let error = load(&path).unwrap_err().to_string();
        assert!(
            error.contains(&way.display().to_string()) && error.contains("chmod go-w"),
            "{link}: {error}"
        );
        assert!(list.refresh() && list.find("a").is_err(), "{link}");
        fs::set_permissions(&way, fs::Permissions::from_mode(0o700)).unwrap();
    }
    symlink("round", dir.path().join("round")).unwrap();
    assert!(load(&dir.path().join("round")).is_err());
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::lchown(dir.path().join("first"), Some(4711), None).unwrap();
        let error = load(&dir.path().join("first")).unwrap_err().to_string();
        assert!(error.contains("its owner is uid 4711"), "{error}");
    }

    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert!(load(&fifo).unwrap_err().to_string().contains("no regular file"));
    assert!(load(dir.path()).is_err());
}

#[test]
fn a_reload_reads_what_looks_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let mut list = Allowlist::open(Some(&write(&dir, "a=id\n")));
    assert!(!list.reload());
    write(&dir, "b=id\n");
    assert!(list.reload() && list.find("b").is_ok());
}

/// A file that the node takes and the hub does not would cut the node off.
#[test]
fn whatever_a_file_holds_can_be_told_to_the_hub() {
    let of = |kind: &str| {
        let mut text = String::new();
        for command in 0..MAX_COMMANDS {
            let mut entry = format!("[commands.{command}]\nrun=['x'");
            (0..MAX_ARGS).for_each(|arg| entry.push_str(&format!(",'{{a{arg}}}'")));
            entry.push_str("]\n");
            (0..MAX_ARGS).for_each(|arg| entry.push_str(&format!("args.a{arg}={{{kind}}}\n")));
            if text.len() + entry.len() > 1 << 20 {
                break;
            }
            text.push_str(&entry);
        }
        text
    };
    let choices: Vec<_> = (0..MAX_CHOICES).map(|n| format!("'{n}'")).collect();
    for kind in [
        &format!("type='choice',values=[{}]", choices.join(",")),
        "type='string',pattern='x'",
        &format!("type='path',below='/{}'", "ü".repeat(2047)),
        "type='bool',word='x'",
        "type='integer'",
    ] {
        let entries = parse(&of(kind)).unwrap();
        let infos: Vec<_> = entries.iter().map(|(label, entry)| entry.info(label)).collect();
        let message = RunnerToNode::Commands(infos.clone());
        let mut assembler = codec::Assembler::<RunnerToNode>::default();
        let told =
            codec::encode_frames(&message).unwrap().iter().find_map(|frame| assembler.push(frame).unwrap());
        assert!(told.is_some_and(|told| told == message), "{kind}");
        let texts: usize = infos.iter().map(|info| format!("{info:?}").len()).sum();
        assert!(texts > 100_000, "{kind}: a file that is nearly full, not {texts} bytes");
    }
}
