//! The end of a child, and what it took.

use std::{
    io,
    mem::MaybeUninit,
    os::unix::process::ExitStatusExt as _,
    process::{Child, ExitStatus},
    time::Duration,
};

/// A child that has ended and was reaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// CPU time in programs, its own and that of the children that it waited for.
    pub user: Duration,
    /// CPU time in the kernel, likewise.
    pub system: Duration,
    /// Most memory that it, or one of those children, had, in bytes. The process that it was forked from counts
    /// until it has become a program of its own.
    pub max_rss: u64,
}

/// Reaps a child if it has ended: wait4(2). Its number is free from then on, so that the `Child` must not be
/// signalled any more.
///
/// # Errors
/// It was reaped before.
pub fn reap(child: &Child) -> io::Result<Option<Ended>> {
    let pid = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    #[expect(unsafe_code, reason = "wait4(2), the only call that tells of one child what it took")]
    // SAFETY: both pointers are of live values of the right types, which the kernel writes.
    let found = unsafe { libc::wait4(pid, &raw mut status, libc::WNOHANG, usage.as_mut_ptr()) };
    match found {
        0 => return Ok(None),
        found if found < 0 => return Err(io::Error::last_os_error()),
        _ => {}
    }
    #[expect(unsafe_code, reason = "what the kernel wrote")]
    // SAFETY: zeroed to begin with, and a struct of integers, for which every pattern of bits is a value.
    let usage = unsafe { usage.assume_init() };
    Ok(Some(Ended {
        status: ExitStatus::from_raw(status),
        user: duration(usage.ru_utime),
        system: duration(usage.ru_stime),
        // In KiB, getrusage(2).
        max_rss: u64::try_from(usage.ru_maxrss).unwrap_or(0).saturating_mul(1024),
    }))
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
}
