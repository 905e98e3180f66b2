//! What a child does between fork(2) and execve(2), where little more than system calls is allowed.

use std::{
    ffi::{CStr, CString, c_int},
    io::{self, PipeReader, PipeWriter, Read as _},
    os::{
        fd::{AsRawFd as _, OwnedFd, RawFd},
        unix::{ffi::OsStrExt as _, process::CommandExt as _},
    },
    path::Path,
    process::Command,
    ptr,
};

/// First file descriptor behind standard input, output and error.
const FIRST: RawFd = 3;
/// Most file descriptors that are looked at one by one, where the kernel cannot close them all at once.
const MOST: RawFd = 65_536;
/// The last signal, `SIGRTMAX` of signal(7).
const LAST_SIGNAL: c_int = 64;

/// How a program is started, beside what [`Command`] knows.
#[derive(Debug)]
pub struct Preparation {
    /// A cgroup's `cgroup.procs`, open for writing: the program starts in that cgroup.
    pub cgroup: Option<OwnedFd>,
    /// As whom it runs; none: as this process.
    pub user: Option<Ids>,
    /// Its niceness; none: this process's.
    pub nice: Option<i32>,
    /// Its file mode creation mask.
    pub umask: u32,
    /// The folder that it starts in. Entered as that user.
    pub cwd: CString,
}

/// A user, as numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ids {
    /// Real, effective and saved.
    pub uid: u32,
    /// Real, effective and saved.
    pub gid: u32,
    /// All supplementary groups.
    pub groups: Vec<u32>,
}

/// A path as the kernel takes it.
///
/// # Errors
/// It has a NUL in it.
pub fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from)
}

/// What a child does before its program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// Begins a session.
    Session = 1,
    /// Enters the cgroup.
    Cgroup,
    /// Takes its niceness.
    Nice,
    /// Takes the user's groups.
    Groups,
    /// Takes the user's main group.
    Gid,
    /// Becomes the user.
    Uid,
    /// Enters the folder.
    Cwd,
    /// Has itself killed with its parent.
    Parent,
    /// Closes this process's files.
    Files,
}

impl Step {
    const ALL: [Self; 9] = [
        Self::Session,
        Self::Cgroup,
        Self::Nice,
        Self::Groups,
        Self::Gid,
        Self::Uid,
        Self::Cwd,
        Self::Parent,
        Self::Files,
    ];

    /// That it cannot, for people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Session => "cannot begin a session",
            Self::Cgroup => "cannot enter its cgroup",
            Self::Nice => "cannot set its niceness",
            Self::Groups => "cannot take the user's groups",
            Self::Gid => "cannot take the user's group",
            Self::Uid => "cannot become the user",
            Self::Cwd => "cannot enter the folder that it starts in",
            Self::Parent => "its parent has ended",
            Self::Files => "cannot close this process's files",
        }
    }
}

/// Tells why a start failed.
#[derive(Debug)]
pub struct Steps(PipeReader);

impl Steps {
    /// What the child could not do; none: all was done, and it is the program that did not start. The
    /// command goes with it, since it holds what the child tells this through.
    #[must_use]
    pub fn failed(mut self, command: Command) -> Option<Step> {
        drop(command);
        let mut byte = [0];
        self.0.read_exact(&mut byte).ok()?;
        Step::ALL.into_iter().find(|step| *step as u8 == byte[0])
    }
}

/// Has a command's child, when it is started, do this in order: begin a session of its own, and with it a process
/// group; let every signal do what it does by default; enter the cgroup; take niceness, groups, user and mask; enter
/// the folder; give up capabilities that would outlive the change of the program (ambient ones, capabilities(7)); be
/// killed when the thread that starts it ends; and keep no file of this process open but its three standard ones.
///
/// The thread that calls `spawn` must live as long as the program may.
///
/// # Errors
/// No file descriptor is left.
pub fn prepare(command: &mut Command, preparation: Preparation) -> io::Result<Steps> {
    let (steps, told) = io::pipe()?;
    let parent = std::process::id();
    let child = move || child(&preparation, parent, &told);
    #[expect(unsafe_code, reason = "pre_exec is the only way to have code between fork and exec")]
    // SAFETY: the closure runs in a child of a process that may have threads: it must not allocate, lock or call
    // anything that is not async-signal-safe (signal-safety(7)). `child` makes system calls and reads memory
    // that was allocated before the fork; an `io::Error` of an errno allocates nothing. Nothing of it is dropped
    // there: the closure is borrowed, and the child ends by execve or _exit.
    unsafe {
        command.pre_exec(child)
    };
    Ok(Steps(steps))
}

