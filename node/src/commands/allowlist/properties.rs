//! What holds for every template and every argument: the argv that a program receives has the template's length and
//! shape, or nothing is started.

use std::{ops::Range, process::Command};

use proptest::{collection::vec, prelude::*, sample::select};

use secmon_protocol::command::Arg;

use super::{entry::Entry, *};

/// What people try, each alone or around other text.
const HOSTILE: &[&str] = &[
    "",
    " ",
    "a b",
    "  ",
    "'",
    "\"",
    "'; id #",
    "\" && id",
    "--",
    "-",
    "-o/etc/passwd",
    "--help",
    "-rf",
    "--output=x",
    "-5",
    "$(id)",
    "`id`",
    "${IFS}",
    "$1",
    ";",
    "| sh",
    "&",
    ">x",
    "<x",
    "*",
    "?",
    "~",
    "~root",
    "\n",
    "a\nb",
    "\r\n",
    "\0",
    "a\0b",
    "\t",
    "\u{7f}",
    "\u{9b}",
    "\u{202e}",
    "\u{fffd}",
    "{x}",
    "{{",
    "}",
    "%s",
    "\\",
    "\\0",
    "..",
    "../..",
    "/../../etc/shadow",
    "/etc/passwd",
    ".",
    "/",
    "a/../b",
    "=",
    "a=b",
    "@x",
    "+x",
    "true",
    "false",
    "7",
    "-7",
    "007",
    "0x7",
    "9223372036854775808",
    "one",
    "ü",
    "🦀",
];

fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => select(HOSTILE).prop_map(str::to_owned),
        4 => (select(HOSTILE), select(HOSTILE), ".{0,8}").prop_map(|(a, b, c)| format!("{a}{c}{b}")),
        4 => any::<String>(),
        4 => "[a-z0-9./=-]{1,12}",
        2 => vec(any::<u8>(), 0..64).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        1 => select(HOSTILE).prop_map(|text| text.repeat((1 << 20) / text.len().max(1))),
        1 => (1_usize..5000).prop_map(|n| "a".repeat(n)),
    ]
}

/// An argument's table in TOML, with values that are allowed more often than not. `{below}` is the folder of [`Folder`].
const KINDS: &[(&str, &[&str])] = &[
    ("type = 'integer'", &["7", "007", "9223372036854775807"]),
    ("type = 'integer', min = -10, max = 10", &["-7", "7", "-0"]),
    ("type = 'integer', min = 1, max = 9, default = 3", &["7", "1"]),
    (
        "type = 'choice', values = ['one', '-o', 'a b', '$(id)', '--', '..']",
        &["one", "-o", "a b", "$(id)", "--", ".."],
    ),
    ("type = 'string', pattern = '(?s).*', min = 0, max = 4096", HOSTILE),
    ("type = 'string', pattern = '[a-z./-]+', max = 20, default = 'x'", &["one", "a/b", "-o", "a..b", "--"]),
    ("type = 'string', pattern = '^.$|x'", &["a", "'", ";", "🦀", "-"]),
    ("type = 'bool', word = '--verbose'", &["true", "false"]),
    ("type = 'bool', word = 'a b', default = true", &["true", "false"]),
    ("type = 'path', below = '{below}'", &["a", "./one", "{below}/a", "7", ".."]),
];

/// A kind of argument, and what is given for it.
fn kinds() -> impl Strategy<Value = (&'static str, String)> {
    select(KINDS).prop_flat_map(|(kind, fitting)| {
        let value = prop_oneof![3 => select(fitting).prop_map(str::to_owned), 1 => hostile()];
        (Just(kind), value)
    })
}

/// What stands around a placeholder.
const BEFORE: &[&str] =
    &["", "", "", "-n", "--file=", "/var/log/", "if=", "ä ", "{{", "-", "--", "=", "$(", "'"];
const AFTER: &[&str] = &["", "", "", ".log", "/x", " ", "}}", "'", ")"];
const FIXED: &[&str] = &["", "-", "--", "-v", "a b", "$(id)", "{{x}}", "*", "'", "\\", "ü"];

/// Files that paths may lead to.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), "").unwrap();
        std::fs::write(dir.path().join("one"), "").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("7")).unwrap();
        Self(dir)
    }

    fn named_in(&self, text: &str) -> String {
        text.replace("{below}", &self.0.path().display().to_string())
    }
}

