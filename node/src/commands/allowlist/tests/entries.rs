//! What a file may say, and what is refused; what becomes of hostile arguments is in `properties`.

use secmon_protocol::command::Arg;

use super::*;

fn error(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}

fn arg(name: &str, value: &str) -> Arg {
    Arg { name: name.to_owned(), value: value.to_owned() }
}

/// What a program would be told.
fn argv(text: &str, label: &str, args: &[(&str, &str)]) -> Result<Vec<String>, String> {
    let args: Vec<_> = args.iter().map(|(name, value)| arg(name, value)).collect();
    parse(text).expect(text)[label].argv(&args)
}

#[test]
fn both_forms_say_the_same() {
    let toml = "# c\n[commands.greet]\nrun = ['echo', 'hello world', '']\n";
    let lines = "# c\n\n greet = echo 'hello world' \"\"\n";
    assert_eq!(parse(toml).unwrap(), parse(lines).unwrap());
    assert_eq!(argv(toml, "greet", &[]).unwrap(), ["echo", "hello world", ""]);
    for nothing in ["", "# nothing\n", "[commands]\n"] {
        assert_eq!(parse(nothing).unwrap(), Entries::new());
    }
}

#[test]
fn a_command_may_run_as_long_as_its_entry_says() {
    let of = |timeout: &str| parse(&format!("[commands.x]\nrun = ['id']\ntimeout = '{timeout}'\n"));
    assert_eq!(of("90s").unwrap()["x"].timeout, Duration::from_secs(90));
    assert_eq!(of("24h").unwrap()["x"].timeout, MAX_TIMEOUT);
    for wrong in ["0s", "-1s", "25h", "soon", "30"] {
        assert!(of(wrong).unwrap_err().to_string().contains(wrong), "{wrong}");
    }
    assert_eq!(parse("x=id").unwrap()["x"].timeout, DEFAULT_TIMEOUT);
}

#[test]
fn what_only_a_shell_would_understand_is_refused_and_not_passed_on() {
    for line in [
        "a=ls | wc",
        "a=ls;id",
        "a=ls > /x",
        "a=echo $HOME",
        "a=echo \"$HOME\"",
        "a=x && y",
        "a=echo `id`",
        "a=ls *.log",
        "a=ls ~",
    ] {
        assert!(error(line).contains("without a shell"), "{line}");
    }
    assert_eq!(argv(r"a=echo 'a | b' \$x", "a", &[]).unwrap(), ["echo", "a | b", "$x"]);
}

#[test]
fn a_file_with_anything_that_is_not_understood_is_refused_whole() {
    assert!(error("a=id\nb\n").contains("line 2"));
    assert!(error("a=id\na=id\n").contains("twice"));
    assert!(error("a=echo 'x\n").contains("quote"));
    assert!(error("a=\n").contains("no program"));
    assert!(error("a=bin/id\n").contains("absolute"));
    assert!(error("a=LANG=C id\n").contains("environment"));
    assert!(error("commands.a.run = [\"id\"]\n").contains("TOML"));
    assert!(error("commands.a = { run = \"id\" }\n").contains("TOML"));
    assert!(error("-a=id\n").contains("label"));
    assert!(error("[commands.a]\nrun = []\n").contains("no program"));
    assert!(error("a=tail {file}\n").contains("placeholder"));
    assert!(parse("a=awk '{ print }' /etc/passwd\n").is_ok());
}

const TAIL: &str = r#"
[commands.tail]
description = "The end of a log"
run = ["tail", "-n", "{lines}", "{follow}", "--pid={pid}", "/var/log/{file}", "{{}}"]
args.lines = { type = "integer", min = 1, max = 1000, default = 100, description = "how many" }
args.follow = { type = "bool", word = "--follow" }
args.pid = { type = "integer", min = -1 }
args.file = { type = "choice", values = ["syslog", "auth.log"] }
user = "nobody"
cwd = "/var/log"
env = { LANG = "C.UTF-8", EMPTY = "" }
timeout = "5m"
max_output = "1MiB"
concurrency = 2
nice = 10
stdin = "client"
tty = false
umask = "0077"
"#;

