//! Runs the real `secmon` binary against real programs: sshd, journald, rsyslogd, wireguard-go, and on whole
//! hosts: a Debian that is booted with systemd as its first process.
//!
//! Everything that a test would otherwise share with the machine or with another test (utmp, `/dev/log`,
//! the journal, network interfaces, ports) lives in a [`realm::Realm`] or a [`host::Host`]: private namespaces that
//! vanish with their holder, so that tests run side by side and a killed run leaves nothing behind.
//!
//! What must not live here: knowledge of the product's insides. The harness speaks to the binary as users do.
//! Being a test harness, it panics with everything it captured when a promise is not kept in time.

pub mod binary;
pub mod browser;
pub mod cache;
pub mod fake;
pub mod host;
pub mod json;
pub mod machine;
pub mod memory;
pub mod need;
pub mod process;
pub mod product;
pub mod realm;
pub mod ssh;
pub mod sshd;
pub mod syslog;
pub mod utmp;
pub mod vm;
pub mod wait;
pub mod wireguard;