/// The elements of `run` after the program, and the arguments, each with its table in TOML and a value.
#[derive(Debug, Clone)]
struct Shape {
    elements: Vec<String>,
    args: Vec<(&'static str, String)>,
}

fn shapes() -> impl Strategy<Value = Shape> {
    let around = |texts| prop_oneof![4 => Just(""), 1 => select::<&str>(texts)];
    let element = prop_oneof![
        1 => select(FIXED).prop_map(|text| (text.to_owned(), None)),
        3 => (around(BEFORE), kinds(), around(AFTER)).prop_map(|(before, kind, after)| {
            (format!("{before}{{ARG}}{after}"), Some(kind))
        }),
    ];
    vec(element, 0..6).prop_map(|elements| {
        let mut shape = Shape { elements: vec![], args: vec![] };
        for (text, kind) in elements {
            let name = format!("{{a{}}}", shape.args.len());
            shape.elements.push(text.replace("{ARG}", &name));
            shape.args.extend(kind);
        }
        shape
    })
}

impl Shape {
    /// The entry, unless it is one of those that are refused when the file is read.
    fn entry(&self, folder: &Folder, program: &[&str]) -> Option<Entry> {
        let mut run: Vec<_> = program.iter().map(|text| (*text).to_owned()).collect();
        run.extend(self.elements.iter().cloned());
        let mut text = format!("[commands.x]\nrun = {}\n", toml::Value::from(run));
        for (at, (kind, _)) in self.args.iter().enumerate() {
            let kind = folder.named_in(kind);
            text.push_str(&format!("args.a{at} = {{ {kind} }}\n"));
        }
        parse(&text).ok()?.remove("x")
    }

