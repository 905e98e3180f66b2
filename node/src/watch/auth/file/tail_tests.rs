//! Any sequence of writing, rotating, truncating, compressing and standing still, against real files: every
//! whole line comes once, or a loss is reported; none comes twice.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use inotify::Inotify;
use proptest::prelude::*;
use tempfile::TempDir;

use super::{opened::CHUNK, tail::Tail};
use crate::watch::log_file::position::{FileId, LogPlace};

/// How many rotated files are kept: more than there are rotations in a sequence.
const KEPT: usize = 40;

#[derive(Debug, Clone)]
enum Step {
    /// The writer writes whole lines.
    Lines(usize),
    /// It writes the start of a line, or the rest of one.
    Half,
    /// The log is renamed, and a new one made; the writer does not know yet.
    Rename,
    /// The log is renamed; the writer will make the new one.
    RenameOnly,
    /// The writer opens the log again.
    Reopen,
    /// The log is copied and truncated.
    CopyTruncate,
    /// The log is truncated, and nothing saved.
    Truncate,
    /// An editor replaces the log by a copy of it, and the writer opens it again.
    Edit,
    /// The newest rotated file is compressed and removed.
    Compress,
    /// The reader reads.
    Read,
    /// Another reader takes the first one's place, where that was.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1_usize..6).prop_map(Step::Lines),
        2 => Just(Step::Half),
        3 => Just(Step::Rename),
        1 => Just(Step::RenameOnly),
        3 => Just(Step::Reopen),
        2 => Just(Step::CopyTruncate),
        1 => Just(Step::Truncate),
        1 => Just(Step::Edit),
        2 => Just(Step::Compress),
        5 => Just(Step::Read),
        2 => Just(Step::Restart),
    ]
}

/// Who writes the log and rotates it.
struct Writer {
    log: PathBuf,
    file: File,
    /// The line that is half written.
    half: Option<String>,
    /// The lines that were written whole into one file.
    written: Vec<String>,
    count: usize,
    /// A clock of its own: that of a file system may stand still between two steps.
    now: SystemTime,
}

impl Writer {
    fn new(log: PathBuf) -> Self {
        let file = append_to(&log);
        Self { log, file, half: None, written: Vec::new(), count: 0, now: SystemTime::now() }
    }

    fn stamp(&mut self, file: &File) {
        self.now += Duration::from_millis(1);
        file.set_modified(self.now).unwrap();
    }

    fn write(&mut self, text: &[u8]) {
        self.file.write_all(text).unwrap();
        let file = self.file.try_clone().unwrap();
        self.stamp(&file);
    }

    /// The log, made if it is not there.
    fn open(&mut self) -> File {
        let made = !self.log.exists();
        let file = append_to(&self.log);
        if made {
            self.stamp(&file);
        }
        file
    }

    fn copy_to(&mut self, path: &PathBuf) {
        fs::copy(&self.log, path).unwrap();
        self.stamp(&append_to(path));
    }

    fn truncate(&mut self) {
        let file = OpenOptions::new().write(true).open(&self.log).unwrap();
        file.set_len(0).unwrap();
        self.stamp(&file);
    }

    fn rotated(&self, number: usize) -> PathBuf {
        self.log.with_extension(format!("log.{number}"))
    }

    fn line(&mut self) -> String {
        self.count += 1;
        format!("line {:06} of a log, as long as a line of a log is", self.count)
    }

    fn finish(&mut self) {
        if let Some(line) = self.half.take() {
            self.write(format!("{}\n", &line[20..]).as_bytes());
            self.written.push(line);
        }
    }