/// In the child. Only what is async-signal-safe.
fn child(with: &Preparation, parent: u32, told: &PipeWriter) -> io::Result<()> {
    let told = told.as_raw_fd();
    let step = |step: Step, result: c_int| {
        if result >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        write(told, &[step as u8]);
        Err(error)
    };
    step(Step::Session, setsid())?;
    default_signals();
    if let Some(cgroup) = &with.cgroup {
        // "0" is whoever writes it, cgroups(7).
        step(Step::Cgroup, write(cgroup.as_raw_fd(), b"0"))?;
    }
    if let Some(nice) = with.nice {
        step(Step::Nice, set_nice(nice))?;
    }
    if let Some(ids) = &with.user {
        step(Step::Groups, set_groups(&ids.groups))?;
        step(Step::Gid, set_gid(ids.gid))?;
        step(Step::Uid, set_uid(ids.uid))?;
    }
    set_umask(with.umask);
    step(Step::Cwd, change_folder(&with.cwd))?;
    drop_ambient();
    // After the change of user, which clears it.
    step(Step::Parent, die_with(parent))?;
    step(Step::Files, close_on_exec())
}

fn setsid() -> c_int {
    #[expect(unsafe_code, reason = "setsid(2); nix's form is no part of what std lets a child do")]
    // SAFETY: no memory is passed.
    unsafe {
        libc::setsid()
    }
}

/// What this process ignores (SIGPIPE, or SIGHUP under nohup) the program would ignore as well.
fn default_signals() {
    for signal in 1..=LAST_SIGNAL {
        #[expect(unsafe_code, reason = "signal(2)")]
        // SAFETY: SIG_DFL is no function of ours. What cannot be set (SIGKILL, and what libc keeps for itself) is
        // refused with an error, which is of no interest.
        unsafe {
            libc::signal(signal, libc::SIG_DFL)
        };
    }
}

fn write(fd: RawFd, bytes: &[u8]) -> c_int {
    #[expect(unsafe_code, reason = "write(2) without std's machinery")]
    // SAFETY: the pointer and the length are those of a slice; the kernel reads it. `fd` belongs to a value that the
    // caller borrows.
    let written = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
    if written < 0 { -1 } else { 0 }
}

fn set_nice(nice: i32) -> c_int {
    #[expect(unsafe_code, reason = "setpriority(2)")]
    // SAFETY: no memory is passed.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, nice)
    }
}

fn set_groups(groups: &[u32]) -> c_int {
    #[expect(unsafe_code, reason = "setgroups(2)")]
    // SAFETY: pointer and length are those of a slice of gid_t, which the kernel reads.
    unsafe {
        libc::setgroups(groups.len(), groups.as_ptr())
    }
}

fn set_gid(gid: u32) -> c_int {
    #[expect(unsafe_code, reason = "setresgid(2)")]
    // SAFETY: no memory is passed.
    unsafe {
        libc::setresgid(gid, gid, gid)
    }
}

fn set_uid(uid: u32) -> c_int {
    #[expect(unsafe_code, reason = "setresuid(2)")]
    // SAFETY: no memory is passed.
    unsafe {
        libc::setresuid(uid, uid, uid)
    }
}

fn set_umask(mask: u32) {
    #[expect(unsafe_code, reason = "umask(2)")]
    // SAFETY: no memory is passed.
    unsafe {
        libc::umask(mask)
    };
}

fn change_folder(path: &CStr) -> c_int {
    #[expect(unsafe_code, reason = "chdir(2)")]
    // SAFETY: a CStr ends with NUL and lives through the call.
    unsafe {
        libc::chdir(path.as_ptr())
    }
}

/// A node that is not root may have been given CAP_NET_ADMIN in a way that its programs inherit.
fn drop_ambient() {
    let (operation, none) = (libc::PR_CAP_AMBIENT_CLEAR_ALL, 0);
    #[expect(unsafe_code, reason = "prctl(2)")]
    // SAFETY: only numbers are passed. A kernel before 4.3, which has no such capabilities, refuses.
    unsafe {
        libc::prctl(libc::PR_CAP_AMBIENT, operation, none, none, none)
    };
}

fn die_with(parent: u32) -> c_int {
    #[expect(unsafe_code, reason = "prctl(2)")]
    // SAFETY: only numbers are passed.
    let result = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    if result < 0 {
        return result;
    }
    #[expect(unsafe_code, reason = "getppid(2)")]
    // SAFETY: no memory is passed.
    let now = unsafe { libc::getppid() };
    // It may have ended before this was asked for.
    if u32::try_from(now) == Ok(parent) { 0 } else { -1 }
}

/// std opens its files so that they close by themselves; a library or whoever started this process may not.
fn close_on_exec() -> c_int {
    let (first, last) = (FIRST, u32::MAX);
    #[expect(unsafe_code, reason = "close_range(2), which older C libraries have no function for")]
    // SAFETY: only numbers are passed. Nothing is closed before execve, so that no value is left with a file that is
    // not its own.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 {
        return 0;
    }
    // Before Linux 5.11.
    for fd in FIRST..most_files() {
        #[expect(unsafe_code, reason = "fcntl(2)")]
        // SAFETY: no memory is passed. A number that is no file is refused.
        unsafe {
            libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC)
        };
    }
    0
}

fn most_files() -> RawFd {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    #[expect(unsafe_code, reason = "getrlimit(2)")]
    // SAFETY: the pointer is of a live rlimit, which the kernel writes.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, ptr::from_mut(&mut limit)) };
    if result < 0 { MOST } else { RawFd::try_from(limit.rlim_cur).unwrap_or(MOST).min(MOST) }
}

#[cfg(test)]
#[path = "start_tests.rs"]
mod tests;
