//! TLS sessions that are resumed: over a restart of the hub, by nodes only, and never past the registry.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use rustls::{ClientConfig, HandshakeKind};
use secmon_protocol::message::{
    join,
    node::{self, HubToNode, NodeToHub},
};
use tokio::io::AsyncWriteExt as _;

use crate::{
    abuse::closed,
    common::{self, Conn, hello, start},
};

/// Where the hub keeps the keys.
fn keys(dir: &Path) -> std::path::PathBuf {
    dir.join("state/tickets.key")
}

/// Connects as a node, and says how the handshake went and how the hub answered.
async fn comes(address: SocketAddr, tls: &Arc<ClientConfig>) -> (HandshakeKind, HubToNode) {
    let stream = common::dial(address, tls.clone()).await.unwrap();
    let kind = stream.get_ref().1.handshake_kind().unwrap();
    let mut wire = Conn::new(stream);
    wire.send(&NodeToHub::Hello(hello(1, 1, 0))).await;
    (kind, wire.next().await.unwrap())
}

async fn is_welcome(address: SocketAddr, tls: &Arc<ClientConfig>) -> HandshakeKind {
    let (kind, answer) = comes(address, tls).await;
    assert!(matches!(answer, HubToNode::Welcome(_)), "{answer:?}");
    kind
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_resumes_its_session_after_a_cut_link_and_after_a_restart_of_the_hub() {
    let dir = tempfile::tempdir().unwrap();
    let hub = start(dir.path()).await;
    let papers = hub.enrol("web1").await;
    let tls = common::tls_config(node::ALPN, Some(&papers), Some(&papers.ca));
    assert_eq!(is_welcome(hub.address, &tls).await, HandshakeKind::Full);
    assert_eq!(is_welcome(hub.address, &tls).await, HandshakeKind::Resumed);
    hub.stop().await;
    assert_eq!(fs::metadata(keys(dir.path())).unwrap().permissions().mode() & 0o7777, 0o600);
    for _ in 0..2 {
        let hub = start(dir.path()).await;
        assert_eq!(is_welcome(hub.address, &tls).await, HandshakeKind::Resumed);
        hub.stop().await;
    }
}

/// A resumed session does not show the certificate again: a node whose papers were replaced must not get in by what
/// it still holds of an older connection, neither at this hub nor at its next start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaced_papers_are_refused_on_a_session_that_was_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let hub = start(dir.path()).await;
    let papers = hub.enrol("web1").await;
    let tls = common::tls_config(node::ALPN, Some(&papers), Some(&papers.ca));
    assert_eq!(is_welcome(hub.address, &tls).await, HandshakeKind::Full);
    let token = hub.client().await.enroll("web1", true).await;
    assert!(matches!(hub.join(&token).await, join::HubToJoin::Joined(_)));
    let refused = async |address| {
        let (kind, answer) = comes(address, &tls).await;
        assert_eq!(kind, HandshakeKind::Resumed);
        assert!(matches!(answer, HubToNode::Reject(_)), "{answer:?}");
    };
    refused(hub.address).await;
    hub.stop().await;
    let hub = start(dir.path()).await;
    refused(hub.address).await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_that_the_hub_cannot_open_costs_a_full_handshake_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let hub = start(dir.path()).await;
    let papers = hub.enrol("web1").await;
    let tls = common::tls_config(node::ALPN, Some(&papers), Some(&papers.ca));
    assert_eq!(is_welcome(hub.address, &tls).await, HandshakeKind::Full);
    hub.stop().await;
    type Harm = fn(&Path);
    let harms: [Harm; 3] = [
        |file| fs::write(file, "damaged").unwrap(),
        |file| fs::remove_file(file).unwrap(),
        |file| fs::set_permissions(file, fs::Permissions::from_mode(0o640)).unwrap(),
    ];
    for harm in harms {
        harm(&keys(dir.path()));
        let hub = start(dir.path()).await;
        assert_eq!(is_welcome(hub.address, &tls).await, HandshakeKind::Full);
        assert_eq!(is_welcome(hub.address, &tls).await, HandshakeKind::Resumed);
        hub.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_joins_gets_nothing_to_come_again_with_and_a_ticket_is_no_paper() {
    let dir = tempfile::tempdir().unwrap();
    let hub = start(dir.path()).await;
    let papers = hub.enrol("web1").await;
    let joining = common::tls_config(join::ALPN, None, Some(&papers.ca));
    for _ in 0..2 {
        let mut stream = common::dial(hub.address, joining.clone()).await.unwrap();
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        // What is no Join ends it; all that the hub had to send was read by then.
        stream.write_all(&[0xff; 8]).await.unwrap();
        closed(&mut stream).await;
    }
    let stranger = common::tls_config(node::ALPN, None, Some(&papers.ca));
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let (came, answer) = comes(hub.address, &stranger).await;
        assert_eq!(came, kind);
        assert!(matches!(answer, HubToNode::Reject(_)), "{answer:?}");
    }
    hub.stop().await;
}
