//! The processes of one run: started as an [`Invocation`] says, and ended together.
//!
//! They are known by their cgroup, where one can be made; else by the leader's session and process group, which a
//! process can leave. The leader stays unreaped until nobody else is left, so that the number of its group and
//! session cannot come to mean somebody else's while signals are still to be sent.

use std::{
    fs, io,
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::{
    sys::{
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::Pid,
};
use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
use secmon_sys::{Ended, Ids, Preparation, Step};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep},
};

use super::{
    allowlist::{Invocation, Stdin},
    cgroup::{Cgroup, Cgroups, Stat},
};

/// The first pause before another look at whether all have gone; it doubles up to [`SLOWEST_LOOK`].
const FIRST_LOOK: Duration = Duration::from_millis(1);
/// The longest such pause.
const SLOWEST_LOOK: Duration = Duration::from_millis(50);
/// How often the leader is looked at where the system tells nothing of it any more.
const BLIND_LOOK: Duration = Duration::from_millis(250);

/// How many of a run are asked to end beside its leader's group, each by a file; who starts more has them killed.
const ASKED: usize = 256;

/// The leader, and all that came of it.
pub(super) struct Processes {
    child: Child,
    leader: Pid,
    cgroup: Option<Cgroup>,
    exits: tokio::signal::unix::Signal,
}

/// Our ends of the leader's standard files.
pub(super) struct Pipes {
    /// None: it reads nothing.
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
}

impl Processes {
    /// Starts the leader.
    ///
    /// # Errors
    /// In words, what could not be done and why.
    pub(super) fn start(
        invocation: &Invocation,
        stdin: Stdin,
        cgroups: Option<&Cgroups>,
    ) -> Result<(Self, Pipes), String> {
        // Before the start, so that no end is missed.
        let exits =
            signal(SignalKind::child()).map_err(|error| format!("cannot wait for its end: {error}"))?;
        let cgroup = cgroups.and_then(|cgroups| match cgroups.make() {
            Ok(cgroup) => Some(cgroup),
            Err(error) => {
                tracing::warn!(%error, "no cgroup for a command; what leaves its session is not ended with it");
                None
            }
        });
        let (mut child, cgroup) = match spawn(invocation, stdin, cgroup.as_ref()) {
            Ok(child) => (child, cgroup),
            Err(Failed { step: Some(Step::Cgroup), error }) => {
                tracing::warn!(%error, "a command cannot enter its cgroup; what leaves its session is not ended with it");
                (spawn(invocation, stdin, None).map_err(|failed| failed.words())?, None)
            }
            Err(failed) => return Err(failed.words()),
        };
        let pipes = Pipes {
            stdin: child.stdin.take().map(OwnedFd::from),
            stdout: child.stdout.take().map(OwnedFd::from),
            stderr: child.stderr.take().map(OwnedFd::from),
        };
        let leader = Pid::from_raw(child.id().cast_signed());
        Ok((Self { child, leader, cgroup, exits }, pipes))
    }

    /// The leader's number.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the leader's end, and leaves it to be reaped. Safe to be dropped while it waits.
    pub(super) async fn exited(&mut self) {
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        while matches!(waitid(Id::Pid(self.leader), look), Ok(WaitStatus::StillAlive)) {
            if self.exits.recv().await.is_none() {
                sleep(BLIND_LOOK).await;
            }
        }
    }

    /// Asks all to end, each once.
    pub(super) fn terminate(&self) {
        // Who has left the group is asked one by one, and known before those in it can end, and be waited for.
        let others: Vec<_> = match &self.cgroup {
            Some(cgroup) => {
                let members = cgroup.members().into_iter().take(ASKED);
                let opened: Vec<_> = members.map(|pid| (pid, Member::open(pid))).collect();
                // Looked at again: from then on it is this process that is meant, whatever its number.
                let still = cgroup.members();
                opened.into_iter().filter(|(pid, _)| still.contains(pid)).collect()
            }
            None => self.members().take(ASKED).collect(),
        };
        let leader = self.leader.as_raw();
        // ESRCH: nobody is left, which is what was wanted.
        let _ = killpg(self.leader, Signal::SIGTERM);
        for (pid, member) in others {
            if Stat::of(pid).is_some_and(|stat| stat.group != leader) {
                member.signal(rustix::process::Signal::TERM);
            }
        }
    }

