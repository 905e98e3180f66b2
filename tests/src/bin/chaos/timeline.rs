//! When what was done, in milliseconds since the start; printed on failure.

use std::{
    fmt::Write as _,
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// Around a failure this much of the timeline is shown, in milliseconds to either side.
const AROUND: u64 = 8_000;

/// See the module.
pub(crate) struct Timeline {
    start: Instant,
    notes: Mutex<Vec<(u64, String)>>,
    verbose: bool,
}

impl Timeline {
    pub(crate) fn new(verbose: bool) -> Self {
        Self { start: Instant::now(), notes: Mutex::default(), verbose }
    }

    /// Milliseconds since the start.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Adds what happens now.
    pub(crate) fn note(&self, what: impl Into<String>) {
        let (now, what) = (self.now(), what.into());
        if self.verbose {
            eprintln!("{}", line(now, &what));
        }
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push((now, what));
    }

    /// What happened between two times, and some time before and after.
    pub(crate) fn around(&self, from: u64, to: u64) -> String {
        let range = from.saturating_sub(AROUND)..=to.saturating_add(AROUND);
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut notes: Vec<_> = notes.iter().filter(|(at, _)| range.contains(at)).cloned().collect();
        notes.sort();
        let mut out = String::new();
        for (at, what) in notes {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{}", line(at, &what));
        }
        out
    }
}

/// A line of it.
pub(crate) fn line(at: u64, what: &str) -> String {
    format!("{:>9.3}s  {what}", at as f64 / 1_000.0)
}