#[test]
fn an_entry_says_all_that_is_to_be_known_of_a_process() {
    let entry = &parse(TAIL).unwrap()["tail"];
    let given = [arg("file", "syslog"), arg("pid", "7")];
    let invocation = entry.fill(&given).unwrap();
    assert_eq!(invocation.argv, ["tail", "-n", "100", "--pid=7", "/var/log/syslog", "{}"]);
    assert_eq!(invocation.program, Path::new("/usr/bin/tail"));
    assert_eq!(invocation.user.unwrap().name, "nobody");
    assert_eq!(invocation.cwd, Path::new("/var/log"));
    assert_eq!(
        invocation.env.into_iter().collect::<Vec<_>>(),
        [("EMPTY".to_owned(), String::new()), ("LANG".to_owned(), "C.UTF-8".to_owned())]
    );
    assert_eq!(invocation.timeout, Duration::from_secs(300));
    assert_eq!((invocation.max_output, invocation.concurrency), (Some(1 << 20), Some(2)));
    assert_eq!((invocation.nice, invocation.umask, invocation.stdin), (Some(10), 0o077, Stdin::Client));

    let plain = parse("[commands.x]\nrun = ['/bin/true']").unwrap()["x"].fill(&[]).unwrap();
    assert_eq!(
        plain,
        Invocation {
            program: "/bin/true".into(),
            argv: vec!["/bin/true".to_owned()],
            user: None,
            cwd: "/".into(),
            env: BTreeMap::new(),
            timeout: DEFAULT_TIMEOUT,
            max_output: None,
            concurrency: None,
            nice: None,
            umask: 0o022,
            stdin: Stdin::None,
        }
    );
}

#[test]
fn others_are_told_what_may_be_given_and_nothing_of_what_runs() {
    let info = parse(TAIL).unwrap()["tail"].info("tail");
    let names: Vec<_> = info.args.iter().map(|arg| arg.name.as_str()).collect();
    assert_eq!(names, ["lines", "follow", "pid", "file"], "in the order of the file");
    let defaults: Vec<_> = info.args.iter().map(|arg| arg.default.as_deref()).collect();
    assert_eq!(defaults, [Some("100"), Some("false"), None, None]);
    assert_eq!(info.args[0].description, "how many");
    assert!(info.stdin && info.max_output == Some(1 << 20) && info.concurrency == Some(2));
    let told = format!("{info:?}");
    assert!(!told.contains("--follow") && !told.contains("nobody") && !told.contains("/var/log"), "{told}");
}

