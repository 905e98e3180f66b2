//! The kernel's own WireGuard: which interfaces there are (rtnetlink(7)), and the peers of each (generic
//! netlink, `linux/wireguard.h`). The edge that sends and receives; `message` and `device` read, and are pure.
//!
//! Netlink speaks of the network namespace of the socket alone, so interfaces of other namespaces are never
//! seen. Private and preshared keys come over the socket, into a buffer of fixed size that is wiped when it is
//! let go; what reads it copies no key.
//!
//! A socket lives for one question: what fails leaves nothing behind, and a family that got a new number
//! because its module was loaded again needs no thought.

mod device;
mod message;

use std::{
    collections::BTreeMap,
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::net::UnixDatagram as StdDatagram,
    },
    time::Duration,
};

use nix::{
    libc::{
        CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME, CTRL_CMD_GETFAMILY, ENODEV, ENOENT, EOPNOTSUPP, EPERM,
        GENL_ID_CTRL, IFLA_EXT_MASK, IFLA_IFNAME, IFLA_INFO_KIND, IFLA_LINKINFO, NLM_F_ACK, NLM_F_DUMP,
        NLM_F_REQUEST, RTM_GETLINK, RTM_NEWLINK, ifinfomsg,
    },
    sys::socket::{AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket},
};
use secmon_protocol::wireguard::{WgPeer, WgPublicKey};
use tokio::net::UnixDatagram;
use zeroize::Zeroizing;

use self::{
    device::{DeviceReader, FAMILY, WG_CMD_GET_DEVICE, WGDEVICE_A_IFINDEX},
    message::{Answers, Request, Wrong, attributes, fixed, generic},
};

/// For one question. The kernel answers within the call, unless it waits for a lock.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The longest datagram that the kernel makes of a dump (`netlink_recvmsg` in `net/netlink/af_netlink.c`).
/// Never grown, so that no copy of it is left behind unwiped.
const BUFFER: usize = 32 << 10;

/// Largest answer, in bytes: some 60,000 peers with a network or two.
const MAX_REPLY: usize = 16 << 20;

/// How often one interface is asked when its peers are changed while they are listed.
const TRIES: usize = 8;

/// Most WireGuard interfaces of the kernel in one network namespace.
pub(super) const MAX_INTERFACES: usize = 1024;

/// `RTEXT_FILTER_SKIP_STATS` of `linux/rtnetlink.h`: the counters of interfaces are not wanted.
const SKIP_STATS: u32 = 1 << 3;

/// The kind of its interfaces (`KBUILD_MODNAME` of `drivers/net/wireguard`). One made by wireguard-go is a `tun`.
const KIND: &[u8] = b"wireguard";

/// Why the kernel gave no answer. No value of an attribute is in it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The interface has gone, or is another one by now.
    #[error("it has gone")]
    Gone,
    /// `CAP_NET_ADMIN` of the network namespace is lacking.
    #[error("the kernel tells peers only to who has CAP_NET_ADMIN")]
    Forbidden,
    /// The socket cannot be made or used.
    #[error("netlink: {0}")]
    Io(#[from] io::Error),
    /// No whole answer in time.
    #[error("netlink: no answer within {} s", TIMEOUT.as_secs())]
    Timeout,
    /// It was not understood, or refused.
    #[error("netlink: {0}")]
    Answer(#[from] Wrong),
    /// Its peers changed each time while they were listed.
    #[error("its peers changed {TRIES} times while they were listed")]
    Unsteady,
    /// See [`MAX_INTERFACES`].
    #[error("there are more than {MAX_INTERFACES}")]
    TooMany,
}

impl Failure {
    /// What would mend it.
    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Self::Forbidden => "run the node as root, or give it the capability CAP_NET_ADMIN",
            _ => "see whether `wg show` can read the interface",
        }
    }
}

/// Asks the kernel for WireGuard.
pub(super) trait Kernel {
    /// The WireGuard interfaces of this network namespace: name and index.
    async fn interfaces(&mut self) -> Result<BTreeMap<String, u32>, Failure>;

    /// The peers of the interface with this index.
    async fn peers(&mut self, index: u32) -> Result<BTreeMap<WgPublicKey, WgPeer>, Failure>;
}

/// The real kernel.
#[derive(Debug, Default)]
pub(super) struct Netlink;

impl Kernel for Netlink {
    async fn interfaces(&mut self) -> Result<BTreeMap<String, u32>, Failure> {
        timed(interfaces()).await
    }

    async fn peers(&mut self, index: u32) -> Result<BTreeMap<WgPublicKey, WgPeer>, Failure> {
        timed(async { peers(&mut Conversation::open(SockProtocol::NetlinkGeneric)?, index).await }).await
    }
}

async fn timed<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout(TIMEOUT, work).await.unwrap_or(Err(Failure::Timeout))
}

async fn interfaces() -> Result<BTreeMap<String, u32>, Failure> {
    let mut conversation = Conversation::open(SockProtocol::NetlinkRoute)?;
    let mut found = BTreeMap::new();
    for _ in 0..TRIES {
        found.clear();
        let request = |sequence| {
            Request::new(RTM_GETLINK, DUMP, sequence, &[0; size_of::<ifinfomsg>()])
                .with(IFLA_EXT_MASK, &SKIP_STATS.to_ne_bytes())
                // The kernel leaves out the others, of which there may be thousands, when it knows the kind: not
                // before the module is loaded.
                .nest(IFLA_LINKINFO, |info| info.with(IFLA_INFO_KIND, KIND))
        };
        let consistent = conversation
            .ask(request, RTM_NEWLINK, |link| {
                if let Some((name, index)) = wireguard_link(link)?
                    && found.len() <= MAX_INTERFACES
                {
                    found.insert(name, index);
                }
                Ok(())
            })
            .await?;
        if found.len() > MAX_INTERFACES {
            return Err(Failure::TooMany);
        }
        if consistent {
            break;
        }
    }
    // One that changed until the last is announced as well, and asks for another look.
    Ok(found)
}