    /// Whether nobody is left; the leader itself may wait to be reaped.
    pub(super) fn are_gone(&self) -> bool {
        match &self.cgroup {
            Some(cgroup) => cgroup.is_empty(),
            None => self.members().next().is_none(),
        }
    }

    /// Waits until nobody is left, for at most `patience`; says whether that is so. Safe to be dropped.
    pub(super) async fn gone(&self, patience: Duration) -> bool {
        self.until_gone(patience, || {}).await
    }

    /// Kills all, until nobody is left, for at most `patience`; says whether that is so.
    pub(super) async fn kill(&self, patience: Duration) -> bool {
        self.until_gone(patience, || match &self.cgroup {
            Some(cgroup) => cgroup.kill(),
            None => {
                let _ = killpg(self.leader, Signal::SIGKILL);
                self.members().for_each(|(_, member)| member.signal(rustix::process::Signal::KILL));
            }
        })
        .await
    }

    async fn until_gone(&self, patience: Duration, act: impl Fn()) -> bool {
        let deadline = Instant::now() + patience;
        let mut pause = FIRST_LOOK;
        loop {
            act();
            if self.are_gone() {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            sleep(pause).await;
            pause = (pause * 2).min(SLOWEST_LOOK);
        }
    }

    /// Reaps the leader, which must have ended; after this none of them may be signalled.
    ///
    /// # Errors
    /// It has not ended, even by SIGKILL.
    pub(super) fn reap(self) -> Result<Ended, Self> {
        match secmon_sys::reap(&self.child) {
            Ok(Some(mut ended)) => {
                if let Some((user, system)) = self.cgroup.as_ref().and_then(Cgroup::cpu) {
                    // What its children took that it did not wait for, too.
                    ended.user = ended.user.max(user);
                    ended.system = ended.system.max(system);
                }
                Ok(ended)
            }
            _ => Err(self),
        }
    }

    /// Who lives and is in the leader's session or group.
    fn members(&self) -> impl Iterator<Item = (u32, Member)> {
        let leader = self.leader.as_raw();
        let is_member = move |stat: Stat| !stat.is_zombie && (stat.group == leader || stat.session == leader);
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
        pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).filter_map(move |pid| {
            Stat::of(pid).filter(|stat| is_member(*stat))?;
            // Opened and looked at again: from then on it is this process that is meant, whatever its number.
            let member = Member::open(pid);
            Stat::of(pid).filter(|stat| is_member(*stat)).map(|_| (pid, member))
        })
    }
}

/// One of the run's processes; without a file on a kernel that has none (before 5.3).
struct Member(Option<OwnedFd>);

impl Member {
    fn open(pid: u32) -> Self {
        let pid = rustix::process::Pid::from_raw(pid.cast_signed());
        Self(pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()))
    }

    fn signal(&self, signal: rustix::process::Signal) {
        if let Some(file) = &self.0 {
            let _ = pidfd_send_signal(file, signal);
        }
    }
}

struct Failed {
    step: Option<Step>,
    error: io::Error,
}

impl Failed {
    fn words(&self) -> String {
        match self.step {
            Some(step) => format!("{}: {}", step.words(), self.error),
            None => self.error.to_string(),
        }
    }
}

fn spawn(invocation: &Invocation, stdin: Stdin, cgroup: Option<&Cgroup>) -> Result<Child, Failed> {
    let failed = |error| Failed { step: None, error };
    let mut command = Command::new(&invocation.program);
    let (name, arguments) =
        invocation.argv.split_first().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
    command
        .arg0(name)
        .args(arguments)
        .env_clear()
        .envs(&invocation.env)
        .stdin(match stdin {
            Stdin::None => Stdio::null(),
            Stdin::Client => Stdio::piped(),
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let cgroup =
        cgroup.map(Cgroup::door).transpose().map_err(|error| Failed { step: Some(Step::Cgroup), error })?;
    let user = invocation.user.as_ref().map(|user| Ids {
        uid: user.uid,
        gid: user.gid,
        groups: user.groups.clone(),
    });
    let cwd = secmon_sys::c_path(&invocation.cwd).map_err(failed)?;
    let preparation = Preparation { cgroup, user, nice: invocation.nice, umask: invocation.umask, cwd };
    let steps = secmon_sys::prepare(&mut command, preparation).map_err(failed)?;
    command.spawn().map_err(|error| Failed { step: steps.failed(command), error })
}
