//! Our standard output, for what may be much.

use secmon_protocol::limits::OUTPUT_WINDOW;
use tokio::{io::AsyncWrite, net::unix::pipe};

/// Where it is a pipe it is written to as a socket is. Anything else has no way but a thread that blocks, which for a
/// stream of output costs more than all the rest.
pub(super) fn stdout() -> Box<dyn AsyncWrite + Send + Unpin> {
    keep_memory();
    // Opened once more, since whether it blocks is a property that others would share who have it open as well. It
    // cannot be where it is no pipe, or another user's.
    match pipe::OpenOptions::new().open_sender("/proc/self/fd/1") {
        Ok(pipe) => Box::new(pipe),
        Err(_) => Box::new(tokio::io::stdout()),
    }
}

/// Has the allocator keep what a stream of chunks gives back and takes again: glibc returns more than 128 KiB of it to
/// the kernel, and each chunk's memory would be new pages. The first large piece that is given back raises that to twice
/// its size, mallopt(3), M_MMAP_THRESHOLD.
fn keep_memory() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(OUTPUT_WINDOW as usize)));
}
