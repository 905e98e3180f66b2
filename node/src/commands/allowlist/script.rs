//! Programs that take a program as an argument: a placeholder within that text would let a value write code, so an entry
//! that has one is refused.
//!
//! It keeps authors from the one mistake that undoes all of the rest. It cannot know every program that reads code from
//! its arguments; [`runs_others`] are some that deserve a word.

use super::template::Element;

/// How an interpreter is given its program.
struct Language {
    /// Names, without version.
    names: &'static [&'static str],
    /// Letters of options whose value is the program; they end a cluster, as in `-lane`.
    letters: &'static str,
    /// Long ones.
    long: &'static [&'static str],
    /// Where the program is the first operand that is no option's value, unless an option brought one: options
    /// that take a value.
    operand: Option<&'static [&'static str]>,
}

const LANGUAGES: &[Language] = &[
    Language {
        names: &[
            "sh", "bash", "rbash", "dash", "ash", "zsh", "ksh", "mksh", "csh", "tcsh", "busybox", "su",
            "runuser", "script", "flock",
        ],
        letters: "c",
        long: &["--command", "--session-command"],
        operand: None,
    },
    Language { names: &["fish"], letters: "cC", long: &["--command", "--init-command"], operand: None },
    // It splits the text into words: one value becomes several, a program among them.
    Language { names: &["env"], letters: "S", long: &["--split-string"], operand: None },
    Language {
        names: &["pwsh"],
        letters: "",
        long: &[],
        operand: Some(&["-File", "-f", "-WorkingDirectory", "-wd"]),
    },
    Language { names: &["expect", "tclsh"], letters: "c", long: &[], operand: None },
    Language { names: &["python", "pypy"], letters: "c", long: &[], operand: None },
    // `-MX;code` is `use X;code`.
    Language { names: &["perl"], letters: "eEMm", long: &[], operand: None },
    Language { names: &["ruby", "lua", "luajit"], letters: "e", long: &[], operand: None },
    Language { names: &["Rscript"], letters: "e", long: &[], operand: None },
    Language {
        names: &["node", "nodejs", "bun"],
        letters: "ep",
        long: &["--eval", "--print"],
        operand: None,
    },
    Language { names: &["php"], letters: "rBRE", long: &["--run", "--process-code"], operand: None },
    Language { names: &["psql"], letters: "c", long: &["--command"], operand: None },
    Language { names: &["mysql", "mariadb"], letters: "e", long: &["--execute"], operand: None },
    Language {
        names: &["awk", "gawk", "mawk", "nawk"],
        letters: "e",
        long: &["--source"],
        operand: Some(&[
            "-F",
            "-v",
            "-f",
            "-e",
            "-i",
            "-l",
            "--source",
            "--file",
            "--assign",
            "--field-separator",
        ]),
    },
    Language {
        names: &["sed"],
        letters: "e",
        long: &["--expression"],
        operand: Some(&["-e", "-f", "-l", "--expression", "--file", "--line-length"]),
    },
];

/// Programs that run what their arguments say, or send it to a shell.
const RUN_OTHERS: &[&str] = &[
    "env",
    "sudo",
    "doas",
    "ssh",
    "xargs",
    "parallel",
    "watch",
    "find",
    "nice",
    "nohup",
    "timeout",
    "setsid",
    "chroot",
    "nsenter",
    "unshare",
    "ip",
    "docker",
    "podman",
    "kubectl",
    "systemd-run",
    "strace",
    "stdbuf",
    "time",
    "ionice",
    "setpriv",
    "busybox",
    "tcpdump",
    "tar",
    "rsync",
    "git",
    "vim",
    "gdb",
    "make",
    "eval",
    "flock",
    "taskset",
    "chrt",
    "numactl",
    "prlimit",
    "setarch",
    "gosu",
    "su-exec",
    "bwrap",
    "firejail",
    "machinectl",
    "lxc",
    "incus",
    "sqlite",
    "crontab",
    "at",
    "batch",
    "ed",
    "ex",
    "vi",
];

/// Names of a program's own input.
const OWN_INPUT: [&str; 4] = ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"];