    fn shift(&self) {
        for number in (1..=KEPT).rev() {
            for end in ["", ".gz"] {
                let path = PathBuf::from(format!("{}{end}", self.rotated(number).display()));
                let next = PathBuf::from(format!("{}{end}", self.rotated(number + 1).display()));
                if number == KEPT {
                    let _ = fs::remove_file(path);
                } else {
                    let _ = fs::rename(path, next);
                }
            }
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Lines(count) => {
                self.finish();
                for _ in 0..*count {
                    let line = self.line();
                    self.write(format!("{line}\n").as_bytes());
                    self.written.push(line);
                }
            }
            Step::Half if self.half.is_some() => self.finish(),
            Step::Half => {
                let line = self.line();
                self.write(&line.as_bytes()[..20]);
                self.half = Some(line);
            }
            Step::Rename | Step::RenameOnly => {
                self.shift();
                let _ = fs::rename(&self.log, self.rotated(1));
                if matches!(step, Step::Rename) {
                    self.open();
                }
            }
            Step::Reopen => {
                self.finish();
                self.file = self.open();
            }
            Step::CopyTruncate if self.log.exists() => {
                self.finish();
                self.shift();
                self.copy_to(&self.rotated(1));
                self.truncate();
            }
            Step::Truncate if self.log.exists() => {
                self.finish();
                self.truncate();
            }
            Step::Edit if self.log.exists() => {
                self.finish();
                let copy = self.log.with_extension("new");
                self.copy_to(&copy);
                fs::rename(copy, &self.log).unwrap();
                self.file = self.open();
            }
            // logrotate's notifempty.
            Step::Compress if fs::metadata(self.rotated(1)).is_ok_and(|meta| meta.len() > 0) => {
                let plain = self.rotated(1);
                let modified = fs::metadata(&plain).unwrap().modified().unwrap();
                let compressed = File::create(format!("{}.gz", plain.display())).unwrap();
                compressed.set_modified(modified).unwrap();
                fs::remove_file(plain).unwrap();
            }
            _ => {}
        }
    }
}

fn append_to(path: &PathBuf) -> File {
    OpenOptions::new().create(true).append(true).open(path).unwrap()
}

struct Reader {
    tail: Tail,
    inotify: Inotify,
    lines: Vec<String>,
    losses: Vec<String>,
}

impl Reader {
    fn new(log: &Path) -> Self {
        let tail = Tail::new(log, LogPlace::end_of(log));
        let mut reader =
            Self { tail, inotify: Inotify::init().unwrap(), lines: Vec::new(), losses: Vec::new() };
        reader.tail.refresh(&mut reader.inotify.watches());
        reader
    }

    fn read(&mut self) {
        let mut buffer = vec![0; CHUNK];
        self.tail.refresh(&mut self.inotify.watches());
        while self.tail.read(&mut buffer, &mut self.inotify.watches(), |line| {
            self.lines.push(String::from_utf8_lossy(line).into_owned());
        }) {}
        self.losses.extend(self.tail.losses());
    }

    fn has_begun(&self, log: &Path) -> bool {
        let at_path = fs::metadata(log).ok().map(|meta| FileId::from(&meta));
        let place = self.tail.place();
        let reading = place.files.iter().find(|file| !file.left).map(|file| &file.at);
        reading.is_some_and(|at| at.offset > 0 && Some(at.id) == at_path)
    }

    fn restart(&mut self) {
        self.tail = Tail::new(self.tail.path(), self.tail.place());
    }
}

fn run(steps: &[Step]) -> (Vec<String>, Reader) {
    let folder = TempDir::new().unwrap();
    let mut writer = Writer::new(folder.path().join("auth.log"));
    let mut reader = Reader::new(&writer.log);
    // Whether the log has been truncated since it was read.
    let mut truncated = false;
    for step in steps {
        truncated |= matches!(step, Step::CopyTruncate);
        match step {
            Step::Read => {
                reader.read();
                truncated = false;
            }
            Step::Restart => reader.restart(),
            Step::Truncate if truncated || !reader.has_begun(&writer.log) => {
                // Of what was written and truncated before anybody looked there is no trace anywhere.
                writer.finish();
                reader.read();
                writer.step(step);
            }
            step => writer.step(step),
        }
    }
    // In the end the writer knows where the log is, and writes to it.
    for step in [Step::Reopen, Step::Lines(1)] {
        writer.step(&step);
    }
    reader.read();
    (writer.written, reader)
}

