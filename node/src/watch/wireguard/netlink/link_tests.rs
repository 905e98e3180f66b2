use proptest::prelude::*;

use super::*;

/// The body of a `RTM_NEWLINK`.
fn link(index: u32, name: &[u8], kind: &[u8]) -> Vec<u8> {
    let mut header = [0; size_of::<ifinfomsg>()];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    let link = Request::new(0, 0, 0, &header).with(IFLA_IFNAME, name);
    link.nest(IFLA_LINKINFO, |info| info.with(IFLA_INFO_KIND, kind)).finish().split_off(16)
}

#[test]
fn a_link_of_wireguards_kind_is_one_and_no_other_is() {
    assert_eq!(wireguard_link(&link(7, b"wg0\0", b"wireguard\0")), Ok(Some(("wg0".to_owned(), 7))));
    // What wireguard-go makes, and AmneziaWG's module.
    for kind in [b"tun\0".as_slice(), b"amneziawg\0", b"wireguard", b""] {
        assert_eq!(wireguard_link(&link(7, b"wg0\0", kind)), Ok(None), "{kind:?}");
    }
    assert_eq!(wireguard_link(&[0; size_of::<ifinfomsg>()]), Ok(None));
    assert_eq!(wireguard_link(&[0; 3]), Err(Wrong::Malformed("a link")));
}

#[tokio::test]
async fn this_kernel_lists_its_links_to_any_user() {
    let mut names = Vec::new();
    let mut conversation = Conversation::open(SockProtocol::NetlinkRoute).unwrap();
    let request = |sequence| Request::new(RTM_GETLINK, DUMP, sequence, &[0; size_of::<ifinfomsg>()]);
    let seen = |link: &[u8]| {
        for attribute in attributes(link.get(size_of::<ifinfomsg>()..).unwrap_or_default()) {
            if let (IFLA_IFNAME, name) = attribute? {
                names.push(name.to_vec());
            }
        }
        Ok(())
    };
    conversation.ask(request, RTM_NEWLINK, seen).await.unwrap();
    assert!(names.contains(&b"lo\0".to_vec()), "{names:?}");
    let listed = Netlink.interfaces().await.unwrap();
    assert!(!listed.contains_key("lo"), "{listed:?}");
}

#[tokio::test]
async fn an_interface_that_is_not_there_is_gone_and_no_failure() {
    // Whether this kernel has the module or not.
    let failure = Netlink.peers(u32::MAX).await.unwrap_err();
    assert!(matches!(failure, Failure::Gone | Failure::Forbidden), "{failure:?}");
}

/// A kernel that lists an interface without peers, and says of the first `interrupted` lists that they changed.
async fn answer(kernel: UnixDatagram, interrupted: usize) {
    use nix::libc::{NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR};
    let (family, mut question, mut lists) = (32_u16, [0; 256], 0);
    while let Ok(length @ 16..) = kernel.recv(&mut question).await {
        let sequence = u32::from_ne_bytes(question[8..12].try_into().unwrap());
        let kind = u16::from_ne_bytes(question[4..6].try_into().unwrap());
        assert!(length < question.len());
        let (first, end) = if i32::from(kind) == GENL_ID_CTRL {
            let number = Request::generic(GENL_ID_CTRL as u16, 0, sequence, 1)
                .with(CTRL_ATTR_FAMILY_ID as u16, &family.to_ne_bytes());
            (number, NLMSG_ERROR)
        } else {
            lists += 1;
            let flags = if lists <= interrupted { NLM_F_DUMP_INTR as u16 } else { 0 };
            (Request::generic(family, flags, sequence, WG_CMD_GET_DEVICE), NLMSG_DONE)
        };
        kernel.send(&first.finish()).await.unwrap();
        kernel.send(&Request::new(end as u16, 0, sequence, &[0; 4]).finish()).await.unwrap();
    }
}

#[tokio::test]
async fn a_list_that_changes_while_it_is_made_is_made_again_but_not_for_ever() {
    for (interrupted, is_read) in [(0, true), (TRIES - 1, true), (TRIES, false)] {
        let (kernel, node) = UnixDatagram::pair().unwrap();
        let kernel = tokio::spawn(answer(kernel, interrupted));
        let read = peers(&mut Conversation::over(node), 1).await;
        kernel.abort();
        match read {
            Ok(peers) => assert!(is_read && peers.is_empty(), "{interrupted}"),
            Err(failure) => assert!(!is_read && matches!(failure, Failure::Unsteady), "{failure:?}"),
        }
    }
}

#[test]
fn a_refusal_says_what_to_do() {
    assert!(matches!(failure(Wrong::Errno(ENODEV)), Failure::Gone));
    assert!(failure(Wrong::Errno(EPERM)).remedy().contains("CAP_NET_ADMIN"));
    assert!(failure(Wrong::Errno(12)).to_string().contains("Cannot allocate memory"));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..1000)) {
        let _ = wireguard_link(&bytes);
    }
}
