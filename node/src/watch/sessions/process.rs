//! What the kernel says of a process: whether it lives, which logind session it belongs to, which terminal
//! it or its children have, and when it ends. proc(5), cgroups(7), pidfd_open(2).
//!
//! What must not live here: what any of that means for a session.

use std::{
    collections::VecDeque,
    fs,
    io::{self, Read as _},
    os::fd::OwnedFd,
};

use nix::{errno::Errno, sys::signal::kill, unistd::Pid as NixPid};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::{Interest, unix::AsyncFd};

/// The processes of this machine, as far as this pid namespace reaches.
pub(super) trait Processes {
    /// Whether process `pid` (positive) exists.
    fn exists(&self, pid: i32) -> bool;
    /// To which session of logind process `pid` belongs.
    fn owner(&self, pid: i32) -> Owner;
    /// The name of the program that process `pid` runs, of the program's choice, and whether it runs as root; none when
    /// that cannot be told.
    fn program(&self, pid: i32) -> Option<(String, bool)>;
    /// What terminal `leader` or what it started has.
    fn terminal(&self, leader: u32) -> Terminal;
}

/// Which logind session a process belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owner {
    /// The session of this id.
    Session(String),
    /// None: a program of a user's service manager, `user@UID.service`.
    Manager,
    /// None of this machine's.
    Nobody,
    /// It cannot be told: the process is gone, or hidden (`hidepid`).
    Unknown,
}

/// What a session's processes say of its terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Terminal {
    /// The first process that has one has this, without `/dev/`.
    Is(String),
    /// A program runs, and nothing has a terminal.
    None,
    /// Nothing but the login program has been started so far.
    NotYet,
}

/// The machine itself.
pub(super) struct Host;

impl Processes for Host {
    /// kill(2) with signal 0, as who(1) does it: it works where /proc is hidden (`hidepid`) or absent.
    fn exists(&self, pid: i32) -> bool {
        kill(NixPid::from_raw(pid), None) != Err(Errno::ESRCH)
    }

    fn owner(&self, pid: i32) -> Owner {
        match fs::read_to_string(format!("/proc/{pid}/cgroup")) {
            Ok(text) => owner_in(&text),
            Err(_) => Owner::Unknown,
        }
    }

    fn program(&self, pid: i32) -> Option<(String, bool)> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        // Real, effective, saved and filesystem user id; proc_pid_status(5).
        let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
        let is_root = ids.split_whitespace().nth(1) == Some("0");
        Stat::of(&stat).map(|stat| (stat.program.to_owned(), is_root))
    }

    fn terminal(&self, leader: u32) -> Terminal {
        /// Processes that are looked at; a login has its terminal within the first three.
        const MOST: usize = 32;
        /// Bytes of a list of children that are read; sshd has one or two.
        const CHILDREN: u64 = 1024;
        let mut queue = VecDeque::from([leader]);
        let mut found = Terminal::NotYet;
        let mut seen = 0;
        while let Some(pid) = queue.pop_front().filter(|_| seen < MOST) {
            seen += 1;
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            if let Some(stat) = Stat::of(&stat) {
                if let Some(terminal) = terminal_name(stat.terminal) {
                    return Terminal::Is(terminal);
                }
                // What sshd starts for the user leads a session of the kernel's, setsid(2); what PAM modules start
                // meanwhile (a message of the day) does not. sshd's own processes may.
                if stat.session == pid && pid != leader && !stat.program.starts_with("sshd") {
                    // A terminal that it makes for a program of its own (script, expect) is not the login's.
                    found = Terminal::None;
                    continue;
                }
            }
            // The main thread's children: a program that logs people in has one thread.
            let mut children = String::new();
            let read = fs::File::open(format!("/proc/{pid}/task/{pid}/children"))
                .and_then(|file| file.take(CHILDREN).read_to_string(&mut children));
            if read.is_ok() {
                queue.extend(children.split_whitespace().filter_map(|c| c.parse::<u32>().ok()));
            }
        }
        found
    }
}

/// The owner that `/proc/PID/cgroup` names: `…:/user.slice/user-1000.slice/session-5.scope`, pam_systemd(8).
///
/// A container's sessions are below `machine.slice` or a service, and are the container's own.
fn owner_in(text: &str) -> Owner {
    let owner = text.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').nth(2)?.split('/').skip(1);
        (parts.next()? == "user.slice").then_some(())?;
        parts.next()?.strip_prefix("user-")?.strip_suffix(".slice")?;
        let unit = parts.next()?;
        match unit.strip_prefix("session-").and_then(|rest| rest.strip_suffix(".scope")) {
            Some(id) => Some(Owner::Session(id.to_owned())),
            None => unit.starts_with("user@").then_some(Owner::Manager),
        }
    });
    owner.unwrap_or(Owner::Nobody)
}

/// What is needed of `/proc/PID/stat`, proc_pid_stat(5).
#[derive(Debug, PartialEq, Eq)]
struct Stat<'a> {
    /// The second field, in parentheses and of the program's choice.
    program: &'a str,
    /// The sixth: the process that leads its session, setsid(2).
    session: u32,
    /// The seventh: the device number of its controlling terminal; 0 for none.
    terminal: u32,
}

