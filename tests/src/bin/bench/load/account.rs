//! What a process has used, by the kernel's own accounts: `proc_pid_stat(5)`, `proc_pid_status(5)`.

use std::{fs, time::Duration};

use anyhow::Context as _;
use nix::{
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::{SysconfVar, sysconf},
};

/// Processor time of a process, in user mode and in the kernel, with threads that have ended.
pub(crate) fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("the process has ended")?;
    // The name is in parentheses and may contain anything.
    let after = stat.rsplit_once(") ").context("no name in /proc/PID/stat")?.1;
    // utime and stime are fields 14 and 15; the first behind the name is field 3.
    let ticks: u64 = after.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    let per_second = sysconf(SysconfVar::CLK_TCK)?.context("no clock ticks")?;
    Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}

/// A number of `status`, in KiB: `VmRSS`, `VmHWM`, `RssAnon`.
pub(crate) fn kib(pid: u32, name: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the process has ended")?;
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = value.and_then(|value| value.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).with_context(|| format!("no {name} in /proc/PID/status"))
}

/// Lets this process, and those it starts, open as many files as the system allows, or says that it is too few.
pub(crate) fn raise_files(wanted: u64) -> anyhow::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    anyhow::ensure!(
        hard >= wanted,
        "this needs {wanted} open files and the hard limit is {hard}: raise `ulimit -Hn`, or take fewer nodes"
    );
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard.min(1 << 20).max(soft), hard)?;
    }
    Ok(())
}

/// The smallest of a sorted list that `percent` of all do not exceed (nearest rank); zero of none.
pub(crate) fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}