fn check(steps: &[Step]) -> Result<(), TestCaseError> {
    let (written, reader) = run(steps);
    let mut got = BTreeMap::<_, usize>::new();
    for line in &reader.lines {
        *got.entry(line).or_default() += 1;
    }
    for line in &written {
        let count = got.get(line).copied().unwrap_or(0);
        prop_assert!(count <= 1, "{line} came {count} times\nlosses: {:?}", reader.losses);
        prop_assert!(count == 1 || !reader.losses.is_empty(), "{line} is missing, and nothing says so");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_whole_line_comes_once_or_a_loss_is_reported(
        steps in proptest::collection::vec(step(), 0..40),
    ) {
        check(&steps)?;
    }
}

/// What is not lost, without the word of a loss.
#[test]
fn ordinary_rotation_loses_nothing_and_says_nothing() {
    use Step::{Compress, CopyTruncate, Half, Lines, Read, Rename, RenameOnly, Reopen};
    for steps in [
        vec![Lines(3), Read, Lines(2), Rename, Lines(2), Read, Lines(1), Reopen, Lines(2), Read, Lines(1)],
        vec![Lines(3), Read, Lines(2), RenameOnly, Lines(1), Read, Reopen, Lines(2)],
        // Compressed at once, while the writer goes on in the file that has no name any more.
        vec![Lines(3), Read, Lines(2), Rename, Compress, Lines(2), Read, Lines(1), Reopen, Lines(2)],
        vec![Lines(3), Read, Lines(2), Rename, Reopen, Lines(1), Compress, Lines(2), Read],
        // Rotated twice, and again, before anything was read.
        vec![Lines(3), Read, Lines(2), Rename, Reopen, Lines(2), Rename, Reopen, Lines(2), Read, Lines(1)],
        vec![Rename, Reopen, Lines(1), Rename, Reopen, Lines(1), Rename, Reopen, Lines(1)],
        vec![Lines(3), Read, Lines(2), CopyTruncate, Lines(1), Read, CopyTruncate, Lines(9), Read],
        // Written to more than before it was truncated, before anybody looked.
        vec![Lines(3), Read, CopyTruncate, Lines(30), Read],
        vec![Lines(3), Read, Lines(1), CopyTruncate, Lines(30), CopyTruncate, Lines(20), Read],
        vec![Lines(1), CopyTruncate, Lines(1), Read],
        vec![Half, Read, Half, Lines(1), Half, Read, Rename, Half, Read, Reopen],
    ] {
        let (written, reader) = run(&steps);
        assert_eq!(reader.losses, Vec::<String>::new(), "{steps:?}");
        assert_eq!(reader.lines, written, "{steps:?}");
    }
}

/// Not among the sequences by chance: of two files that were written in turns, a reader that comes new cannot
/// know by their times which was the log first.
#[test]
fn another_reader_goes_on_where_the_first_one_was() {
    use Step::{CopyTruncate, Half, Lines, Read, Rename, Reopen, Restart};
    for steps in [
        vec![Lines(3), Read, Restart, Lines(2), Read, Restart],
        vec![Lines(3), Half, Read, Restart, Half, Lines(1)],
        vec![Lines(3), Read, Lines(2), Restart, Rename, Lines(1), Reopen, Lines(2)],
        vec![Lines(3), Read, Rename, Reopen, Restart, Lines(2), Rename, Reopen, Lines(2), Rename, Reopen],
        vec![
            Lines(3),
            Read,
            Lines(2),
            Restart,
            CopyTruncate,
            Lines(9),
            Read,
            Restart,
            CopyTruncate,
            Lines(1),
        ],
    ] {
        let (written, reader) = run(&steps);
        assert_eq!(reader.losses, Vec::<String>::new(), "{steps:?}");
        assert_eq!(reader.lines, written, "{steps:?}");
    }
}

#[test]
fn what_cannot_be_read_any_more_is_said_to_be_lost() {
    use Step::{Compress, Lines, Read, Rename, Reopen, Truncate};
    for steps in [
        vec![Lines(3), Read, Lines(2), Truncate, Lines(1)],
        vec![Lines(1), Read, Rename, Reopen, Lines(2), Rename, Compress, Reopen, Lines(1)],
    ] {
        let (written, reader) = run(&steps);
        assert!(!reader.losses.is_empty(), "{steps:?}\n{written:#?}\n{:#?}", reader.lines);
    }
}
