//! What a test needs of the machine, and what happens when it is not there.
//!
//! Under `CI=true` a missing requirement fails the test. Elsewhere the test is skipped, loudly: on stderr and
//! in the file named by `SECMON_SKIPPED_FILE`, which `tests/run` prints at its end.

use std::{env, fs::OpenOptions, io::Write as _, path::Path};

use crate::{binary::program, host, vm};

/// One thing that a test needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Root, for namespaces, daemons and other users.
    Root,
    /// Private mount, pid, network and host name namespaces (`unshare`, `nsenter`, `ip`); needs root.
    Namespaces,
    /// A program, by name, on `PATH` or among the daemons.
    Program(&'static str),
    /// `/dev/net/tun`, from which wireguard-go makes its interface.
    Tun,
    /// The kernel that virtual machines boot; `tests/kernel` fetches it.
    GuestKernel,
    /// The images of whole hosts, and a control group hierarchy for systemd; needs namespaces.
    Host,
}

impl Need {
    /// What is lacking, as a sentence for people; `None` when it is there.
    #[must_use]
    pub fn lacking(self) -> Option<String> {
        let missing = |name: &str| program(name).is_none().then(|| format!("the program {name}"));
        match self {
            Self::Root => (!nix::unistd::geteuid().is_root()).then(|| "root".to_owned()),
            Self::Namespaces => Self::Root
                .lacking()
                .or_else(|| ["unshare", "nsenter", "mount", "ip", "bash"].into_iter().find_map(missing)),
            Self::Program(name) => missing(name),
            Self::Tun => (!Path::new("/dev/net/tun").exists()).then(|| "/dev/net/tun".to_owned()),
            Self::GuestKernel => (!vm::kernel().join("package").exists())
                .then(|| "a kernel for virtual machines (tests/kernel fetches it)".to_owned()),
            Self::Host => Self::Namespaces.lacking().or_else(host::lacking),
        }
    }
}

/// What the calling test lacks of `needs`, after it was reported; `None` when it may run.
///
/// # Panics
/// When something is lacking and the environment says `CI=true`.
#[must_use]
#[track_caller]
pub fn lacking(test: &str, needs: &[Need]) -> Option<String> {
    let lacking: Vec<String> = needs.iter().filter_map(|need| need.lacking()).collect();
    if lacking.is_empty() {
        return None;
    }
    let report = format!("SKIPPED {test}: this machine lacks {}", lacking.join(", "));
    assert!(env::var("CI").as_deref() != Ok("true"), "{report}; with CI=true nothing is skipped");
    eprintln!("{report}");
    if let Some(file) = env::var_os("SECMON_SKIPPED_FILE") {
        let written =
            OpenOptions::new().create(true).append(true).open(file).and_then(|mut f| writeln!(f, "{report}"));
        written.expect("SECMON_SKIPPED_FILE is writable");
    }
    Some(report)
}

/// Returns from the calling test, with a loud report, when the machine lacks something.
#[macro_export]
macro_rules! require {
    ($($need:expr),+ $(,)?) => {
        let name = std::thread::current().name().unwrap_or("a test").to_owned();
        if $crate::need::lacking(&name, &[$($need),+]).is_some() {
            return;
        }
    };
}
