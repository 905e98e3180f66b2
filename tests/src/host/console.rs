//! The console of a host: a terminal that the test types on, with the host's own getty and login on it.
//!
//! A container's console is `/dev/console`, and console-getty.service asks there for a login, as
//! getty@tty1.service does on a machine with a screen: agetty, login and PAM are the same.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
};

use nix::libc::{O_NOCTTY, O_NONBLOCK};
use rustix::pty;

use super::Host;
use crate::wait::eventually;

/// At most this much is read at once.
const CHUNK: usize = 4096;

/// The test's end of a terminal.
pub struct Console {
    master: File,
    /// What was shown and not yet awaited.
    shown: String,
}

impl Console {
    #[track_caller]
    pub(super) fn open(host: &Host) -> Self {
        // The terminals of a host are those of its own devpts, pts(4).
        let mut open = OpenOptions::new();
        open.read(true).write(true).custom_flags(O_NOCTTY | O_NONBLOCK);
        let master = open.open(host.path("/dev/pts/ptmx")).expect("the host has terminals");
        pty::unlockpt(&master).expect("a new terminal");
        let name = pty::ptsname(&master, Vec::new()).expect("a terminal has a name");
        let name = name.to_str().expect("a terminal's name is a number");
        host.check("touch", &["/dev/console"]);
        host.check("mount", &["--bind", name, "/dev/console"]);
        host.check("systemctl", &["start", "console-getty.service"]);
        Self { master, shown: String::new() }
    }

    /// Types a line.
    ///
    /// # Panics
    /// When nobody has the terminal open.
    #[track_caller]
    pub fn type_line(&mut self, line: &str) {
        self.master.write_all(format!("{line}\n").as_bytes()).expect("somebody reads the terminal");
    }

    /// Waits until the screen shows `text`, after what was awaited before.
    ///
    /// # Panics
    /// When it does not in time.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        eventually(&format!("{text:?} on the console"), || {
            let mut chunk = [0; CHUNK];
            // Between one program and the next nobody has it open, and it cannot be read: EIO, as EAGAIN.
            while let Ok(count @ 1..) = self.master.read(&mut chunk) {
                self.shown.push_str(&String::from_utf8_lossy(&chunk[..count]));
            }
            let end = self.shown.find(text)? + text.len();
            self.shown.drain(..end);
            Some(())
        });
    }

    /// Logs in by name and password, up to the shell's prompt.
    ///
    /// # Panics
    /// When it does not get there.
    #[track_caller]
    pub fn login(&mut self, user: &str, password: &str) {
        self.wait_for("login: ");
        self.type_line(user);
        self.wait_for("assword: ");
        self.type_line(password);
        self.wait_for(if user == "root" { "# " } else { "$ " });
    }
}
