//! The kernel's own WireGuard, in a virtual machine: the kernel of the machine that runs the tests may lack it.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secmon_testkit::{
    binary::{required_program, secmon},
    json::{lines, text},
    need::Need::{GuestKernel, Program},
    require,
    vm::Vm,
};
use serde_json::Value;

/// As an ordinary user.
const AS_NOBODY: &str = "setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs";

/// As the unit of `packaging/` has it: with one capability more, and never another.
const AS_THE_UNIT: &str = "setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs \
    --inh-caps -all,+net_admin --ambient-caps -all,+net_admin --bounding-set -all,+net_admin";

/// A script that begins a node which has joined a hub, and a watch of its WireGuard events. The pace is quick: in
/// software emulation a look costs so much that it would be rare.
const START: &str = "
secmon hub --listen 127.0.0.1:7443 --state-dir /run/hub --socket /run/hub.sock >/tmp/hub.log 2>&1 &
until secmon enroll gate1 --socket /run/hub.sock >/tmp/line 2>/dev/null; do sleep 0.1; done
printf '[auth]\\nsource = \"off\"\\n[wireguard]\\npoll_slowest = 1\\n' >/tmp/node.toml
mkdir /run/node && chown $OWNER /run/node
$AS secmon node --join \"$(sed 's/.*--join //' /tmp/line)\" --state-dir /run/node --config /tmp/node.toml \
    >/tmp/node.log 2>&1 &
echo $! >/run/node.pid
secmon watch --json --type 'wg.*' --socket /run/hub.sock >/tmp/watch.json 2>/tmp/watch.log &
until grep -q 'watching from' /tmp/watch.log; do sleep 0.1; done
";

