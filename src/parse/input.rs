//! What is read: a file or standard input, line by line, each under a limit.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _},
    os::fd::AsFd as _,
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use secmon_protocol::limits::MAX_LINE;

/// Bytes that are read in one go.
const BUFFER: usize = 64 << 10;

/// An open file or pipe.
pub(super) struct Input(BufReader<File>);

impl io::Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Input {
    /// Opens `file`; `-` is standard input.
    pub(super) fn open(file: &str) -> io::Result<Self> {
        let file = match file {
            "-" => File::from(io::stdin().as_fd().try_clone_to_owned()?),
            path => File::open(path)?,
        };
        Ok(Self(BufReader::with_capacity(BUFFER, file)))
    }

    /// Reads the next line with its end; of one over [`MAX_LINE`] as much as tells the parser that it is.
    /// False at the end of the input.
    pub(super) fn line(&mut self, line: &mut Vec<u8>) -> io::Result<bool> {
        line.clear();
        self.0.by_ref().take(MAX_LINE as u64 + 2).read_until(b'\n', line)?;
        if line.len() > MAX_LINE && line.last() != Some(&b'\n') {
            self.0.skip_until(b'\n')?;
        }
        Ok(!line.is_empty())
    }

    /// Whether all that was read so far has been given out: the next line may keep us waiting.
    pub(super) fn is_drained(&self) -> bool {
        self.0.buffer().is_empty()
    }

    /// Waits until there is something to read, or the end, for at most `time`; false when there is not.
    pub(super) fn ready_within(&self, time: Duration) -> bool {
        let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(self.0.get_ref().as_fd(), PollFlags::POLLIN)];
        // An error is as good as something to read: reading says what it is.
        poll(&mut fds, timeout) != Ok(0)
    }
}