/// The interpreter and the argument that would stand in its program, if one would.
pub(super) fn written_by(argv: &[Element]) -> Option<(&str, &str)> {
    // Behind sudo, env or docker an interpreter is no less one: each element may name it.
    argv.iter().enumerate().find_map(|(at, element)| {
        let Element::Fixed(program) = element else { return None };
        let name = base(program);
        let language = LANGUAGES.iter().find(|language| language.names.contains(&name))?;
        Some((program.as_str(), language.script_in(&argv[at + 1..])?))
    })
}

/// The interpreter that would read its program from its input, if one would: with `stdin = "client"` anybody's.
pub(super) fn reads_program(argv: &[Element]) -> Option<&str> {
    let behind_others = argv.first().is_some_and(|first| runs_others(first.fixed()).is_some());
    argv.iter().enumerate().take_while(|(at, _)| *at == 0 || behind_others).find_map(|(at, element)| {
        let Element::Fixed(program) = element else { return None };
        let language = LANGUAGES.iter().find(|language| language.names.contains(&base(program)))?;
        language.reads_input(base(program), &argv[at + 1..]).then_some(program.as_str())
    })
}

/// Whether a program runs what its arguments say; its name, if so.
pub(super) fn runs_others(program: &str) -> Option<&'static str> {
    RUN_OTHERS.iter().find(|name| **name == base(program)).copied()
}

/// Whether a program reads a program from a file that its first operand names.
pub(super) fn is_interpreter(program: &str) -> bool {
    base(program) != "env" && LANGUAGES.iter().any(|language| language.names.contains(&base(program)))
}

/// `/usr/bin/python3.13` is `python`.
fn base(program: &str) -> &str {
    let name = program.rsplit('/').next().unwrap_or(program);
    name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.')
}

