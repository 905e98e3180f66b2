//! A virtual machine with a kernel of its own, for what the kernel of the test machine need not have.
//!
//! qemu boots, in software emulation, the kernel that `tests/kernel` fetched, with an initramfs that is made here:
//! busybox, the programs that the test names with the libraries they need, and `vm.sh` as the first process.
//! There is no network and no disk. Scripts go in and their output comes out over a virtio port, which is qemu's
//! standard input and output. qemu ends with the thread that started it (`PR_SET_PDEATHSIG`, prctl(2)), even when the
//! test is killed.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tempfile::TempDir;

use crate::{
    binary::required_program,
    cache,
    process::{Process, lines},
    wait::within,
};

/// For the boot: software emulation on a loaded machine.
const BOOT: Duration = Duration::from_secs(180);

/// For one script, and for a condition that scripts look at.
const DEADLINE: Duration = Duration::from_secs(120);

/// Memory of the machine, in MiB: the initramfs, unpacked, and what runs.
const MEMORY: &str = "768";

/// Where `tests/kernel` puts the kernel and its modules.
#[must_use]
pub fn kernel() -> PathBuf {
    cache::folder().join("kernel")
}

/// A running virtual machine.
pub struct Vm {
    qemu: Process,
    lab: TempDir,
    scripts: u32,
}

/// What a script printed, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The exit code.
    pub code: i32,
    /// Standard output and standard error.
    pub output: Vec<u8>,
}

impl Vm {
    /// Boots a machine with these programs of this machine in its `/bin`, and files of these names and contents in
    /// its `/root`. Needs `qemu-system-x86_64`, `setpriv`,
    /// `cpio`, `busybox`, `ip` and [`crate::need::Need::GuestKernel`].
    ///
    /// # Panics
    /// When it does not come up; with the end of its console.
    #[must_use]
    #[track_caller]
    pub fn boot(programs: &[&Path], files: &[(&str, &[u8])]) -> Self {
        let lab = tempfile::tempdir().expect("a temporary folder");
        let initramfs = initramfs(lab.path(), programs, files);
        let console = lab.path().join("console");
        let mut command = Command::new(required_program("setpriv"));
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(required_program("qemu-system-x86_64"))
            .args([
                "-accel",
                "tcg",
                "-cpu",
                "max",
                "-smp",
                "1",
                "-m",
                MEMORY,
                "-nodefaults",
                "-no-user-config",
            ])
            .args(["-display", "none", "-no-reboot", "-device", "virtio-serial-pci"])
            .args(["-chardev", "stdio,id=agent,signal=off", "-device", "virtserialport,chardev=agent"])
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .arg("-kernel")
            .arg(kernel().join("vmlinuz"))
            .arg("-initrd")
            .arg(initramfs)
            .args(["-append", "console=ttyS0 loglevel=4 panic=-1 rdinit=/init"]);
        let qemu = Process::spawn_with_stdin("qemu", &mut command);
        let vm = Self { qemu, lab, scripts: 0 };
        vm.answer("the machine to boot", BOOT, |line| (line == "ready").then_some(()));
        vm
    }

    /// Runs a shell script inside, whatever its end.
    ///
    /// # Panics
    /// When it does not end in time.
    #[track_caller]
    pub fn run(&mut self, script: &str) -> Ended {
        self.scripts += 1;
        let id = self.scripts.to_string();
        self.qemu.write_stdin(format!("{id} {}\n", STANDARD.encode(script)).as_bytes());
        self.answer(&format!("the end of {script:?}"), DEADLINE, |line| {
            let mut words = line.split(' ');
            if words.next()? != id {
                return None;
            }
            let code = words.next()?.parse().ok()?;
            Some(Ended { code, output: STANDARD.decode(words.next()?).ok()? })
        })
    }

