//! A word from the kernel whenever a network interface appears, goes or changes: rtnetlink(7), group
//! `RTMGRP_LINK`. Any user may listen.
//!
//! What the messages say is not read: they only ask for another look.

use std::{future::pending, io};

use nix::{
    libc::{ENOBUFS, RTMGRP_LINK},
    sys::socket::SockProtocol,
};
use tokio::net::UnixDatagram;
use tracing::debug;

use super::netlink;

/// Messages taken from the queue for one wake-up; what is left makes the next one.
const MESSAGES_PER_WAKE: usize = 256;

/// Changes of network interfaces; silent for ever when the system refused to tell them.
#[derive(Debug)]
pub(super) struct Links(Option<UnixDatagram>);

impl Links {
    /// Listens from now on; must be called within a tokio runtime.
    pub(super) fn subscribe() -> Self {
        match netlink::open(SockProtocol::NetlinkRoute, RTMGRP_LINK.unsigned_abs()) {
            Ok(socket) => Self::of(socket),
            Err(error) => Self::refused(&error),
        }
    }

    /// Takes messages from a socket that does not block.
    pub(super) fn of(socket: UnixDatagram) -> Self {
        Self(Some(socket))
    }

    fn refused(error: &io::Error) -> Self {
        debug!(%error, "no rtnetlink: interfaces of the kernel are noticed late");
        Self(None)
    }

    /// Whether changes are told at all.
    pub(super) fn are_heard(&self) -> bool {
        self.0.is_some()
    }

    /// Waits until an interface changed. Dropping the future loses nothing.
    pub(super) async fn changed(&mut self) {
        let Some(socket) = &self.0 else { return pending().await };
        if let Err(error) = drain(socket).await {
            // What is missed because of it is seen by the look that this return asks for, or late.
            debug!(%error, "rtnetlink broke: interfaces of the kernel are noticed late");
            self.0 = None;
        }
    }
}

/// Waits for a message and takes all that there are. Of each, the kernel drops what does not fit the buffer.
async fn drain(socket: &UnixDatagram) -> io::Result<()> {
    let mut start = [0; 16];
    let mut taken = socket.recv(&mut start).await;
    for _ in 0..MESSAGES_PER_WAKE {
        match taken {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            // Some messages were dropped, which is as good as a message (netlink(7)).
            Err(e) if e.raw_os_error() == Some(ENOBUFS) => {}
            Err(e) => return Err(e),
        }
        taken = socket.try_recv(&mut start);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixDatagram as StdDatagram, time::Duration};

    use futures::FutureExt as _;

    use super::*;

    fn pair() -> (StdDatagram, Links) {
        let (kernel, node) = StdDatagram::pair().unwrap();
        node.set_nonblocking(true).unwrap();
        (kernel, Links::of(UnixDatagram::from_std(node).unwrap()))
    }

    async fn changed(links: &mut Links) {
        tokio::time::timeout(Duration::from_secs(10), links.changed()).await.unwrap();
    }

    #[tokio::test]
    async fn any_user_may_listen() {
        let mut links = Links::subscribe();
        assert!(links.are_heard(), "{links:?}");
        let _ = links.changed().now_or_never();
    }

    #[tokio::test]
    async fn a_burst_of_messages_is_one_wake_up() {
        let (kernel, mut links) = pair();
        for _ in 0..5 {
            kernel.send(&[1; 1000]).unwrap();
        }
        changed(&mut links).await;
        assert!(links.changed().now_or_never().is_none());
        kernel.send(&[1]).unwrap();
        changed(&mut links).await;
    }

    #[tokio::test]
    async fn a_broken_socket_wakes_once_and_then_never() {
        let (kernel, mut links) = pair();
        kernel.send(&[]).unwrap();
        changed(&mut links).await;
        assert!(links.changed().now_or_never().is_none() && !links.are_heard());
    }
}
