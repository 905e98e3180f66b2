//! Cgroups (version 2): one for each run, so that nothing that it starts can leave it, whatever sessions and
//! groups it begins. cgroups(7), and the kernel's Documentation/admin-guide/cgroup-v2.rst.
//!
//! They lie below the cgroup that this process is in, and need nothing there but the right to make folders: root has
//! it, and whoever systemd delegates to (`Delegate=yes`). No controller is used.

use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// How the folders of runs begin.
const PREFIX: &str = "secmon-run-";
/// How deep the cgroups go that a run may have made in its own; what lies deeper stays.
const DEPTH: usize = 8;

/// Distinguishes the runs of this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Where cgroups can be made.
#[derive(Debug, Clone)]
pub(super) struct Cgroups {
    /// The folder of this process's own cgroup.
    own: PathBuf,
    owner: Owner,
}

impl Cgroups {
    /// Where this process can make them.
    ///
    /// # Errors
    /// In words, why not.
    pub(super) fn find() -> Result<Self, String> {
        let read =
            |path: &str| fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"));
        let (mounts, memberships) = (read("/proc/self/mountinfo")?, read("/proc/self/cgroup")?);
        let own = own_folder(&mounts, &memberships).ok_or("there is no cgroup2 file system")?;
        let owner = Owner::this().ok_or("/proc does not tell of this process")?;
        let found = Self { own, owner };
        found.sweep();
        // Whether one can be made is found out by making one.
        match found.make() {
            Ok(_) => Ok(found),
            Err(error) => Err(format!("cannot make one in {}: {error}", found.own.display())),
        }
    }

    /// A new one.
    ///
    /// # Errors
    /// The file system refuses.
    pub(super) fn make(&self) -> io::Result<Cgroup> {
        let path = self.own.join(format!("{PREFIX}{}-{}", self.owner, NEXT.fetch_add(1, Relaxed)));
        fs::create_dir(&path)?;
        Ok(Cgroup { path })
    }

    /// Ends what is left of the runs of a secmon that was killed.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.own) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(Owner::parse);
            if owner.is_some_and(|owner| owner.namespace == self.owner.namespace && !owner.lives()) {
                let left = Cgroup { path: entry.path() };
                if !left.is_empty() {
                    tracing::warn!(cgroup = %left.path.display(), "ending what is left of a command of an earlier secmon");
                    left.kill();
                }
                // Removed now or by the next start, when they have gone.
                drop(left);
            }
        }
    }
}

/// The process that made a cgroup, unmistakably: its number may be another's by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owner {
    /// Of the namespace in which its number counts.
    namespace: u64,
    pid: u32,
    /// When it started, in the kernel's ticks since boot.
    started: u64,
}

impl Owner {
    fn this() -> Option<Self> {
        let pid = std::process::id();
        let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
        let namespace = namespace.to_str()?.trim_start_matches("pid:[").trim_end_matches(']').parse().ok()?;
        Some(Self { namespace, pid, started: Stat::of(pid)?.started })
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let mut next = || parts.next()?.parse::<u64>().ok();
        let (namespace, pid, started) = (next()?, next()?, next()?);
        Some(Self { namespace, pid: u32::try_from(pid).ok()?, started })
    }

    fn lives(self) -> bool {
        Stat::of(self.pid).is_some_and(|stat| stat.started == self.started && !stat.is_zombie)
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}", self.namespace, self.pid, self.started)
    }
}

/// What /proc/PID/stat says, proc_pid_stat(5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) is_zombie: bool,
    pub(super) group: i32,
    pub(super) session: i32,
    started: u64,
}

impl Stat {
    pub(super) fn of(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // A name may hold anything, also parentheses; what follows it does not.
        let fields: Vec<_> = text.rsplit_once(") ")?.1.split(' ').collect();
        let number = |at: usize| fields.get(at)?.parse().ok();
        Some(Self {
            is_zombie: matches!(*fields.first()?, "Z" | "X"),
            group: number(2)?,
            session: number(3)?,
            started: fields.get(19)?.parse().ok()?,
        })
    }
}

/// The folder of the cgroup that a process is in, from its mountinfo and cgroup files, proc_pid_mountinfo(5).
fn own_folder(mounts: &str, memberships: &str) -> Option<PathBuf> {
    let own = Path::new(memberships.lines().find_map(|line| line.strip_prefix("0::"))?);
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        if !after.starts_with("cgroup2 ") {
            return None;
        }
        let mut fields = before.split(' ').skip(3);
        let (root, point) = (unescape(fields.next()?), unescape(fields.next()?));
        Some(Path::new(&point).join(own.strip_prefix(&root).ok()?))
    })
}

/// mountinfo writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &str) -> String {
    [(r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (written, meant)| text.replace(written, meant))
}

