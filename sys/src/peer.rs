//! Whose groups the peer of a Unix socket has.

use std::{
    ffi::c_void,
    io,
    mem::size_of,
    os::fd::{AsFd, AsRawFd as _},
};

/// Most groups that a process can have, `NGROUPS_MAX` of `<linux/limits.h>`.
const MAX_GROUPS: usize = 65_536;
/// Room for the groups of almost everybody.
const USUAL: usize = 64;

/// The supplementary groups that the peer of a connected Unix socket had when it connected: SO_PEERGROUPS, unix(7),
/// since Linux 4.13. Its own group is among them or not, as with getgroups(2).
///
/// # Errors
/// The socket is no connected Unix socket, or the kernel does not know the option.
pub fn peer_groups(socket: impl AsFd) -> io::Result<Vec<u32>> {
    let fd = socket.as_fd().as_raw_fd();
    let mut groups: Vec<libc::gid_t> = vec![0; USUAL];
    loop {
        let bytes = size_of::<libc::gid_t>() * groups.len();
        let mut len = libc::socklen_t::try_from(bytes).map_err(io::Error::other)?;
        #[expect(unsafe_code, reason = "getsockopt(2) with an option that no safe wrapper has")]
        // SAFETY: `fd` is open as long as `socket` is borrowed. The kernel writes at most `len` bytes, which is
        // the size of the initialised buffer of `groups`, and gid_t has no invalid values; `len` is a valid pointer
        // for the length that it writes back.
        let result = unsafe {
            libc::getsockopt(
                fd,
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast::<c_void>(),
                &raw mut len,
            )
        };
        let needed = usize::try_from(len).map_err(io::Error::other)? / size_of::<libc::gid_t>();
        if result == 0 {
            groups.truncate(needed);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // Too small: the kernel has written how much is needed.
        if error.raw_os_error() != Some(libc::ERANGE) || needed <= groups.len() || needed > MAX_GROUPS {
            return Err(error);
        }
        groups.resize(needed, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_peer_has_the_groups_that_this_process_has() {
        let (here, _there) = UnixStream::pair().unwrap();
        let mut own: Vec<u32> = nix::unistd::getgroups().unwrap().iter().map(|gid| gid.as_raw()).collect();
        let mut peers = peer_groups(&here).unwrap();
        own.sort_unstable();
        peers.sort_unstable();
        assert_eq!(peers, own);
    }

    #[test]
    fn what_is_no_unix_socket_has_no_peer() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(peer_groups(&listener).is_err());
    }
}