/// Name and index of a link, if it is one of WireGuard. `struct ifinfomsg` has the index as its fourth field.
fn wireguard_link(link: &[u8]) -> Result<Option<(String, u32)>, Wrong> {
    const HEADER: usize = size_of::<ifinfomsg>();
    let (header, attrs) = link.split_at_checked(HEADER).ok_or(Wrong::Malformed("a link"))?;
    let (mut name, mut is_wireguard) = (None, false);
    for attribute in attributes(attrs) {
        match attribute? {
            (IFLA_IFNAME, value) => name = value.strip_suffix(b"\0"),
            (IFLA_LINKINFO, info) => {
                for attribute in attributes(info) {
                    if let (IFLA_INFO_KIND, kind) = attribute? {
                        is_wireguard = kind.strip_suffix(b"\0") == Some(KIND);
                    }
                }
            }
            _ => {}
        }
    }
    if !is_wireguard {
        return Ok(None);
    }
    let name = String::from_utf8_lossy(name.ok_or(Wrong::Malformed("the name of a link"))?).into_owned();
    let index = u32::from_ne_bytes(fixed(header.get(4..8).unwrap_or_default(), "the index of a link")?);
    Ok(Some((name, index)))
}

async fn peers(
    conversation: &mut Conversation,
    index: u32,
) -> Result<BTreeMap<WgPublicKey, WgPeer>, Failure> {
    let family = conversation.family().await?;
    for _ in 0..TRIES {
        let mut reader = DeviceReader::default();
        let request = |sequence| {
            Request::generic(family, DUMP, sequence, WG_CMD_GET_DEVICE)
                .with(WGDEVICE_A_IFINDEX, &index.to_ne_bytes())
        };
        if conversation.ask(request, family, |body| reader.feed(body)).await? {
            return Ok(reader.into_peers(crate::now()));
        }
    }
    Err(Failure::Unsteady)
}

/// Flags of a request for a list.
const DUMP: u16 = (NLM_F_REQUEST | NLM_F_DUMP) as u16;

/// A socket, and the number of the question that was asked last.
struct Conversation {
    socket: UnixDatagram,
    sequence: u32,
    buffer: Zeroizing<Vec<u8>>,
}

impl Conversation {
    fn open(protocol: SockProtocol) -> io::Result<Self> {
        Ok(Self::over(open(protocol, 0)?))
    }

    fn over(socket: UnixDatagram) -> Self {
        Self { socket, sequence: 0, buffer: Zeroizing::new(vec![0; BUFFER]) }
    }

    /// Asks one question and gives each message of type `kind` to `take`. False: what was listed changed
    /// meanwhile, and the question should be asked again.
    ///
    /// Only the kernel and root can send to this socket (`NL_CFG_F_NONROOT_SEND` in `net/netlink`), so that the
    /// sender needs no look.
    async fn ask(
        &mut self,
        request: impl Fn(u32) -> Request,
        kind: u16,
        mut take: impl FnMut(&[u8]) -> Result<(), Wrong>,
    ) -> Result<bool, Failure> {
        self.sequence += 1;
        let mut answers = Answers::new(self.sequence, kind);
        self.socket.send(&request(self.sequence).finish()).await?;
        while !answers.are_complete() {
            let length = self.socket.recv(&mut self.buffer).await?;
            if length == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            answers.feed(self.buffer.get(..length).unwrap_or_default(), &mut take).map_err(failure)?;
        }
        Ok(!answers.are_inconsistent())
    }

    /// The number of WireGuard's family, which its module gets anew whenever it is loaded.
    async fn family(&mut self) -> Result<u16, Failure> {
        let mut family = None;
        let request = |sequence| {
            let flags = (NLM_F_REQUEST | NLM_F_ACK) as u16;
            Request::generic(GENL_ID_CTRL as u16, flags, sequence, CTRL_CMD_GETFAMILY as u8)
                .with(CTRL_ATTR_FAMILY_NAME as u16, FAMILY)
        };
        let found = |body: &[u8]| {
            for attribute in attributes(generic(body)?) {
                let (kind, value) = attribute?;
                if i32::from(kind) == CTRL_ATTR_FAMILY_ID {
                    family = Some(u16::from_ne_bytes(fixed(value, "the number of a family")?));
                }
            }
            Ok(())
        };
        self.ask(request, GENL_ID_CTRL as u16, found).await?;
        family.ok_or(Failure::Answer(Wrong::Malformed("a family without number")))
    }
}

/// Errors that say more than their number. A family that is not there (ENOENT) went with its interfaces.
fn failure(wrong: Wrong) -> Failure {
    match wrong {
        Wrong::Errno(ENODEV | ENOENT | EOPNOTSUPP) => Failure::Gone,
        Wrong::Errno(EPERM) => Failure::Forbidden,
        wrong => Failure::Answer(wrong),
    }
}

/// A netlink socket that hears these groups (rtnetlink(7)); within a tokio runtime.
///
/// The type of a Unix socket holds it: all that is asked of it is send(2) and recv(2), which are the same for
/// both, and it is a way to wait for a datagram socket of any family that needs no unsafe code.
pub(super) fn open(protocol: SockProtocol, groups: u32) -> io::Result<UnixDatagram> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd: OwnedFd = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    UnixDatagram::from_std(StdDatagram::from(fd))
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