    /// What is given: its own values, or, once in a while, some that may have no place at all.
    fn given(&self, folder: &Folder, strange: Option<Vec<(usize, String)>>) -> Vec<Arg> {
        let own = || self.args.iter().map(|(_, value)| folder.named_in(value)).enumerate().collect();
        let arg = |(at, value)| Arg { name: format!("a{at}"), value };
        strange.unwrap_or_else(own).into_iter().map(arg).collect()
    }
}

/// The place in argv of each element after the program's `skip`: none for a bool that is false.
fn places(entry: &Entry, skip: usize, args: &[Arg]) -> Vec<Option<usize>> {
    let mut at = 0;
    let place = |element: &Element| {
        let absent = matches!(element, Element::Filled { arg, .. } if entry.args.iter().any(|spec| {
            let given = args.iter().find(|given| given.name == *arg).map(|given| given.value.as_str());
            spec.name == *arg && matches!(spec.kind, Kind::Bool(_)) && given.or(spec.default.as_deref()) == Some("false")
        }));
        at += usize::from(!absent);
        (!absent).then(|| at - 1)
    };
    entry.run[skip..].iter().map(place).collect()
}

/// Whether what a program received is the template, with each argument in its place and nowhere else.
fn holds(entry: &Entry, skip: usize, args: &[Arg], received: &[String]) -> Result<(), TestCaseError> {
    let places = places(entry, skip, args);
    prop_assert_eq!(received.len(), places.iter().flatten().count());
    for (element, place) in entry.run[skip..].iter().zip(places) {
        let Some(word) = place.map(|at| received[at].as_str()) else { continue };
        prop_assert!(!word.contains('\0'));
        match element {
            Element::Fixed(text) => prop_assert_eq!(word, text),
            Element::Filled { before, arg, after } => {
                prop_assert!(word.len() >= before.len() + after.len());
                prop_assert!(word.starts_with(before.as_str()) && word.ends_with(after.as_str()));
                let filled: Range<usize> = before.len()..word.len() - after.len();
                let spec = entry.args.iter().find(|spec| spec.name == *arg).unwrap();
                let value = &word[filled];
                let operands =
                    entry.run.iter().take_while(|e| *e != element).any(|e| *e == Element::Fixed("--".into()));
                match &spec.kind {
                    Kind::Integer { min, max } => {
                        prop_assert!((*min..=*max).contains(&value.parse().unwrap()));
                        prop_assert!(!word.starts_with('-') || !before.is_empty() || operands);
                    }
                    Kind::Choice(values) => prop_assert!(values.iter().any(|choice| choice == value)),
                    Kind::Bool(added) => prop_assert_eq!(value, added),
                    Kind::Path(below) => {
                        let below = std::fs::canonicalize(below.folder()).unwrap();
                        prop_assert!(Path::new(value).starts_with(below));
                    }
                    Kind::String { .. } => {
                        prop_assert!(!value.chars().any(char::is_control));
                        prop_assert!(!before.is_empty() || !word.starts_with('-'));
                        prop_assert!(before.bytes().any(|b| b != b'-') || before.is_empty());
                    }
                }
            }
        }
    }
    Ok(())
}

fn strange() -> impl Strategy<Value = Option<Vec<(usize, String)>>> {
    prop_oneof![4 => Just(None), 1 => vec((0_usize..6, hostile()), 0..6).prop_map(Some)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn argv_has_the_templates_length_and_shape_whatever_is_given(
        shape in shapes(), strange in strange(),
    ) {
        let folder = Folder::new();
        if let Some(entry) = shape.entry(&folder, &["id"]) {
            let args = shape.given(&folder, strange);
            if let Ok(argv) = entry.argv(&args) {
                prop_assert_eq!(&argv[0], "id");
                holds(&entry, 1, &args, &argv[1..])?;
            }
        }
    }

    #[test]
    fn no_file_however_strange_makes_the_parser_fall(text in ".{0,200}", inner in any::<String>()) {
        let _ = parse(&text);
        let _ = parse(&format!("[commands.a]\nrun = [{inner}]\n"));
        let _ = parse(&format!("[commands.a]\nrun = ['id', {}]\n", toml::Value::from(inner.as_str())));
        let _ = parse(&format!("[commands.a]\nrun = ['id', '{{x}}']\nargs.x = {{ {inner} }}\n"));
        let _ = parse(&format!("a={inner}\n"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 300, ..ProptestConfig::default() })]

    /// The same, by a real program that says what it was told: `printf` knows no option behind its format.
    #[test]
    fn a_program_receives_the_templates_elements_and_no_more(
        shape in shapes(), strange in strange(),
    ) {
        let folder = Folder::new();
        let program = ["printf", r"%s\0"];
        if let Some(entry) = shape.entry(&folder, &program) {
            let args = shape.given(&folder, strange);
            if let Ok(invocation) = entry.fill(&args) {
                let told = Command::new(&invocation.program).args(&invocation.argv[1..]).env_clear().output().unwrap();
                prop_assert!(told.status.success());
                let mut received: Vec<_> = told.stdout.split(|b| *b == 0).map(|word| {
                    String::from_utf8(word.to_vec()).unwrap()
                }).collect();
                // Behind the last NUL is nothing; without any argument printf prints one all the same.
                let last = received.pop();
                prop_assert_eq!(last.as_deref(), Some(""));
                if invocation.argv.len() == program.len() {
                    received.clear();
                }
                holds(&entry, program.len(), &args, &received)?;
            }
        }
    }
}

/// Properties that refuse everything would hold as well.
#[test]
fn what_an_author_allows_gets_through() {
    let folder = Folder::new();
    let shape = Shape {
        elements: vec!["{a0}".to_owned(), "--".to_owned(), "/var/log/{a1}.gz".to_owned(), "{a2}".to_owned()],
        args: vec![
            ("type = 'bool', word = '--verbose'", "true".to_owned()),
            ("type = 'string', pattern = '(?s).*', min = 0, max = 4096", String::new()),
            ("type = 'path', below = '{below}'", "a".to_owned()),
        ],
    };
    let entry = shape.entry(&folder, &["printf", r"%s\0"]).unwrap();
    let arg = |name: &str, value: &str| Arg { name: name.to_owned(), value: value.to_owned() };
    for hostile in ["a b", "'; id #", "$(id)", "{a0}", "-o", "*", "🦀"] {
        let args = [arg("a0", "true"), arg("a1", hostile), arg("a2", "a")];
        let argv = entry.argv(&args).unwrap();
        let filled = format!("/var/log/{hostile}.gz");
        assert_eq!(argv[2..5], ["--verbose", "--", &filled]);
        assert_eq!(argv.len(), 6);
    }
}
