//! Two real WireGuard interfaces, by wireguard-go, in two realms that a veth pair joins.
//!
//! wireguard-go gives each a UAPI socket in its realm's `/run/wireguard` (`/var/run` is a link to `/run`).

use std::fs;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{process::Process, realm::Realm, wait::eventually};

/// Seconds between the keepalives of a peer that has one: soon enough for the first handshake to need no traffic.
const KEEPALIVE: &str = "1";

/// The port that every tunnel listens on.
const PORT: &str = "51820";

/// One end of a tunnel.
pub struct Tunnel<'a> {
    realm: &'a Realm,
    interface: String,
    /// The public key, in base64, as `wg` prints it.
    pub public_key: String,
    _daemon: Process,
}

impl<'a> Tunnel<'a> {
    /// Makes an interface with a new key and an address (with prefix length), and no peer yet.
    /// Needs `wireguard-go`, `wg` and [`crate::need::Need::Tun`].
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    #[track_caller]
    pub fn start(realm: &'a Realm, interface: &str, address: &str) -> Self {
        let mut command = realm.command("wireguard-go");
        let daemon = Process::spawn("wireguard-go", command.args(["-f", interface]));
        let socket = realm.path(&format!("/run/wireguard/{interface}.sock"));
        eventually("the UAPI socket", || {
            assert!(daemon.is_running(), "wireguard-go ended\n{}", daemon.output());
            socket.exists().then_some(())
        });
        let private_key = format!("/run/{interface}.key");
        realm.check("bash", &["-c", &format!("umask 077; wg genkey >{private_key}")]);
        let public_key = realm.check("bash", &["-c", &format!("wg pubkey <{private_key}")]);
        realm.check("wg", &["set", interface, "private-key", &private_key, "listen-port", PORT]);
        realm.check("ip", &["address", "add", address, "dev", interface]);
        realm.check("ip", &["link", "set", interface, "up"]);
        fs::remove_file(realm.path(&private_key)).expect("the key file is there");
        Self { realm, interface: interface.to_owned(), public_key, _daemon: daemon }
    }

    /// Adds a peer that is reached at an IP address, with keepalives, so that a handshake follows at once.
    ///
    /// # Panics
    /// When `wg` refuses.
    #[track_caller]
    pub fn add_peer(&self, peer: &Tunnel<'_>, reached_at: &str, allowed_ips: &str) {
        let endpoint = format!("{reached_at}:{PORT}");
        let mut args = vec!["set", &self.interface, "peer", &peer.public_key, "endpoint", &endpoint];
        args.extend(["allowed-ips", allowed_ips, "persistent-keepalive", KEEPALIVE]);
        self.realm.check("wg", &args);
    }

    /// Adds this many peers with made-up keys, which nobody answers for.
    ///
    /// # Panics
    /// When `wg` refuses.
    #[track_caller]
    pub fn add_silent_peers(&self, count: u32) {
        let file = format!("/run/{}.peers", self.interface);
        let mut config = String::new();
        for number in 0..count {
            let key = STANDARD.encode(format!("silent peer {number:020}"));
            let [_, a, b, c] = number.to_be_bytes();
            config += &format!("[Peer]\nPublicKey = {key}\nAllowedIPs = 10.{}.{b}.{c}/32\n", 128 + a);
        }
        fs::write(self.realm.path(&file), config).expect("the realm's /run is ours");
        self.realm.check("wg", &["addconf", &self.interface, &file]);
    }

    /// Forgets a peer.
    ///
    /// # Panics
    /// When `wg` refuses.
    #[track_caller]
    pub fn remove_peer(&self, peer: &Tunnel<'_>) {
        self.realm.check("wg", &["set", &self.interface, "peer", &peer.public_key, "remove"]);
    }

    /// The Unix time of the latest handshake with any peer, as `wg show` has it; 0 when there was none.
    ///
    /// # Panics
    /// When `wg` refuses.
    #[must_use]
    #[track_caller]
    pub fn latest_handshake(&self) -> u64 {
        let shown = self.realm.check("wg", &["show", &self.interface, "latest-handshakes"]);
        shown.split_whitespace().filter_map(|word| word.parse().ok()).max().unwrap_or(0)
    }
}
