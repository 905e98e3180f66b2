//! Where the files stood lately, while journald is read: if that goes away, they are read from there.

use std::path::PathBuf;

use super::{
    file::{Positions, ends_of, place_name},
    report::Report,
};

/// Marks of two looks.
///
/// At a look journald was well, but what was logged just before it may not have come out of it; what was
/// logged before the look before that has. So the files are read from the older mark on, and what journald
/// has brought of that already is known by [`super::twins`].
pub(super) struct Marks {
    paths: Vec<PathBuf>,
    older: Positions,
    newer: Positions,
}

impl Marks {
    /// Marks of `paths` at these places.
    pub(super) fn new(paths: &[PathBuf], places: Positions) -> Self {
        Self { paths: paths.to_owned(), older: places.clone(), newer: places }
    }

    /// Keeps where the files have to be read from.
    pub(super) fn keep(&self, report: &mut Report) {
        for (path, place) in self.paths.iter().zip(&self.older) {
            report.place(&place_name(path), place);
        }
    }

    /// All is well: marks where the files end now.
    pub(super) fn look(&mut self) {
        if !self.paths.is_empty() {
            self.older = std::mem::replace(&mut self.newer, ends_of(&self.paths));
        }
    }

    /// The files have been read as far as this.
    pub(super) fn set(&mut self, positions: Positions) {
        (self.older, self.newer) = (positions.clone(), positions);
    }

    /// Where the files have to be read from.
    pub(super) fn positions(&self) -> &Positions {
        &self.older
    }
}