/// A script that gives an interface a key and a port.
const MAKE: &str = "
make() {
    $ON ip link add \"$1\" type wireguard
    (umask 077 && wg genkey >\"/tmp/$1.key\")
    $ON wg set \"$1\" private-key \"/tmp/$1.key\" listen-port \"${2-51820}\"
    $ON ip link set \"$1\" up
}
";

/// A virtual machine with a node that watches it.
struct Guest(Vm);

impl Guest {
    fn boot(files: &[(&str, &[u8])]) -> Self {
        let memory = Path::new(env!("CARGO_BIN_EXE_memory"));
        Self(Vm::boot(&[&secmon(), &required_program("wg"), &required_program("setpriv"), memory], files))
    }

    /// Starts the node as root.
    fn watch(&mut self) {
        self.0.check(&format!("AS= OWNER=0\n{START}"));
    }

    /// Starts the node as an ordinary user, by this setpriv(1).
    #[track_caller]
    fn watch_as_nobody(&mut self, by: &str) {
        self.0.check(&format!("AS='{by}' OWNER=65534\n{START}"));
    }

    /// Waits until the facet of peers is in this status, and returns it.
    #[track_caller]
    fn facet(&mut self, status: &str) -> Value {
        let list = "secmon list --json --socket /run/hub.sock";
        self.0.eventually(&format!("wg_peers to be {status}"), list, |printed| {
            let facet = lines(printed.as_bytes()).first()?["secmon"]["facets"]["wg_peers"].clone();
            (text(&facet, "status") == status).then_some(facet)
        })
    }

    /// Waits until the node's peers are as wanted, and returns them.
    #[track_caller]
    fn peers(&mut self, what: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let show = "secmon show gate1 --json --socket /run/hub.sock";
        self.0.eventually(what, show, |printed| {
            let peers = lines(printed.as_bytes()).first()?["secmon"]["wg_peers"].as_array()?.clone();
            wanted(&peers).then_some(peers)
        })
    }

    /// Waits for an event of a type about a peer.
    #[track_caller]
    fn event(&mut self, kind: &str, public_key: &str) -> Value {
        self.0.eventually(&format!("{kind} of {public_key}"), "cat /tmp/watch.json", |printed| {
            let end = printed.rfind('\n').unwrap_or(0);
            lines(&printed.as_bytes()[..end])
                .into_iter()
                .find(|event| text(event, "secmon.type") == kind && event.to_string().contains(public_key))
        })
    }

    /// How often each of these is in the memory of the node.
    #[track_caller]
    fn in_memory(&mut self, needles: &[Vec<u8>]) -> Vec<usize> {
        let hex = |bytes: &Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let needles: Vec<String> = needles.iter().map(hex).collect();
        let printed = self.0.check(&format!("memory $(cat /run/node.pid) {}", needles.join(" ")));
        printed.lines().map(|line| line.parse().unwrap()).collect()
    }
}

macro_rules! guest {
    ($($file:expr),*) => {{
        require!(
            Program("qemu-system-x86_64"),
            Program("setpriv"),
            Program("cpio"),
            Program("busybox"),
            Program("wg"),
            Program("ip"),
            GuestKernel
        );
        Guest::boot(&[$($file),*])
    }};
}

/// Two interfaces, `wg0` here and `wg-there` in a namespace called `there`, which a veth pair joins.
fn two_interfaces() -> String {
    format!(
        "{MAKE}
        ip netns add there
        ip link add wire type veth peer name wire netns there
        ip address add 10.77.0.1/24 dev wire && ip link set wire up
        ip -n there address add 10.77.0.2/24 dev wire && ip -n there link set wire up
        ip -n there link set lo up
        ON= && make wg0
        ON='ip netns exec there' && make wg-there
        ip address add 10.78.0.1/24 dev wg0
        ip -n there address add 10.78.0.2/24 dev wg-there
        wg genpsk >/tmp/psk
        wg pubkey </tmp/wg-there.key >/tmp/wg-there.pub && wg pubkey </tmp/wg0.key >/tmp/wg0.pub
        "
    )
}

/// Makes each the other's peer, with keepalives, so that a handshake follows at once.
const MEET: &str = "
wg set wg0 peer $(cat /tmp/wg-there.pub) preshared-key /tmp/psk endpoint 10.77.0.2:51820 \
    allowed-ips 10.78.0.2/32,fd00:78::/64 persistent-keepalive 1
ip netns exec there wg set wg-there peer $(cat /tmp/wg0.pub) preshared-key /tmp/psk endpoint 10.77.0.1:51820 \
    allowed-ips 10.78.0.1/32 persistent-keepalive 1
";

#[test]
fn a_peer_of_the_kernel_is_seen_from_its_handshake_to_its_interfaces_end() {
    let mut guest = guest!();
    guest.0.check(&format!("load_wireguard\n{}", two_interfaces()));
    guest.watch();
    guest.facet("ready");
    let key = guest.0.check(&format!("{MEET}\ncat /tmp/wg-there.pub"));

    let online = guest.event("wg.peer_online", &key);
    assert_eq!(text(&online, "host.name"), "gate1", "{online}");
    let peers = guest.peers("the peer, online", |peers| peers.len() == 1 && peers[0]["online"] == true);
    let peer = &peers[0];
    assert_eq!(text(peer, "interface"), "wg0", "{peer}");
    assert_eq!(text(peer, "public_key"), key, "{peer}");
    assert_eq!(text(peer, "endpoint"), "10.77.0.2:51820", "{peer}");
    assert_eq!(peer["allowed_ips"], serde_json::json!(["10.78.0.2/32", "fd00:78::/64"]), "{peer}");
    assert_eq!(peer["keepalive"], 1, "{peer}");
    // `wg` and the node speak of the same handshake.
    let at = guest.0.check("wg show wg0 latest-handshakes | cut -f 2");
    let shown = guest.0.check(&format!("date -u -d @{at} +%Y-%m-%dT%H:%M:%S"));
    assert!(text(peer, "latest_handshake").starts_with(&shown), "{shown}: {peer}");

    // No word comes any more, and the clock goes on by more than the 180 s after which keys are refused.
    guest.0.check("ip link set wire down; date -s @$(($(date +%s) + 200))");
    guest.event("wg.peer_offline", &key);
    guest.0.check("ip link delete wg0");
    guest.event("wg.peer_removed", &key);
    guest.peers("no peer", <[Value]>::is_empty);
    guest.facet("ready");
}

#[test]
fn a_list_of_peers_that_takes_many_messages_is_seen_whole() {
    // 1,200 peers, and one more with 601 networks: more than a message has room for, so that it is split itself.
    let mut config = String::new();
    let numbered = |n: u32| STANDARD.encode(format!("peer number {n:020}"));
    for n in 1..=1200 {
        let (key, high, low) = (numbered(n), n / 250, n % 250);
        config += &format!("[Peer]\nPublicKey = {key}\nAllowedIPs = 10.{high}.{low}.0/24\n");
    }
    let key = STANDARD.encode("the one with so many networks...");
    let networks: String = (1..=600).map(|n| format!("fd00:{n:x}::/48, ")).collect();
    config += &format!(
        "[Peer]\nPublicKey = {key}\nPersistentKeepalive = 25\nAllowedIPs = {networks} 192.0.2.0/24\n"
    );
    let mut guest = guest!(("peers", config.as_bytes()));
    guest.0.check(&format!("load_wireguard\n{MAKE}\nON= && make wg0\nwg addconf wg0 /root/peers"));
    guest.watch();
    let peers = guest.peers("all peers", |peers| peers.len() == 1201);
    let networks = |peer: &Value| peer["allowed_ips"].as_array().map_or(0, Vec::len);
    let many: Vec<_> = peers.iter().filter(|peer| networks(peer) > 1).collect();
    assert_eq!(many.len(), 1, "{many:?}");
    assert_eq!(text(many[0], "public_key"), key);
    assert_eq!((networks(many[0]), &many[0]["keepalive"]), (601, &Value::from(25)));
    for n in [1, 600, 1200] {
        let key = numbered(n);
        let peer = peers.iter().find(|peer| text(peer, "public_key") == key).unwrap();
        assert_eq!(peer["allowed_ips"], serde_json::json!([format!("10.{}.{}.0/24", n / 250, n % 250)]));
    }
    // One goes, and no other is taken for it.
    let key = numbered(600);
    guest.0.check(&format!("wg set wg0 peer {key} remove"));
    guest.event("wg.peer_removed", &key);
    guest.peers("all but one", |peers| peers.len() == 1200);
    assert_eq!(guest.0.check("grep -c peer_ /tmp/watch.json"), "1");
}

#[test]
fn interfaces_of_this_namespace_are_found_as_they_come_and_those_of_others_are_left_alone() {
    let mut guest = guest!();
    guest.watch();
    // The module is not even there.
    guest.facet("ready");
    guest.0.check(&format!("load_wireguard\n{}\n{MEET}", two_interfaces()));
    let there = guest.0.check("cat /tmp/wg-there.pub");
    guest.event("wg.peer_online", &there);
    let peer = |name: &str| {
        format!(
            "wg set {name} peer $(printf 'a peer of {name} and of no other...' | base64) allowed-ips 10.9.9.9/32"
        )
    };
    guest.0.check(&format!("{MAKE}\nON= && make wg1 51821\n{}", peer("wg1")));
    guest.event("wg.peer_added", &STANDARD.encode("a peer of wg1 and of no other..."));
    let peers = guest.peers("two peers", |peers| peers.len() == 2);
    let names: Vec<_> = peers.iter().map(|peer| text(peer, "interface")).collect();
    assert_eq!(names, ["wg0", "wg1"]);
    // It gets another name and then another namespace, and is seen no more.
    guest.0.check("ip link set wg1 down && ip link set wg1 name wg2");
    guest.peers("it to be renamed", |peers| peers.iter().any(|peer| text(peer, "interface") == "wg2"));
    guest.0.check("ip link set wg2 netns there");
    guest.peers("it to leave", |peers| peers.len() == 1 && text(&peers[0], "interface") == "wg0");
}

#[test]
fn no_key_of_the_kernel_stays_in_the_nodes_memory() {
    let mut guest = guest!();
    guest.0.check(&format!("load_wireguard\n{}\n{MEET}", two_interfaces()));
    guest.watch();
    let public = guest.0.check("cat /tmp/wg-there.pub");
    guest.peers("the peer, online", |peers| peers.len() == 1 && peers[0]["online"] == true);
    // Some more looks; each of them reads the keys.
    guest.0.check("sleep 5");
    let keys = [guest.0.check("cat /tmp/wg0.key"), guest.0.check("cat /tmp/psk"), public];
    let [private, preshared, public] = keys.map(|key| STANDARD.decode(key).unwrap());
    let found = guest.in_memory(&[private, preshared, public]);
    assert!(found[2] > 0, "the search finds what is there: {found:?}");
    assert_eq!(found[..2], [0, 0], "private and preshared key: {found:?}");
}

#[test]
fn without_the_right_to_ask_the_peers_are_unavailable_and_not_none() {
    let mut guest = guest!();
    guest.0.check(&format!("load_wireguard\n{}", two_interfaces()));
    guest.watch_as_nobody(AS_NOBODY);
    let checked = guest.0.run(&format!("{AS_NOBODY} secmon node --check"));
    assert_eq!(checked.code, 1, "{checked:?}");
    assert!(String::from_utf8_lossy(&checked.output).contains("AmbientCapabilities=CAP_NET_ADMIN"));
    let facet = guest.facet("unavailable");
    assert!(text(&facet, "reason").contains("wg0"), "{facet}");
    assert!(text(&facet, "remedy").contains("CAP_NET_ADMIN"), "{facet}");
}

#[test]
fn with_the_one_capability_of_the_unit_a_node_that_is_not_root_sees_the_peers() {
    let mut guest = guest!();
    guest.0.check(&format!("load_wireguard\n{}\n{MEET}", two_interfaces()));
    guest.watch_as_nobody(AS_THE_UNIT);
    let key = guest.0.check("cat /tmp/wg-there.pub");
    let peers = guest.peers("the peer, online", |peers| peers.len() == 1 && peers[0]["online"] == true);
    assert_eq!(text(&peers[0], "public_key"), key, "{peers:?}");
    let checked = guest.0.check(&format!("{AS_THE_UNIT} secmon node --check || :"));
    assert!(checked.contains("✓ yes   WireGuard of the kernel"), "{checked}");
    guest.0.check(&format!("wg set wg0 peer {key} remove"));
    guest.event("wg.peer_removed", &key);
}
