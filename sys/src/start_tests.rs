use std::{
    fs::File,
    io::Write as _,
    os::fd::AsRawFd as _,
    process::{Child, Stdio},
};

use super::*;
use crate::reap;

fn preparation() -> Preparation {
    Preparation { cgroup: None, user: None, nice: None, umask: 0o022, cwd: c"/".to_owned() }
}

fn start(script: &str, with: Preparation) -> Result<Child, (io::Error, Option<Step>)> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).env_clear().stdin(Stdio::null()).stdout(Stdio::piped());
    let steps = prepare(&mut command, with).unwrap();
    command.spawn().map_err(|error| (error, steps.failed(command)))
}

fn output(script: &str, with: Preparation) -> String {
    let mut child = start(script, with).unwrap();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    child.wait().unwrap();
    text
}

fn root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn a_program_leads_a_session_and_a_group_of_its_own() {
    let mut child = start("cat /proc/$$/stat", preparation()).unwrap();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    child.wait().unwrap();
    let pid = child.id().to_string();
    let fields: Vec<_> = text.rsplit_once(") ").unwrap().1.split(' ').collect();
    assert_eq!((fields[2], fields[3]), (pid.as_str(), pid.as_str()), "group and session: {text}");
}

#[test]
fn a_program_has_the_user_groups_mask_folder_and_niceness_that_were_asked_for() {
    if !root() {
        return eprintln!("SKIPPED: only root becomes another user");
    }
    let user = Some(Ids { uid: 54_321, gid: 54_322, groups: vec![54_322, 54_323] });
    let cwd = c"/usr".to_owned();
    let with = Preparation { user, nice: Some(-3), umask: 0o027, cwd, ..preparation() };
    let script =
        "id -u; id -G; id -ru; umask; pwd; cut -d' ' -f19 /proc/$$/stat; grep CapEff /proc/$$/status";
    let text = output(script, with);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[..6], ["54321", "54322 54323", "54321", "0027", "/usr", "-3"], "{text}");
    assert_eq!(lines[6].split_whitespace().last(), Some("0000000000000000"), "{text}");
}

#[test]
fn no_file_of_this_process_is_open_in_the_program() {
    let file = File::create(std::env::temp_dir().join(format!("secmon-sys-{}", std::process::id()))).unwrap();
    let fd = file.as_raw_fd();
    // As a library would leave it open.
    nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    let text = output(&format!("echo x >&{fd}; ls /proc/$$/fd"), preparation());
    std::fs::remove_file(std::env::temp_dir().join(format!("secmon-sys-{}", std::process::id()))).unwrap();
    assert!(!text.lines().any(|open| open == fd.to_string()), "{fd}: {text}");
}

#[test]
fn a_signal_that_this_process_ignores_is_not_ignored_by_the_program() {
    // std ignores SIGPIPE in every program.
    let text = output("grep SigIgn /proc/$$/status", preparation());
    let ignored = u64::from_str_radix(text.split_whitespace().last().unwrap(), 16).unwrap();
    // 32 and 33 are libc's own.
    assert_eq!(ignored & !(3 << 31), 0, "{text}");
}

#[test]
fn a_start_that_fails_says_at_what() {
    let with = Preparation { cwd: c"/no/such/folder".to_owned(), ..preparation() };
    let (error, step) = start("true", with).unwrap_err();
    assert_eq!((error.raw_os_error(), step), (Some(libc::ENOENT), Some(Step::Cwd)));
    if !root() {
        let user = Some(Ids { uid: 0, gid: 0, groups: vec![] });
        let (_, step) = start("true", Preparation { user, ..preparation() }).unwrap_err();
        assert_eq!(step, Some(Step::Groups));
    }
    let mut command = Command::new("/no/such/program");
    let steps = prepare(&mut command, preparation()).unwrap();
    assert!(command.spawn().is_err());
    assert_eq!(steps.failed(command), None, "it was the program");
}

#[test]
fn a_child_is_reaped_once_with_what_it_took() {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "read x; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exit 7"]);
    command.stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    assert!(reap(&child).unwrap().is_none(), "it waits for input");
    child.stdin.take().unwrap().write_all(b"x\n").unwrap();
    let ended = loop {
        match reap(&child).unwrap() {
            Some(ended) => break ended,
            None => std::thread::yield_now(),
        }
    };
    assert_eq!(ended.status.code(), Some(7));
    assert!(ended.max_rss > 100_000, "{ended:?}");
    assert!(ended.user + ended.system > std::time::Duration::ZERO, "{ended:?}");
    assert!(reap(&child).is_err());
    assert!(child.wait().is_err());
}
