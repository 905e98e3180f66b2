//! The keys and values of the facets, each behind the version of its form.

use secmon_protocol::{auth::AuthLogSource, wireguard::WgPeer};

use crate::{
    case::Cases,
    samples::{bare_session, peer, peer_key, session},
};

pub(crate) fn add(cases: &mut Cases) {
    cases.facet("sessions.key", "s-1".to_owned());
    cases.facet("sessions.value", session());
    cases.facet("sessions.value/bare", bare_session());
    cases.facet("wg_peers.key", peer_key());
    cases.facet("wg_peers.value", peer());
    cases.facet("wg_peers.value/6", WgPeer { endpoint: "[2001:db8::1]:51820".parse().ok(), ..peer() });
    let bare = WgPeer {
        endpoint: None,
        allowed_ips: vec![],
        latest_handshake: None,
        rx_bytes: 0,
        tx_bytes: 0,
        keepalive: None,
        online: false,
    };
    cases.facet("wg_peers.value/bare", bare);
    cases.facet("auth_log.key", "journald".to_owned());
    cases.facet("auth_log.value", AuthLogSource { source: "/var/log/auth.log /var/log/secure".into() });
}
