//! What the server says of itself.

use std::fs;

use secmon_protocol::{limits::clip, message::node::HostFacts};

/// Host name, kernel and architecture from uname(2), the distribution from os-release(5).
#[must_use]
pub(crate) fn gather() -> HostFacts {
    let text = |s: &std::ffi::OsStr| clip(&s.to_string_lossy()).to_owned();
    let mut facts = HostFacts::default();
    if let Ok(uname) = nix::sys::utsname::uname() {
        facts.hostname = text(uname.nodename());
        facts.kernel = text(uname.release());
        facts.arch = text(uname.machine());
    }
    facts.os = ["/etc/os-release", "/usr/lib/os-release"]
        .iter()
        .find_map(|path| fs::read_to_string(path).ok())
        .and_then(|text| pretty_name(&text))
        .unwrap_or_default();
    facts
}

/// `PRETTY_NAME`, whose value is a shell word: os-release(5).
fn pretty_name(os_release: &str) -> Option<String> {
    let value = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(clip(shlex::split(value)?.first()?).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distribution_is_found_quoted_or_not() {
        let read = |text| pretty_name(text);
        assert_eq!(
            read("ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n").unwrap(),
            "Debian GNU/Linux 13 (trixie)"
        );
        assert_eq!(read("PRETTY_NAME=Alpine\n").unwrap(), "Alpine");
        assert_eq!(read("ID=x\n"), None);
    }
}