impl Language {
    /// The argument that stands in the program, among what follows the interpreter's name.
    fn script_in<'a>(&self, argv: &'a [Element]) -> Option<&'a str> {
        let mut given = false;
        let mut elements = argv.iter();
        while let Some(element) = elements.next() {
            let text = element.fixed();
            if let Element::Filled { arg, .. } = element
                && self.begins_script(text)
            {
                return Some(arg);
            }
            if self.brings_script(text) {
                given = true;
                // `-e{code}`, or the next that is no option nor the value of one: `sh -c -e CODE`, and
                // `bash -ceuo pipefail CODE`.
                let mut values = self.values(text);
                let script = match element {
                    Element::Filled { .. } => Some(element),
                    Element::Fixed(_) if text.contains('=') => None,
                    Element::Fixed(_) => elements.find(|next| {
                        let option = next.fixed().starts_with(['-', '+']);
                        let value = !option && values > 0;
                        values = values + self.values(next.fixed()) - usize::from(value);
                        matches!(next, Element::Filled { .. }) || !(option || value)
                    }),
                };
                if let Some(Element::Filled { arg, .. }) = script {
                    return Some(arg);
                }
            } else if let Some(with_value) = self.operand {
                let option = text.starts_with('-') && text != "--";
                if with_value.contains(&text) {
                    given |= matches!(text, "-f" | "--file" | "-File");
                    elements.next();
                } else if !option && text != "--" && !given {
                    given = true;
                    if let Element::Filled { arg, .. } = element {
                        return Some(arg);
                    }
                }
            }
        }
        None
    }

    /// Whether it reads its program from its input, started by `name` and with `argv` behind it.
    fn reads_input(&self, name: &str, argv: &[Element]) -> bool {
        let has = |option: &str| argv.iter().any(|element| element.fixed() == option);
        let from_input = |pair: &[Element]| {
            matches!(pair[0].fixed(), "-f" | "--file" | "-File") && OWN_INPUT.contains(&pair[1].fixed())
        };
        if self.letters != "c" && argv.windows(2).any(from_input) {
            return true;
        }
        if name == "env"
            || self.operand.is_some()
            || argv.iter().any(|element| self.brings_script(element.fixed()))
        {
            return false;
        }
        // Their operands name a user or a database.
        if ["su", "runuser"].contains(&name) {
            return true;
        }
        if ["psql", "mysql", "mariadb"].contains(&name) {
            return !has("-f") && !has("--file");
        }
        let mut elements = argv.iter();
        let file = elements.by_ref().find(|element| {
            let text = element.fixed();
            matches!(element, Element::Filled { .. }) || !text.starts_with(['-', '+'])
        });
        let file = file.is_some_and(|element| !OWN_INPUT.contains(&element.fixed()));
        // The operand may be the value of such an option: `bash -o pipefail`.
        let of_option = |option| {
            let at = argv.iter().position(|element| element.fixed() == option);
            at.is_some_and(|at| argv.len() == at + 2)
        };
        !file
            || has("-")
            || (self.names.contains(&"sh") && (has("-s") || ["-o", "+o", "-O"].into_iter().any(of_option)))
    }

    /// Whether an element is an option with the beginning of a program: `-eprint `.
    fn begins_script(&self, text: &str) -> bool {
        let Some(cluster) = text.strip_prefix('-') else { return false };
        let of_program = |c: char| self.letters.contains(c);
        // Their options without a value may stand before it: `-neprint `, `-vSls `.
        match ["perl", "ruby", "env"].into_iter().any(|name| self.names.contains(&name)) {
            true => cluster
                .split(|c: char| !c.is_ascii_alphanumeric())
                .next()
                .is_some_and(|c| c.contains(of_program)),
            false => cluster.starts_with(of_program),
        }
    }

    /// How many of the elements behind an option are values of it, beside its program: a shell's `-o` takes one.
    fn values(&self, text: &str) -> usize {
        match text.strip_prefix(['-', '+']) {
            Some(cluster) if self.names.contains(&"sh") && !cluster.starts_with('-') => {
                cluster.matches(['o', 'O']).count()
            }
            _ => 0,
        }
    }

    /// Whether an element is an option whose value is the program.
    fn brings_script(&self, text: &str) -> bool {
        if let Some(long) = text.strip_prefix("--") {
            let name = long.split('=').next().unwrap_or(long);
            return !name.is_empty() && self.long.iter().any(|known| known[2..] == *name);
        }
        let Some(cluster) = text.strip_prefix('-') else { return false };
        // Of a shell's options none takes a value but -o, so that its letter may stand anywhere: `-ce`.
        let anywhere = self.names.contains(&"sh") && cluster.contains('c');
        // With a number among them: `perl -0777ne`.
        cluster.chars().all(|c| c.is_ascii_alphanumeric())
            && (anywhere || cluster.ends_with(|last| self.letters.contains(last)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(argv: &[&str]) -> bool {
        let argv: Vec<_> = argv.iter().map(|text| Element::parse(text).unwrap()).collect();
        written_by(&argv).is_some()
    }

    #[test]
    fn a_placeholder_in_code_is_found_however_the_code_is_given() {
        for argv in [
            &["sh", "-c", "{x}"][..],
            &["/bin/bash", "-c", "ls {x}"],
            &["bash", "-lc", "ls {x}"],
            &["sh", "-ce", "ls {x}"],
            &["sh", "-c", "-e", "ls {x}"],
            &["sh", "-e", "-c", "ls {x}"],
            &["sh", "-c{x}"],
            &["bash", "-co", "pipefail", "ls {x}"],
            &["bash", "-ceuo", "pipefail", "ls {x}"],
            &["bash", "-c", "-o", "pipefail", "ls {x}"],
            &["bash", "-c", "-O", "extglob", "-e", "ls {x}"],
            &["bash", "-c", "+o", "pipefail", "--", "ls {x}"],
            &["fish", "-C", "{x}", "/opt/x.fish"],
            &["env", "-S", "sh -c {x}"],
            &["env", "-Sls {x}"],
            &["env", "--split-string=ls {x}"],
            &["pwsh", "ls {x}"],
            &["expect", "-c", "{x}"],
            &["perl", "-0777ne", "print {x}"],
            &["perl", "-neprint {x}"],
            &["python3", "-cprint({x})"],
            &["sed", "-es/a/{x}/", "f"],
            &["perl", "-M{x}", "/opt/x.pl"],
            &["ruby", "-W0e", "{x}"],
            &["sudo", "-u", "www", "sh", "-c", "ls {x}"],
            &["env", "A=1", "sh", "-c", "ls {x}"],
            &["busybox", "sh", "-c", "ls {x}"],
            &["su", "www", "-c", "ls {x}"],
            &["su", "--command={x}", "www"],
            &["/usr/bin/python3.13", "-c", "print({x})"],
            &["python3", "-Ic", "print({x})"],
            &["perl", "-ne", "print {x}"],
            &["perl", "-e{x}"],
            &["node", "--eval", "{x}"],
            &["node", "--eval={x}"],
            &["php", "-r", "{x}"],
            &["awk", "{x}"],
            &["awk", "-F", ":", "{{ print ${x} }}", "/etc/passwd"],
            &["gawk", "-v", "a=1", "--source", "{x}"],
            &["sed", "-n", "{x}p", "/etc/passwd"],
            &["sed", "-i", "-e", "s/a/{x}/", "f"],
            &["psql", "-c", "select '{x}'"],
        ] {
            assert!(found(argv), "{argv:?}");
        }
    }

    #[test]
    fn an_interpreter_without_a_program_takes_it_from_its_input() {
        let reads = |argv: &[&str]| {
            let argv: Vec<_> = argv.iter().map(|text| Element::parse(text).unwrap()).collect();
            reads_program(&argv).is_some()
        };
        for argv in [
            &["sh"][..],
            &["/bin/bash", "-x"],
            &["bash", "-s", "x"],
            &["bash", "-o", "pipefail"],
            &["sudo", "-u", "a", "sh"],
            &["flock", "/run/x", "bash"],
            &["bash", "/dev/stdin"],
            &["awk", "-f", "-"],
            &["sed", "-n", "-f", "/dev/stdin"],
            &["docker", "exec", "-i", "c", "bash"],
            &["python3"],
            &["python3", "-u", "-"],
            &["perl", "-w"],
            &["su", "www"],
            &["psql", "db"],
            &["mysql"],
            &["busybox", "sh"],
            &["node"],
        ] {
            assert!(reads(argv), "{argv:?}");
        }
        for argv in [
            &["sh", "/opt/x.sh"][..],
            &["sh", "-c", "cat"],
            &["bash", "-o", "pipefail", "/opt/x.sh"],
            &["cat"],
            &["python3", "-m", "json.tool"],
            &["python3", "-c", "x", "-"],
            &["awk", "{{ print }}"],
            &["awk", "-f", "/opt/x.awk", "-"],
            &["env", "A=1", "cat"],
            &["env", "-", "cat"],
            &["sed", "s/a/b/"],
            &["sed", "s/a/b/", "/dev/stdin"],
            &["bash", "/opt/x.sh", "/dev/stdin"],
            &["psql", "-f", "/opt/x.sql"],
            &["su", "www", "-c", "cat"],
            &["tee", "node"],
            &["sudo", "tee", "/x"],
        ] {
            assert!(!reads(argv), "{argv:?}");
        }
    }

    #[test]
    fn an_argument_of_a_script_is_no_code() {
        for argv in [
            &["sh", "-c", "ls \"$1\"", "sh", "{x}"][..],
            &["sh", "/opt/x.sh", "{x}"],
            &["bash", "-ceuo", "pipefail", "ls \"$1\"", "sh", "{x}"],
            &["env", "A=1", "ls", "{x}"],
            &["perl", "-MPOSIX", "-ne", "print", "{x}"],
            &["python3", "-c", "import sys", "{x}"],
            &["python3", "-m", "{x}"],
            &["perl", "-ne", "print", "{x}"],
            &["awk", "{{ print }}", "{x}"],
            &["awk", "-v", "n={x}", "{{ print n }}"],
            &["awk", "-f", "/opt/x.awk", "{x}"],
            &["sed", "-n", "5p", "{x}"],
            &["sed", "-f", "/opt/x.sed", "{x}"],
            &["su", "--command=id", "{x}"],
            &["tail", "-c", "{x}"],
            &["systemctl", "restart", "{x}"],
        ] {
            assert!(!found(argv), "{argv:?}");
        }
    }
}
