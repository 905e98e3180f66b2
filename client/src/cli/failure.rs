//! How a command ends other than well, and what it says then.

use std::io;

use secmon_protocol::text::printable;

use crate::ClientError;

/// Why a command ended before it was done.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The hub, or the way to it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Whoever read our output has stopped: a clean end, except of `run`.
    #[error("the output was closed")]
    Closed,
    /// stdout could not be written.
    #[error("cannot write the output: {0}")]
    Output(#[source] io::Error),
    /// Something else that is said in `message`, with an exit code of its own.
    #[error("{message}")]
    Other {
        /// For people.
        message: String,
        /// See [`super::EXIT_CODES`].
        code: u8,
    },
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Output(error),
        }
    }
}

impl Failure {
    /// The exit code that goes with it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Client(error) => error.exit_code(),
            Self::Closed => 0,
            Self::Output(_) => 1,
            Self::Other { code, .. } => *code,
        }
    }

    /// Says it on stderr, where there is something to say, and gives the exit code.
    pub(super) fn report(&self) -> u8 {
        if !matches!(self, Self::Closed) {
            complain(&self.to_string());
        }
        self.exit_code()
    }
}

/// One line on stderr, safe to print.
pub(super) fn complain(message: &str) {
    // Without a stderr there is nobody left to tell.
    let _ = io::Write::write_all(
        &mut io::stderr().lock(),
        format!("secmon: {}\n", printable(message)).as_bytes(),
    );
}