impl<'a> Stat<'a> {
    fn of(stat: &'a str) -> Option<Self> {
        let (before, after) = stat.rsplit_once(')')?;
        let (_, program) = before.split_once('(')?;
        let mut fields = after.split_whitespace().skip(3);
        let session = fields.next()?.parse().ok()?;
        let terminal: i64 = fields.next()?.parse().ok()?;
        // The kernel prints it signed.
        Some(Self { program, session, terminal: u32::try_from(terminal & 0xffff_ffff).ok()? })
    }
}

/// The terminal's name by its number: `new_encode_dev()` of the kernel's `linux/kdev_t.h`, and
/// `Documentation/admin-guide/devices.txt`. None for no terminal and for those that nobody logs in on.
fn terminal_name(device: u32) -> Option<String> {
    let major = (device >> 8) & 0xfff;
    let minor = (device & 0xff) | ((device >> 12) & 0xfff00);
    match (major, minor) {
        (4, 1..64) => Some(format!("tty{minor}")),
        (4, 64..256) => Some(format!("ttyS{}", minor - 64)),
        // Unix98 terminals: eight majors on old kernels; since 2.6 all of them are minors of the first.
        (136..144, _) => Some(format!("pts/{}", (major - 136) * 256 + minor)),
        (204, 64..) => Some(format!("ttyAMA{}", minor - 64)),
        (229, _) => Some(format!("hvc{minor}")),
        _ => None,
    }
}

/// Waits until process `pid` has ended. A process that is gone already is no error.
///
/// # Errors
/// The kernel has no pidfd_open (before 5.3), or there is no file descriptor left.
pub(super) async fn ended(pid: u32) -> io::Result<()> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    let fd: OwnedFd = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        // Before 5.10 there is no such flag; readiness is all that is asked of it.
        Err(rustix::io::Errno::INVAL) => match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            Err(error) => return Err(error.into()),
        },
        Err(error) => return Err(error.into()),
    };
    #[expect(
        deprecated,
        reason = "its successor is unsafe for types that may change their descriptor; OwnedFd cannot"
    )]
    let fd = AsyncFd::with_interest(fd, Interest::READABLE)?;
    fd.readable().await?.retain_ready();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_process_is_known_to_exist_or_not() {
        assert!(Host.exists(nix::unistd::getpid().as_raw()));
        assert!(Host.exists(1));
        assert!(!Host.exists(i32::MAX));
    }

    #[test]
    fn the_session_is_the_machines_own_or_none() {
        let session = |id: &str| Owner::Session(id.to_owned());
        for (text, owner) in [
            ("0::/user.slice/user-0.slice/session-5.scope\n", session("5")),
            ("0::/user.slice/user-1000.slice/session-c12.scope/deeper\n", session("c12")),
            // Debian 10 and before: a hierarchy for each controller.
            (
                "2:cpu:/\n1:name=systemd:/user.slice/user-0.slice/session-7.scope\n0::/user.slice/user-0.slice/session-7.scope\n",
                session("7"),
            ),
            ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/tmux.scope\n", Owner::Manager),
            ("0::/system.slice/ssh.service\n", Owner::Nobody),
            (
                "0::/machine.slice/systemd-nspawn@a.service/payload/user.slice/user-0.slice/session-1.scope\n",
                Owner::Nobody,
            ),
            ("0::/user.slice/user-0.slice/session-5.service\n", Owner::Nobody),
            ("", Owner::Nobody),
        ] {
            assert_eq!(owner_in(text), owner, "{text}");
        }
    }

    #[test]
    fn terminals_have_their_names() {
        for (device, name) in [
            (0, None),
            ((136 << 8) | 3, Some("pts/3")),
            ((136 << 8) | 0x2c | (1 << 20), Some("pts/300")),
            ((4 << 8) | 1, Some("tty1")),
            ((4 << 8) | 64, Some("ttyS0")),
            (229 << 8, Some("hvc0")),
            ((5 << 8) | 1, None),
        ] {
            assert_eq!(terminal_name(device).as_deref(), name, "{device:#x}");
        }
    }

    #[test]
    fn a_programs_name_does_not_move_the_fields() {
        let stat = "77 (a) S 1 (b) 2) S 1 77 77 34819 77 4194304";
        assert_eq!(Stat::of(stat), Some(Stat { program: "a) S 1 (b) 2", session: 77, terminal: 34819 }));
        assert_eq!(Stat::of("77 (a"), None);
        assert_eq!(Stat::of("77 (a) S 1"), None);
    }

    #[tokio::test]
    async fn the_end_of_a_process_is_heard() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = child.id();
        let mut end = Box::pin(ended(pid));
        assert!((&mut end).now_or_never().is_none());
        drop(child.stdin.take());
        tokio::time::timeout(std::time::Duration::from_secs(10), &mut end).await.unwrap().unwrap();
        child.wait().unwrap();
        ended(pid).await.unwrap();
    }
}
