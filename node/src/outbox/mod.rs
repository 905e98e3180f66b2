//! Where the node keeps what must outlive it: the records that the hub has not acknowledged, the places of the
//! sources, and the state as last reported.
//!
//! A [`Shelf`] does what it is told and decides nothing; what is kept and what goes is the
//! [`core`](crate::core)'s business. [`Disk`] is a database in the state folder, [`Memory`] the same without one. `keeper` has
//! the core and its shelf, and what to do when the disk fails.

mod aside;
mod disk;
mod keeper;
mod memory;
#[cfg(test)]
mod tests;

use secmon_protocol::ids::Seq;

pub(crate) use aside::set_aside;
pub use disk::{Disk, FILE};
pub use keeper::Keeper;
pub use memory::Memory;

use crate::core::{Batch, Loaded, NodeCore, Row, Write};

/// Keeps rows, and knows nothing about them.
pub trait Shelf {
    /// Everything but the envelopes.
    ///
    /// # Errors
    /// It cannot be read.
    fn load(&mut self) -> Result<Loaded, ShelfError>;

    /// Applies changes in their order and in one transaction: after an error, or a crash, none is made.
    ///
    /// # Errors
    /// It cannot be written.
    fn apply(&mut self, writes: &[Write]) -> Result<(), ShelfError>;

    /// The records from one place to another, both included, in their order.
    ///
    /// # Errors
    /// It cannot be read.
    fn read(&mut self, from: u64, to: u64) -> Result<Vec<Row>, ShelfError>;
}

/// Why a shelf could not do something.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// What it holds makes no sense: it is of no use any more.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// A later version made it.
    #[error("the database was written by a newer secmon (form {found}, this one knows {known})")]
    Newer {
        /// Its form.
        found: i64,
        /// The newest that is known.
        known: i64,
    },
    /// The disk or the system refuses; it may pass.
    #[error("{0}")]
    Refused(String),
}

/// Applies what is to be written, and makes it visible; the second and third step of [`crate::core`].
///
/// # Errors
/// The shelf's: nothing was applied, and what was taken from the core is lost.
pub fn commit(core: &mut NodeCore, shelf: &mut impl Shelf) -> Result<(), ShelfError> {
    let writes = core.take_writes();
    shelf.apply(&writes)?;
    core.committed();
    Ok(())
}

/// The next records after `after`, as a list of about `target` bytes; none when there are none.
///
/// # Errors
/// The shelf's.
pub fn batch(
    core: &NodeCore,
    shelf: &mut impl Shelf,
    after: Seq,
    target: usize,
) -> Result<Option<Batch>, ShelfError> {
    let wanted = core.wanted(after, target);
    let (Some(from), Some(to)) = (wanted.first(), wanted.last()) else { return Ok(None) };
    Ok(core.pack(&shelf.read(*from, *to)?))
}