/// The cgroup of one run. Removed when it is dropped, if nothing is left in it.
#[derive(Debug)]
pub(super) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// What a process writes "0" to, to be in it.
    ///
    /// # Errors
    /// The file system refuses.
    pub(super) fn door(&self) -> io::Result<OwnedFd> {
        Ok(OpenOptions::new().write(true).open(self.path.join("cgroup.procs"))?.into())
    }

    /// Whether no process lives in it or below; one that waits to be reaped does not.
    pub(super) fn is_empty(&self) -> bool {
        match fs::read_to_string(self.path.join("cgroup.events")) {
            Ok(events) => !events.lines().any(|line| line == "populated 1"),
            Err(error) => error.kind() == ErrorKind::NotFound,
        }
    }

    /// Kills all that is in it or below. Where the kernel does it (Linux 5.14), nothing that forks meanwhile escapes;
    /// else it is to be called until nothing is left.
    pub(super) fn kill(&self) {
        if fs::write(self.path.join("cgroup.kill"), "1").is_ok() {
            return;
        }
        self.kill_one_by_one();
    }

    /// Who is in it or below. By the time that it is read a number may be somebody else's.
    pub(super) fn members(&self) -> Vec<u32> {
        let procs = |folder: PathBuf| fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        // 0 is a process of a pid namespace that this one does not see.
        let numbers = |text: String| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<u32>>();
        self.folders().into_iter().map(procs).flat_map(numbers).filter(|pid| *pid > 0).collect()
    }

    fn kill_one_by_one(&self) {
        // Frozen (Linux 5.2), none of them can end, and its number become another's, nor fork; KILL comes through.
        let _ = fs::write(self.path.join("cgroup.freeze"), "1");
        let own = Pid::this();
        for pid in self.members().into_iter().map(|pid| Pid::from_raw(pid.cast_signed())) {
            if pid != own {
                let _ = kill(pid, Signal::SIGKILL);
            }
        }
        let _ = fs::write(self.path.join("cgroup.freeze"), "0");
    }

    /// CPU time of all that was ever in it, in the program and in the kernel.
    pub(super) fn cpu(&self) -> Option<(Duration, Duration)> {
        let text = fs::read_to_string(self.path.join("cpu.stat")).ok()?;
        let of = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
            Some(Duration::from_micros(value.parse().ok()?))
        };
        Some((of("user_usec")?, of("system_usec")?))
    }

    /// It and those below, the deepest first.
    fn folders(&self) -> Vec<PathBuf> {
        let mut found = vec![];
        below(&self.path, DEPTH, &mut found);
        found
    }
}

fn below(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    if depth > 0 {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                below(&entry.path(), depth - 1, found);
            }
        }
    }
    found.push(folder.to_owned());
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // What still lives in it keeps it; a later start ends that.
        for folder in self.folders() {
            let _ = fs::remove_dir(folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_cgroup_is_found_in_pure_hybrid_and_namespaced_systems() {
        let pure = "25 30 0:23 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let own = own_folder(pure, "0::/system.slice/secmon-runner.service\n").unwrap();
        assert_eq!(own, Path::new("/sys/fs/cgroup/system.slice/secmon-runner.service"));
        let hybrid = "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let own = own_folder(hybrid, "9:name=systemd:/user\n0::/\n").unwrap();
        assert_eq!(own, Path::new("/sys/fs/cgroup/unified/"));
        // A part of the tree, mounted at a place with a space in its name.
        let part = "50 31 0:38 /lxc/a /mnt/c\\040g rw - cgroup2 cgroup2 rw\n";
        assert_eq!(own_folder(part, "0::/lxc/a/b\n").unwrap(), Path::new("/mnt/c g/b"));
        assert_eq!(own_folder(part, "0::/elsewhere\n"), None, "it is not in what is mounted");
        assert_eq!(own_folder("1 2 0:3 / / rw - ext4 /dev/sda rw\n", "0::/\n"), None);
        assert_eq!(own_folder(pure, "1:cpu:/\n"), None);
    }

    #[test]
    fn a_process_is_known_by_number_and_start_whatever_its_name() {
        let text = "7 (a) b) ) S 1 7 9 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0";
        let stat = Stat::parse(text).unwrap();
        assert_eq!(stat, Stat { is_zombie: false, group: 7, session: 9, started: 4711 });
        let this = Owner::this().unwrap();
        assert!(this.lives());
        assert_eq!(Owner::parse(&format!("{this}-12")), Some(this));
        assert!(!Owner { started: this.started + 1, ..this }.lives());
    }

    #[test]
    fn what_a_killed_secmon_left_is_ended_and_what_lives_is_not() {
        let Ok(cgroups) = Cgroups::find() else { return eprintln!("SKIPPED: no cgroup can be made here") };
        // A part of the tree that no other test sweeps.
        let part = cgroups.make().unwrap();
        let cgroups = Cgroups { own: part.path.clone(), ..cgroups };
        let ours = cgroups.make().unwrap();
        let dead = Owner { started: cgroups.owner.started + 1, ..cgroups.owner };
        let left = Cgroup { path: cgroups.own.join(format!("{PREFIX}{dead}-0")) };
        fs::create_dir(&left.path).unwrap();
        let start = || std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let (mut in_ours, mut in_left) = (start(), start());
        fs::write(ours.path.join("cgroup.procs"), in_ours.id().to_string()).unwrap();
        fs::write(left.path.join("cgroup.procs"), in_left.id().to_string()).unwrap();
        cgroups.sweep();
        in_left.wait().unwrap();
        assert!(left.is_empty());
        assert!(in_ours.try_wait().unwrap().is_none());
        assert!(!ours.is_empty());
        ours.kill();
        in_ours.wait().unwrap();
        assert!(ours.is_empty());
        let path = ours.path.clone();
        drop((ours, left));
        assert!(!path.exists());
    }

    #[test]
    fn without_the_kernels_help_all_are_killed_one_by_one_also_those_below() {
        let Ok(cgroups) = Cgroups::find() else { return eprintln!("SKIPPED: no cgroup can be made here") };
        let cgroup = cgroups.make().unwrap();
        let below = cgroup.path.join("below");
        fs::create_dir(&below).unwrap();
        let mut children: Vec<_> = [&cgroup.path, &below]
            .iter()
            .flat_map(|folder| [folder, folder])
            .map(|folder| {
                let child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
                fs::write(folder.join("cgroup.procs"), child.id().to_string()).unwrap();
                child
            })
            .collect();
        cgroup.kill_one_by_one();
        for child in &mut children {
            child.wait().unwrap();
        }
        assert!(cgroup.is_empty());
        let path = cgroup.path.clone();
        drop(cgroup);
        assert!(!path.exists());
    }
}
