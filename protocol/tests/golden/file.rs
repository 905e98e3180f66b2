//! The file of vectors: how it is read, and how `UPDATE_GOLDEN=1` writes it.

use std::{collections::BTreeMap, env, fmt::Write as _, fs, path::Path, process};

use crate::case::Cases;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/vectors.txt");

const HEAD: &str = "\
# The bytes of everything that crosses a wire or a disk in secmon: a name and hexadecimal digits.
# What was released never changes. How to add a vector is told in main.rs.
";

/// What stands for no bytes at all.
const NO_BYTES: &str = "-";

/// The vectors by name; with `UPDATE_GOLDEN=1` the file is first written anew from the cases.
pub(crate) fn load(cases: &Cases) -> BTreeMap<String, Vec<u8>> {
    if env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        save(cases);
    }
    let text = fs::read_to_string(PATH).expect("the file of vectors can be read");
    let mut vectors = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, digits) = line.split_once(' ').expect("a line is a name, a space and digits");
        let before = vectors.insert(name.to_owned(), unhex(digits));
        assert!(before.is_none(), "{name} stands twice in the file");
    }
    vectors
}

/// Writes the file whole, beside the old one, and puts it in its place: every test of this binary may be
/// doing so at once.
fn save(cases: &Cases) {
    let mut text = HEAD.to_owned();
    let mut group = "";
    for case in &cases.all {
        let kind = case.name.split('.').next().unwrap_or_default();
        if kind != group {
            text.push('\n');
            group = kind;
        }
        let digits = if case.bytes.is_empty() { NO_BYTES.to_owned() } else { hex(&case.bytes) };
        writeln!(text, "{} {digits}", case.name).expect("a string takes what is written");
    }
    let thread = std::thread::current();
    let own = format!("{PATH}.{}.{}", process::id(), thread.name().unwrap_or("main"));
    fs::write(&own, text).expect("the file of vectors can be written");
    fs::rename(&own, Path::new(PATH)).expect("the file of vectors can be replaced");
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(digits: &str) -> Vec<u8> {
    if digits == NO_BYTES {
        return vec![];
    }
    assert!(digits.len().is_multiple_of(2), "half a byte in {digits}");
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits"))
        .collect()
}