    /// Runs a shell script inside that must succeed; what it printed, trimmed.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn check(&mut self, script: &str) -> String {
        let ended = self.run(script);
        let output = String::from_utf8_lossy(&ended.output);
        assert_eq!(ended.code, 0, "{script:?} in the virtual machine\n{output}");
        output.trim().to_owned()
    }

    /// Runs a script again and again until `look` finds something in what it prints.
    ///
    /// # Panics
    /// When it does not in time; the message shows what was printed last.
    #[track_caller]
    pub fn eventually<T>(&mut self, what: &str, script: &str, mut look: impl FnMut(&str) -> Option<T>) -> T {
        let mut last = String::new();
        let found = within(DEADLINE, || {
            last = String::from_utf8_lossy(&self.run(script).output).into_owned();
            look(&last)
        });
        found.unwrap_or_else(|| {
            let logs = self.run("tail -n 20 /tmp/*.log").output;
            let logs = String::from_utf8_lossy(&logs);
            panic!("waited {DEADLINE:?} in vain for {what}; {script:?} prints\n{last}\n{logs}")
        })
    }

    #[track_caller]
    fn answer<T>(&self, what: &str, limit: Duration, mut look: impl FnMut(&str) -> Option<T>) -> T {
        let found = within(limit, || {
            let output = self.qemu.output();
            lines(&output.stdout).find_map(&mut look).or_else(|| {
                assert!(
                    self.qemu.is_running(),
                    "qemu ended, waiting for {what}\n{output}\n{}",
                    self.console()
                );
                None
            })
        });
        found.unwrap_or_else(|| panic!("waited {limit:?} in vain for {what}\n{}", self.console()))
    }

    /// What the kernel said.
    fn console(&self) -> String {
        let bytes = fs::read(self.lab.path().join("console")).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let from = text.floor_char_boundary(text.len().saturating_sub(16 << 10));
        format!("=== console\n{}", &text[from..])
    }
}

/// An initramfs (Documentation/filesystems/ramfs-rootfs-initramfs.rst) with these programs and files.
#[track_caller]
fn initramfs(lab: &Path, programs: &[&Path], files: &[(&str, &[u8])]) -> PathBuf {
    let (root, file) = (lab.join("root"), lab.join("initramfs"));
    for folder in ["bin", "modules", "proc", "sys", "dev", "etc", "root"] {
        fs::create_dir_all(root.join(folder)).expect("the lab is ours");
    }
    fs::write(root.join("init"), include_str!("vm.sh")).expect("the lab is ours");
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755)).expect("the lab is ours");
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
        .expect("the lab is ours");
    for (name, contents) in files {
        fs::write(root.join("root").join(name), contents).expect("the lab is ours");
    }
    for module in fs::read_dir(kernel().join("modules")).expect("tests/kernel ran") {
        let module = module.expect("tests/kernel ran");
        fs::copy(module.path(), root.join("modules").join(module.file_name())).expect("a module");
    }
    let needed = [required_program("busybox"), required_program("ip")];
    for program in needed.iter().map(PathBuf::as_path).chain(programs.iter().copied()) {
        let inside = root.join("bin").join(program.file_name().expect("a program has a name"));
        fs::copy(program, &inside).expect("a program can be read");
        for library in libraries(program) {
            let inside = root.join(library.strip_prefix("/").expect("ldd prints whole paths"));
            fs::create_dir_all(inside.parent().expect("a file is in a folder")).expect("the lab is ours");
            fs::copy(&library, inside).expect("a library can be read");
        }
        // What helps a debugger is most of a program, and the machine keeps all of it in memory.
        let mut strip = Command::new("strip");
        let _ = Process::run("strip", strip.arg("--strip-all").arg(&inside));
    }
    let mut pack = Command::new("bash");
    pack.args([
        "-euo",
        "pipefail",
        "-c",
        "cd \"$1\" && find . | cpio --quiet -o -H newc -R 0:0 >\"$2\"",
        "pack",
    ]);
    let packed = Process::run("cpio", pack.arg(&root).arg(&file));
    assert_eq!(packed.code(), 0, "{packed}");
    fs::remove_dir_all(&root).expect("the lab is ours");
    file
}

/// The libraries that a program is linked to, and its loader, by ldd(1); none when it is static.
#[track_caller]
fn libraries(program: &Path) -> Vec<PathBuf> {
    let mut command = Command::new("ldd");
    let listed = Process::run("ldd", command.arg(program));
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    listed.out().lines().filter_map(path).collect()
}