#[test]
fn a_wrong_argument_is_named_with_what_was_given_and_what_is_allowed() {
    for (args, said) in [
        (&[][..], "the argument pid must be given: an integer of at least -1"),
        (&[("pid", "1")], "the argument file must be given: one of \"syslog\", \"auth.log\""),
        (&[("pid", "1"), ("file", "x")], "file = \"x\": it must be one of \"syslog\", \"auth.log\""),
        (&[("pid", "1"), ("file", "\u{202e}\n")], "file = \"\\u{202e}\\n\": "),
        (
            &[("pid", "1"), ("files", "x")],
            "it takes no argument \"files\"; it takes lines, follow, pid, file",
        ),
        (&[("pid", "1"), ("pid", "2"), ("file", "syslog")], "given twice"),
        (
            &[("follow", "yes"), ("pid", "1"), ("file", "syslog")],
            "follow = \"yes\": it must be true or false",
        ),
    ] {
        let error = argv(TAIL, "tail", args).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    assert!(
        argv("[commands.x]\nrun = ['id']", "x", &[("a", "b")]).unwrap_err().contains("takes no argument")
    );
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_what_was_meant() {
    for (text, said) in [
        (
            "[commands.a]\nrun = ['id']\ntimeuot = '1s'\n",
            "line 3, column 1: command \"a\": unknown key \"timeuot\"; did you mean \"timeout\"?",
        ),
        ("[command.a]\nrun = ['id']\n", "did you mean \"commands\"?"),
        ("[commands.a]\nrunn = ['id']\n", "did you mean \"run\"?"),
        ("[commands.a]\n\n", "line 1, column 1: command \"a\": run is missing"),
        (
            "[commands.a]\nrun = ['id', '{x}']\nargs.x = { type = 'integr' }\n",
            "line 3, column 19: command \"a\": args.x: \"integr\" is no type",
        ),
        (
            "[commands.a]\nrun = ['id', '{x}']\nargs.x = { type = 'choice', values = ['a'], min = 1 }\n",
            "unknown key \"min\"",
        ),
        (
            "[commands.a]\nrun = ['id', 5]\n",
            "line 2, column 14: command \"a\": run must be a text in quotes, not a TOML integer",
        ),
        ("[commands.a]\nrun = 'id'\n", "must be a list"),
        ("[commands.a\n", "line 1, column 12"),
        ("[commands.'a b']\nrun = ['id']\n", "a label has 1 to 64"),
    ] {
        let error = error(text);
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn a_key_takes_what_it_means_and_nothing_else() {
    let entry = |line: &str| format!("[commands.a]\nrun = ['id']\n{line}\n");
    for good in [
        "user = 'root'",
        "cwd = '/'",
        "env = {}",
        "nice = -20",
        "nice = 19",
        "umask = '0777'",
        "umask = '022'",
        "stdin = 'none'",
        "tty = false",
        "concurrency = 1",
        "max_output = '1KiB'",
        "env = { A_1 = '{x}' }",
        "args = {}",
    ] {
        assert!(parse(&entry(good)).is_ok(), "{good}: {:?}", parse(&entry(good)));
    }
    let many: Vec<_> = (0..65).map(|n| format!("A{n} = ''")).collect();
    let many = format!("env = {{ {} }}", many.join(", "));
    for wrong in [
        "user = ''",
        "user = 'a:b'",
        "user = 0",
        "cwd = 'x'",
        "cwd = ''",
        "env = []",
        "env = { 'A-B' = '' }",
        "env = { 1A = '' }",
        "env = { A = 1 }",
        "env = { A = \"\\u0000\" }",
        "nice = -21",
        "nice = 20",
        "nice = '1'",
        "umask = '8'",
        "umask = '01777'",
        "umask = 0o022",
        "umask = '+22'",
        "stdin = 'tty'",
        "tty = true",
        "tty = 'no'",
        "concurrency = 0",
        "concurrency = 99999",
        "max_output = '0KiB'",
        "max_output = 5",
        "max_output = '5'",
        "description = \"a\\nb\"",
        "args = { x = { type = 'bool', word = '-x' } }",
        "group = 'adm'",
        &many,
    ] {
        assert!(parse(&entry(wrong)).is_err(), "{wrong}");
    }
}

#[test]
fn an_argument_takes_what_its_type_means_and_nothing_else() {
    let entry = |arg: &str| format!("[commands.a]\nrun = ['id', '--', '{{x}}']\nargs.x = {{ {arg} }}\n");
    for good in [
        "type = 'integer'",
        "type = 'integer', min = -5, max = 5, default = -5",
        "type = 'choice', values = ['-a', 'b']",
        "type = 'choice', values = ['a'], default = 'a'",
        "type = 'string', pattern = '[a-z]+'",
        "type = 'string', pattern = 'a*', min = 0, max = 0, default = ''",
        "type = 'bool', word = '--x', default = true",
        "type = 'path', below = '/var/log', default = 'not-there-yet'",
    ] {
        assert!(parse(&entry(good)).is_ok(), "{good}: {:?}", parse(&entry(good)));
    }
    let many: Vec<_> = (0..65).map(|n| format!("'{n}'")).collect();
    let many = format!("type = 'choice', values = [{}]", many.join(", "));
    for wrong in [
        "",
        "type = 'integer', min = 5, max = 4",
        "type = 'integer', min = 1, default = 0",
        "type = 'integer', min = '1'",
        "type = 'integer', default = '1'",
        "type = 'choice'",
        "type = 'choice', values = []",
        "type = 'choice', values = ['a', 'a']",
        "type = 'choice', values = ['']",
        "type = 'choice', values = [\"a\\nb\"]",
        "type = 'choice', values = ['a'], default = 'b'",
        "type = 'string'",
        "type = 'string', pattern = '('",
        "type = 'string', pattern = 'a', min = 2, max = 1",
        "type = 'string', pattern = 'a', max = 4097",
        "type = 'string', pattern = 'a', default = 'b'",
        "type = 'string', pattern = '-a', default = '-a'",
        "type = 'bool'",
        "type = 'bool', word = ''",
        "type = 'bool', word = '-x', default = 'true'",
        "type = 'path'",
        "type = 'path', below = 'log'",
        "type = 'path', below = '/a/../b'",
        "type = 'path', below = '/var/log', default = '../x'",
        "type = 'path', below = '/var/log', default = '/etc/x'",
        "type = 'integer', descripton = 'x'",
        &many,
    ] {
        assert!(parse(&entry(wrong)).is_err(), "{wrong}");
    }
}

#[test]
fn a_template_in_which_a_value_could_become_something_else_is_refused() {
    let entry = |run: &str, arg: &str| format!("[commands.a]\nrun = {run}\nargs.x = {{ {arg} }}\n");
    let text = "type = 'string', pattern = '.*'";
    for (run, arg, said) in [
        ("['{x}']", text, "no placeholder"),
        ("['id']", text, "run has no {x}"),
        ("['id', '{x}', '{x}']", text, "twice"),
        ("['id', '{x}', '{y}']", text, "{y} in run is no argument"),
        ("['id', '{x}{y}']", text, "two placeholders"),
        ("['id', '{x']", text, "placeholder"),
        ("['id', '-{x}']", text, "would choose the option"),
        ("['id', '--no-{x}']", text, "would choose the option"),
        ("['id', '{x}']", "type = 'integer', min = -1", "taken for an option"),
        ("['id', '-{x}']", "type = 'integer', min = -1", "taken for an option"),
        ("['id', 'a{x}']", "type = 'bool', word = '-x'", "alone"),
        ("['id', '/var/log/{x}']", "type = 'path', below = '/var/log'", "absolute"),
        ("['id', '--root=/a{x}']", "type = 'path', below = '/var/log'", "absolute"),
        ("['id', '{x}.gz']", "type = 'path', below = '/var/log'", "behind a path"),
        ("['sh', '-c', 'ls {x}']", text, "as a program"),
        ("['sudo', 'bash', '-lc', '{x}']", "type = 'choice', values = ['a']", "as a program"),
    ] {
        let error = error(&entry(run, arg));
        assert!(error.contains(said) && error.contains("line 2"), "{error}");
    }
    for (run, arg) in [
        ("['id', '--n={x}']", "type = 'integer', min = -1"),
        ("['id', '--', '{x}']", "type = 'integer', min = -1"),
        ("['id', '-{x}']", "type = 'integer', min = 1"),
        ("['id', '-n{x}']", text),
        ("['id', '--file={x}']", "type = 'path', below = '/var/log'"),
        ("['dd', 'if={x}']", "type = 'path', below = '/var/log'"),
        ("['sh', '-c', 'ls \"$1\"', 'sh', '{x}']", text),
    ] {
        assert!(parse(&entry(run, arg)).is_ok(), "{run}: {:?}", parse(&entry(run, arg)));
    }
}

/// Found when the rule for `sh -c` was written: with `stdin = "client"` a shell needs no placeholder to run anything.
#[test]
fn no_input_of_a_client_is_a_program() {
    let entry = |run: &str| format!("[commands.a]\nrun = {run}\nstdin = 'client'\n");
    for run in ["['bash']", "['sudo', 'sh', '-s']", "['python3', '-']"] {
        assert!(error(&entry(run)).contains("a client could run anything"), "{run}");
    }
    for run in ["['cat']", "['sh', '/opt/x.sh']", "['sh', '-c', 'cat > /x']"] {
        assert!(parse(&entry(run)).is_ok(), "{run}");
    }
    assert!(parse("[commands.a]\nrun = ['bash']\n").is_ok(), "without input it ends at once");
}

#[test]
fn what_is_said_once_for_all_runs_has_no_placeholder() {
    for line in ["cwd = '/srv/{x}'", "env = { A = '{x}' }"] {
        let text = format!("[commands.a]\nrun = ['id', '{{x}}']\nargs.x = {{ type = 'integer' }}\n{line}\n");
        assert!(error(&text).contains("in run alone"), "{line}");
    }
}

#[test]
fn a_text_begins_no_option_and_climbs_out_of_no_folder() {
    let entry = |element: &str| {
        format!("[commands.a]\nrun = ['id', '{element}']\nargs.x = {{ type = 'string', pattern = '.*' }}\n")
    };
    for (element, value) in [
        ("{x}", "-rf"),
        ("{x}", "--help"),
        ("{x}.service", "-H"),
        ("/var/log/{x}", "../../etc/shadow"),
        ("/var/log/{x}", "a/../../../etc/shadow"),
        ("/var/log{x}", "/../../etc/shadow"),
        ("/var/{x}/log", ".."),
        ("--dir=/var/{x}", ".."),
    ] {
        assert!(argv(&entry(element), "a", &[("x", value)]).is_err(), "{element} {value}");
    }
    for (element, value) in [
        ("{x}", "a -rf"),
        ("{x}", "a..b"),
        ("/opt/../x/{x}", "a"),
        ("/var/log/{x}", "..a/b"),
        ("--x={x}", "-5"),
    ] {
        let filled = element.replace("{x}", value);
        assert_eq!(argv(&entry(element), "a", &[("x", value)]).unwrap(), ["id", &filled]);
    }
}

#[test]
fn who_is_not_root_starts_nothing_as_another_user_and_what_runs_as_himself_needs_no_root() {
    let entry = &parse("[commands.a]\nrun = ['id']\nuser = 'nobody'\n").unwrap()["a"];
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid;
    let (why, said) = entry.fill_as(&[], nix::unistd::Uid::from_raw(12345)).unwrap_err();
    assert!(
        why == RunFailure::Refused && said.contains("uid 12345") && said.contains("secmon runner"),
        "{said}"
    );
    assert_eq!(entry.fill_as(&[], nobody).unwrap().user, None);
    let user = entry.fill_as(&[], nix::unistd::Uid::from_raw(0)).unwrap().user.unwrap();
    assert_eq!((user.uid, user.name.as_str()), (nobody.as_raw(), "nobody"));
}

#[test]
fn what_the_system_lacks_is_said_and_nothing_is_started() {
    let of = |text: &str| parse(&format!("[commands.a]\n{text}\n")).unwrap()["a"].fill(&[]).unwrap_err();
    let (why, said) = of("run = ['id']\nuser = 'no-such-user-here'");
    assert!(why == RunFailure::Refused && said.contains("no such user"), "{said}");
    let (why, said) = of("run = ['no-such-program-here']");
    assert!(why == RunFailure::Spawn && said.contains("/usr/local/sbin"), "{said}");
    let (why, said) = of("run = ['/no/such/program']");
    assert!(why == RunFailure::Spawn && said.contains("/no/such/program"), "{said}");
    for cwd in ["/no/such/folder", "/etc/passwd"] {
        let (why, said) = of(&format!("run = ['id']\ncwd = '{cwd}'"));
        assert!(why == RunFailure::Spawn && said.contains(cwd), "{said}");
    }
}
